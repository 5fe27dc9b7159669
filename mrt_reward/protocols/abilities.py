"""What only some engines can do, beside proving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from mrt_reward.errors import ProverUnavailable
from mrt_reward.protocols.vouching import WeightsCanary

WeightsKind = Literal["checkpoint", "lora"]
"""All weights of the model, or an adapter to the checkpoint that is served."""


@runtime_checkable
class Reloadable(Protocol):
    """A prover whose weights can change while it serves."""

    async def load_weights(self, folder: Path, kind: WeightsKind, canary: WeightsCanary | None = None) -> None:
        """Serve other weights from now on; `info.version` tells them apart. One call at a time.

        A proof is answered by the old weights or by the new ones, never by both. The new ones have generated a token,
        and answered the canary as its sender says, before any proof is answered by them.

        Args:
            folder: holds the weights, whole, as safetensors.
            kind: what they are.
            canary: what their sender says of them; None where it says nothing.

        Raises:
            WeightsError: they were not taken, and the old ones serve on.
            ProverUnavailable: neither the new ones nor the old ones serve.

        """
        ...


@runtime_checkable
class Supervised(Protocol):
    """A prover that may end on its own, such as one that runs in a process beside this one."""

    async def wait_dead(self) -> ProverUnavailable:
        """Return why, once the engine can never prove again."""
        ...


@runtime_checkable
class ShowsProgress(Protocol):
    """A prover whose work can be seen to get on while it works."""

    @property
    def silent_s(self) -> float | None:
        """Seconds since the work under way last got on, by a pass or a layer; None while idle."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointState:
    """One of several servers that prove.

    Attributes:
        url: scheme, host and port, and nothing that may be secret.
        up: whether it is asked at present.
        problem: why it is not; empty where it is.
        num_proofs: that it answered.
        num_failures: times that it was left out.
        num_retries: questions that were sent again, to it or to another, because it was busy or did not answer.

    """

    url: str
    up: bool
    problem: str = ""
    num_proofs: int = 0
    num_failures: int = 0
    num_retries: int = 0


@runtime_checkable
class Replicated(Protocol):
    """A prover whose work is done by servers that may come and go."""

    @property
    def endpoints(self) -> Sequence[EndpointState]:
        """All of them, in the order in which they were given."""
        ...


@dataclass(frozen=True, slots=True)
class PrefixHits:
    """What an engine's own cache of prefixes was asked for, since it started, and what it had.

    Attributes:
        num_asked: tokens of prompts that were looked up.
        num_hit: of them, those that were there and were not computed again.

    """

    num_asked: float
    num_hit: float


@runtime_checkable
class CachesPrefixes(Protocol):
    """A prover whose engine finds prefixes in a cache of its own, and counts them."""

    async def prefix_cache(self) -> PrefixHits | None:
        """All its engines together; None where none of them tells."""
        ...
