"""What a training step needs, by arithmetic: nothing is run, and each number says where it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from mrt_reward.benchmark.workload import WorkSpec
from mrt_reward.config import ServeSettings
from mrt_reward.ranges import check_ranges, option

PEAK_TFLOPS = {"a100": 312.0, "h100": 989.0, "h200": 989.0}
"""Published: dense bfloat16, SXM modules, in the vendor's data sheets."""

COMPUTED_PER_NEEDED = 1.09
"""Measured: tokens computed for one that is needed, on both models of the README (`make bench-full`, on a CPU)."""

OF_ONE_FORWARD = 0.72
"""Measured: speed through the server, over one full forward's, of `mini` (the same run): the lower of both models."""

PUBLISHED_SHARE = 0.33
"""Computed from a published run of Qwen3-14B on an H100 SXM, with vLLM 0.11.0 in bfloat16: 3,200,000 tokens of prompts
of 32,000 took 386.80 s, with their answers of 100 tokens (GPUStack's performance lab; `deploy/scale.md` links it).
"""

Mark = Literal["given", "assumed", "measured", "published", "computed"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """A step of training, and what proves it.

    The defaults are a model of Qwen3-1.7B's shape, without its embeddings.

    Raises:
        ValueError: a field is outside its range.

    """

    spec: WorkSpec = field(default_factory=WorkSpec)
    suffix_tokens: Annotated[int, Ge(1)] = option(26, "Plan: tokens after each prefix, the gold answer's included.")
    params_b: Annotated[float, Gt(0)] = option(1.4, "Plan: parameters that each token passes, in billions.")
    layers: Annotated[int, Ge(1)] = option(28, "Plan: layers.")
    hidden: Annotated[int, Ge(1)] = option(2048, "Plan: width of the queries of all heads of a layer.")
    utilisation: Annotated[float, Gt(0), Le(1)] = option(0.4, "Plan: share of the GPU's peak that a prefill reaches.")
    step_s: Annotated[float, Gt(0)] = option(60.0, "Plan: seconds that a step may wait for its rewards.")
    gpu: Literal["a100", "h100", "h200"] = option("h100", "Plan: the GPU.")
    tokens_per_s: float | None = option(None, "Plan: tokens a second of a prefill on one GPU, where measured.")

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.tokens_per_s is not None and not self.tokens_per_s > 0:
            raise ValueError(f"tokens_per_s must be over 0, got {self.tokens_per_s}")

    @property
    def trace_tokens(self) -> int:
        """Of one trace."""
        return self.spec.episodes * self.spec.episode_tokens

    @property
    def needed_tokens(self) -> int:
        """Each token of a trace once, and what follows each prefix."""
        num_traces = self.spec.problems * self.spec.traces
        return num_traces * self.trace_tokens + self.spec.num_prefixes * self.suffix_tokens

    @property
    def flop_per_token(self) -> float:
        """Two a parameter; four for each width of each layer and token before it, half of a trace in the mean."""
        return 2e9 * self.params_b + 4 * self.layers * self.hidden * self.trace_tokens / 2

    @property
    def prefill_per_s(self) -> float:
        """Tokens a second of a plain prefill on one GPU."""
        if self.tokens_per_s is not None:
            return self.tokens_per_s
        return self.utilisation * 1e12 * PEAK_TFLOPS[self.gpu] / self.flop_per_token

    @property
    def gpu_seconds(self) -> float:
        """Of one step on one GPU: what one full forward of the needed tokens takes, over the speed we reach of it."""
        return self.needed_tokens / self.prefill_per_s / OF_ONE_FORWARD


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One number of the plan: what it is, how much, where it comes from, and how."""

    what: str
    value: str
    mark: Mark
    how: str


def lines(plan: Capacity) -> Iterator[PlanLine]:
    """The plan, from what is given to the GPUs that it takes."""
    spec = plan.spec
    num_traces, queue = spec.problems * spec.traces, int(ServeSettings.model_fields["max_queue_tokens"].default)
    yield PlanLine("traces a step", f"{num_traces:,}", "given", f"{spec.problems} problems x {spec.traces}")
    yield PlanLine(
        "tokens of a trace", f"{plan.trace_tokens:,}", "given", f"{spec.episodes} episodes x {spec.episode_tokens}"
    )
    yield PlanLine("prefixes", f"{spec.num_prefixes:,}", "computed", "one an episode, and one a problem")
    yield PlanLine(
        "tokens after a prefix", f"{plan.suffix_tokens}", "given", "closing words, gold answer, rest of a block"
    )
    yield PlanLine(
        "tokens needed", f"{plan.needed_tokens:,}", "computed", "each trace once, and what follows each prefix"
    )
    yield PlanLine("computed per needed", f"{COMPUTED_PER_NEEDED}", "measured", "make bench-full, two models on a CPU")
    computed = round(plan.needed_tokens * COMPUTED_PER_NEEDED)
    yield PlanLine("tokens computed", f"{computed:,}", "computed", "the two lines above")
    yield from _speed(plan)
    yield PlanLine(
        "speed over one full forward", f"{OF_ONE_FORWARD}", "measured", "make bench-full, through the server, a CPU"
    )
    yield PlanLine("seconds on one GPU", f"{plan.gpu_seconds:,.1f}", "computed", "needed / prefill / the line above")
    num_gpus = math.ceil(plan.gpu_seconds / plan.step_s)
    yield PlanLine("seconds that a step may wait", f"{plan.step_s:g}", "given", "")
    yield PlanLine("GPUs", f"{num_gpus}", "computed", "rounded up; each a replica with its own groups")
    rounds = math.ceil(plan.needed_tokens / num_gpus / queue)
    figures_of = f"a replica admits {queue:,} at once; clients wait for the rest"
    yield PlanLine("fillings of a replica's queue", f"{rounds}", "computed", figures_of)


def _speed(plan: Capacity) -> Iterator[PlanLine]:
    if plan.tokens_per_s is None:
        yield PlanLine(
            "FLOP a token", f"{plan.flop_per_token / 1e9:.2f} G", "computed", "2 x parameters, and attention"
        )
        yield PlanLine(
            f"peak of one {plan.gpu.upper()}", f"{PEAK_TFLOPS[plan.gpu]:g} TFLOP/s", "published", "dense bfloat16"
        )
        yield PlanLine("share of it in a prefill", f"{plan.utilisation:g}", "assumed", "measure yours: --tokens-per-s")
        yield PlanLine("prefill of one GPU", f"{plan.prefill_per_s:,.0f} tokens/s", "computed", "the three lines above")
        at_published = f"{plan.prefill_per_s * PUBLISHED_SHARE / plan.utilisation:,.0f} tokens/s"
        how = f"at {PUBLISHED_SHARE}, by what others measured: deploy/scale.md"
        yield PlanLine("the same, by a published run", at_published, "published", how)
    else:
        yield PlanLine("prefill of one GPU", f"{plan.tokens_per_s:,.0f} tokens/s", "given", "--tokens-per-s")
