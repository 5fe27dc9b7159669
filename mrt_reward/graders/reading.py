"""Reading of completions that leaves the event loop to others where it takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from mrt_reward.protocols import GradeItem

MAX_CHARS_AT_ONCE = 2_000
"""Reading this much takes less than a millisecond, five where it is hard to read; more is left to a thread."""

Parsed = TypeVar("Parsed")


async def read_texts(items: Sequence[GradeItem], read: Callable[[GradeItem], Parsed]) -> list[Parsed]:
    """What `read` finds in each item; its time must be linear in the item's texts."""

    def read_all() -> list[Parsed]:
        return [read(item) for item in items]

    num_chars = sum(len(text) for item in items for text in (item.completion, *item.answers))
    return await asyncio.to_thread(read_all) if num_chars > MAX_CHARS_AT_ONCE else read_all()
