"""One question about many prompts, in as few requests as a server's dialect allows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mrt_reward.provers.dialect import Dialect
from mrt_reward.provers.endpoint import Choice, Endpoint

MAX_PROMPTS = 256
"""In one request; vLLM takes 1024 unless told otherwise."""

MAX_REQUEST_TOKENS = 1_000_000
"""Of all its prompts together, unless one alone has more: about 6 MB of JSON."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask about each of some prompts.

    Attributes:
        prompts: token ids; the one that shares most with the others first, so that its beginning is cached for them.
        seeds: one for each prompt; none where nothing is drawn.
        num_samples: completions of each.
        fields: of the request, beyond prompts, model, seed and number.

    """

    prompts: Sequence[Sequence[int]]
    seeds: Sequence[int] | None
    num_samples: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Request:
    places: Sequence[int]
    seed: int | None
    num_samples: int


async def together(parts: Sequence[Awaitable[_Result]]) -> list[_Result]:
    """All results; when one fails, or the caller is cancelled, the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Asker:
    """Asks one model.

    The protocol has one seed for a request. A server that takes many prompts in one request gets the first prompt's
    seed for all of them, and with it the prompts' samples are drawn from the same random numbers: each value by itself
    is as good as ever, and errors of neighbouring prefixes are correlated rather than independent. A server that takes
    one prompt a request gets each prompt's own seed.

    Args:
        endpoint: the server.
        model: the name it serves.
        dialect: what it can do.

    """

    def __init__(self, endpoint: Endpoint, model: str, dialect: Dialect) -> None:
        self._endpoint = endpoint
        self._model = model
        self.dialect = dialect

    async def ask(self, question: Question, session: str) -> tuple[list[list[Choice]], int]:
        """For each prompt its completions, and the number of tokens computed; raises as `Endpoint.complete` does."""
        requests = self._requests(question)
        replies = await together([self._send(question, request, session) for request in requests])
        rows: list[list[Choice]] = [[] for _ in question.prompts]
        for request, (part, _) in zip(requests, replies, strict=True):
            for place, choices in zip(request.places, part, strict=True):
                rows[place] += choices
        return rows, sum(num_tokens for _, num_tokens in replies)

    def _requests(self, question: Question) -> list[_Request]:
        every = range(len(question.prompts))
        seeds = question.seeds or [None for _ in every]
        if self.dialect.lists:
            chunks = [(places, seeds[0]) for places in _chunks(question.prompts)]
        else:
            chunks = [([place], seeds[place]) for place in every]
        if self.dialect.samples or question.num_samples == 1:
            return [_Request(places, seed, question.num_samples) for places, seed in chunks]
        return [
            _Request(places, None if seed is None else seed + sample, 1)
            for places, seed in chunks
            for sample in range(question.num_samples)
        ]

    async def _send(self, question: Question, request: _Request, session: str) -> tuple[list[list[Choice]], int]:
        fields = {"model": self._model, **self.dialect.neutral, **question.fields}
        if request.seed is not None:
            fields["seed"] = request.seed
        if request.num_samples > 1:
            fields["n"] = request.num_samples
        return await self._endpoint.complete([question.prompts[place] for place in request.places], fields, session)


def _chunks(prompts: Sequence[Sequence[int]]) -> Iterator[range]:
    """Places of prompts that go in one request."""
    start = num_tokens = 0
    for place, prompt in enumerate(prompts):
        num_tokens += len(prompt)
        if place > start and (place - start == MAX_PROMPTS or num_tokens > MAX_REQUEST_TOKENS):
            yield range(start, place)
            start, num_tokens = place, len(prompt)
    yield range(start, len(prompts))
