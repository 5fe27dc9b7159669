"""One endpoint, and what became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import EndpointState, Tokenizer
from mrt_reward.provers.openai.connecting import Connection, Connector
from mrt_reward.provers.openai.engine_metrics import TIMEOUT_S, read_work
from mrt_reward.provers.openai.identity import Identity, identity_of
from mrt_reward.provers.openai.watch import Watch
from mrt_reward.provers.openai.within import within

TOKEN_S = 20.0
"""An endpoint that takes longer for one token hangs, unless it is seen to work for others."""

NUM_TOKENS = 3
"""An endpoint that takes longer than for so many tokens to say who it is hangs as well."""

LOOK_S = 1.0
"""How often its work for others is looked at."""


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
        watch: of what is being asked there.

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
    watch: Watch = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Nothing is asked there yet."""
        self.watch = Watch(self.connector.endpoint, self.writes)

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

    async def looked_at_again(self) -> tuple[Connection, Identity]:
        """As `looked_at`, in good time: at the start others bound that, later nobody does."""
        most_s = NUM_TOKENS * TOKEN_S
        try:
            return await within(most_s, self.looked_at())
        except TimeoutError:
            raise ProverUnavailable(f"it did not say who it is within {most_s:g} s") from None

    async def checked(self) -> None:
        """Ask who is there, and for a token.

        Raises:
            ProverUnavailable: it is not what was let in, or gives no token in good time.
            ConfigError: it serves no such model any more.

        """
        try:
            await asyncio.wait_for(self._check(), TOKEN_S)
        except (TimeoutError, asyncio.TimeoutError):
            raise ProverUnavailable(f"it gave no token within {TOKEN_S:g} s") from None

    async def _check(self) -> None:
        connection = await self.connector.connect()
        if connection.info.version != self.own_version:
            raise ProverUnavailable("it reports another version of its weights")
        if not await self.writes():
            raise ProverUnavailable(f"it gave no token, or none within {TOKEN_S:g} s")

    async def writes(self) -> bool:
        """Whether it still writes: a token in good time, or, where much is before that, what others asked for."""
        if self.connection is None:
            return False
        asked_at = time.monotonic()
        token = asyncio.ensure_future(self.connection.write_one(self.tokenizer))
        others = asyncio.ensure_future(self._seen_at_work())
        try:
            await asyncio.wait({token, others}, timeout=TOKEN_S, return_when=asyncio.FIRST_COMPLETED)
            if token.done() and self._put_off(token, asked_at):
                await asyncio.wait({others}, timeout=asked_at + TOKEN_S - time.monotonic())
            elif token.done():
                token.result()
                return True
            return others.done() and others.exception() is None
        except ProverUnavailable:
            return False
        finally:
            token.cancel()
            others.cancel()
            await asyncio.gather(token, others, return_exceptions=True)

    def _put_off(self, token: asyncio.Future[None], asked_at: float) -> bool:
        """Whether the question for a token ended because the server has too much to do for others."""
        return isinstance(token.exception(), ProverUnavailable) and self.connector.endpoint.replied_at >= asked_at

    async def _seen_at_work(self) -> None:
        """Return once its own counts move; where it shows none, never."""
        first = ""
        while True:
            await asyncio.sleep(LOOK_S)
            page = await self.connector.endpoint.peeked("/metrics", TIMEOUT_S)
            if page is None:
                continue
            now = read_work(page)
            if first and now != first:
                return
            first = now

    def enter(self, connection: Connection, version: str) -> None:
        """It is asked from now on, as one of those that serve a version."""
        self.own_version = connection.info.version
        self.connection = replace(connection, info=replace(connection.info, version=version))
        self.up, self.problem, self.num_tries = True, "", 0

    def leave(self, problem: str) -> None:
        """It is asked no more."""
        self.up, self.problem, self.num_tries = False, problem, 0
        self.num_failures += 1


async def looks(replicas: Sequence[Replica]) -> list[tuple[Connection, Identity] | BaseException]:
    """Who is there, of each of them, or why that is not known; once one answered, the others have `TOKEN_S` more."""
    looking = [asyncio.ensure_future(each.looked_at()) for each in replicas]
    pending = set(looking)
    try:
        while pending and not any(each.done() and each.exception() is None for each in looking):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            _, pending = await asyncio.wait(pending, timeout=TOKEN_S)
    finally:
        for each in looking:
            each.cancel()
        found = await asyncio.gather(*looking, return_exceptions=True)
    late = ProverUnavailable(f"it did not say who it is within {TOKEN_S:g} s after another did")
    return [late if each in pending else what for each, what in zip(looking, found, strict=True)]
