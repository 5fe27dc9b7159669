"""A rollout server on transformers: requests that wait are sampled together, each answered when it ends.

At its address it has the routes of a replica (`Routes`). Asleep it has no weights, as a replica at level 2: what asks
it then, or while it takes weights, is told and counted. Stopped, it answers each request with what it has so far, and
begins none, until generation is resumed; one that leaves its balancer sends what comes meanwhile elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import torch
from transformers import AutoModelForCausalLM
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from tests.verl.cpu.routes import Routes


def name_of(rank: int) -> str:
    """Of the server of a replica of the policy's."""
    return f"mrt_cpu_rollout_{rank}"


@dataclass(eq=False)
class Request:
    prompt_ids: list[int]
    temperature: float
    future: asyncio.Future[TokenOutput]
    max_tokens: int
    ends: frozenset[int]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class CPUServer:
    def __init__(self, path: str, max_tokens: int, seed: int) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.max_tokens, self.step = max_tokens, 0
        self.ends = frozenset({self.model.config.eos_token_id})
        self.random = torch.Generator().manual_seed(seed)
        self.waiting: list[Request] = []
        self.running: asyncio.Task[None] | None = None
        self.asleep = False
        self.admits = asyncio.Event()
        self.admits.set()
        self.rejects = False
        self.num_wrong = 0
        self.kill_at = int(os.environ.get("MRT_TEST_KILL_AT", "-1"))
        self.dump = os.environ.get("MRT_TEST_DUMP")
        self.routes = Routes(path, self.model, self._away)

    async def open(self) -> int:
        return await self.routes.open()

    async def get_server_address(self) -> tuple[str, int]:
        return "127.0.0.1", self.routes.port

    def _away(self) -> bool:
        """Whether to die of this question, once; one that comes while there are no weights is wrong."""
        if self.asleep:
            self._wrong("asked while asleep")
        dies = self.step == self.kill_at
        self.kill_at = -1 if dies else self.kill_at
        return dies

    def _wrong(self, what: str) -> None:
        assert self.dump is not None, what
        self.num_wrong += 1
        (Path(self.dump) / f"wrong_{self.num_wrong}.txt").write_text(what)

    async def generate(self, request_id: str, prompt_ids: list[int], sampling_params: Any, **_: Any) -> TokenOutput:
        while not self.admits.is_set():
            if self.rejects:
                return TokenOutput(token_ids=[], stop_reason="aborted", extra_fields={"global_steps": self.step})
            await self.admits.wait()
        if self.asleep:
            self._wrong("asked to write while asleep")
        temperature = float(sampling_params.get("temperature", 1.0))
        longest = int(sampling_params.get("max_tokens", self.max_tokens))
        ends = frozenset[int]() if sampling_params.get("ignore_eos") else self.ends
        request = Request(list(prompt_ids), temperature, asyncio.get_running_loop().create_future(), longest, ends)
        self.waiting.append(request)
        if self.running is None or self.running.done():
            self.running = asyncio.create_task(self._run())
        return await request.future

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            batch, self.waiting = self.waiting[:64], self.waiting[64:]
            if not batch:
                return
            await self._sample(batch)

    async def _sample(self, batch: list[Request]) -> None:
        width = max(len(request.prompt_ids) for request in batch)
        pads = [width - len(request.prompt_ids) for request in batch]
        ids = torch.tensor([[0] * pad + request.prompt_ids for pad, request in zip(pads, batch, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
        cache, live = None, set(batch)
        while live:
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            with torch.no_grad():
                out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache)
            cache = out.past_key_values
            heat = torch.tensor([request.temperature or 1.0 for request in batch])[:, None]
            logprobs = (out.logits[:, -1].float() / heat).log_softmax(-1)
            drawn = torch.multinomial(logprobs.exp(), 1, generator=self.random)[:, 0]
            greedy = torch.tensor([request.temperature == 0 for request in batch])
            ids = torch.where(greedy, logprobs.argmax(-1), drawn)[:, None]
            mask = torch.cat([mask, torch.ones(len(batch), 1, dtype=mask.dtype)], 1)
            for row, request in enumerate(batch):
                if request in live:
                    token = int(ids[row, 0])
                    request.ids.append(token)
                    request.logprobs.append(float(logprobs[row, token]))
                    if token in request.ends or len(request.ids) == request.max_tokens:
                        live.discard(request)
                        self._answer(request, "completed")
            await asyncio.sleep(0)
            if not self.admits.is_set():
                for request in live:
                    self._answer(request, "aborted")
                return

    def _answer(self, request: Request, reason: str) -> None:
        extra = {"global_steps": self.step}
        request.future.set_result(
            TokenOutput(token_ids=request.ids, log_probs=request.logprobs, stop_reason=reason, extra_fields=extra)
        )

    async def load(self, weights: dict[str, torch.Tensor], step: int | None) -> int:
        if self.routes.num_running:
            self._wrong("asked while weights change")
        self.asleep = False
        missing = self.model.load_state_dict(weights, strict=False).missing_keys
        assert not [name for name in missing if name != "lm_head.weight"], missing
        self.step = self.step if step is None else step
        if self.dump is not None:
            self.model.save_pretrained(Path(self.dump) / f"weights_{self.step}")
        return len(weights)

    async def wake_up(self, *_: Any, **__: Any) -> None: ...

    async def sleep(self, *_: Any, **__: Any) -> None:
        if self.routes.num_running:
            self._wrong("put to sleep while asked")
        self.asleep = True
        with torch.no_grad():
            for weights in self.model.parameters():
                weights.zero_()

    async def clear_kv_cache(self) -> None: ...

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        self.admits.clear()
        self.rejects = reject_request
        if self.running is not None:
            await self.running

    async def resume_generation(self) -> None:
        self.admits.set()

    async def release_kv_cache(self) -> None: ...

    async def resume_kv_cache(self) -> None: ...


class CPUReplica(RolloutReplica):
    async def launch_servers(self) -> None:
        given: list[Any] = [self.model_config.path, self.config.response_length]
        given.append(int(os.environ.get("MRT_TEST_SEED", "0")) + self.replica_rank)
        kind: type = CPUServer
        if (url := os.environ.get("MRT_TEST_VLLM")) is not None:
            from tests.verl.cpu.vllm_rollout import VLLMServer  # noqa: PLC0415 - which is based on what stands here

            kind, given = VLLMServer, [*given, url]
        server: Any = ray.remote(kind)
        # A pool's server goes by the name that veRL's own have there.
        pooled = f"{self.config.name}_server_reward_{self.replica_rank}_0"
        name = pooled if self.is_reward_model else name_of(self.replica_rank)
        handle = server.options(name=name, num_cpus=0).remote(*given)
        self.servers = [handle]
        await handle.open.remote()
        host, port = await handle.get_server_address.remote()
        self._server_handle, self._server_address = handle, f"{host}:{port}"


class CPUAdapter(BaseRollout):
    def __init__(self, config: Any, model_config: Any, device_mesh: Any, **kwargs: Any) -> None:
        super().__init__(config, model_config, device_mesh)
        self.sleep_level = 2
        # A replica that shares the trainer's GPU is the first one.
        self.server = name_of(kwargs.get("replica_rank", 0))

    async def resume(self, tags: list[str]) -> None: ...

    async def release(self) -> None: ...

    async def update_weights(self, weights: Any, global_steps: int | None = None, **_: Any) -> None:
        found: dict[str, torch.Tensor] = {}
        if isinstance(weights, AsyncIterable):
            async for name, tensor in weights:
                found[name] = tensor.detach().float().cpu().clone()
        else:
            assert isinstance(weights, Iterable)
            for name, tensor in weights:
                found[name] = tensor.detach().float().cpu().clone()
        server: Any = ray.get_actor(self.server)
        assert await server.load.remote(found, global_steps) > 0
