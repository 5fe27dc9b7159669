"""The bundled model as a policy: samples thinking traces on the CPU, in batches.

Dimension key: B rows still running, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen2ForCausalLM

from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.decoding import Decoder
from mrt_reward.mini.island import Problem
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids

POLICY_BUDGET_TOKENS = 320
"""Tokens of a completion, answer included, at which the base policy's accuracy leaves something to learn."""

MAX_ROWS = 256
_KEPT_SHARE = 0.8


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


def load_model(folder: Path = MODEL_DIR) -> tuple[Qwen2ForCausalLM, Tokenizer]:
    """Load a bundled model for computing in float32, and its tokenizer."""
    model = cast("Qwen2ForCausalLM", Qwen2ForCausalLM.from_pretrained(str(folder), dtype=torch.float32))
    return model.eval(), load_tokenizer(folder)


@dataclass(frozen=True)
class SamplingSettings:
    """How the policy is sampled.

    Attributes:
        budget_tokens: most tokens of a completion.
        temperature: above zero.
        seed: of the draws.

    """

    budget_tokens: int = POLICY_BUDGET_TOKENS
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.budget_tokens < 1 or self.temperature <= 0.0:
            raise ValueError(f"budget and temperature must be positive, got {self.budget_tokens}, {self.temperature}")


def sample_traces(
    policy: tuple[Qwen2ForCausalLM, Tokenizer],
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
    generator = torch.Generator().manual_seed(settings.seed)
    jobs = [problem for problem in problems for _ in range(num_traces)]
    traces: list[SampledTrace] = []

    def report(num_done: int) -> None:
        if progress is not None:
            progress(len(traces) + num_done, len(jobs))

    for start in range(0, len(jobs), MAX_ROWS):
        traces += _sample_batch(policy, jobs[start : start + MAX_ROWS], settings, generator, report)
    return [traces[start : start + num_traces] for start in range(0, len(traces), num_traces)]


def _sample_batch(
    policy: tuple[Qwen2ForCausalLM, Tokenizer],
    jobs: Sequence[Problem],
    settings: SamplingSettings,
    generator: torch.Generator,
    report: Callable[[int], None],
) -> list[SampledTrace]:
    """Sample one completion per job, all at once."""
    model, tokenizer = policy
    end = cast("int", tokenizer.token_to_id(template.TURN_CLOSE))
    prompts = [token_ids(tokenizer, template.prompt_text(problem.text)) for problem in jobs]
    completions: list[list[int]] = [[] for _ in jobs]
    num_new_B = torch.tensor([len(prompt) for prompt in prompts])
    width = int(num_new_B.max())
    id_BQ = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts])
    decoder = Decoder(model, len(jobs), width + settings.budget_tokens)
    rows = list(range(len(jobs)))
    done: set[int] = set()
    for _ in range(settings.budget_tokens):
        chosen_B = _draw(decoder.step(id_BQ, num_new_B), settings.temperature, generator)
        num_done = len(done)
        for row, token in zip(rows, chosen_B.tolist(), strict=True):
            if row not in done:
                completions[row].append(token)
                if token == end:
                    done.add(row)
        if len(done) > num_done:
            report(len(done))
        running = [index for index, row in enumerate(rows) if row not in done]
        if not running:
            break
        # Dropping rows copies the cache, so it waits until there is something to gain.
        if len(running) < _KEPT_SHARE * len(rows):
            decoder.keep(torch.tensor(running))
            rows = [rows[index] for index in running]
            chosen_B = chosen_B[running]
        id_BQ = chosen_B[:, None]
        num_new_B = torch.ones(len(rows), dtype=torch.long)
    return [
        _trace(tokenizer, problem, prompt, ids, end)
        for problem, prompt, ids in zip(jobs, prompts, completions, strict=True)
    ]


def _draw(logits_BV: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw the next token of each row."""
    return torch.multinomial((logits_BV / temperature).softmax(-1), 1, generator=generator)[:, 0]


def _trace(tokenizer: Tokenizer, problem: Problem, prompt: list[int], ids: list[int], end: int) -> SampledTrace:
    """Put one completion into words."""
    is_truncated = ids[-1] != end
    text = tokenizer.decode(ids if is_truncated else ids[:-1], skip_special_tokens=False)
    return SampledTrace(problem, tuple(prompt), tuple(ids), text, is_truncated)
