"""The HTTP routes that a vLLM replica of veRL has at its address, as far as probes use them, over a model in memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import AutoTokenizer


class Routes:
    """Listens at a free port, from `open` on.

    Attributes:
        away: called at each question; where it is true, the connection is cut, and nobody listens for a while.
        num_running: questions that are being answered.

    """

    def __init__(self, path: str, model: Any, away: Callable[[], bool]) -> None:
        self.path, self.model, self.away = path, model, away
        self.tokenizer: Any = AutoTokenizer.from_pretrained(path)
        self.num_running = self.port = 0
        self.app = Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/completions", self._completions, methods=["POST"]),
                Route("/tokenize", self._tokenize, methods=["POST"]),
            ]
        )
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._dying: asyncio.Task[None] | None = None

    async def open(self) -> int:
        """Listen, at the same port each time."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        sock.listen()
        self.port = sock.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_level="warning", lifespan="off"))
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        self._serving = asyncio.create_task(self._server.serve(sockets=[sock]))
        return self.port

    async def close(self) -> None:
        """Listen no more."""
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = self._server.force_exit = True
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()  # type: ignore[union-attr]
        await self._serving

    async def _killed(self) -> None:
        """As after a crash: connections are cut, and for a moment there is nobody."""
        await self.close()
        await asyncio.sleep(1)
        await self.open()

    async def _models(self, request: Request) -> Response:
        card = {"id": self.path, "root": self.path, "max_model_len": self.model.config.max_position_embeddings}
        return JSONResponse({"data": [card]})

    async def _tokenize(self, request: Request) -> Response:
        return JSONResponse({"tokens": self.tokenizer.encode((await request.json())["prompt"])})

    async def _completions(self, request: Request) -> Response:
        body = await request.json()
        if self.away():
            self._dying = asyncio.create_task(self._killed())
            await asyncio.Event().wait()
        self.num_running += 1
        try:
            await asyncio.sleep(0)
            return JSONResponse(self._answer(body))
        finally:
            self.num_running -= 1

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        prompts: list[list[int]] = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        prompts = [prompt for prompt in prompts for _ in range(body.get("n", 1))]
        drawing = torch.Generator().manual_seed(body.get("seed", 0))
        rows: list[list[tuple[int, torch.Tensor]]] = [[] for _ in prompts]
        for _ in range(body["max_tokens"]):
            texts = [[*prompt, *(token for token, _ in row)] for prompt, row in zip(prompts, rows, strict=True)]
            for row, logprobs in zip(rows, self._logprobs(texts), strict=True):
                heat = body["temperature"]
                drawn = torch.multinomial((logprobs / (heat or 1)).softmax(-1), 1, generator=drawing)
                row.append((int(drawn if heat else logprobs.argmax()), logprobs))
        choices = [self._choice(index, row, body) for index, row in enumerate(rows)]
        num_prompt = sum(map(len, prompts))
        return {"choices": choices, "usage": {"prompt_tokens": num_prompt, "completion_tokens": len(choices)}}

    def _logprobs(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """After each text; rows are padded behind, where a causal model does not look."""
        width = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
        with torch.no_grad():
            logits = self.model(input_ids=ids).logits
        ends = torch.tensor([len(text) - 1 for text in texts])
        return logits[torch.arange(len(texts)), ends].float().log_softmax(-1)

    def _choice(self, index: int, row: Sequence[tuple[int, torch.Tensor]], body: dict[str, Any]) -> dict[str, Any]:
        ends = [at for at, (token, _) in enumerate(row) if token == self.model.config.eos_token_id]
        kept = row[: ends[0] + 1] if ends else row
        wanted: list[int] = body.get("logprob_token_ids") or []
        return {
            "index": index,
            "text": self.tokenizer.decode([token for token, _ in kept]),
            "finish_reason": "stop" if ends else "length",
            "logprobs": {
                "tokens": [f"token_id:{token}" for token, _ in kept],
                "token_logprobs": [float(logprobs[token]) for token, logprobs in kept],
                "top_logprobs": [
                    {f"token_id:{token}": float(logprobs[token]) for token in wanted} for _, logprobs in kept
                ],
            },
        }
