"""What is compared: ways to pay a policy, by name.

Every arm is a set of the training settings that any user can choose, plus a length penalty on the outcome, which is the
trainer's own affair: r - λ·tokens/budget.
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

    """

    name: str
    mrt: Mapping[str, Any] = field(default_factory=dict[str, Any])
    length_penalty: float = 0.0
    scalar: bool = False


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

OURS = (
    Arm("paper", {"alpha": 1.0}),
    Arm("group", {"alpha": 4.0, "baseline": "group"}),
    Arm("group-norm", {"alpha": 1.0, "baseline": "group", "progress_norm": "group_std"}),
    Arm("to-go", {"alpha": 1.0, "credit": "to_go", "answer_progress": "add"}),
    Arm("rate", {"alpha": 4.0, "baseline": "rate"}),
    Arm("rate-forced", {"alpha": 4.0, "baseline": "rate", "truncated": "forced"}),
    Arm("rate-density", {"alpha": 4.0, "baseline": "rate", "length_norm": "episode"}),
    Arm("pass", {"alpha": 1.0, "baseline": "group", "progress_norm": "group_std", "length_norm": "episode"}),
    Arm("anytime", {"alpha": 4.0, "credit": "anytime", "baseline": "leave_one_out"}),
    # Control: a price that closing pays as well steers nothing by itself.
    Arm("group-closing", {"alpha": 4.0, "baseline": "group", "charge_closing": True}),
    Arm("rate-closing", {"alpha": 4.0, "baseline": "rate", "charge_closing": True}),
    *(Arm(f"rate-episodes-{count}", {"alpha": 4.0, "baseline": "rate", "max_episodes": count}) for count in (2, 4)),
)
"""Forms of progress reward."""

ARMS = {arm.name: arm for arm in (*RIVALS, *OURS)}

QUICK = ("outcome", "forced-length-0.3", "rate")
"""Plain, its strongest rival, and ours."""


def arm_of(name: str) -> Arm:
    """The arm of that name.

    Raises:
        ConfigError: there is none.

    """
    if name not in ARMS:
        raise ConfigError(f"there is no arm {name!r}; there are {', '.join(ARMS)}", param="arm")
    return ARMS[name]
