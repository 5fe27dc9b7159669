"""Slots that callers take in turn, so that whoever asks for much delays mostly themselves."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager
from typing import NamedTuple

MAX_REMEMBERED = 64
"""Callers whose service is remembered, beyond those who wait."""


class _Waiting(NamedTuple):
    turn: asyncio.Future[None]
    cost: float


class FairSlots:
    """Lends slots by start-time fair queueing.

    A slot goes to the waiting caller who has been served least, in units of cost. Whoever comes after a pause starts
    where the others are, so that nobody saves up turns by waiting. Work of one caller keeps its order.

    Args:
        num_slots: lent at once.

    """

    def __init__(self, num_slots: int) -> None:
        self._num_slots = self._num_free = num_slots
        self._lines: dict[Hashable, deque[_Waiting]] = {}
        """Of those who wait; no line is empty."""
        self._served: dict[Hashable, float] = {}
        self._level = 0.0
        """What whoever got the last slot had been served before it."""

    @property
    def num_waiting(self) -> int:
        """Pieces of work that wait for a slot."""
        return sum(map(len, self._lines.values()))

    @asynccontextmanager
    async def slot(self, caller: Hashable, cost: float) -> AsyncGenerator[None]:
        """Hold a slot, once it is the caller's turn.

        Args:
            caller: whose work it is; all who are not distinguished are None.
            cost: of the work, in any unit that is the same for all.

        """
        await self._taken(caller, cost)
        try:
            yield
        finally:
            self._give_back()

    async def _taken(self, caller: Hashable, cost: float) -> None:
        if caller not in self._lines:
            self._served[caller] = max(self._level, self._served.get(caller, 0.0))
        if self._num_free:
            self._num_free -= 1
            self._serve(caller, cost)
            return
        waiting = _Waiting(asyncio.get_running_loop().create_future(), cost)
        self._lines.setdefault(caller, deque()).append(waiting)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.cancelled():
                self._leave(caller, waiting)
            else:
                self._give_back()  # The turn came in the same moment.
            raise

    def _leave(self, caller: Hashable, waiting: _Waiting) -> None:
        """Take a piece of work out of its line, if it is still there."""
        line = self._lines.get(caller, ())
        if not line or waiting not in line:
            return
        line.remove(waiting)
        if not line:
            del self._lines[caller]

    def _serve(self, caller: Hashable, cost: float) -> None:
        self._level = max(self._level, self._served[caller])
        self._served[caller] += cost
        if len(self._served) > 2 * (len(self._lines) + MAX_REMEMBERED):
            self._forget()

    def _forget(self) -> None:
        """Keep those who wait, and of the others those who are furthest ahead, whom a new start would help most."""
        others = [caller for caller in self._served if caller not in self._lines]
        kept = heapq.nlargest(MAX_REMEMBERED, others, key=self._served.__getitem__)
        self._served = {caller: self._served[caller] for caller in (*self._lines, *kept)}

    def _give_back(self) -> None:
        """Lend the slot to the next, or keep it where nobody waits."""
        while self._lines:
            caller = min(self._lines, key=self._served.__getitem__)
            waiting = self._lines[caller][0]
            self._leave(caller, waiting)
            if not waiting.turn.done():  # Else whoever waited has left, and is not awake yet.
                self._serve(caller, waiting.cost)
                waiting.turn.set_result(None)
                return
        self._num_free += 1
        if self._num_free == self._num_slots:
            self._served.clear()
