"""The embedded engine: a Hugging Face model in this process, on a CPU or one GPU.

Work runs in one thread of its own, so the event loop is never blocked and the model is never called twice at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Literal, cast

import numpy as np
import torch
import transformers

from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable
from mrt_reward.protocols import Probe, Proof, Proven, ProverInfo, RolloutQuery, Tokenizer
from mrt_reward.provers.packed_model import PackedModel
from mrt_reward.provers.sampling import Stops
from mrt_reward.provers.shared_cache import ATTENTION
from mrt_reward.provers.tokenizer import HFTokenizer

MAX_BATCH_TOKENS = 32_768
_HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py")


class _Cancelled(Exception):
    """The caller has left."""


class TransformersProver:
    """A `Prover` over transformers: one causal pass a trace, its terminated suffixes packed into masked passes.

    Args:
        model: a folder, or a name on the Hugging Face hub (`HF_HUB_OFFLINE` is respected).
        dtype: of weights and arithmetic; "float32" reproduces a plain forward per prefix to 1e-4.
        device: "auto" is the first GPU if there is one.
        max_context_tokens: longest context; None is the model's own.
        options: `num_threads` of the CPU, `revision` of a hub model, `trust_remote_code`, and `note`, which readers of
            the values see.

    Raises:
        ConfigError: the model cannot be loaded, or its attention is of a kind that cannot be packed.

    """

    def __init__(
        self,
        model: str | Path,
        *,
        dtype: Literal["float32", "bfloat16", "float16"] | str = "float32",
        device: str = "auto",
        max_context_tokens: int | None = None,
        **options: Any,  # noqa: ANN401 - each is listed in `_Options`
    ) -> None: ...
