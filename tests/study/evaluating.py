"""How good a policy is: by its own forced answers, on problems that no run trains on.

The policy is written out and loaded as a prover, and the service asks it for the answer behind every natural prefix, as
`mrt-reward evaluate` does; a boxed place is one token, so that the likelihood of the gold answer is the success rate.

Dimension key: N problems · P prefixes. x counts tokens of the response: thinking, terminator and answer.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrt_reward.config import load_settings
from mrt_reward.core.progress import progress_rewards
from mrt_reward.core.regret import accuracy_at, normalised_regret
from mrt_reward.errors import ProverError
from mrt_reward.mini import template
from mrt_reward.mini.charts import sample_charted_problems
from mrt_reward.mini.island import Problem
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids
from mrt_reward.mini.truth import revealed_values
from mrt_reward.options import MarkerSegmenter, ScoreOptions
from mrt_reward.types import ScoredTrace, Status, Trace
from mrt_reward.wiring import build_scorer
from tests.study.loop import StudyLoop
from tests.study.sampler import Sampling, sample

Floats = NDArray[np.float64]

EVALUATION_SEED = 3_000_017
"""Of problems and draws that no run trains on."""
TIMES_BUDGET = 3
"""How many times the training budget a trace may take, and regret is integrated to."""
CURVE_POINTS = 24
IDLE_BELOW = 0.02
"""The threshold of waste that trainers log, `waste_threshold`."""
_AT_ONCE = 16
_VERDICT = re.compile(r"(works from|rules out) (\d{1,2})\b")

METRICS = (
    "regret",
    "regret_budget",
    "revealed_regret",
    "right",
    "within",
    "tokens",
    "waste",
    "idle",
    "episodes",
    "unthought",
    "false_claims",
)
"""Of a trace. `regret` is the study's primary one: of the policy's own forced answers, to 3 times the budget.
`regret_budget` is the same to the budget, `revealed_regret` by what is revealed. `right` within 3 times the budget,
`within` the budget itself. `waste` is the share of episodes that reveal nothing, read off their words, and `idle` of
those that move the policy's own forced answer by less than `IDLE_BELOW`, which holds where a policy changes its words.
`unthought` is the forced answer's success rate before any thinking, and `false_claims` counts verdicts on places that
the map contradicts: what a prover that believes claims might pay for."""


@dataclass(frozen=True)
class Size:
    """How much is evaluated: problems, and traces of each."""

    num_problems: int
    num_traces: int


BETWEEN, FINAL = Size(32, 4), Size(256, 8)


@dataclass(frozen=True)
class Evaluation:
    """Of a policy.

    Attributes:
        metrics: by name, one number per problem, a mean over its traces; NaN where no trace has one.
        num_candidates: of each problem.
        curve: mean accuracy when stopped at each of `CURVE_POINTS` budgets, the last one 3 times the budget.

    """

    metrics: dict[str, Floats]
    num_candidates: list[int]
    curve: Floats


async def evaluate(loop: StudyLoop, size: Size, report: Callable[[int], None] = lambda _: None) -> Evaluation:
    """Evaluate the policy as it is now.

    Args:
        loop: its training.
        size: how much.
        report: called with how many problems are done.

    Raises:
        ProverError: a trace could not be scored.

    """
    problems = sample_charted_problems(size.num_problems, EVALUATION_SEED, loop.regime)
    limit = TIMES_BUDGET * loop.regime.budget_tokens
    with tempfile.TemporaryDirectory() as folder:
        loop.export(Path(folder))
        scorer = build_scorer(load_settings(model=folder))
        try:
            rows: list[_Row] = []
            for start in range(0, len(problems), _AT_ONCE):
                some = problems[start : start + _AT_ONCE]
                how = Sampling(size.num_traces, limit, 1.0, loop.end, loop.pad, EVALUATION_SEED + start)
                prompts = [loop.prompt_of(problem) for problem in some]
                written = sample(loop.network, prompts, how)
                each = [place for place in range(len(some)) for _ in range(size.num_traces)]
                traces = [
                    Trace(
                        str(number),
                        prompt_ids=np.array(prompts[place], np.int32),
                        completion_ids=np.array(ids, np.int32),
                        tokenizer=scorer.tokenizer_sha256,
                        answer=(str(some[place].answer),),
                        group=str(place),
                    )
                    for number, (place, ids) in enumerate(zip(each, written, strict=True))
                ]
                scored = await scorer.score(traces, ScoreOptions(segmenter=MarkerSegmenter(max_episodes=None)))
                rows += [
                    _Row.of(loop, some[place], ids, trace)
                    for place, ids, trace in zip(each, written, scored, strict=True)
                ]
                report(start + len(some))
        finally:
            await scorer.close()
    return _summed(rows, problems, size.num_traces)


@dataclass(frozen=True)
class _Row:
    """A trace: its metrics, and its accuracy when stopped at each budget."""

    metrics: dict[str, float]
    curve: Floats

    @classmethod
    def of(cls, loop: StudyLoop, problem: Problem, ids: Sequence[int], scored: ScoredTrace) -> _Row:
        values = [value.value for value in scored.values if value.value is not None]
        if scored.status is not Status.OK or len(values) != len(scored.episodes) + 1:
            raise ProverError(f"a trace of the evaluation was not scored: {scored.error or scored.status}")
        text, _ = loop.scorer.tokens.locate(ids)
        budget = loop.regime.budget_tokens
        start = scored.episodes[0].token_start if scored.episodes else 0
        answer = answer_tokens(loop.settings.model)
        x_P = np.array([0.0, *(each.token_end - start for each in scored.episodes)]) + answer
        value_P = np.clip(np.array(values), 0.0, 1.0)
        revealed_P = revealed_values(problem, ["", *(text[: each.char_end] for each in scored.episodes)])
        finished = ids[-1] == loop.end
        right = float(finished and template.boxed_answer(text) == problem.answer)
        progress_K, own_K = progress_rewards(revealed_P), progress_rewards(value_P)
        metrics = {
            "regret": normalised_regret(x_P, value_P, TIMES_BUDGET * budget),
            "regret_budget": normalised_regret(x_P, value_P, budget),
            "revealed_regret": normalised_regret(x_P, revealed_P, TIMES_BUDGET * budget),
            "right": right,
            "within": right * (len(ids) <= budget),
            "tokens": float(len(ids)),
            "waste": float((np.abs(progress_K) < 1e-12).mean()) if progress_K.size else np.nan,
            "idle": float((np.abs(own_K) < IDLE_BELOW).mean()) if own_K.size else np.nan,
            "episodes": float(progress_K.size),
            "unthought": float(value_P[0]),
            "false_claims": float(false_claims(text, problem)),
        }
        grid = np.linspace(0.0, TIMES_BUDGET * budget, CURVE_POINTS + 1)[1:]
        return cls(metrics, accuracy_at(x_P, value_P, grid))


def false_claims(text: str, problem: Problem) -> int:
    """Verdicts in a text that the problem's map contradicts; a place that is no candidate has none."""
    report = [(int(place), "works" in words) for words, place in _VERDICT.findall(text)]
    return sum(works != problem.works(place) for place, works in report if place in problem.candidates)


def answer_tokens(model: Path) -> int:
    """Tokens of a forced answer: terminator, place and end."""
    tokenizer = load_tokenizer(model)
    return len(token_ids(tokenizer, template.TERMINATOR)) + len(token_ids(tokenizer, template.answer_text(0))) + 1


def _summed(rows: Sequence[_Row], problems: Sequence[Problem], num_traces: int) -> Evaluation:
    metrics: dict[str, Floats] = {}
    for name in METRICS:
        value_NG = np.array([row.metrics[name] for row in rows]).reshape(len(problems), num_traces)
        known_NG = np.isfinite(value_NG)
        total_N, count_N = np.where(known_NG, value_NG, 0.0).sum(1), known_NG.sum(1)
        metrics[name] = np.where(count_N > 0, total_N / np.maximum(count_N, 1), np.nan)
    curve = np.mean([row.curve for row in rows], axis=0)
    return Evaluation(metrics, [len(problem.candidates) for problem in problems], curve)
