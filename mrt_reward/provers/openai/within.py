"""Work that has a deadline, within loops that must end when they are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


async def within(most_s: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of `work`, which is cancelled where it takes longer than `most_s` seconds.

    Differs from `asyncio.wait_for`: before Python 3.12 that one drops a cancellation which comes as the work ends.

    Raises:
        TimeoutError: it took longer.

    """
    working = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({working}, timeout=most_s)
        if not done:
            raise TimeoutError
        return working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
