"""A server over HTTP: requests, retries, and replies that are checked before anyone reads them."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from mrt_reward.backoff import Backoff, retry_after_s
from mrt_reward.certificates import certificates
from mrt_reward.engine_settings import origin_of
from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable
from mrt_reward.provers.openai.replies import Choice, Completions, ModelCard, ModelCards
from mrt_reward.provers.openai.within import within

MAX_IN_FLIGHT = 32
CONNECT_S = 10.0
SESSION_HEADERS = ("X-Session-ID", "X-SMG-Routing-Key")
"""What vllm-router and SGLang's gateway keep a session together by."""

AT_ONCE = ""
"""Session of a question that waits for no slot, as one that asks whether a server still answers the others."""

NUM_SPARE = 4
"""Connections beside those of the slots."""

BAD_FINISHES = frozenset({"abort", "error", "content_filter"})
_RETRIED = frozenset({429, 502, 503, 504})
_BUSY = frozenset({429, 503})
# vllm-router says 500, and this, where the engine that it chose did not answer: the next one may.
_ENGINE_LOST = re.compile(r"(Request failed|Failed to get response body): ")
# vLLM and SGLang: "maximum context length", "longer than the model's context length"; llama.cpp: "context size";
# SGLang's own protocol: "exceeds the maximum allowed length".
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|max_model_len|longer than the maximum model length|maximum allowed length", re.I
)


_Reply = TypeVar("_Reply", bound=BaseModel)


def is_of_the_question(error: ProverError) -> bool:
    """Whether the server is there and takes the key, so that the question alone is what it does not take."""
    return not isinstance(error, ProverUnavailable) and error.code != "engine_key_refused"


class Refusal(ProverError):
    """The server answered 4xx: it can do without this request, or cannot do it."""


class ServerFault(ProverError):
    """The server answered 5xx, and not that it is busy: it is broken, or this request breaks it."""


class _Again(Exception):
    """It may work later."""

    def __init__(self, problem: str, least_s: float = 0.0) -> None:
        super().__init__(problem)
        self.least_s = least_s


class _Lost(_Again):
    """Nobody answered; where there are other servers, it is their turn."""


