"""Answering without thinking: the other way to spend tokens, which thinking is set against.

The authors' study of chopped thinking compares votes at each prefix of a reasoning model with votes on the answers of a
model that does not think. Here any model answers a problem M times: by its own prompt if it does not think, behind a
thinking block that is closed at once if it would.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mrt_reward.errors import GraderError, TraceError
from mrt_reward.evaluation.record import with_short_answers
from mrt_reward.evaluation.result import Direct
from mrt_reward.evaluation.sampling import draw_seed
from mrt_reward.options import TERMINATORS, Delimiters, Rollouts
from mrt_reward.protocols import GradeItem, Grader, Tokenizer
from mrt_reward.service.encoding import problem_text
from mrt_reward.service.estimators import plan_rollouts
from mrt_reward.service.prompting import prompt_ids_of
from mrt_reward.service.sample import sample
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Status, TokenIds, Trace, Usage


@dataclass(frozen=True, slots=True)
class DirectSpec:
    """How a model answers without thinking.

    Attributes:
        sampling: M answers a problem, kept, their longest in tokens, temperature, top-p and seed.
        closed: whether an empty thinking block goes before the answer even where the chat template opens none.
        delimiters: of thinking.
        grader: name of the grader; None is the default.

    """

    sampling: Rollouts
    closed: bool = False
    delimiters: Delimiters = field(default_factory=Delimiters)
    grader: str | None = None


def direct_prompt(problem: Trace, tokenizer: Tokenizer, spec: DirectSpec) -> TokenIds:
    """The prompt's tokens up to where the answer starts; a thinking block that the template opened is closed.

    Raises:
        TraceError: there is no prompt, or only ids of another tokenizer.

    """
    prompt = prompt_ids_of(problem, tokenizer)
    opening, closing = spec.delimiters.open, f"{spec.delimiters.close}\n\n"
    text = tokenizer.locate(prompt)[0].rstrip()
    if opening and text.endswith(opening):
        return np.concatenate([prompt, tokenizer.encode_trusted(closing)])
    if spec.closed and opening and not text.endswith(spec.delimiters.close):
        return np.concatenate([prompt, tokenizer.encode_trusted(f"{opening}\n\n{closing}")])
    return prompt


async def answer_directly(
    scorer: Scorer, problem: Trace, spec: DirectSpec, grader: Grader
) -> tuple[ScoredTrace, Direct]:
    """M answers to one problem, graded: a scored trace of no episodes, whose one value is that of not thinking.

    An answer that thinks all the same, or that is cut off, is graded as it stands, and counted.

    Raises:
        TraceError: there is no prompt, no gold answer for a grader that needs it, or no room for an answer.
        ProverError: the engine failed.
        GraderError: no answer could be judged.

    """
    tokenizer, info = scorer.tokenizer, scorer.info
    item = GradeItem("", problem.answer, problem_text(problem))
    plan = plan_rollouts(spec.sampling, TERMINATORS["qwen3"], tokenizer, grader, item)
    prompt = direct_prompt(problem, tokenizer, spec)
    room = info.max_tokens - len(prompt) if info.max_tokens else plan.query.max_tokens
    if len(prompt) < 2 or room < 1:
        raise TraceError(
            f"expected a prompt of 2 to {info.max_tokens - 1} tokens, got {len(prompt)}: nothing can be answered to it",
            code="context_length_exceeded" if room < 1 else None,
            param="problem",
        )
    seed = draw_seed(spec.sampling.seed, problem.id, prompt)
    proven = await sample(scorer, prompt, plan.query, seed)
    [value] = await plan.values(proven.answers)
    if value.value is None:
        raise GraderError(f"none of {spec.sampling.num_samples} direct answers could be judged")
    scored = ScoredTrace(
        problem.id,
        Status.OK,
        values=(with_short_answers(value, boxed_prefix=False),),
        prover=f"{info.name}@{proven.version}",
        usage=Usage(len(prompt), proven.computed_tokens, 1),
        prefix_tokens=(len(prompt),),
    )
    texts = [tokenizer.locate(np.array(ids, np.int32))[0] for ids in proven.answers[0].completions]
    limit = min(plan.query.max_tokens, room)
    truncated = sum(len(ids) >= limit for ids in proven.answers[0].completions)
    thought = sum(bool(spec.delimiters.open) and spec.delimiters.open in text for text in texts)
    return scored, Direct(truncated, thought)


def as_problem(trace: Trace, problem: str) -> Trace:
    """What was asked and the gold answer, without what was written; named for its problem."""
    return replace(
        trace,
        id=f"{problem}/direct",
        group=problem,
        completion=None,
        completion_ids=None,
        outcome=None,
        episode_starts=None,
    )
