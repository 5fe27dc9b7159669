"""Able to prove or not, found out at most once a second."""

from __future__ import annotations

import asyncio
import time

from mrt_reward.errors import Draining, MRTRewardError, ProverUnavailable
from mrt_reward.service.scorer import Scorer

BELIEVED_S = 1.0
"""How long an answer is believed, so that probes do not load the engine."""

MAX_CHECK_S = 25.0
"""An engine that takes longer for one token hangs."""


class Readiness:
    """Asks the prover for a token, on behalf of any number of probes at once."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._asking = asyncio.Lock()
        self._believed_until = 0.0
        self._problem: MRTRewardError | None = None

    async def check(self) -> None:
        """Generate a token, unless one was generated a moment ago.

        Raises:
            Draining: the service is shutting down.
            ProverUnavailable: the engine cannot prove at present.

        """
        if self._scorer.draining:
            raise Draining("the server is shutting down: use another replica", retry_after_s=5.0)
        async with self._asking:
            if time.monotonic() >= self._believed_until:
                self._problem = await self._asked()
                self._believed_until = time.monotonic() + BELIEVED_S
        if self._problem is not None:
            raise self._problem

    async def _asked(self) -> MRTRewardError | None:
        try:
            await asyncio.wait_for(self._scorer.check(), MAX_CHECK_S)
        except MRTRewardError as error:
            return error
        except (TimeoutError, asyncio.TimeoutError):
            return ProverUnavailable(f"the prover gave no token within {MAX_CHECK_S:g} s")
        return None
