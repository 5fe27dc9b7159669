"""The bundled model on real engines of vLLM, started once a session; skipped where vLLM is not installed."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytest_asyncio

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.graders.spellings import spellings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problem
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from mrt_reward.protocols import Proof, Proven, RolloutQuery
from mrt_reward.service.jobs import prepare
from mrt_reward.types import Trace
from tests.service.conftest import WordGrader

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

HERE = Path(__file__).parent
HAS_VLLM = importlib.util.find_spec("vllm") is not None

MAX_MODEL_LEN = 2304
NUM_BLOCKS = 336
"""Four traces of 1,950 tokens with 13 probes each: 62 blocks of 32, and 13 times 2 for the tails, are 88; less 4."""

# vLLM and its kernels warn about their own dependencies.
UPSTREAM_WARNINGS = (
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:.*leaked.*:UserWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what these tests need, and what their engine warns about."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.vllm)
            for warning in UPSTREAM_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))
            if not HAS_VLLM:
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed: make test-vllm runs these"))


def island_traces(num_traces: int, seed: int = 0) -> list[Trace]:
    """Traces of the bundled task, with their answers."""
    rng = np.random.default_rng(seed)
    traces: list[Trace] = []
    for index in range(num_traces):
        problem = sample_problem(rng)
        thinking = write_thinking(problem, BASE_SLOPPINESS, rng).text
        completion = f"<think>\n{thinking}</think>\n\nThe final answer is \\boxed{{{problem.answer}}}"
        traces.append(Trace(f"t{index}", problem=problem.text, completion=completion, answer=(str(problem.answer),)))
    return traces


OPTIONS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs", group=1, max_episodes=8))


def proofs_of(traces: Sequence[Trace], tokenizer: Any) -> list[Proof]:
    """What the pipeline asks about the traces, by likelihood."""
    proofs: list[Proof] = []
    for trace in traces:
        job = prepare(trace, OPTIONS, tokenizer, WordGrader(), spellings)
        indices = range(len(job.cuts))
        proofs.append(job.proof(indices, [index * 7919 + int(trace.id[1:]) for index in indices]))
    return proofs


def asked(proof: Proof, **changes: Any) -> Proof:
    """The same probes, asked for answers."""
    fields: dict[str, Any] = {
        "num_samples": 4,
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 16,
        "stop_at_close": True,
        **changes,
    }
    return Proof(proof.token_ids, proof.probes, RolloutQuery(**fields))


def logprobs(proven: Sequence[Proven]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """All spelling log-probabilities of answered proofs."""
    return np.array([value for one in proven for answer in one.answers for value in answer.spelling_logprobs])


def perturbed(folder: Path, *, scale: float = 0.05, seed: int = 1) -> Path:
    """A second checkpoint of the same network whose values differ."""
    import torch  # noqa: PLC0415 - not in the core tests
    from safetensors import torch as tensors  # noqa: PLC0415

    shutil.copytree(MODEL_DIR, folder)
    torch.manual_seed(seed)
    file = folder / "model.safetensors"
    weights = tensors.load_file(file)
    noisy = {name: (w.float() * (1 + scale * torch.randn_like(w.float()))).to(w.dtype) for name, w in weights.items()}
    file.chmod(0o644)
    tensors.save_file(noisy, file, metadata={"format": "pt"})
    return folder


def write_adapter(folder: Path, *, rank: int = 8, hidden: int | None = None, seed: int = 3) -> Path:
    """A LoRA adapter to the bundled model, as PEFT writes it."""
    import torch  # noqa: PLC0415
    from safetensors import torch as tensors  # noqa: PLC0415

    config = json.loads((MODEL_DIR / "config.json").read_text())
    width = hidden or int(config["hidden_size"])
    heads_width = int(config["num_attention_heads"]) * int(config["head_dim"])
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    for layer in range(int(config["num_hidden_layers"])):
        for name in ("q_proj", "v_proj"):
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{stem}.lora_A.weight"] = torch.randn(rank, width) * 0.3
            weights[f"{stem}.lora_B.weight"] = torch.randn(heads_width, rank) * 0.3
    tensors.save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def until_idle(prover: VLLMProver) -> None:
    """Wait until the engine runs nothing."""

    async def idle() -> None:
        while prover.engine.num_running:  # noqa: ASYNC110 - the engine's own state
            await asyncio.sleep(0.02)

    await asyncio.wait_for(idle(), 20)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prover() -> AsyncGenerator[VLLMProver]:
    """In float32, with a cache that holds four traces of 2,000 tokens."""
    from mrt_reward.provers.vllm.prover import VLLMProver  # noqa: PLC0415 - an optional engine

    built = await asyncio.to_thread(
        VLLMProver,
        EngineSettings(
            model=str(MODEL_DIR),
            dtype="float32",
            max_model_len=MAX_MODEL_LEN,
            engine_args={
                "num_gpu_blocks_override": NUM_BLOCKS, "enable_lora": True, "max_lora_rank": 8, "max_loras": 2,
            },
        ),
    )  # fmt: skip
    yield built
    await built.close()
