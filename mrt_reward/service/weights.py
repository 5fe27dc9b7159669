"""Other weights for the prover, loaded while it serves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from mrt_reward.errors import WeightsUnsupported
from mrt_reward.protocols import Prover, ProverInfo, Reloadable, WeightsKind

logger = structlog.stdlib.get_logger(__name__)


class WeightsLoader:
    """Loads one set of weights at a time.

    Args:
        prover: whose weights change, if it is `Reloadable`.

    """

    def __init__(self, prover: Prover) -> None:
        self._prover = prover
        self._loading = asyncio.Lock()
        self._loads: set[asyncio.Task[ProverInfo]] = set()

    async def load(self, folder: Path, kind: WeightsKind) -> ProverInfo:
        """Who proves with the weights of a folder. Once begun, the load ends, even if the caller leaves.

        Raises:
            WeightsUnsupported: the engine keeps the weights that it started with.
            WeightsError: they were not taken, and the old ones serve on.
            ProverUnavailable: nothing serves any more.

        """
        prover = self._prover
        if not isinstance(prover, Reloadable):
            raise WeightsUnsupported(
                f"engine {prover.info.engine!r} loads no {kind} ({folder.name!r} was not read): change its weights "
                f"where it runs, or restart the server with the new --model"
            )
        task = asyncio.create_task(self._load(prover, folder, kind), name="load-weights")
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)
        return await asyncio.shield(task)

    async def _load(self, prover: Reloadable, folder: Path, kind: WeightsKind) -> ProverInfo:
        async with self._loading:
            logger.info("weights_loading", kind=kind, path=str(folder))
            await prover.load_weights(folder, kind)
            info = self._prover.info
            logger.info("weights_loaded", kind=kind, path=str(folder), version=info.version)
            return info