class Endpoint:
    """One server, or a router in front of several.

    Args:
        url: such as `http://127.0.0.1:8000`, with or without `/v1`.
        api_key: sent as a bearer token, and shown nowhere.
        timeout_s: longest time for one reply.
        backoff: when to ask again, where it is busy.
        alone: ask again too where nobody answers, because nobody else will.
        transport: for tests, `httpx.ASGITransport`.

    Attributes:
        shown: scheme, host and port, for people to read.
        name: with its path, which tells it from others.
        replied_at: when a question was last answered, or put off by a server that is busy, in `time.monotonic`.
        num_retries: questions that were sent again; who is there is no question.

    Raises:
        ConfigError: the URL is invalid.

    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        backoff: Backoff | None = None,
        alone: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._alone = alone
        try:
            base = httpx.URL(url.rstrip("/").removesuffix("/v1"))
        except httpx.InvalidURL as error:
            raise ConfigError(f"engine_url is no URL: {error}", param="engine_url") from error
        if base.scheme not in {"http", "https"} or not base.host:
            raise ConfigError(
                "engine_url must be such as http://127.0.0.1:8000: a scheme, http or https, and a host",
                param="engine_url",
            )
        if base.query or base.fragment:
            raise ConfigError(
                f"engine_url {origin_of(url)}/… must end with its path: a key goes into MRT_REWARD_ENGINE_API_KEY",
                param="engine_url",
            )
        userinfo = base.userinfo.decode()
        self._secrets = [secret for secret in (api_key, userinfo, base.password or base.username) if secret]
        self.shown = origin_of(url)
        self.name = f"{self.shown}{base.path.rstrip('/')}"
        self.replied_at = -math.inf
        self.num_retries = 0
        self._base = str(base)
        self._timeout_s = timeout_s
        self._backoff = backoff or Backoff()
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s), pool=None),
            limits=httpx.Limits(max_connections=MAX_IN_FLIGHT + NUM_SPARE, max_keepalive_connections=MAX_IN_FLIGHT),
            transport=transport,
            verify=certificates(),
        )
        # The pool's own waiting list is quadratic in its length, so requests wait here.
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def models(self) -> list[ModelCard]:
        """What is served; raises as `complete` does."""
        return (await self.fetch("/v1/models", ModelCards)).data

    async def fetch(self, path: str, kind: type[_Reply]) -> _Reply:
        """What the server says at a path that nothing is sent to; raises as `complete` does."""
        return self._parsed(kind, await self._call("GET", path, None, {}))

    async def peeked(self, path: str, timeout_s: float) -> str | None:
        """What the server says at a path that a person reads, asked once; None where it does not within this time."""
        try:
            reply = await within(timeout_s, self._http.get(self._base + path))
        except (httpx.HTTPError, TimeoutError):
            return None
        return reply.text if reply.is_success else None

    async def asked(self, path: str, body: Mapping[str, object], kind: type[_Reply], session: str) -> _Reply:
        """The reply to a question; raises as `complete` does.

        Args:
            path: such as `/v1/completions`.
            body: its JSON.
            kind: of the reply.
            session: of the trace; routers that know sessions send all that is asked in one to one server.
                `AT_ONCE` where there is no trace.

        """
        content = json.dumps(body, separators=(",", ":")).encode()
        async with self._slots if session else nullcontext():
            reply = await self._call("POST", path, content, dict.fromkeys(SESSION_HEADERS, session or "check"))
        return self._parsed(kind, reply)

    async def complete(
        self, prompts: Sequence[Sequence[int]], fields: Mapping[str, object], session: str
    ) -> tuple[list[list[Choice]], int]:
        """Ask for completions of the prompts, in one request; a single prompt is sent as one.

        Returns:
            For each prompt its `n` choices, and the number of tokens computed.

        Raises:
            ProverUnavailable: no reply, also when asked again.
            Refusal: the server answered 4xx.
            ProverError: the reply is not what was asked for.

        """
        lists = [list(prompt) for prompt in prompts]
        body = {**fields, "prompt": lists[0] if len(lists) == 1 else lists}
        answer = await self.asked("/v1/completions", body, Completions, session)
        num_samples = fields.get("n", 1)
        if not isinstance(num_samples, int):
            raise TypeError(f"n must be an int, got {num_samples!r}")
        choices = sorted(answer.choices, key=lambda choice: choice.index)
        if [choice.index for choice in choices] != list(range(len(prompts) * num_samples)):
            raise ProverError(
                f"{self.shown} was asked for {num_samples} completions of each of {len(prompts)} prompts, which is "
                f"{len(prompts) * num_samples} choices, and sent {len(choices)}"
            )
        for choice in choices:
            if choice.finish_reason in BAD_FINISHES:
                raise ProverError(f"{self.shown} gave a completion up ({choice.finish_reason})")
        rows = [choices[at : at + num_samples] for at in range(0, len(choices), num_samples)]
        return rows, answer.usage.computed_tokens if answer.usage else 0

    def _parsed(self, kind: type[_Reply], content: bytes) -> _Reply:
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ProverError(
                f"the reply of {self.shown} is no {kind.__name__}: {where}: {self._hidden(first['msg'])}"
            ) from None

    async def _call(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> bytes:
        num_tries = 0
        while True:
            num_tries += 1
            try:
                return await self._tried(method, path, content, headers)
            except _Again as problem:
                if num_tries >= self._backoff.max_tries or (isinstance(problem, _Lost) and not self._alone):
                    raise ProverUnavailable(f"{problem} ({num_tries} tries)") from problem
                self.num_retries += method == "POST"
                await asyncio.sleep(self._backoff.wait_s(num_tries, problem.least_s))

    async def _tried(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> bytes:
        sent = {"Content-Type": "application/json", **headers}
        try:
            reply = await self._http.request(method, self._base + path, content=content, headers=sent)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise ProverUnavailable(f"no reply from {self.shown} within {self._timeout_s:g} s") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Lost(
                f"no server at {self.shown} ({self._hidden(str(error))}): start it, or check engine_url"
            ) from error
        except httpx.HTTPError as error:
            raise _Lost(
                f"{self.shown}: the reply was lost: {type(error).__name__}: {self._hidden(str(error))}"
            ) from error
        if method == "POST" and (reply.is_success or reply.status_code in _BUSY):
            self.replied_at = time.monotonic()
        if reply.is_success:
            return reply.content
        raise self._failure(reply, path)

    def _failure(self, reply: httpx.Response, path: str) -> Exception:
        detail = self._hidden(reply.content[:10_000].decode(errors="replace"))[:500]
        message = f"{self.shown}{path} answered HTTP {reply.status_code}: {detail}"
        if reply.status_code in _RETRIED or (reply.status_code == 500 and _ENGINE_LOST.match(detail)):
            return _Again(message, retry_after_s(reply.headers.get("retry-after")))
        if reply.status_code in {401, 403}:
            return ProverError(f"{message}; set MRT_REWARD_ENGINE_API_KEY to a key it takes", code="engine_key_refused")
        if not 400 <= reply.status_code < 500:
            return ServerFault(message)
        if _TOO_LONG.search(detail):
            return Refusal(message, code="context_length_exceeded")
        return Refusal(message)

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
