"""The same client for code that is not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from typing import Any, Literal, TypeVar

from mrt_reward.client.aio import AsyncClient
from mrt_reward.client.bodies import Groups, OptionsLike, TraceLike
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import RequestRejected
from mrt_reward.types import ScoredTrace
from mrt_reward.wire import AdvantagesRequest, AdvantagesResponse, EpisodesResponse, ProverOut

Result = TypeVar("Result")


class Client:
    """The same client for code that is not asynchronous; safe to share between threads.

    Takes the arguments of `AsyncClient`, and raises what it raises. It runs on an event loop in a thread of its own.
    """

    def __init__(self, url: str | Sequence[str] = "http://127.0.0.1:8000", **kwargs: Any) -> None:  # noqa: ANN401 - AsyncClient's own
        self._closing = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mrt-reward-client", daemon=True)
        self._thread.start()

        async def make() -> AsyncClient:
            return AsyncClient(url, **kwargs)

        with ExitStack() as undo:
            undo.callback(self._stop)
            self._client = self._run(make())
            undo.pop_all()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        # In a forked process the thread is not there, and nobody would ever answer.
        if not self._thread.is_alive():
            work.close()
            raise RequestRejected("this client was closed, or made before a fork: make one in each process")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RequestRejected("the client was closed") from None
        finally:
            # An interrupted caller (Ctrl-C) must not leave its request running.
            future.cancel()

    def _stop(self) -> None:
        # Who still waits in another thread gets an answer: an error.
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Client:
        """Use as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections, and stop the thread."""
        self.close()

    def close(self) -> None:
        """Close connections and stop the thread behind it."""
        with self._closing:
            if self._thread.is_alive():
                self._run(self._client.close())
                self._stop()

    def score(self, traces: Sequence[TraceLike], options: OptionsLike | None = None) -> list[ScoredTrace]:
        """Score traces, in their order."""
        return self._run(self._client.score(traces, options))

    def stream(
        self, traces: Sequence[TraceLike], options: OptionsLike | None = None
    ) -> Generator[tuple[int, ScoredTrace], None, None]:
        """Each trace with its index in `traces`, as soon as it is scored; closing stops the rest."""
        scored = self._client.stream(traces, options)

        async def following() -> tuple[int, ScoredTrace] | None:
            return await anext(scored, None)

        try:
            while (item := self._run(following())) is not None:
                yield item
        finally:
            if self._thread.is_alive():
                self._run(scored.aclose())

    def advantages(
        self,
        request: AdvantagesRequest | Mapping[str, object] | None = None,
        *,
        groups: Groups = (),
        credit: CreditConfig | None = None,
        options: OptionsLike | None = None,
        per_token: bool | Literal["base64", "list"] = False,
    ) -> AdvantagesResponse:
        """Advantages of whole groups: `client.advantages(groups=[client.score(rows)])`."""
        asked = self._client.advantages(request, groups=groups, credit=credit, options=options, per_token=per_token)
        return self._run(asked)

    def episodes(self, traces: Sequence[TraceLike], options: OptionsLike | None = None) -> EpisodesResponse:
        """Cut traces into episodes, without scores; as `AsyncClient.episodes`."""
        return self._run(self._client.episodes(traces, options))

    def prover(self) -> ProverOut:
        """The prover's name and version; as `AsyncClient.prover`."""
        return self._run(self._client.prover())

    def ready(self) -> bool:
        """Whether a server is there that can prove at present."""
        return self._run(self._client.ready())


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
