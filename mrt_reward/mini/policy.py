"""The bundled model as a policy: samples thinking traces on the CPU, in batches.

Dimension key: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from annotated_types import Ge, Gt
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaForCausalLM, StoppingCriteria, StoppingCriteriaList

from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.bundled import MINI
from mrt_reward.mini.island import Problem
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids
from mrt_reward.ranges import check_ranges

MAX_ROWS = 128
"""Completions sampled side by side."""


@dataclass(frozen=True)
class SampledTrace:
    """One completion of the policy.

    Attributes:
        problem: what was asked.
        prompt_ids: ids up to the opened thinking.
        completion_ids: ids of thinking, ending and answer; `<|im_end|>` included where it was reached.
        completion: their text, without `<|im_end|>`.
        is_truncated: whether the budget ended the completion.

    """

    problem: Problem
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    completion: str
    is_truncated: bool

    @property
    def thinking(self) -> str:
        """Text before the closing delimiter; all of it where there is none."""
        return self.completion.partition(template.THINK_CLOSE)[0]

    @property
    def is_right(self) -> bool:
        """Whether the boxed answer is right; a truncated completion is not."""
        return not self.is_truncated and template.boxed_answer(self.completion) == self.problem.answer


def load_model(folder: Path = MODEL_DIR) -> tuple[LlamaForCausalLM, Tokenizer]:
    """Load a bundled model for computing in float32, and its tokenizer."""
    model = LlamaForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    return model.eval(), load_tokenizer(folder)


@dataclass(frozen=True)
class SamplingSettings:
    """How the policy is sampled.

    Attributes:
        budget_tokens: most tokens of a completion.
        temperature: above zero.
        seed: of the draws.

    """

    budget_tokens: Annotated[int, Ge(1)] = MINI.budget_tokens
    temperature: Annotated[float, Gt(0)] = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self)


def sample_traces(
    policy: tuple[LlamaForCausalLM, Tokenizer],
    problems: Sequence[Problem],
    num_traces: int,
    settings: SamplingSettings = SamplingSettings(),
    progress: Callable[[int, int], None] | None = None,
) -> list[list[SampledTrace]]:
    """Sample `num_traces` completions of each problem.

    Args:
        policy: model and tokenizer, from `load_model`.
        problems: what to ask.
        num_traces: completions per problem; G of a group.
        settings: budget, temperature and seed.
        progress: called with (completions finished, completions in all) whenever some finish.

    Returns:
        One group per problem, in order. The same arguments give the same traces on the same machine.

    """
    jobs = [problem for problem in problems for _ in range(num_traces)]
    traces: list[SampledTrace] = []

    def report(num_done: int) -> None:
        if progress is not None:
            progress(len(traces) + num_done, len(jobs))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for start in range(0, len(jobs), MAX_ROWS):
            traces += _sample_batch(policy, jobs[start : start + MAX_ROWS], settings, report)
            report(0)
    return [traces[start : start + num_traces] for start in range(0, len(traces), num_traces)]


class _Watch(StoppingCriteria):
    """Stops nothing; reports how many rows have ended."""

    def __init__(self, end: int, report: Callable[[int], None]) -> None:
        self._end = end
        self._report = report
        self._ended: Tensor | None = None

    def __call__(
        self,
        input_ids: torch.LongTensor,
        scores: tuple[torch.FloatTensor] | None,
        **kwargs: Any,  # noqa: ANN401 - transformers' own
    ) -> torch.BoolTensor:
        """Look at the newest tokens."""
        del scores, kwargs
        ends = input_ids[:, -1] == self._end
        self._ended = ends if self._ended is None else self._ended | ends
        self._report(int(self._ended.sum()))
        return cast("torch.BoolTensor", torch.zeros_like(ends))


def _sample_batch(
    policy: tuple[LlamaForCausalLM, Tokenizer],
    jobs: Sequence[Problem],
    settings: SamplingSettings,
    report: Callable[[int], None],
) -> list[SampledTrace]:
    """Sample one completion per job, all at once, from torch's own generator."""
    model, tokenizer = policy
    end, pad = (cast("int", tokenizer.token_to_id(token)) for token in (template.TURN_CLOSE, template.PAD))
    prompts = [token_ids(tokenizer, template.prompt_text(problem.text)) for problem in jobs]
    width = max(len(prompt) for prompt in prompts)
    id_BT = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    grown_BT = cast("Any", model).generate(
        id_BT,
        attention_mask=(id_BT != pad).long(),
        do_sample=True,
        temperature=settings.temperature,
        top_k=0,
        top_p=1.0,
        max_new_tokens=settings.budget_tokens,
        eos_token_id=end,
        pad_token_id=pad,
        stopping_criteria=StoppingCriteriaList([_Watch(end, report)]),
    )
    completions: list[list[int]] = grown_BT[:, width:].tolist()
    return [
        _trace(tokenizer, problem, prompt, ids[: ids.index(end) + 1] if end in ids else ids, end)
        for problem, prompt, ids in zip(jobs, prompts, completions, strict=True)
    ]


def _trace(tokenizer: Tokenizer, problem: Problem, prompt: list[int], ids: list[int], end: int) -> SampledTrace:
    """Put one completion into words."""
    is_truncated = ids[-1] != end
    text = tokenizer.decode(ids if is_truncated else ids[:-1], skip_special_tokens=False)
    return SampledTrace(problem, tuple(prompt), tuple(ids), text, is_truncated)
