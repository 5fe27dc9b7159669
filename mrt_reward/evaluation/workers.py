"""Many pieces of work at once, each begun when there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

MAX_UNITS = 16
"""Worked on at once: enough to fill an engine's batches."""


async def in_parallel(units: Iterator[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do all of it, `MAX_UNITS` at a time; units are taken from the iterator as they are begun.

    The first failure stops the others and is raised.
    """

    async def worker() -> None:
        for unit in units:
            await work(unit)

    tasks = [asyncio.create_task(worker()) for _ in range(MAX_UNITS)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
