"""`mrt-reward serve --engine vllm` as a process: weights over HTTP, and the death of its engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.types import Trace
from tests.provers.proving import prove_all
from tests.vllm.conftest import free_port, island_traces, logprobs, perturbed, proofs_of

psutil = pytest.importorskip("psutil", reason="vLLM is not installed: make test-vllm runs these")

pytestmark = pytest.mark.asyncio(loop_scope="session")

START_TIMEOUT_S = 180.0
OPTIONS = {"segmenter": {"kind": "paragraphs", "group": 1, "max_episodes": 8}}


@dataclass(frozen=True)
class Process:
    """A running server."""

    process: asyncio.subprocess.Process
    http: httpx.AsyncClient
    admin: httpx.AsyncClient

    def engines(self) -> list[Any]:
        """The engine's own processes."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "EngineCore" in child.name()]


async def until_ready(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    while not any(line.startswith("ready:") for line in lines):
        assert process.returncode is None, "".join(lines)
        await asyncio.sleep(0.1)


@asynccontextmanager
async def served(root: Path, *flags: str) -> AsyncGenerator[Process]:
    """Start a server on the bundled model, and end it if it still runs."""
    port, admin_port = free_port(), free_port()
    command = [
        "serve",
        "--engine",
        "vllm",
        "--model",
        str(MODEL_DIR),
        "--max-model-len",
        "2048",
    ]
    command += [
        "--port",
        str(port),
        "--admin-port",
        str(admin_port),
        "--weights-root",
        str(root),
        "--log-format",
        "json",
    ]
    command += ["--engine-arg", "kv_cache_memory_bytes=100000000", *flags]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("mrt-reward"),
        *command,
        stderr=pipe,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stderr is not None
    lines: list[str] = []

    async def read() -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            lines.append(line.decode(errors="replace"))  # noqa: PERF401 - read while it grows

    reading = asyncio.create_task(read())
    try:
        await asyncio.wait_for(until_ready(process, lines), START_TIMEOUT_S)
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120) as http,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{admin_port}", timeout=120) as admin,
        ):
            yield Process(process, http, admin)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 60)
        await reading


def body(traces: list[Trace]) -> dict[str, object]:
    fields = [{"id": t.id, "problem": t.problem, "completion": t.completion, "answer": t.answer[0]} for t in traces]
    return {"traces": fields, "options": OPTIONS}


async def test_weights_are_loaded_over_http_and_an_engines_death_ends_the_server(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    perturbed(root / "step-2")
    async with served(root) as server:
        asked = body(island_traces(4))
        before = (await server.http.post("/v1/score", json=asked)).json()["traces"]
        refused = await server.admin.post("/admin/weights", json={"path": "step-2"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "path")
        assert "marker" in refused.json()["error"]["message"]
        (root / "step-2" / ".complete").touch()
        lora = await server.admin.post("/admin/weights", json={"path": "step-2", "kind": "lora"})
        assert (lora.status_code, "enable_lora" in lora.json()["error"]["message"]) == (501, True)
        loaded = await server.admin.post("/admin/weights", json={"path": "step-2"})
        assert loaded.status_code == 200, loaded.text
        after = (await server.http.post("/v1/score", json=asked)).json()["traces"]
        assert {trace["prover"] for trace in after} == {f"{loaded.json()['model']}@{loaded.json()['version']}"}
        assert all(trace["status"] == "ok" for trace in [*before, *after])
        assert before[0]["values"] != after[0]["values"]

        # Much more than the engine can do before it is killed.
        work = {**body(island_traces(200, seed=3)), "options": {**OPTIONS, "estimator": {"kind": "rollouts"}}}
        running = asyncio.create_task(server.http.post("/v1/score", json=work))
        await asyncio.sleep(1.0)
        assert not running.done()
        [engine] = server.engines()
        engine.send_signal(signal.SIGKILL)
        reply = await asyncio.wait_for(running, 30)
        traces = reply.json()["traces"]
        failed = [trace["error"] for trace in traces if trace["status"] == "error"]
        assert failed
        assert {error["code"] for error in failed} == {"engine_dead"}
        assert {error["type"] for error in failed} == {"ProverUnavailable"}
        assert all(trace["error"] or trace["values"] for trace in traces)
        try:
            ready = (await server.http.get("/readyz")).status_code
        except httpx.TransportError:
            ready = 503  # it is gone already
        assert ready == 503
        assert await asyncio.wait_for(server.process.wait(), 60) not in (0, None)


async def test_a_retry_succeeds_after_the_restart_and_bfloat16_is_near(tmp_path: Path) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415 - with the engine only

    traces = island_traces(30)
    async with served(tmp_path, "--dtype", "bfloat16") as server:
        assert (await server.http.get("/readyz")).status_code == 200
        assert (await server.http.get("/v1/prover")).json()["engine"] == "vllm"
        scored = (await server.http.post("/v1/score", json=body(traces))).json()["traces"]
        server.process.terminate()
        assert await asyncio.wait_for(server.process.wait(), 60) == 0
    found = np.log([value["value"] for trace in scored for value in trace["values"]])
    assert len(found) >= 200
    plain: dict[str, Any] = {}
    for dtype in ("bfloat16", "float32"):
        prover = TransformersProver(EngineSettings(model=str(MODEL_DIR), dtype=dtype, device="cpu"))
        plain[dtype] = logprobs(await prove_all(prover, proofs_of(traces, prover.tokenizer)))
        await prover.close()
    near = distances("vllm bfloat16 - transformers bfloat16", found, plain["bfloat16"])
    ours = distances("vllm bfloat16 - transformers float32", found, plain["float32"])
    theirs = distances("transformers bfloat16 - transformers float32", plain["bfloat16"], plain["float32"])
    assert near["mean value"] <= 0.005
    assert near["largest value"] <= 0.03
    # From the exact values, no farther than rounding takes the other engine.
    assert ours["mean value"] <= 0.005
    for figure, most in theirs.items():
        assert ours[figure] <= 1.5 * most, figure


def distances(what: str, one: Any, two: Any) -> dict[str, float]:
    """How far log-probabilities and probabilities are from each other."""
    nats, values = np.abs(one - two), np.abs(np.exp(one) - np.exp(two))
    reported = {
        "mean value": float(values.mean()),
        "largest value": float(values.max()),
        "mean nats": float(nats.mean()),
        "largest nats": float(nats.max()),
    }
    print(what, len(one), "prefixes:", ", ".join(f"{name} {number:.4f}" for name, number in reported.items()))
    return reported
