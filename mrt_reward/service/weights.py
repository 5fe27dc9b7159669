"""Other weights for the prover, loaded while it serves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from mrt_reward.errors import MRTRewardError, ProverUnavailable, WeightsUnsupported
from mrt_reward.files import WEIGHTS_MARKER
from mrt_reward.protocols import Prover, ProverInfo, Reloadable, WeightsCanary, WeightsKind

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Publication:
    """Weights that somebody asks for: two that are equal are the same load.

    Attributes:
        folder: where they are.
        kind: what they are.
        canary: what their sender says of them.
        files: their names, sizes and times of change; other weights in the same folder are other files.

    """

    folder: Path
    kind: WeightsKind = "checkpoint"
    canary: WeightsCanary | None = None
    files: tuple[tuple[str, int, int], ...] = field(default=(), repr=False)


def publication(folder: Path, kind: WeightsKind, canary: WeightsCanary | None) -> Publication:
    """What a folder holds now; the marker, which is touched for every server, is no part of it."""
    try:
        found = sorted((path.name, path.stat()) for path in folder.iterdir() if path.name != WEIGHTS_MARKER)
    except OSError:  # the engine says what is wrong with the folder
        return Publication(folder, kind, canary)
    return Publication(folder, kind, canary, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found))


class WeightsLoader:
    """Loads one set of weights at a time, and each set once.

    Args:
        prover: whose weights change, if it is `Reloadable`.

    """

    def __init__(self, prover: Prover) -> None:
        self._prover = prover
        self._loading = asyncio.Lock()
        self._loads: dict[Publication, asyncio.Task[ProverInfo]] = {}
        self._served: tuple[Publication, ProverInfo] | None = None
        self._problem: ProverUnavailable | None = None

    def refuse_if_failed(self) -> None:
        """Raise where the last weights that were published are not served.

        The old ones go on, under their own version: whoever asks for values gets theirs, with that version.

        Raises:
            ProverUnavailable: they were not taken, and none were since.

        """
        if self._problem is not None:
            raise self._problem

    async def load(self, folder: Path, kind: WeightsKind, canary: WeightsCanary | None = None) -> ProverInfo:
        """Who proves with the weights of a folder; raises as `begun` and its load do."""
        return await asyncio.shield(await self.begun(folder, kind, canary))

    async def begun(
        self, folder: Path, kind: WeightsKind, canary: WeightsCanary | None = None
    ) -> asyncio.Future[ProverInfo]:
        """The load of the weights of a folder, which goes on until it ends, even if the caller leaves: shield it.

        Whoever asks for weights that are being loaded gets that load; what is served already is not loaded again.

        Raises:
            WeightsUnsupported: the engine keeps the weights that it started with. The load itself raises
                `WeightsError` where they were not taken, and the old ones serve on, and `ProverUnavailable` where
                nothing serves any more.

        """
        prover = self._prover
        if not isinstance(prover, Reloadable):
            raise WeightsUnsupported(
                f"engine {prover.info.engine!r} loads no {kind} ({folder.name!r} was not read): change its weights "
                f"where it runs, or restart the server with the new --model"
            )
        asked = await asyncio.to_thread(publication, folder, kind, canary)
        if self._served == (asked, prover.info) and not self._loads:
            self._problem = None
            known: asyncio.Future[ProverInfo] = asyncio.get_running_loop().create_future()
            known.set_result(prover.info)
            return known
        if asked not in self._loads:
            task = asyncio.create_task(self._load(prover, asked), name="load-weights")
            self._loads[asked] = task
            task.add_done_callback(lambda done: self._ended(asked, done))
        return self._loads[asked]

    async def _load(self, prover: Reloadable, asked: Publication) -> ProverInfo:
        async with self._loading:
            kind, path = asked.kind, str(asked.folder)
            logger.info("weights_loading", kind=kind, path=path)
            try:
                await prover.load_weights(asked.folder, kind, asked.canary)
            except WeightsUnsupported:
                raise
            except MRTRewardError as error:
                logger.error("weights_not_taken", kind=kind, path=path, reason=str(error), code=error.code)
                self._problem = ProverUnavailable(
                    f"the weights in {asked.folder.name!r} were published and not taken, so that version "
                    f"{self._prover.info.version} proves, which is older: {error}",
                    code="weights_not_taken",
                )
                raise
            info = self._prover.info
            self._served, self._problem = (asked, info), None
            logger.info("weights_loaded", kind=kind, path=path, version=info.version)
            return info

    def _ended(self, asked: Publication, load: asyncio.Task[ProverInfo]) -> None:
        del self._loads[asked]
        if not load.cancelled():
            load.exception()  # looked at, also where every caller left
