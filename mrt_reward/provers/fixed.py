"""What an engine does that keeps the weights it started with, and lives as long as this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mrt_reward.errors import ProverUnavailable, WeightsUnsupported
from mrt_reward.protocols import WeightsKind


class FixedWeights:
    """Members of a `Prover`, for such an engine to inherit."""

    @property
    def silent_s(self) -> float | None:
        """Unknown: how the work gets on inside of the engine is not seen."""
        return None

    async def load_weights(self, folder: Path, kind: WeightsKind) -> None:
        """Refuse.

        Raises:
            WeightsUnsupported: always.

        """
        raise WeightsUnsupported(
            f"this engine loads no {kind} ({folder.name!r} was not read): change its weights where it runs, or restart "
            f"the server with the new --model"
        )

    async def wait_dead(self) -> ProverUnavailable:
        """Never return."""
        return await asyncio.get_running_loop().create_future()
