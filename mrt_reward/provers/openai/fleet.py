"""Several endpoints that serve one model: a trace goes to one of them, and to another where that one fails.

An endpoint that fails, or hangs (`Watch`), is left out, and asked again and again with growing waits, by one task and
not by every trace. It is let in again where it serves what the others serve: its name, its tokenizer, what it says of a
known trace, and a version that changed no more than theirs. Where nobody is in, the first one that answers may have
other weights of the same model, which then is the new version, so that values of two weights never go by one.
"""

from __future__ import annotations

import asyncio
import contextvars
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from mrt_reward.affinity import ranked
from mrt_reward.backoff import Backoff
from mrt_reward.errors import ConfigError, MRTRewardError, ProverUnavailable
from mrt_reward.protocols import EndpointState, ProverInfo, Tokenizer
from mrt_reward.provers.openai.connecting import Connection, Connector
from mrt_reward.provers.openai.endpoint import ServerFault
from mrt_reward.provers.openai.identity import Identity, identity_limit
from mrt_reward.provers.openai.replica import Replica, looks

logger = structlog.stdlib.get_logger(__name__)

_Answer = TypeVar("_Answer")


class Fleet:
    """The endpoints.

    Args:
        connectors: of each of them.
        tokenizer: the model's own.
        dtype: precision of the weights, where the operator says it.
        backoff: when to ask again who failed.
        shared: others ask them too, so much that ours may wait for minutes: silence then tells nothing.

    Raises:
        ConfigError: one is named twice.

    """

    def __init__(
        self,
        connectors: Sequence[Connector],
        tokenizer: Tokenizer,
        dtype: str,
        backoff: Backoff,
        *,
        shared: bool = False,
    ) -> None:
        self._names = [connector.endpoint.name for connector in connectors]
        twice = [name for name, count in Counter(self._names).items() if count > 1]
        if twice:
            raise ConfigError(f"engine_url names {twice[0]} twice", param="engine_url")
        origins = Counter(connector.endpoint.shown for connector in connectors)
        self._replicas = [
            Replica(connector, shown if origins[shown] == 1 else f"{shown}#{index}", tokenizer)
            for index, connector in enumerate(connectors)
            for shown in [connector.endpoint.shown]
        ]
        self._limit = identity_limit(tokenizer, dtype)
        self._backoff = backoff
        self._shared = shared
        self._beginning = asyncio.Lock()
        self._changed = asyncio.Event()
        self._identity: Identity | None = None
        self._version = ""

    @property
    def states(self) -> tuple[EndpointState, ...]:
        """What became of each endpoint."""
        return tuple(each.state for each in self._replicas)

    @property
    def info(self) -> ProverInfo | None:
        """Who proves, in what all can do that were ever let in; None before the first."""
        infos = [each.connection.info for each in self._replicas if each.connection is not None]
        if not infos or not self._version:
            return None
        couplings = {info.coupled for info in infos}
        return replace(
            infos[0],
            version=self._version,
            max_tokens=min(info.max_tokens for info in infos),
            coupled="endpoint" if couplings == {"endpoint"} else "none",
        )

    async def connected(self) -> ProverInfo:
        """Who proves; asks the endpoints at the first time.

        Raises:
            ProverUnavailable: none answers.
            ConfigError: one serves no such model, or two serve different ones.

        """
        async with self._beginning:
            if (info := self.info) is None:
                await self._begin()
                info = self.info
        assert info is not None  # noqa: S101 - just begun
        return info

    async def check(self) -> None:
        """Ask those who are in who they are, and for one token.

        Raises:
            ProverUnavailable: nobody is in.
            ConfigError: two serve different models.

        """
        await self.connected()
        await asyncio.gather(*(self._checked(each) for each in self._replicas if each.up))
        await self._turn("check")

    async def asked(self, key: str, ask: Callable[[Connection], Awaitable[_Answer]]) -> _Answer:
        """What the endpoint that a key belongs to answers, or the next one where it fails.

        Args:
            key: of the trace.
            ask: asks one; called again for another.

        Raises:
            ProverUnavailable: nobody answers.
            ProverError: the question cannot be answered.

        """
        most = self._backoff.max_tries + len(self._replicas) - 1
        for num_tries in range(1, most + 1):
            replica = await self._turn(key)
            connection = replica.connection
            assert connection is not None  # noqa: S101 - of those who are in
            try:
                asking = ask(connection)
                answer = await (asking if self._shared else replica.watch.kept(asking))
            except (ProverUnavailable, ServerFault) as error:
                # A fault may be that of the question alone.
                if isinstance(error, ServerFault) and await replica.writes():
                    raise
                self._leave_out(replica, str(error))
                if num_tries == most:
                    raise
                replica.num_moved += 1
            else:
                replica.num_proofs += 1
                return answer
        raise AssertionError("the last try returns or raises")

    async def moved(self) -> None:
        """Look at all of them anew, after the weights of all were changed together; raises as `connected` does.

        Nobody may ask meanwhile. Those that do not answer are asked again later.
        """
        async with self._beginning:
            await self._stop_reviving()
            for replica in self._replicas:
                replica.up, replica.own_version = False, ""
            self._identity, self._version = None, ""
            await self._begin()

    async def close(self) -> None:
        """Stop asking; no call may follow."""
        await self._stop_reviving()
        await asyncio.gather(*(each.connector.endpoint.close() for each in self._replicas))

    async def _stop_reviving(self) -> None:
        tasks = [each.reviving for each in self._replicas if each.reviving is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self._replicas:
            replica.reviving = None

    async def _begin(self) -> None:
        """Look at all of them; those who do not answer are asked again later."""
        found: list[tuple[Replica, Connection, Identity]] = []
        for replica, look in zip(self._replicas, await looks(self._replicas), strict=True):
            if isinstance(look, tuple):
                found.append((replica, *look))
            elif not isinstance(look, ProverUnavailable):
                raise look
            else:
                replica.problem = str(look)
        if not found:
            raise self._nobody()
        first, connection, identity = found[0]
        for other, _, its in found[1:]:
            if difference := identity.difference(its, self._limit):
                raise ConfigError(
                    f"engine_url: {first.shown} and {other.shown} do not serve one model: of the second, {difference}. "
                    "Serve the same one on both, under one name, or leave one out",
                    param="engine_url",
                )
        self._identity, self._version = identity, connection.info.version
        for replica, connection, _ in found:
            self._let_in(replica, connection)
        for replica in self._replicas:
            if not replica.up:
                self._leave_out(replica, replica.problem)

    async def _turn(self, key: str) -> Replica:
        """Whose turn it is for a key; waits a little where nobody is in."""
        order = ranked(key, self._names)
        while True:
            for index in order:
                if self._replicas[index].up:
                    return self._replicas[index]
            if all(each.num_tries >= self._backoff.max_tries for each in self._replicas):
                raise self._nobody()
            await self._changed.wait()

    def _nobody(self) -> ProverUnavailable:
        problems = "; ".join(f"{each.shown}: {each.problem}" for each in self._replicas)
        return ProverUnavailable(f"no endpoint answers: {problems}")

    async def _checked(self, replica: Replica) -> None:
        try:
            await replica.checked()
        except MRTRewardError as error:
            self._leave_out(replica, str(error))

    def _leave_out(self, replica: Replica, problem: str) -> None:
        """Ask it no more, until it is let in again."""
        if replica.reviving is not None:
            return
        replica.leave(problem)
        if not any(each.up for each in self._replicas):
            # Those who did not agree with the others may do alone: they are tried anew.
            for each in self._replicas:
                each.num_tries = 0
        logger.warning("endpoint_left_out", endpoint=replica.shown, problem=problem)
        # It outlives the request that found this out, and is no part of it.
        revive, name = self._revive(replica), f"revive {replica.shown}"
        replica.reviving = contextvars.Context().run(asyncio.create_task, revive, name=name)
        self._announce()

    async def _revive(self, replica: Replica) -> None:
        while not replica.up:
            await asyncio.sleep(self._backoff.wait_s(replica.num_tries + 1, 0.0))
            try:
                connection, identity = await replica.looked_at_again()
                self._admit(replica, connection, identity)
            except MRTRewardError as error:
                replica.problem = str(error)
                replica.num_tries += 1
                self._announce()
        replica.reviving = None

    def _admit(self, replica: Replica, connection: Connection, identity: Identity) -> None:
        """Let one in that answers again.

        Raises:
            ConfigError: it serves another model, or other weights than those who are in.

        """
        assert self._identity is not None  # noqa: S101 - begun long ago
        moved = bool(replica.own_version) and connection.info.version != replica.own_version
        difference = self._identity.difference(identity, self._limit)
        kind = self._identity.other_kind(identity)
        if kind or (any(each.up for each in self._replicas) and (difference or moved)):
            raise ConfigError(
                f"it does not serve what the others do: {difference or 'its version changed and theirs did not'}",
                param="engine_url",
            )
        if difference or moved:
            # What it reports may be what it reported of its old weights, as vLLM's name of the model is.
            unheard = "" if moved else f"-{secrets.token_hex(4)}"
            self._identity, self._version = identity, connection.info.version + unheard
            for each in self._replicas:
                each.own_version = ""
        self._let_in(replica, connection)

    def _let_in(self, replica: Replica, connection: Connection) -> None:
        logger.info("endpoint_let_in", endpoint=replica.shown, version=self._version)
        replica.enter(connection, self._version)
        self._announce()

    def _announce(self) -> None:
        # Who waits now looks again; who comes later waits for the next time.
        self._changed.set()
        self._changed.clear()
