"""A rollout server whose engine is vLLM's own, in an environment of its own: generation and probes share its cache.

It takes weights as a replica does: they are written to a folder, loaded by vLLM's `reload_weights`, the head is packed
(`vllm_head`), and the prefix cache is emptied. Asleep it is asked nothing: what it answered meanwhile, or while it took
weights, is told and counted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import torch
from verl.workers.rollout.replica import TokenOutput

from tests.verl.cpu.rollout import CPUServer

NUM_ANSWERED = re.compile(r"^vllm:request_success_total\{.*\} (\S+)$", re.MULTILINE)
NUM_RUNNING = re.compile(r"^vllm:num_requests_running\{.*\} (\S+)$", re.MULTILINE)


class VLLMServer(CPUServer):
    """Speaks for the server at a URL."""

    def __init__(self, path: str, max_tokens: int, seed: int, url: str) -> None:
        super().__init__(path, max_tokens, seed)
        self._http = httpx.AsyncClient(base_url=url, timeout=600)
        self._port = urlsplit(url).port or 0
        self._seed = seed
        self._num_answered = 0.0

    async def open(self) -> int:
        return self._port

    async def generate(self, request_id: str, prompt_ids: list[int], sampling_params: Any, **_: Any) -> TokenOutput:
        self._seed += 1
        asked: dict[str, Any] = {
            "model": "mini", "prompt": list(prompt_ids), "seed": self._seed, "logprobs": 0,
            "max_tokens": sampling_params.get("max_tokens", self.max_tokens),
            "return_tokens_as_token_ids": True,
            "temperature": sampling_params.get("temperature", 1.0),
            "ignore_eos": sampling_params.get("ignore_eos", False),
        }  # fmt: skip
        reply = (await self._http.post("/v1/completions", json=asked)).raise_for_status().json()
        [choice] = reply["choices"]
        ids = [int(name.removeprefix("token_id:")) for name in choice["logprobs"]["tokens"]]
        extra = {"global_steps": self.step}
        return TokenOutput(token_ids=ids, log_probs=choice["logprobs"]["token_logprobs"], extra_fields=extra)

    async def load(self, weights: dict[str, torch.Tensor], step: int | None) -> int:
        if self.asleep and await self._answered() != self._num_answered:
            self._wrong("asked while asleep")
        num = await super().load(weights, step)
        assert self.dump is not None
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(Path(self.dump) / f"weights_{self.step}")}}
        pack = {"method": "repack_head"}
        for route, body in (("/collective_rpc", reload), ("/collective_rpc", pack), ("/reset_prefix_cache", {})):
            (await self._http.post(route, json=body)).raise_for_status()
        return num

    async def sleep(self, *_: Any, **__: Any) -> None:
        [running] = NUM_RUNNING.findall(await self._metrics())
        if float(running):
            self._wrong("put to sleep while asked")
        self.asleep, self._num_answered = True, await self._answered()

    async def _answered(self) -> float:
        return sum(map(float, NUM_ANSWERED.findall(await self._metrics())))

    async def _metrics(self) -> str:
        return (await self._http.get("/metrics")).raise_for_status().text
