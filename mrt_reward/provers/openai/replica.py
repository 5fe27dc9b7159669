"""One endpoint, and what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import EndpointState, Tokenizer
from mrt_reward.provers.openai.connecting import Connection, Connector
from mrt_reward.provers.openai.identity import Identity, identity_of

TOKEN_S = 20.0
"""An idle endpoint that takes longer for one token hangs."""


@dataclass(slots=True, eq=False)
class Replica:
    """An endpoint of several.

    Attributes:
        connector: connects to it.
        shown: what people read of its address.
        tokenizer: the model's own.
        connection: the last one; None before the first.
        own_version: that it reported when it was let in; empty where it was not compared with those who are in now.
        up: whether it is asked at present.
        problem: why it is not.
        num_tries: to let it in again, since it was left out.
        num_proofs: that it answered.
        num_failures: times that it was left out.
        num_moved: questions that were asked of another after it.
        reviving: asks it again, while it is left out.

    """

    connector: Connector
    shown: str
    tokenizer: Tokenizer
    connection: Connection | None = None
    own_version: str = ""
    up: bool = False
    problem: str = "not asked yet"
    num_tries: int = 0
    num_proofs: int = 0
    num_failures: int = 0
    num_moved: int = 0
    reviving: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def state(self) -> EndpointState:
        """What is shown of it."""
        num_retries = self.connector.endpoint.num_retries + self.num_moved
        return EndpointState(self.shown, self.up, self.problem, self.num_proofs, self.num_failures, num_retries)

    async def looked_at(self) -> tuple[Connection, Identity]:
        """Who is there now; raises as `Connector.connect` does."""
        connection = await self.connector.connect()
        try:
            return connection, await identity_of(connection, self.connector.endpoint, self.tokenizer)
        except ProverUnavailable:
            raise
        except ProverError as error:
            raise ProverUnavailable(f"it cannot be compared with others: {error}") from error

    async def writes(self) -> bool:
        """Whether it still writes a token, in good time."""
        if self.connection is None:
            return False
        try:
            await asyncio.wait_for(self.connection.write_one(self.tokenizer), TOKEN_S)
        except (ProverUnavailable, TimeoutError, asyncio.TimeoutError):
            return False
        return True

    def enter(self, connection: Connection, version: str) -> None:
        """It is asked from now on, as one of those that serve a version."""
        self.own_version = connection.info.version
        self.connection = replace(connection, info=replace(connection.info, version=version))
        self.up, self.problem, self.num_tries = True, "", 0

    def leave(self, problem: str) -> None:
        """It is asked no more."""
        self.up, self.problem, self.num_tries = False, problem, 0
        self.num_failures += 1
