"""SGLang's own protocol in this process, over any model that gives log-probabilities.

What it does was read off SGLang's source of 2026 (`io_struct.py`, `schedule_batch.py`, `tokenizer_manager.py`, the
output streamer), not off a running server:
- `/generate` takes a prompt or a list of them, and lists of what goes with each; a list of `logprob_start_len` does not
  go with `n` above 1, whose answers come prompt by prompt.
- The radix cache lends at most `logprob_start_len` tokens, and at most all but one. Prompts of one request do not find
  each other, because they are scheduled together.
- `input_token_logprobs` has a row for each token from `logprob_start_len` on, the first one's probability null.
- With `max_new_tokens` 0 there are no `output_ids`, and still one row of `output_token_ids_logprobs`.
- `output_ids` hold the end of turn. Log-probabilities of what was drawn are those at the temperature.
- Seeds are used by a server that is deterministic only, by place in the text; there answers of `n` are all the same.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mrt_reward.provers.tokenizer import HFTokenizer

Model = Callable[[Sequence[int]], NDArray[np.float64]]
"""Log-probabilities of what comes after each of these ids, shape (ids, vocabulary)."""


@dataclass(frozen=True)
class _Asked:
    ids: list[int]
    sampling: dict[str, Any]
    start: int
    token_ids: list[int]
    rated: bool


class FakeSGLang:
    """Starlette's app, and what it was asked.

    Args:
        model: gives log-probabilities.
        tokenizer: of the model.
        end_id: its end of turn.

    Attributes:
        asked: headers and bodies of `/generate`, in order.
        cached: sequences in the radix cache.
        weights: version of the weights that it tells.
        deterministic: started with `--enable-deterministic-inference`.
        truncates: started with `--allow-auto-truncate`; keeps this many tokens.
        silent_at_0: a release that tells no row where `max_new_tokens` is 0.
        info_path: where it tells of its model.
        changed: applied to each reply of `/generate`.
        replies: sent instead, first in first out.

    """

    def __init__(self, model: Model, tokenizer: HFTokenizer, end_id: int, *, max_model_len: int = 4096) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.end_id = end_id
        self.max_model_len = max_model_len
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.cached: list[list[int]] = []
        self.weights = "default"
        self.deterministic = False
        self.truncates: int | None = None
        self.silent_at_0 = False
        self.info_path = "/model_info"
        self.changed: Callable[[list[dict[str, Any]]], Any] = lambda reply: reply
        self.replies: deque[Response] = deque()
        self._rng = np.random.default_rng(0)
        routes = [
            Route("/v1/models", self._models),
            Route("/model_info", self._info),
            Route("/get_model_info", self._info),
            Route("/tokenize", self._tokenize, methods=["POST"]),
            Route("/generate", self._generate, methods=["POST"]),
        ]
        self.transport = httpx.ASGITransport(Starlette(routes=routes))

    async def _models(self, request: Request) -> Response:
        card = {"id": "m", "created": 0, "owned_by": "sglang", "root": "m", "max_model_len": self.max_model_len}
        return JSONResponse({"object": "list", "data": [card]})

    async def _info(self, request: Request) -> Response:
        if request.url.path != self.info_path:
            return JSONResponse({"detail": "Not Found"}, 404)
        reported = {"model_path": "/models/m", "tokenizer_path": "/models/m", "is_generation": True}
        return JSONResponse({**reported, "preferred_sampling_params": None, "weight_version": self.weights})

    async def _tokenize(self, request: Request) -> Response:
        ids = self.tokenizer.encode_trusted((await request.json())["prompt"]).tolist()
        return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": self.max_model_len})

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append((dict(request.headers), body))
        if self.replies:
            return self.replies.popleft()
        try:
            items, num_samples, single = _normalized(body)
            answers = [self._answer(item) for item in items for _ in range(num_samples)]
        except ValueError as error:
            return JSONResponse({"error": {"message": str(error)}}, 400)
        self.cached += [item.ids for item in items]
        reply = self.changed(answers)
        return JSONResponse(reply[0] if single and num_samples == 1 else reply)

    def _lent(self, item: _Asked) -> int:
        most = len(item.ids) - 1
        if item.rated and item.start >= 0:
            most = min(most, item.start)
        return max((min(most, _common(known, item.ids)) for known in self.cached), default=0)

    def _answer(self, item: _Asked) -> dict[str, Any]:
        ids, most = item.ids, item.sampling.get("max_new_tokens", 128)
        if self.truncates is not None:
            ids = ids[-self.truncates :]
        if len(ids) >= self.max_model_len:
            raise ValueError(f"Input length ({len(ids)} tokens) exceeds the maximum allowed length")
        start = len(ids) - 1 if item.start == -1 else item.start
        if start >= len(ids):
            raise ValueError(f"logprob_start_len={start} is higher than the number of input tokens {len(ids)}")
        written, finish = self._written(ids, item.sampling, most)
        reported = {
            "id": "r", "finish_reason": finish, "prompt_tokens": len(ids), "weight_version": self.weights,
            "completion_tokens": len(written), "cached_tokens": self._lent(item), "e2e_latency": 0.1,
        }  # fmt: skip
        if item.rated:
            reported |= self._meta(ids, written, start, item)
        return {"text": self.tokenizer.decode(written), "output_ids": written, "meta_info": reported}

    def _meta(self, ids: list[int], written: list[int], start: int, item: _Asked) -> dict[str, Any]:
        rows = self.model([*ids, *written[:-1]])
        temperature = item.sampling.get("temperature", 1.0) or 1.0
        after = [_tempered(rows[len(ids) - 1 + index], temperature) for index in range(max(1, len(written)))]
        if self.silent_at_0 and not written:
            after = []
        drawn = written or [int(row.argmax()) for row in after]
        reported: dict[str, Any] = {
            "input_token_logprobs": [
                [None if at == start else float(rows[at - 1, ids[at]]), ids[at], None] for at in range(start, len(ids))
            ],
            "output_token_logprobs": [
                [float(row[token]), token, None] for row, token in zip(after, drawn, strict=True)
            ],
        }
        if item.token_ids:
            reported["output_token_ids_logprobs"] = [
                [[float(row[token]), token, None] for token in item.token_ids] for row in after
            ]
        return reported

    def _written(self, ids: list[int], sampling: dict[str, Any], most: int) -> tuple[list[int], dict[str, Any]]:
        written: list[int] = []
        for _ in range(most):
            row = self.model([*ids, *written])[-1]
            if sampling.get("temperature", 1.0) == 0:
                written.append(int(row.argmax()))
            else:
                cumulative = np.exp(_tempered(row, sampling["temperature"])).cumsum()
                written.append(int(np.searchsorted(cumulative, self._random(sampling, len(ids) + len(written)))))
            if written[-1] == self.end_id:
                return written, {"type": "stop", "matched": self.end_id}
        return written, {"type": "length", "length": most}

    def _random(self, sampling: dict[str, Any], index: int) -> float:
        seed = [sampling.get("sampling_seed", 42), index]
        rng = np.random.default_rng(seed) if self.deterministic else self._rng
        return float(rng.random()) * (1 - 1e-12)


def _tempered(row: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    scaled = row / temperature
    return scaled - math.log(float(np.exp(scaled).sum()))


def _common(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _normalized(body: dict[str, Any]) -> tuple[list[_Asked], int, bool]:
    """What is asked about each prompt, how many answers each gets, and whether it came as no list."""
    prompts, sampling = body["input_ids"], body["sampling_params"]
    single = not isinstance(prompts[0], list)
    prompts = [prompts] if single else prompts
    samplings = sampling if isinstance(sampling, list) else [sampling] * len(prompts)
    [num_samples] = {each.get("n", 1) for each in samplings}

    def each(name: str, default: Any, *, nested: bool = False) -> list[Any]:
        given = body.get(name, default)
        is_list = isinstance(given, list) and (not nested or (given and isinstance(given[0], list)))
        if is_list and num_samples > 1:
            raise ValueError(f"Cannot use list {name} with parallel_sample_num > 1")
        return given if is_list else [given] * len(prompts)

    fields = (each("logprob_start_len", -1), each("token_ids_logprob", [], nested=True), each("return_logprob", False))
    return [_Asked(*row) for row in zip(prompts, samplings, *fields, strict=True)], num_samples, single
