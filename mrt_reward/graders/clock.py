r"""Times of day: `2:30 PM`, `2:30\text{ p.m.}`, `14:30`. To mathematics they are ratios without a half of the day."""

from __future__ import annotations

import re

from mrt_reward.graders.choices import unwrapped

_HALF = r" ?(?P<half>[AaPp])\.? ?[Mm](?![A-Za-z])\.?"
_TIME = re.compile(rf"(?P<hour>[01]?[0-9]|2[0-4])(?: ?: ?(?P<minute>[0-5][0-9]))?(?:{_HALF})?")
_SAID = re.compile(
    rf"(?<![0-9:.,])(?:[01]?[0-9]|2[0-4])(?:: ?[0-5][0-9](?![0-9:])(?:{_HALF})?|{_HALF.replace('half', 'other')})"
)


def times_agree(answer: str, gold: str) -> bool | None:
    """Whether both are the same time of day; None where neither names its half of the day, or one is no time.

    A half that only one side names is not held against it: `2:30` and `14:30` are `2:30 PM`.
    """
    ours, theirs = _TIME.fullmatch(unwrapped(answer)), _TIME.fullmatch(unwrapped(gold))
    if ours is None or theirs is None or not (ours["half"] or theirs["half"]):
        return None
    left, right = _minutes(ours), _minutes(theirs)
    unambiguous = all(time["half"] or int(time["hour"]) > 12 for time in (ours, theirs))
    return left == right if unambiguous else (left - right) % 720 == 0


def names_half(gold: str) -> bool:
    """Whether a gold is a time of day that names its half."""
    time = _TIME.fullmatch(unwrapped(gold))
    return time is not None and time["half"] is not None


def stated_time(text: str) -> str | None:
    """The last time of day in free text; None where there is none."""
    times = [match[0] for match in _SAID.finditer(unwrapped(text))]
    return times[-1] if times else None


def _minutes(time: re.Match[str]) -> int:
    hour, minute = int(time["hour"]), int(time["minute"] or 0)
    if time["half"]:
        hour = hour % 12 + 12 * (time["half"] in "Pp")
    return hour * 60 + minute
