"""Several awaitables at once, none of which outlives its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

_Result = TypeVar("_Result")


async def together(parts: Sequence[Awaitable[_Result]]) -> list[_Result]:
    """All results; when one fails, or the caller is cancelled, the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
