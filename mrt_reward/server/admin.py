"""The routes of the admin port."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Response

from mrt_reward.config import ServeSettings
from mrt_reward.errors import DeadlineExceeded
from mrt_reward.protocols import ProverInfo
from mrt_reward.server.calls import Caller, caller_of
from mrt_reward.server.weights import allowed_folder
from mrt_reward.service.scorer import Scorer
from mrt_reward.wire import DrainRequest, StatusOut, WeightsLoading, WeightsRequest, WeightsResponse

Asking = Annotated[Caller, Depends(caller_of)]


class AdminRoutes:
    """What an operator and a trainer whose prover follows the policy may ask."""

    def __init__(self, scorer: Scorer, settings: ServeSettings) -> None:
        self._scorer = scorer
        self._settings = settings

    async def drain(self, caller: Asking, body: DrainRequest | None = None) -> StatusOut:
        """Refuse new work from now on, and answer once what was in flight is done; `{"draining": false}` takes it back.

        A drain lasts until it is taken back, or until the server ends.
        """
        if body is not None and not body.draining:
            return await self.resume()
        await caller.capped(self._settings.drain_timeout_s).attend(self._scorer.drain())
        return StatusOut()

    async def resume(self) -> StatusOut:
        """Take new work again after a drain; 503 while the server is shutting down."""
        self._scorer.activity.resume()
        return StatusOut()

    async def clear_cache(self) -> StatusOut:
        """Forget all cached values."""
        await self._scorer.cache.clear()
        return StatusOut()

    async def load_weights(self, caller: Asking, body: WeightsRequest) -> WeightsResponse | Response:
        """Serve the weights of a folder from now on: a checkpoint, or a LoRA adapter to it.

        Only safetensors, only below the server's `weights_root`, only once the marker file is there. It answers when
        the new weights do, or 202 where they are not there at the deadline: the load goes on, and who sends the same
        request again waits for it. A refusal leaves the old ones in service, under their own version; `/readyz` is 503
        from then on, until weights are taken.
        """
        caller.capped(self._settings.default_deadline_s)
        folder = await asyncio.to_thread(allowed_folder, self._settings, body.path)
        # Begun whatever time the caller has, or 202 might tell of a load that nobody began.
        load = await self._scorer.weights.begun(folder, body.kind, body.canary)
        try:
            info = await caller.attend(_ended(load))
        except DeadlineExceeded:
            return Response(WeightsLoading().model_dump_json(), 202, media_type="application/json")
        return WeightsResponse(model=info.name, version=info.version)


async def _ended(load: asyncio.Future[ProverInfo]) -> ProverInfo:
    """Wait for a load, which goes on where nobody waits any more."""
    return await asyncio.shield(load)
