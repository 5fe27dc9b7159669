"""What is compared: ways to pay a policy, by name.

Every arm is a set of the training settings that any user can choose, plus a length penalty on the outcome, which is the
trainer's own affair: r - λ·tokens/budget. One, `lot`, is a control.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mrt_reward.errors import ConfigError

ONE_PREFIX = {"max_episodes": 1}
"""Where progress is not paid, the last value alone is needed."""


@dataclass(frozen=True)
class Arm:
    """One way to pay.

    Attributes:
        name: of the arm, as it is written in runs.
        mrt: training settings, where they differ from the defaults.
        length_penalty: λ.
        scalar: whether progress is added to the outcome as one number, α·(J[K] - J[0]), instead of to its episodes.
        shuffled: whether a group's outcomes are dealt out among its traces by lot: of the same size, and about nothing.

    """

    name: str
    mrt: Mapping[str, Any] = field(default_factory=dict[str, Any])
    length_penalty: float = 0.0
    scalar: bool = False
    shuffled: bool = False


def _penalised(name: str, mrt: Mapping[str, Any], *, scalar: bool = False) -> list[Arm]:
    return [Arm(f"{name}-length-{share:g}", mrt, share, scalar) for share in (0.03, 0.1, 0.3, 1.0)]


_OUTCOME = {"alpha": 0.0, **ONE_PREFIX}
_FORCED = {**_OUTCOME, "truncated": "forced"}

RIVALS = (
    Arm("outcome", _OUTCOME),
    Arm("masked", {**_OUTCOME, "truncated": "masked"}),
    Arm("forced", _FORCED),
    *_penalised("forced", _FORCED),
    Arm("scalar", {"alpha": 1.0, **ONE_PREFIX}, scalar=True),
    *_penalised("scalar", {"alpha": 1.0, **ONE_PREFIX}, scalar=True),
)
"""Cheap ways that progress rewards have to beat."""

NATURAL: Mapping[str, Any] = {"segmenter": "markers", "max_episodes": None}
"""An episode is one attempt, check or musing, as this family writes them."""
WEIGHTS = (1.0, 4.0, 16.0)


def _weighted(name: str, mrt: Mapping[str, Any]) -> list[Arm]:
    return [Arm(f"{name}-{alpha:g}", {**NATURAL, **mrt, "alpha": alpha}) for alpha in WEIGHTS]


_RATE = {**NATURAL, "alpha": 16.0, "baseline": "rate"}
_NORMED = {**NATURAL, "alpha": 4.0, "baseline": "group", "progress_norm": "group_std"}

OURS = (
    *_weighted("paper", {}),
    *_weighted("group", {"baseline": "group"}),
    *_weighted("rate", {"baseline": "rate"}),
    *_weighted("to-go", {"credit": "to_go", "answer_progress": "add", "baseline": "leave_one_out"}),
    *_weighted("anytime", {"credit": "anytime", "baseline": "leave_one_out"}),
    Arm("rate-4-balanced", {"alpha": 4.0, "baseline": "rate"}),
    Arm("group-norm", {**_NORMED}),
    Arm("rate-forced", {**_RATE, "truncated": "forced"}),
    # PASS (arXiv 2606.29296): channels normalised apart, progress per token of its episode.
    Arm("pass", {**_NORMED, "length_norm": "episode"}),
    Arm("rate-density", {**_RATE, "length_norm": "episode"}),
    # The token that ends an episode is paid for it as well.
    Arm("rate-16-ending", {**_RATE, "pay_ending": True}),
    Arm("rate-4-ending", {**_RATE, "alpha": 4.0, "pay_ending": True}),
    # Control: a price that closing pays as well steers nothing by itself.
    Arm("group-closing", {**NATURAL, "alpha": 16.0, "baseline": "group", "charge_closing": True}),
    Arm("rate-closing", {**_RATE, "charge_closing": True}),
    *(Arm(f"rate-episodes-{count}", {"alpha": 16.0, "baseline": "rate", "max_episodes": count}) for count in (2, 4, 8)),
)
"""Forms of progress reward."""

CONTROL = Arm("lot", _OUTCOME, shuffled=True)
"""What the optimiser's steps do to a policy where there is nothing to learn."""

ARMS = {arm.name: arm for arm in (*RIVALS, *OURS, CONTROL)}

QUICK = ("outcome", "forced-length-0.3", "rate-16")
"""Plain, its strongest rival, and ours."""

AGAINST = ("outcome", "forced-length-0.1", "scalar", "forced", "paper-1")
"""Rivals and the paper's letter, in the order in which stages `two` and `three` give time to them."""

AGAINST_WARM = ("outcome", "forced-length-0.03", "scalar", "forced", "paper-1")
"""The same with the penalty of length that did best with a warm-up, for stage `four`."""

ELSEWHERE = ("rate-16-ending", "outcome", "forced-length-0.1")
"""Ours, plain, and the rival that was strongest where two episodes are enough, for stages `long` and `short`."""

AUDITED = (
    "outcome", "forced", "forced-length-0.3", "scalar", "paper-1", "paper-16", "group-16", "rate-1", "rate-4",
    "rate-16", "to-go-16", "anytime-16", "rate-episodes-8",
)  # fmt: skip
"""Whose gradients are measured."""


def arm_of(name: str) -> Arm:
    """The arm of that name.

    Raises:
        ConfigError: there is none.

    """
    if name not in ARMS:
        raise ConfigError(f"there is no arm {name!r}; there are {', '.join(ARMS)}", param="arm")
    return ARMS[name]
