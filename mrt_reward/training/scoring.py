"""A policy's response to its record: response → trace → server → episodes in the policy's own tokens.

Whatever goes wrong becomes a `Lapse` with its reason in the record, and never a number.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import httpx
import numpy as np

from mrt_reward.client import MALFORMED, UNREACHABLE, AsyncClient, RetryPolicy
from mrt_reward.core.prefixes import token_spans
from mrt_reward.core.progress import values_of
from mrt_reward.errors import (
    NO_THINKING,
    DeadlineExceeded,
    GraderError,
    MRTRewardError,
    ProverError,
    RequestRejected,
    ServiceError,
    WireError,
)
from mrt_reward.golds import golds_of
from mrt_reward.training.alignment import PolicyTokens, opens_thinking
from mrt_reward.training.records import Lapse, Record, Scored, number_of
from mrt_reward.training.responses import Response
from mrt_reward.training.settings import TrainingSettings
from mrt_reward.types import ScoredTrace, Span, Status, TokenIds, Trace

# A server that restarts is waited for until the trace's time is up.
PATIENCE = RetryPolicy(max_tries_away=1_000_000, max_wait_s=5.0)


@dataclass(slots=True)
class _Sent:
    """A trace as it was sent, and what is needed to read the reply."""

    trace: Trace
    text: str
    char_ends: TokenIds
    num_added: int = 0


class BatchScorer(Protocol):
    """What scores the responses of a step, wherever the prover is."""

    @property
    def tokens(self) -> PolicyTokens:
        """Reads the policy's tokens."""
        ...

    async def score_all(self, responses: Sequence[Response]) -> list[Record]:
        """Score all of them, in their order; what fails is a record that says so."""
        ...

    async def close(self) -> None:
        """Let go what the event loop of the calls before holds."""
        ...


