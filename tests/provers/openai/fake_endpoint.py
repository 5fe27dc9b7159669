"""A completions server in this process: its model is a rule, its dialect that of vLLM, SGLang or llama.cpp.

What these answer was read off their own: vLLM 0.32 and llama.cpp (ggml 0.25.3) by asking them, SGLang 0.5.23 from its
source. "plain" is the least that a server may do: one prompt a request, one completion, no probabilities.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mrt_reward.provers.tokenizer import HFTokenizer

VOCAB_SIZE = 404
END_ID = 347
KEY = "sk-very-secret"
NUM_SLOTS = 8
"""Of llama.cpp: as many completions of a prompt as it takes."""


_Stream = Callable[[int], float]


def rule(ids: Sequence[int], weights: int = 0) -> NDArray[np.float64]:
    """Log-probabilities of what comes after these ids, by one of many models."""
    reported = np.array(ids, "<i4").tobytes() + weights.to_bytes(2, "little") * (weights > 0)
    seed = int.from_bytes(hashlib.blake2b(reported, digest_size=8).digest(), "little")
    logits = 2 * np.random.default_rng(seed).standard_normal(VOCAB_SIZE)
    return logits - np.log(np.exp(logits).sum())


class FakeEndpoint:
    """Starlette's app, and what it was asked.

    Args:
        dialect: "vllm", "sglang", "llama" or "plain".
        tokenizer: of the model.

    Attributes:
        asked: headers and bodies of completions, in order.
        refused_fields: answered with 400.
        ignored_fields: as if they had not been sent.
        replies: sent instead, first in first out.
        changed: applied to each reply's JSON.
        hang: requests never end, and `closed` counts those that were cut.
        weights: which model the rule is.
        counted: tokens that its `/metrics` say it wrote, at each look; it has none where it is None.
        tells_tokens: how `/tokenize` answers; not at all where it is None.
        memory: how many of the last tokens the rule reads; all where it is None.
        seeding: what a seed is good for. "answer": each answer's own stream (vLLM V1, llama.cpp); "place": each token's
            place in the whole text (vLLM V2, SGLang); "request": one stream for all answers of a request; "same": one
            stream for each answer, and all of them alike; "ignored": nothing.

    """

    def __init__(self, dialect: str, tokenizer: HFTokenizer, *, max_model_len: int = 4096) -> None:
        self.dialect = dialect
        self.tokenizer = tokenizer
        self.max_model_len = max_model_len
        self.models: list[dict[str, Any]] = [{"id": "m", "created": 0}]
        self.models[0] |= {
            "plain": {},
            "llama": {"meta": {"n_params": 7, "n_ctx": max_model_len}},
        }.get(dialect, {"root": "/models/m", "max_model_len": max_model_len})
        self.refused_fields: set[str] = set()
        self.ignored_fields: set[str] = set()
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.replies: deque[Response] = deque()
        self.changed: Callable[[dict[str, Any]], Any] = lambda reply: reply
        self.hang = False
        self.weights = 0
        self.counted: Callable[[], int] | None = None
        self.returns_tokens: HFTokenizer | None = None
        self.memory: int | None = None
        self.seeding = "answer"
        self.num_running = self.most_running = self.closed = 0
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/completions", self._completions, methods=["POST"]),
            Route("/tokenize", self._tokenize, methods=["POST"]),
            Route("/metrics", self._metrics),
        ]
        self.app = Starlette(routes=routes)
        self.transport = httpx.ASGITransport(self.app)

    async def _models(self, request: Request) -> Response:
        self.models[0]["created"] += 1
        return JSONResponse({"object": "list", "data": self.models})

    async def _tokenize(self, request: Request) -> Response:
        if self.returns_tokens is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        return JSONResponse({"tokens": self.returns_tokens.encode_trusted((await request.json())["prompt"]).tolist()})

    async def _metrics(self, request: Request) -> Response:
        if self.counted is None:
            return JSONResponse({"detail": "Not Found"}, 404)
        written = f'vllm:generation_tokens_total{{engine="0",model_name="m"}} {self.counted()}.0'
        return Response(f"# TYPE vllm:generation_tokens_total counter\n{written}\nprocess_cpu_seconds_total 1.5\n")

    async def _completions(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append((dict(request.headers), body))
        body = {name: value for name, value in body.items() if name not in self.ignored_fields}
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        try:
            if self.hang:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.closed += 1
            raise
        finally:
            self.num_running -= 1
        if self.replies:
            return self.replies.popleft()
        problem = self._problem(body)
        if problem:
            return JSONResponse({"error": {"message": problem}}, 400)
        reply = self.changed(self._answer(body))
        return Response(reply, media_type="application/json") if isinstance(reply, str) else JSONResponse(reply)

    def _problem(self, body: dict[str, Any]) -> str:
        prompts = _prompts(body)
        if self.refused_fields & set(body):
            return f"unknown fields {self.refused_fields & set(body)}"
        if max(map(len, prompts)) + body["max_tokens"] > self.max_model_len:
            return f"This model's maximum context length is {self.max_model_len} tokens"
        if self.dialect == "plain" and isinstance(body["prompt"][0], list):
            return "prompt must be a list of tokens"
        if self.dialect == "llama" and body.get("n", 1) > NUM_SLOTS:
            return f"Field 'n': Value must be between 1 <= value <= {NUM_SLOTS}, but got {body['n']}"
        if self.dialect == "vllm" and body.get("n", 1) > 1 and body["temperature"] == 0:
            return "n must be 1 when using greedy sampling"
        if len(body.get("logprob_token_ids", [])) > 128:
            return "too many logprob_token_ids"
        return ""

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        prompts = _prompts(body)
        num_samples = 1 if self.dialect == "plain" else body.get("n", 1)
        streams = self._streams(body, len(prompts) * num_samples, num_samples)
        choices = [self._choice(prompt, next(streams), body) for prompt in prompts for _ in range(num_samples)]
        num_prompt = sum(map(len, prompts))
        return {
            # Servers may send choices in any order; `index` tells which is which.
            "choices": [{"index": index, **choice} for index, choice in enumerate(choices)][::-1],
            "usage": {"prompt_tokens": num_prompt, "completion_tokens": len(choices)},
        }

    def _streams(self, body: dict[str, Any], num_choices: int, num_samples: int) -> Iterator[_Stream]:
        """Random numbers of each choice, by the place of the token."""
        seed, whole = body.get("seed", 0), np.random.default_rng(body.get("seed", 0))
        for choice in range(num_choices):
            sample = choice % num_samples
            if self.seeding == "place":
                yield lambda index, sample=sample: float(np.random.default_rng([seed + sample, index]).random())
                continue
            own = {"answer": seed + sample, "same": seed, "ignored": None}
            rng = whole if self.seeding == "request" else np.random.default_rng(own[self.seeding])
            yield lambda _, rng=rng: float(rng.random())

    def _choice(self, prompt: list[int], stream: _Stream, body: dict[str, Any]) -> dict[str, Any]:
        ids, finish = list[int](), "length"
        for _ in range(body["max_tokens"]):
            logprobs = rule([*prompt, *ids][-(self.memory or 0) :], self.weights)
            temperature = body["temperature"]
            if temperature == 0:
                ids.append(int(logprobs.argmax()))
            else:
                cumulative = np.exp(logprobs / temperature).cumsum()
                ids.append(int(np.searchsorted(cumulative, stream(len(prompt) + len(ids)) * cumulative[-1])))
            if ids[-1] == END_ID:
                finish = "stop"
                break
        choice: dict[str, Any] = {"text": self.tokenizer.decode(ids), "finish_reason": finish}
        if body.get("logprobs") is not None and self.dialect != "plain":
            reported = self._logprobs(prompt, ids, body)
            # llama.cpp ignores `echo`, and writes what it tells as chats do.
            choice["logprobs"] = {"content": reported["tokens"]} if self.dialect == "llama" else reported
        return choice

    def _logprobs(self, prompt: list[int], ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        whole, start = [*prompt, *ids], 0 if body.get("echo") else len(prompt)
        rows = [rule(whole[:at], self.weights) if at else None for at in range(start, len(whole))]
        shown = whole[start:]
        top: list[dict[str, float] | None] = [None for _ in shown]
        wanted = body.get("logprob_token_ids") if self.dialect == "vllm" else None
        if wanted:
            top = [{self._name(token, body): float(row[token]) for token in wanted} for row in rows if row is not None]
        return {
            "tokens": [self._name(token, body) for token in shown],
            "token_logprobs": [
                None if row is None else float(row[token]) for row, token in zip(rows, shown, strict=True)
            ],
            "top_logprobs": top,
        }

    def _name(self, token: int, body: dict[str, Any]) -> str:
        if self.dialect == "vllm" and body.get("return_tokens_as_token_ids"):
            return f"token_id:{token}"
        return self.tokenizer.decode([token])


def _prompts(body: dict[str, Any]) -> list[list[int]]:
    return body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
