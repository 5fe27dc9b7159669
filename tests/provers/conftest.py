"""Tiny random models and tokenizers, made once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint

CONTROL = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n<think>\n"
)
CORPUS = [
    "The final answer is \\boxed{42}. Wait, let me check 17 + 25 = 42, so {42} it is.",
    "Alternatively, \\frac{1}{2} and {1/2} mean the same: {x}} {y}, naïve café 日本語 😀.",
] * 30
MAX_TOKENS = 4096

torch.set_num_threads(1)


def save_tokenizer(folder: Path, backend: Tokenizer, **settings: object) -> None:
    fast: Any = cast("Any", transformers.PreTrainedTokenizerFast)
    fast(tokenizer_object=backend, eos_token="<|im_end|>", **settings).save_pretrained(folder)


def byte_level() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = cast("Any", pre_tokenizers).ByteLevel(add_prefix_space=False)
    backend.decoder = cast("Any", decoders).ByteLevel()
    alphabet = cast("Any", pre_tokenizers).ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS, cast("Any", trainers).BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_tokens([AddedToken(word, special=index < 2, normalized=False) for index, word in enumerate(CONTROL)])
    return backend


def metaspace() -> Tokenizer:
    pieces = [
        "<unk>",
        "<|im_end|>",
        *[f"<0x{byte:02X}>" for byte in range(256)],
        "▁",
        "▁the",
        "▁answer",
        "{",
        "}",
        "4",
        "2",
    ]
    vocab = [(piece, -float(index % 7) - 1) for index, piece in enumerate(pieces)]
    backend = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = cast("Any", pre_tokenizers).Metaspace(prepend_scheme="always", split=False)
    backend.decoder = cast("Any", decoders).Sequence(
        [decoders.ByteFallback(), cast("Any", decoders).Metaspace(prepend_scheme="always")]
    )
    backend.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    return backend


def save_model(folder: Path, kind: str, **changes: object) -> None:
    torch.manual_seed(0)
    settings: dict[str, object] = {
        "vocab_size": 404,
        "hidden_size": 128,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": None,
        "eos_token_id": 347,
        "initializer_range": 0.12,
        **changes,
    }
    config: Any = getattr(transformers, f"{kind}Config")(**settings)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)
    save_tokenizer(folder, byte_level(), chat_template=TEMPLATE)


@pytest.fixture(scope="session", params=["Qwen2", "Llama"])
def model_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    save_model(folder, request.param)
    return folder


@pytest.fixture(scope="session")
def qwen_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    save_model(folder, "Qwen2")
    return folder


@pytest.fixture(scope="session")
def prover(model_dir: Path) -> Iterator[TransformersProver]:
    built = TransformersProver(EngineSettings(model=str(model_dir), device="cpu", threads=1))
    yield built
    built._worker.close()  # pyright: ignore[reportPrivateUsage] - closing it needs a loop


@pytest.fixture(scope="session")
def reference(model_dir: Path) -> Any:
    return cast("Any", transformers.AutoModelForCausalLM).from_pretrained(model_dir, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def tokenizer(qwen_dir: Path) -> HFTokenizer:
    return HFTokenizer(qwen_dir)


@pytest.fixture(scope="session")
def metaspace_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metaspace")
    save_tokenizer(folder, metaspace())
    return folder


@pytest.fixture
def vllm(tokenizer: HFTokenizer) -> FakeEndpoint:
    return FakeEndpoint("vllm", tokenizer)
