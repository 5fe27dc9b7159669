"""Alive, and able to prove: known from the work that gets on, and from a token only where there is no work."""

from __future__ import annotations

import asyncio
import time

from mrt_reward.errors import Draining, MRTRewardError, ProverUnavailable
from mrt_reward.service.scorer import Scorer

BELIEVED_S = 1.0
"""How long an answer is believed, so that probes do not load the engine."""

MAX_CHECK_S = 22.0
"""An engine that takes longer for one token hangs."""

MAX_SILENT_S = 20.0
"""An engine that works and ends no pass for longer hangs; passes are parts of a proof, and take a second or few."""

ANSWERED_S = 2.0
"""An engine that cannot tell how its work gets on, and answered no proof for longer, is asked for a token meanwhile:
with the time for that token it is found to hang within half a minute."""

LOOK_S = 0.25
"""How often a waiting check looks whether work began that goes before its token."""


class Readiness:
    """Says whether the prover is alive, and whether it can take work, to any number of probes at once."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._asking = asyncio.Lock()
        self._believed_until = 0.0
        self._problem: MRTRewardError | None = None

    def refuse_hanging(self) -> None:
        """Raise where the engine has work and does not get on.

        Raises:
            ProverUnavailable: it has been silent for too long.

        """
        silent_s = self._scorer.queue.silent_s
        if silent_s is not None and silent_s > MAX_SILENT_S:
            raise ProverUnavailable(
                f"the prover has work and has ended no pass for {silent_s:.0f} s, expected one within "
                f"{MAX_SILENT_S:g} s: restart the server"
            )

    async def check(self) -> None:
        """Believe in work that gets on; otherwise generate a token, unless one was generated a moment ago.

        Raises:
            Draining: the service is shutting down.
            ProverUnavailable: the engine cannot prove at present, its values are not what they were, or the last
                weights that were published are not served.

        """
        if self._scorer.draining:
            raise Draining("the server is shutting down: use another replica", retry_after_s=5.0)
        self.refuse_hanging()
        self._scorer.canary.refuse_if_wrong()
        self._scorer.weights.refuse_if_failed()
        if self._gets_on():
            return
        async with self._asking:
            if time.monotonic() >= self._believed_until:
                self._problem = await self._asked()
                self._believed_until = time.monotonic() + BELIEVED_S
        if self._problem is not None:
            raise self._problem

    def _gets_on(self) -> bool:
        """Whether there is work, and a part of it ended a moment ago."""
        silent_s = self._scorer.queue.silent_s
        return (silent_s is not None and silent_s <= MAX_SILENT_S) or self._scorer.queue.answers_within(ANSWERED_S)

    async def _asked(self) -> MRTRewardError | None:
        began = time.monotonic()
        asking = asyncio.ensure_future(self._scorer.check())
        try:
            while not asking.done():
                waited_s = time.monotonic() - began
                silent_s = self._scorer.queue.silent_s
                if (silent_s is not None and silent_s < waited_s) or self._scorer.queue.answers_within(waited_s):
                    return None  # Work went before the token, or the token's own passes end.
                if waited_s > MAX_CHECK_S:
                    return ProverUnavailable(f"the prover gave no token within {MAX_CHECK_S:g} s")
                await asyncio.wait({asking}, timeout=min(LOOK_S, MAX_CHECK_S))
            asking.result()
        except MRTRewardError as error:
            return error
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        return None
