"""What `mrt-reward score` says at its end: what was done, and what the values come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mrt_reward.core.progress import WasteOptions, waste_mask
from mrt_reward.types import ScoredTrace

FIRST = 8
"""Traces after which it is said that none of them thinks."""

NUM_HOPELESS = 5
"""Traces from which on it is asked about their gold answers, where none is right."""

HOPELESS_VALUE = 0.01
"""At most this is every value then."""

UNTHINKING = (
    f"none of the first {FIRST} traces thinks, and a trace without thinking has no value: use a model that writes "
    "<think> … </think>, or name its delimiters in --options"
)

NEVER_CLOSED = (
    "their thinking by </think>, or by the delimiter of --options: without it all of their text counts as thinking "
    "that was cut off, so that they give no answer (outcome 0, unless the file has an `outcome`). "
    'If nothing was cut off, name the right delimiters: --options \'{"delimiters": {"open": "…", "close": "…"}}\''
)


@dataclass
class Totals:
    """Sums over the traces of a file, those of earlier runs included.

    Attributes:
        ok: traces scored now; `partial` of them lack a value, `error` have none, `skipped` were there.
        notes: of the replies, each once.

    """

    ok: int = 0
    partial: int = 0
    error: int = 0
    skipped: int = 0
    notes: dict[str, None] = field(default_factory=dict[str, None])
    _first: list[float] = field(default_factory=list[float])
    _last: list[float] = field(default_factory=list[float])
    _wasted: int = 0
    _episodes: int = 0
    _outcomes: list[float] = field(default_factory=list[float])
    _cut_off: int = 0
    _highest: float = 0.0
    _provers: Counter[str] = field(default_factory=Counter[str])
    _failures: dict[int, ScoredTrace] = field(default_factory=dict[int, ScoredTrace])

    def add(self, index: int, scored: ScoredTrace) -> None:
        """Count a trace that was scored now, from that row of the input."""
        setattr(self, scored.status.value, getattr(self, scored.status.value) + 1)
        self.notes.update(dict.fromkeys(scored.notes))
        if scored.error is not None:
            self._failures[index] = scored
        self._measure(scored)

    def skip(self, scored: ScoredTrace) -> None:
        """Count a trace that was there already."""
        self.skipped += 1
        self._measure(scored)

    def _measure(self, scored: ScoredTrace) -> None:
        first, last = (scored.values[0].value, scored.values[-1].value) if scored.values else (None, None)
        if first is not None and last is not None:
            self._first.append(first)
            self._last.append(last)
        progress = np.array([each.progress for each in scored.episodes if each.progress is not None], np.float64)
        self._wasted += int(waste_mask(progress, WasteOptions().waste_threshold).sum())
        self._episodes += progress.size
        if scored.outcome is not None:
            self._outcomes.append(scored.outcome)
        self._cut_off += bool(scored.truncated)
        self._highest = max([self._highest, *(each.value for each in scored.values if each.value is not None)])
        if scored.prover is not None:
            self._provers[scored.prover] += 1

    @property
    def num_usable(self) -> int:
        """Traces with at least one value, whenever they were scored."""
        return self.ok + self.partial + self.skipped

    @property
    def first_error(self) -> str:
        """What the first failed row of the input failed of; empty where none failed."""
        if not self._failures:
            return ""
        first = self._failures[min(self._failures)]
        return "" if first.error is None else f"{first.id}: {first.error.message}"

    @property
    def no_success(self) -> bool:
        """Whether no trace is right and no value rises, over traces enough to ask about the gold answers."""
        enough = min(len(self._outcomes), len(self._first)) >= NUM_HOPELESS
        return enough and not any(self._outcomes) and self._highest <= HOPELESS_VALUE

    def lines(self) -> Iterator[str]:
        """What was done, and then each figure that there is, one sentence each."""
        yield f"{self.ok} ok, {self.partial} partial, {self.error} failed, {self.skipped} already there"
        if self._failures:
            codes = Counter(each.error.code for _, each in sorted(self._failures.items()) if each.error is not None)
            yield f"failed by code: {', '.join(f'{code} {count}' for code, count in codes.items())}"
        if self._provers:
            several = len(self._provers) > 1
            names = [f"{name} ({_traces(num)})" if several else name for name, num in self._provers.items()]
            yield f"proved by {', '.join(names)}"
        if self._first:
            yield (
                f"value J, mean of {_traces(len(self._first))}: {np.mean(self._first):.3f} without thinking → "
                f"{np.mean(self._last):.3f} after all of it"
            )
        if self._episodes:
            threshold = WasteOptions().waste_threshold
            share = self._wasted / self._episodes
            yield f"waste: {share:.1%} of {self._episodes} episodes have |progress| < {threshold:g}"
        if self._outcomes:
            cut_off = f", {self._cut_off} of them cut off" if self._cut_off else ""
            yield f"outcome: {np.mean(self._outcomes):.3f}, mean of {_traces(len(self._outcomes))}{cut_off}"
        if self._cut_off and 2 * self._cut_off >= self.num_usable:
            # Some always run out of budget; that most do is rather a wrong delimiter.
            yield f"cut off: {self._cut_off} of {_traces(self.num_usable)} never close {NEVER_CLOSED}"


def _traces(num: int) -> str:
    return f"{num} trace{'' if num == 1 else 's'}"
