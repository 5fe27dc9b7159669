"""One query about many prompts, in as few requests as a server's dialect allows, and how its choices are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mrt_reward.errors import ProverError
from mrt_reward.provers.openai.dialect import Dialect, token_id
from mrt_reward.provers.openai.endpoint import Endpoint
from mrt_reward.provers.openai.replies import Choice
from mrt_reward.provers.together import together

MAX_PROMPTS = 256
"""In one request; vLLM takes 1024 unless set otherwise."""

MAX_REQUEST_TOKENS = 1_000_000
"""Of all its prompts together, unless one alone has more: about 6 MB of JSON."""


@dataclass(frozen=True, slots=True)
class CompletionQuery:
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
    indices: Sequence[int]
    seed: int | None
    num_samples: int


class Completer:
    """Asks one model for completions.

    The protocol has one seed for a request. A server that takes many prompts in one request gets the first prompt's
    seed for all of them, and with it the prompts' samples are drawn from the same random numbers: each value by itself
    is as good as ever, and errors of neighbouring prefixes are correlated rather than independent. A server that takes
    one prompt a request gets each prompt's own seed.

    Args:
        endpoint: HTTP connections to the server.
        model: the name it serves.
        dialect: what it can do.

    """

    def __init__(self, endpoint: Endpoint, model: str, dialect: Dialect) -> None:
        self._endpoint = endpoint
        self._model = model
        self.dialect = dialect

    async def complete(self, query: CompletionQuery, session: str) -> tuple[list[list[Choice]], int]:
        """For each prompt its completions, and the number of tokens computed; raises as `Endpoint.complete` does."""
        requests = self._requests(query)
        replies = await together([self._send(query, request, session) for request in requests])
        rows: list[list[Choice]] = [[] for _ in query.prompts]
        for request, (part, _) in zip(requests, replies, strict=True):
            for index, choices in zip(request.indices, part, strict=True):
                rows[index] += choices
        return rows, sum(num_tokens for _, num_tokens in replies)

    def _requests(self, query: CompletionQuery) -> list[_Request]:
        every = range(len(query.prompts))
        seeds = query.seeds or [None for _ in every]
        if self.dialect.lists:
            chunks = [(indices, seeds[0]) for indices in in_requests(query.prompts)]
        else:
            chunks = [([index], seeds[index]) for index in every]
        if self.dialect.samples or query.num_samples == 1:
            return [_Request(indices, seed, query.num_samples) for indices, seed in chunks]
        return [
            _Request(indices, None if seed is None else seed + sample, 1)
            for indices, seed in chunks
            for sample in range(query.num_samples)
        ]

    async def _send(self, query: CompletionQuery, request: _Request, session: str) -> tuple[list[list[Choice]], int]:
        fields = {"model": self._model, **self.dialect.neutral, **query.fields}
        if request.seed is not None:
            fields["seed"] = request.seed
        if request.num_samples > 1:
            fields["n"] = request.num_samples
        return await self._endpoint.complete([query.prompts[index] for index in request.indices], fields, session)


def in_requests(prompts: Sequence[Sequence[int]]) -> Iterator[range]:
    """Indices of prompts that go in one request."""
    start = num_tokens = 0
    for index, prompt in enumerate(prompts):
        num_tokens += len(prompt)
        if index > start and (index - start == MAX_PROMPTS or num_tokens > MAX_REQUEST_TOKENS):
            yield range(start, index)
            start, num_tokens = index, len(prompt)
    yield range(start, len(prompts))


def sampled_ids(choice: Choice) -> list[int]:
    """Ids that the server returned, without the end of turn.

    Raises:
        ProverError: it returned none, although it did at start-up.

    """
    ids = [token_id(name) for name in choice.logprobs.tokens] if choice.logprobs else [None]
    known = [token for token in ids if token is not None]
    if len(known) < len(ids):
        raise ProverError(
            "the endpoint returned the ids of sampled tokens at start-up and does not any more: restart this server, "
            "so that it finds out again what the endpoint can do"
        )
    # No stop strings are sent, so what stopped is the model's end of turn.
    return known[:-1] if choice.finish_reason == "stop" else known
