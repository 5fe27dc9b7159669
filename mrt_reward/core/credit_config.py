"""How progress becomes credit: what a caller or a trainer's user can choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from mrt_reward.core.scale import ProgressScale
from mrt_reward.options import Strict
from mrt_reward.ranges import check_ranges, option

PaidValues = Literal["raw", "posterior"]
Baseline = Literal["none", "group", "group_index", "rate", "leave_one_out"]
BASELINES = (
    "What is taken off an episode's progress: nothing (none); a price per episode (group) or thinking token (rate), "
    "at which the group makes progress; or the mean of the other traces' episodes of that index (group_index, "
    "leave_one_out)."
)
"""What each baseline is, in one sentence; `core.baselines` has the definitions."""


@dataclass(frozen=True, kw_only=True)
class CreditOptions(ProgressScale):
    """What a trainer's settings and `CreditConfig` share."""

    alpha: Annotated[float, Ge(0), Le(1000)] = option(1.0, "Weight of progress; 0 is outcome reward alone.")
    credit: Literal["immediate", "to_go", "anytime"] = option(
        "immediate",
        "An episode is paid its own progress (the paper), or all that follows as well; anytime weighs each progress by "
        "how many budgets it comes in time for.",
    )
    gamma: Annotated[float, Ge(0), Le(1)] = option(1.0, "Discount per episode, for to_go.")
    anytime_budget: Annotated[int, Ge(1)] | None = option(
        None, "C of anytime, in tokens of the response up to which budgets lie; it has to be given for anytime."
    )
    anytime_weights: Literal["uniform", "quarters", "trapezoid"] = option(
        "uniform",
        "Budgets of anytime: any up to C, a quarter to all of C, or what takes most off the normalised regret.",
    )
    truncated: Literal["zero", "masked", "forced"] = option(
        "zero",
        "What a trace that was cut off while thinking is paid as its outcome: what the trainer says (zero), nothing at "
        "all (masked: it is left out of its group), or the value of its last prefix on top (forced).",
    )
    charge_closing: bool = option(
        False, "Whether closing the thinking is charged the price of an episode as well, for baselines group and rate."
    )
    pay_ending: bool = option(
        False,
        "Whether the token that ends an episode, the first of the next one or of the closing delimiter, is paid for it "
        "as well, under immediate: where to end is a part of what was done. Without it, policies may unlearn to close.",
    )
    answer_progress: Literal["none", "add"] = option(
        "none", "add also pays the answer's tokens alpha times (r - J[K]), and under to_go its episodes too."
    )
    progress_norm: Literal["none", "group_std"] = option(
        "none", "group_std divides progress by its deviation in the group, where it varies."
    )
    length_norm: Literal["none", "episode"] = option(
        "none",
        "episode divides an episode's progress, less its baseline, by its tokens over the group's mean, so that a long "
        "episode weighs no more than a short one.",
    )
    paid_values: PaidValues = option(
        "raw",
        "Values whose progress is paid: raw, each from its own prefix alone, or their posterior along the trace: "
        "nearer to the truth, but biased, and of sampled answers only.",
    )


@dataclass(frozen=True, kw_only=True)
class CreditConfig(CreditOptions):
    """How progress becomes credit. The defaults are the paper's where it says, and veRL's GRPO where it does not.

    Weight α and discount γ; `immediate` is G[j] = r_prg[j], `to_go` is G[j] = Σ_{i≥j} γ^{i-j} r_prg[i], and `anytime`
    is G[j] = Σ_{i≥j} r_prg[i]·w[i] with the weights of `core.anytime`; `group_std` divides G - b by the standard
    deviation (ddof 1) of the group's G, plus epsilon; `length_norm` makes it a density per token of the episode, as in
    PASS (arXiv 2606.29296).

    Attributes:
        baseline: b of progress; see `core.baselines`.
        scale_by_std: whether the outcome advantage is divided by the group's standard deviation (ddof 1).
        epsilon: added to that standard deviation.
        singleton: outcome advantage of a trace that is alone: `raw` reward, or `zero`.

    Raises:
        ValueError: a field is outside its range or choices.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    baseline: Baseline = "none"
    scale_by_std: bool = True
    epsilon: Annotated[float, Ge(0), Le(1)] = 1e-6
    singleton: Literal["raw", "zero"] = "raw"

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.credit == "anytime" and self.anytime_budget is None:
            raise ValueError("credit=anytime needs anytime_budget: the largest budget C, in tokens of the response")
        if self.charge_closing and self.baseline not in ("group", "rate"):
            raise ValueError(f"charge_closing needs baseline group or rate, which are prices; got {self.baseline}")
        if self.pay_ending and self.credit != "immediate":
            raise ValueError(f"pay_ending needs credit immediate: {self.credit} pays the next token for what follows")
        if self.progress == "log" and self.answer_progress != "none":
            raise ValueError("answer_progress add is r - J[K], which is no difference of logarithms: leave it at none")

    @property
    def needs_tokens(self) -> bool:
        """Whether it depends on where a trace's prefixes end."""
        return self.credit == "anytime" or self.baseline == "rate" or self.length_norm == "episode"

    @property
    def needs_ending(self) -> bool:
        """Whether it depends on how a trace ends: by itself, or cut off while thinking."""
        return self.truncated != "zero" or self.baseline == "leave_one_out"
