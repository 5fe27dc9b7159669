"""An endpoint that is alone: requests to it are sent again, as often as its backoff says, because nobody else is there.

One that keeps failing is left alone for a while, so that traces fail at once and it can recover.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mrt_reward.backoff import Backoff
from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import EndpointState, ProverInfo, Tokenizer
from mrt_reward.provers.openai.breaker import Breaker
from mrt_reward.provers.openai.connecting import Connection, Connector
from mrt_reward.provers.openai.speaking import WeightsMoved

_Answer = TypeVar("_Answer")


class OneEndpoint:
    """What `Fleet` is for several.

    Args:
        connector: connects to it.
        tokenizer: the model's own.
        backoff: how long it is left alone when it keeps failing.

    """

    def __init__(self, connector: Connector, tokenizer: Tokenizer, backoff: Backoff) -> None:
        self._connector = connector
        self._tokenizer = tokenizer
        self._breaker = Breaker(connector.endpoint.shown, backoff)
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._problem = "not asked yet"
        self._num_proofs = 0
        self._num_failures = 0
        self._num_moved = 0
        """Questions that were asked again because the weights had moved."""

    @property
    def info(self) -> ProverInfo | None:
        """Who proves; None before it was asked for the first time."""
        return None if self._connection is None else self._connection.info

    @property
    def states(self) -> tuple[EndpointState, ...]:
        """What became of it."""
        endpoint = self._connector.endpoint
        return (
            EndpointState(
                endpoint.shown,
                not self._problem,
                self._problem,
                self._num_proofs,
                self._num_failures,
                endpoint.num_retries + self._num_moved,
            ),
        )

    async def connected(self) -> ProverInfo:
        """Who proves; raises as `check` does."""
        return (self._connection or await self._connect()).info

    async def check(self) -> None:
        """Ask who is there, and for one token.

        Raises:
            ProverUnavailable: it does not answer.
            ConfigError: it serves no such model, or a setting is missing.

        """
        with self._breaker.passage():
            connection = await self._connect()
            await self._counted(connection.write_one(self._tokenizer))

    async def asked(self, key: str, ask: Callable[[Connection], Awaitable[_Answer]]) -> _Answer:
        """What it answers; asked again where its weights are others than before.

        Args:
            key: of the trace, which belongs here whatever it is.
            ask: sends one question to it.

        Raises:
            ProverError: it could not answer; `ProverUnavailable` where it did not, or keeps failing.

        """
        del key
        with self._breaker.passage():
            connection = self._connection or await self._connect()
            try:
                answer = await self._counted(ask(connection))
            except WeightsMoved:
                self._num_moved += 1
                answer = await self._counted(ask(await self._connect()))
        self._num_proofs += 1
        return answer

    async def moved(self) -> None:
        """Ask who it is, after its weights were changed; raises as `check` does."""
        await self._connect()

    async def close(self) -> None:
        """Close connections."""
        await self._connector.endpoint.close()

    async def _connect(self) -> Connection:
        async with self._connecting:
            self._connection = await self._counted(self._connector.connect())
            return self._connection

    async def _counted(self, asking: Awaitable[_Answer]) -> _Answer:
        """Note whether it answers; a refusal is an answer."""
        try:
            answer = await asking
        except ProverUnavailable as error:
            self._problem = str(error)
            self._num_failures += 1
            raise
        except ProverError:
            self._problem = ""
            raise
        self._problem = ""
        return answer
