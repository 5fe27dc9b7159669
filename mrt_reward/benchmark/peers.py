"""Peers over HTTP, at vLLM's own server: what one writes without this package. Same prompts, same answer lengths.

(a) one request a prefix, one after the other. (c) the same, all at once. Both ask for a greedy answer as long as the
gold one, the least that tells right from wrong. (d) the gold answer's log-probability, read off a prompt that ends with
it, all at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import httpx

from mrt_reward.benchmark.plan import WARM_UP, BenchPlan, Measurement, WorkFigures
from mrt_reward.benchmark.rows import Way, why_of
from mrt_reward.benchmark.workload import Work, all_prompts, apart, first_problems, make_work
from mrt_reward.certificates import certificates
from mrt_reward.errors import ProverError
from mrt_reward.protocols import Tokenizer
from mrt_reward.provers.together import together

IN_FLIGHT = 128
"""Requests at once, of the concurrent peers."""

TIMEOUT_S = 1800.0


class PlainClient:
    """Asks for completions, one prompt a request.

    Args:
        http: with the server's base URL.
        last_words: what the server wrote last, for when it breaks off.
        model: its name there.

    """

    def __init__(
        self, http: httpx.AsyncClient, last_words: Callable[[], str] = lambda: "", model: str = "prover"
    ) -> None:
        self._http = http
        self._last_words = last_words
        self._model = model
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def complete(self, ids: Sequence[int], **fields: object) -> int:
        """One request; returns how many tokens it ran.

        Raises:
            ProverError: it was refused, or the server broke off.

        """
        body = {"model": self._model, "prompt": list(ids), "temperature": 0.0, "ignore_eos": True, **fields}
        headers = {"Content-Type": "application/json"}
        async with self._slots:
            try:
                reply = await self._http.post("/v1/completions", content=json.dumps(body), headers=headers)
            except httpx.HTTPError as error:
                words = self._last_words()
                figures_of = f"; its last words: {words}" if words else ""
                raise ProverError(f"the peer's server broke off ({why_of(error)}){figures_of}") from error
        if not reply.is_success:
            raise ProverError(f"the peer's server answered {reply.status_code}: {reply.text[:500]}")
        usage = cast("dict[str, Any]", json.loads(reply.content)["usage"])
        details = cast("dict[str, Any]", usage.get("prompt_tokens_details") or {})
        num_run = int(usage["prompt_tokens"]) - int(details.get("cached_tokens") or 0)
        return num_run + max(0, int(usage.get("completion_tokens") or 0) - 1)

    async def one_by_one(self, work: Work) -> WorkFigures:
        """Peer (a): prompts one after the other, each with one answer token more."""
        length = len(work.answer_ids)
        return WorkFigures(sum([await self.complete(ids.tolist(), max_tokens=length) for ids in all_prompts(work)]))

    async def all_at_once(self, work: Work) -> WorkFigures:
        """Peer (c): all prompts at once."""
        length = len(work.answer_ids)
        asked = [self.complete(ids.tolist(), max_tokens=length) for ids in all_prompts(work)]
        return WorkFigures(sum(await together(asked)))

    async def by_prompt_logprobs(self, work: Work) -> WorkFigures:
        """Peer (d): log-probabilities of the prompt, which ends in the answer."""
        prompts = [[*ids.tolist(), *work.answer_ids] for ids in all_prompts(work)]
        asked = [self.complete(ids, max_tokens=1, prompt_logprobs=0) for ids in prompts]
        return WorkFigures(sum(await together(asked)))


def client_of(url: str, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """A client with a connection for every request in flight."""
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits, transport=transport, verify=certificates())


def over_http(peer: PlainClient, tokenizer: Tokenizer, plan: BenchPlan, label: str) -> list[Measurement]:
    """What to measure; the label tells the server's set-up."""
    ways = (
        ("(a) a request a prefix, in turn", peer.one_by_one, plan.spec),
        ("(c) a request a prefix, at once", peer.all_at_once, plan.spec),
        ("(d) prompt log-probabilities", peer.by_prompt_logprobs, first_problems(plan.spec, plan.slow_problems)),
    )
    found: list[Measurement] = []
    for index, (name, run, spec) in enumerate(ways):
        warm_up = make_work(apart(first_problems(spec, 1), WARM_UP + index), tokenizer).first(1)
        works = [make_work(apart(spec, 300 + 20 * index + turn), tokenizer) for turn in range(plan.rounds)]
        way = Way("peer", f"{name}; {label}", "server", "vllm", "likelihood")
        found.append(Measurement(way, works, run, warm_up))
    return found
