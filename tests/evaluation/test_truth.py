"""On the bundled model the truth is known: its own answers can be enumerated, so every curve has an exact one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import DynamicCache, LlamaForCausalLM

from mrt_reward.config import ServeSettings
from mrt_reward.core.regret import regret_curve
from mrt_reward.evaluation.curves import accuracy_curve
from mrt_reward.evaluation.folder import RESULTS, Folder
from mrt_reward.evaluation.report import ReportSpec, read_report
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.run import Run, RunPlan
from mrt_reward.evaluation.sampling import SamplingSpec
from mrt_reward.evaluation.traces import Results
from mrt_reward.mini import template
from mrt_reward.mini.exact import answer_probabilities
from mrt_reward.mini.island import Problem, parse_problem, sample_problems
from mrt_reward.mini.policy import load_model
from mrt_reward.mini.tokenizer import token_ids
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.provers.hf.kv_cache import cache_name
from mrt_reward.types import Trace
from mrt_reward.wiring import build_scorer
from tests.evaluation.conftest import InputRow

Floats = NDArray[np.float64]

NUM_PROBLEMS, NUM_TRACES, NUM_ANSWERS = 24, 4, 8
SIZES = (1, 2, 4, 8)
NUM_ROWS = 6


@lru_cache(maxsize=64)
def splits(total: int, parts: int) -> tuple[NDArray[np.int64], Floats]:
    """All ways to share a total among parts, `count_WP`, and in how many orders each comes about, `ways_W`."""
    bars_WP = np.array(list(combinations(range(total + parts - 1), parts - 1)), np.int64)
    edges_WP = np.pad(bars_WP, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, total + parts - 1)))
    count_WP = np.diff(edges_WP, axis=1) - 1
    factorial = np.array([math.factorial(number) for number in range(total + 1)], np.float64)
    return count_WP, factorial[total] / factorial[count_WP].prod(axis=1)


def exact_majority(probability_A: Floats, right: int, size: int) -> float:
    """maj@k when k answers are drawn anew; what is none of the candidates agrees with nobody."""
    chance_P = np.append(probability_A, max(0.0, 1.0 - float(probability_A.sum())))
    count_WP, ways_W = splits(size, chance_P.size)
    weight_W = ways_W * (chance_P**count_WP).prod(axis=1)
    named_WA, others_W = count_WP[:, :-1], count_WP[:, -1]
    best_W = np.maximum(named_WA.max(axis=1), others_W > 0)
    num_tied_W = (named_WA == best_W[:, None]).sum(axis=1) + np.where(best_W == 1, others_W, 0)
    return float((weight_W * (named_WA[:, right] == best_W) / num_tied_W).sum())


def test_exact_majorities_worked_by_hand() -> None:
    # Right with 1/2, the other candidate with 1/4, else something that agrees with nobody.
    chance_A = np.array([0.25, 0.5])
    assert exact_majority(chance_A, 1, 1) == pytest.approx(0.5, abs=1e-12)
    # A pair: both right 1/4; one right, with a tie, 2 * 1/2 * 1/2 / 2.
    assert exact_majority(chance_A, 1, 2) == pytest.approx(0.25 + 0.25, abs=1e-12)
    # Of three: 1/8 all right, 3 * 1/4 * 1/2 two right; one right: 3 * 1/2 * (2 * 1/16 + 1/16) ties of three.
    assert exact_majority(chance_A, 1, 3) == pytest.approx(1 / 8 + 3 / 8 + 9 / 32 / 3, abs=1e-12)


@torch.no_grad()
def probabilities(policy: tuple[LlamaForCausalLM, Tokenizer], problem: Problem, prefixes: Sequence[str]) -> Floats:
    """`mini.exact.answer_probabilities` of all candidates, with one pass over each prefix for all of them.

    Each prefix is padded on its left, and its keys and values are repeated for the candidates.
    """
    model, tokenizer = policy
    prompt = token_ids(tokenizer, template.prompt_text(problem.text))
    contexts = [
        prompt + token_ids(tokenizer, prefix) + token_ids(tokenizer, template.terminator(prefix)) for prefix in prefixes
    ]
    answers = [token_ids(tokenizer, template.answer_text(place)) for place in problem.candidates]
    [length] = {len(answer) for answer in answers}
    width, num_answers = max(map(len, contexts)), len(answers)
    mask_PT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in contexts])
    id_PT = torch.tensor([[0] * (width - len(ids)) + ids for ids in contexts])
    position_PT = (mask_PT.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache()
    reading: Any = {cache_name(type(model)): cache}
    first = model(input_ids=id_PT, attention_mask=mask_PT, position_ids=position_PT, logits_to_keep=1, **reading)
    cache.batch_repeat_interleave(num_answers)
    answer_RL = torch.tensor(answers).repeat(len(contexts), 1)
    mask_RT = torch.cat([mask_PT.repeat_interleave(num_answers, 0), torch.ones_like(answer_RL)], dim=1)
    position_RL = (mask_RT.cumsum(dim=1) - 1)[:, -length:]
    rest = model(input_ids=answer_RL, attention_mask=mask_RT, position_ids=position_RL, **reading)
    before_R1V = first.logits.repeat_interleave(num_answers, 0)
    logprob_RLV = torch.cat([before_R1V, rest.logits[:, :-1]], dim=1).double().log_softmax(-1)
    spelled_R = logprob_RLV.gather(2, answer_RL[:, :, None])[:, :-1, 0].sum(dim=1)
    closing = [index for token, index in tokenizer.get_vocab().items() if token.startswith("}")]
    probability_R = (spelled_R + logprob_RLV[:, -1, closing].logsumexp(-1)).exp()
    return probability_R.reshape(len(contexts), num_answers).numpy()


@dataclass(frozen=True)
class Truth:
    """What the curves of one trace would be with infinitely many answers."""

    problem: str
    curves: dict[str, Floats]


def truths(results: Sequence[Result], budget_B: Floats, policy: tuple[LlamaForCausalLM, Tokenizer]) -> list[Truth]:
    """Of the traces of one problem."""
    traces = [result.trace for result in results if result.has_trace]
    problem = parse_problem(traces[0].problem or "")
    right = problem.candidates.index(problem.answer)
    prefixes = [[result.text_until(j) for j in range(len(result.scored.values))] for result in results]
    # Prefixes of like length side by side need little padding.
    unique = sorted({prefix for each in prefixes for prefix in each}, key=len)
    chunks = [unique[start : start + NUM_ROWS] for start in range(0, len(unique), NUM_ROWS)]
    probability_of = {
        prefix: probability_A
        for chunk in chunks
        for prefix, probability_A in zip(chunk, probabilities(policy, problem, chunk), strict=True)
    }
    votes = {
        (prefix, size): exact_majority(probability_A, right, size)
        for prefix, probability_A in probability_of.items()
        for size in SIZES
    }
    found: list[Truth] = []
    for result, own in zip(results, prefixes, strict=True):
        # An answer is a brace, a place and a brace: three tokens, as the mean over answers is up to the odd other one.
        x_P = np.array(result.scored.prefix_tokens, np.float64)
        curves = {"regret": regret_curve(x_P + 3, np.array([votes[prefix, 1] for prefix in own]), budget_B)}
        for size in SIZES:
            value_P = np.array([votes[prefix, size] for prefix in own])
            curves["accuracy" if size == 1 else f"maj@{size}"] = accuracy_curve(x_P + 3 * size, value_P, budget_B)
        found.append(Truth(result.problem, curves))
    return found


def written(num_problems: int, num_traces: int) -> list[InputRow]:
    """Traces of the sloppy writer that the bundled model learnt from: any trace will do, and these cost nothing."""
    rng = np.random.default_rng(11)
    rows: list[InputRow] = []
    for place, problem in enumerate(sample_problems(num_problems, seed=11)):
        for number in range(num_traces):
            thinking = write_thinking(problem, BASE_SLOPPINESS, rng).text
            trace = Trace(
                f"p{place}/{number}",
                problem=problem.text,
                completion=thinking + template.TERMINATOR + template.answer_text(problem.answer),
                answer=(str(problem.answer),),
                group=f"p{place}",
            )
            rows.append(InputRow(trace.id, trace))
    return rows


@pytest.mark.slow
async def test_every_curve_holds_the_exact_one_within_its_interval(tmp_path: Path) -> None:
    options = ScoreOptions(
        estimator=Rollouts("rollouts", num_samples=NUM_ANSWERS, temperature=1.0, top_p=1.0, keep_answers=True)
    )
    scorer = build_scorer(ServeSettings())
    try:
        with Folder(tmp_path) as folder:
            run = Run(scorer, folder, RunPlan("mini", options, SamplingSpec()), lambda _: None)
            counts = await run(written(NUM_PROBLEMS, NUM_TRACES))
    finally:
        await scorer.close()
    assert (counts.scored, counts.failed) == (NUM_PROBLEMS * NUM_TRACES, 0)
    [reported] = read_report([tmp_path / RESULTS], ReportSpec()).summary.models
    budget_B = np.array(reported.curves["accuracy"].x)
    policy = load_model()
    by_problem: dict[str, list[Result]] = {}
    for result in Results([tmp_path / RESULTS]):
        by_problem.setdefault(result.problem, []).append(result)
    exact = {name: truths(results, budget_B, policy) for name, results in by_problem.items()}
    assert_reference(policy, by_problem["p0"])
    for name in ("accuracy", "regret", "maj@2", "maj@4", "maj@8"):
        true_B = np.mean([np.mean([one.curves[name] for one in ones], axis=0) for ones in exact.values()], axis=0)
        points = reported.curves[name].points
        inside = [
            point.low is not None and point.high is not None and point.low <= value <= point.high
            for point, value in zip(points, true_B.tolist(), strict=True)
        ]
        assert np.mean(inside) >= 0.9, name
        # The interval is of problems; of the answers alone the curve is nearer. 8 answers are 8 / k independent votes.
        size = int(name.removeprefix("maj@")) if name.startswith("maj@") else 1
        curves = [one.curves[name] for ones in exact.values() for one in ones]
        spread_B = np.mean([curve_B * (1 - curve_B) for curve_B in curves], axis=0)
        error_B = np.sqrt(spread_B * size / NUM_ANSWERS / len(curves))
        value_B = np.array([point.value or 0.0 for point in points])
        assert np.all(np.abs(value_B - true_B) <= 4 * error_B + 1e-9), name
        if size == 1:
            assert np.abs(value_B - true_B).max() < 0.06, name


def assert_reference(policy: tuple[LlamaForCausalLM, Tokenizer], results: Sequence[Result]) -> None:
    """The shared passes say what the package's reference says, which shares nothing."""
    trace = results[0].trace
    assert trace is not None
    problem = parse_problem(trace.problem or "")
    prefixes = [results[0].text_until(j) for j in range(len(results[0].scored.values))]
    expected_PA = answer_probabilities(*policy, problem, prefixes, problem.candidates)
    assert expected_PA.max() > 0.1
    np.testing.assert_allclose(probabilities(policy, problem, prefixes), expected_PA, atol=1e-5)