@dataclass(slots=True)
class TraceScorer:
    """Scores responses, many at once; belongs to one event loop.

    Attributes:
        settings: how.
        tokens: reads the policy's tokens.
        retry: when to ask again, within the settings' time.
        transport: for tests, `httpx.ASGITransport` or another.
        api_key: of the servers; None is the settings' own.

    """

    settings: TrainingSettings
    tokens: PolicyTokens
    retry: RetryPolicy = PATIENCE
    transport: httpx.AsyncBaseTransport | None = None
    api_key: str | None = field(default=None, repr=False)
    _client: AsyncClient | None = field(default=None, init=False)
    _prover: asyncio.Task[str] | None = field(default=None, init=False)

    async def score(self, response: Response) -> Record:
        """Score one response; concurrent calls travel together."""
        started = time.perf_counter()
        try:
            record = await asyncio.wait_for(self._score(response), self.settings.timeout_s)
        except (TimeoutError, asyncio.TimeoutError):
            record = Record(Lapse.TIMEOUT, f"no score within timeout_s = {self.settings.timeout_s:g}")
        except MRTRewardError as error:
            record = Record(lapse_of(error), str(error))
        return replace(record, latency_s=time.perf_counter() - started)

    async def score_all(self, responses: Sequence[Response]) -> list[Record]:
        """Score the responses of a batch, in their order."""
        return list(await asyncio.gather(*map(self.score, responses)))

    async def close(self) -> None:
        """Close connections; the next call opens others."""
        if self._client is not None:
            await self._client.close()
        self._client = self._prover = None

    async def _score(self, response: Response) -> Record:
        if self._client is None:
            self._client = AsyncClient(
                self.settings.urls,
                api_key=self.api_key or self.settings.api_key,
                timeout_s=self.settings.timeout_s,
                retry=self.retry,
                transport=self.transport,
            )
        sent = self._sent(response, shared=await self._prover_hash(self._client) == self.tokens.sha256)
        [reply] = await self._client.score([sent.trace], self.settings.score_options(response.step))
        return self._read(reply, sent)

    async def _prover_hash(self, client: AsyncClient) -> str:
        """Hash of the prover's tokenizer, which all servers share; asked for once."""
        asked = self._prover
        if asked is None or (asked.done() and (asked.cancelled() or asked.exception() is not None)):
            asked = self._prover = asyncio.create_task(_tokenizer_of(client))
        return await asyncio.shield(asked)

    def _sent(self, response: Response, *, shared: bool) -> _Sent:
        text, char_ends = self.tokens.locate(response.response_ids)
        answer, group, session = golds_of(response.answer), response.group, response.session
        if shared:
            trace = Trace(
                "response",
                prompt_ids=np.array(response.prompt_ids, np.int32),
                completion_ids=np.array(response.response_ids, np.int32),
                tokenizer=self.tokens.sha256,
                answer=answer,
                group=group,
                session=session,
            )
            return _Sent(trace, text, char_ends)
        # The prover's template may not open thinking where the policy's does: then the text must.
        delimiters = self.settings.delimiters
        added = f"{delimiters.open}\n" if opens_thinking(response.prompt_ids, self.tokens, delimiters) else ""
        prompt = None if response.messages else self.tokens.locate(response.prompt_ids)[0]
        messages = tuple(response.messages) or None
        # What ends or pads a response in the policy's tokens is unknown to the prover's.
        ids, _ = self.tokens.locate(self.tokens.without_end(response.response_ids))
        trace = Trace(
            "response",
            completion=added + ids,
            prompt=prompt,
            messages=messages,
            answer=answer,
            group=group,
            session=session,
        )
        return _Sent(trace, text, char_ends, len(added))

    def _read(self, reply: ScoredTrace, sent: _Sent) -> Record:
        what, reason = self._understood(reply, sent)
        return Record(
            what,
            reason,
            reply.prover,
            probes=reply.usage.probes,
            cached_probes=reply.usage.cached_probes,
            computed_tokens=reply.usage.computed_tokens,
            proved_tokens=reply.usage.prompt_tokens,
        )

    def _understood(self, reply: ScoredTrace, sent: _Sent) -> tuple[Scored | Lapse, str]:
        """Episodes in the policy's tokens, or why there are none and what the server said."""
        if reply.status is Status.ERROR:
            code = reply.error.code if reply.error else ""
            return _LAPSES.get(code, Lapse.REJECTED), f"{code}: {reply.error.message if reply.error else 'no reason'}"
        if reply.status is Status.PARTIAL or any(value.value is None for value in reply.values):
            return Lapse.PARTIAL, "the server could not measure all prefixes"
        if len(reply.values) != len(reply.episodes) + 1:
            num = f"{len(reply.values)} values and {len(reply.episodes)} episodes"
            return Lapse.MALFORMED, f"expected one value more than episodes, got {num}"
        spans = [Span(max(e.char_start - sent.num_added, 0), e.char_end - sent.num_added) for e in reply.episodes]
        if any(span.end > len(sent.text) or span.end < span.start for span in spans):
            return Lapse.MALFORMED, f"episodes leave the response of {len(sent.text)} characters"
        try:
            paid_P = values_of(reply, self.settings.paid_values)
        except ValueError as error:
            return Lapse.MALFORMED, str(error)
        if paid_P is None:
            return Lapse.MALFORMED, "expected J[0] … J[K], got no values"
        return self._in_tokens(paid_P.tolist(), sent, spans, number_of(reply.prover)), ""

    def _in_tokens(self, values: Sequence[float], sent: _Sent, spans: Sequence[Span], version: int) -> Scored:
        closer = self.settings.delimiters.close
        cut_off = not closer or closer not in sent.text[(spans[0].start if spans else 0) :]
        located = token_spans(spans, sent.char_ends)
        ends, value_P = [span.end for span in located], [values[0]]
        kept: list[int] = []
        start = located[0].start if located else 0
        for index, end in enumerate(ends):
            # An episode within the last token of the one before it is paid together with it.
            if kept and kept[-1] >= end:
                value_P[-1] = values[index + 1]
            elif end > start:
                kept.append(end)
                value_P.append(values[index + 1])
        if cut_off and kept:
            kept[-1] = len(sent.char_ends)
        return Scored(start, tuple(kept), np.array(value_P), cut_off, version)


async def _tokenizer_of(client: AsyncClient) -> str:
    return (await client.prover()).tokenizer


_LAPSES = {
    NO_THINKING: Lapse.NO_THINKING,
    "prover_failed": Lapse.PROVER,
    "prover_unavailable": Lapse.PROVER,
    "grader_failed": Lapse.PROVER,
    "deadline_exceeded": Lapse.TIMEOUT,
}


def lapse_of(error: MRTRewardError) -> Lapse:
    """Why there is no score, from what the client raised."""
    match error:
        case DeadlineExceeded():
            return Lapse.TIMEOUT
        case RequestRejected():
            return Lapse.REJECTED
        case ProverError() | GraderError() | ServiceError():
            return Lapse.PROVER
        case WireError(code=code) if code == UNREACHABLE:
            return Lapse.UNREACHABLE
        case WireError(code=code) if code == MALFORMED:
            return Lapse.MALFORMED
        case WireError():
            return Lapse.PROVER
        case _:
            return Lapse.REJECTED
