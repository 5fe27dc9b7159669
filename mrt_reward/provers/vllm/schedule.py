"""What may run at once: traces whose key-value blocks fit the engine's cache, on one set of weights.

Everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class BlockBudget:
    """A number of cache blocks, lent in order of arrival.

    Strict order is what keeps it fair: a large trace at the head waits for room, and no small one overtakes it.

    Args:
        capacity: blocks that may be lent at once; a trace that asks for more gets them all, alone.

    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1 block, got {capacity}")
        self.capacity = capacity
        self.free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def lent(self, num_blocks: int) -> AsyncGenerator[None]:
        """Hold this many blocks."""
        asked = min(max(num_blocks, 1), self.capacity)
        await self._take(asked)
        try:
            yield
        finally:
            self._give_back(asked)

    async def _take(self, num_blocks: int) -> None:
        if not self._waiting and num_blocks <= self.free:
            self.free -= num_blocks
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((num_blocks, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(num_blocks)  # It was our turn just as the caller left.
            else:
                self._waiting.remove((num_blocks, turn))
                self._give_back(0)
            raise

    def _give_back(self, num_blocks: int) -> None:
        self.free += num_blocks
        while self._waiting and self._waiting[0][0] <= self.free:
            asked, turn = self._waiting.popleft()
            self.free -= asked
            turn.set_result(None)


class ReadWriteLock:
    """Lets proofs through together, and a change of weights alone."""

    def __init__(self) -> None:
        self._num_inside = 0
        self._changing = asyncio.Lock()
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def passing(self) -> AsyncGenerator[None]:
        """Be one of the proofs; waits while weights change."""
        async with self._changing:
            self._num_inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._num_inside -= 1
            if not self._num_inside:
                self._empty.set()

    @asynccontextmanager
    async def closed(self) -> AsyncGenerator[None]:
        """Let nobody in, and go on once everybody inside is out."""
        async with self._changing:
            await self._empty.wait()
            yield
