"""A model from a folder or the hub, checked to be one that can be packed, and the identity of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, translated
from mrt_reward.provers.checkpoints import end_ids, resolve_folder, weights_version
from mrt_reward.provers.hf.kv_cache import ATTENTION
from mrt_reward.provers.hf.model import PackedModel
from mrt_reward.provers.stops import Stops
from mrt_reward.provers.tokenizer import HFTokenizer

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to prove.

    Attributes:
        folder: where it lies.
        version: sixteen hex digits that change with any byte of the weights.

    """

    folder: Path
    packed: PackedModel
    tokenizer: HFTokenizer
    version: str


def load(settings: EngineSettings) -> Loaded:
    """Load the model onto the device, in evaluation mode.

    Raises:
        ConfigError: nothing loadable is there, or its attention cannot be packed.

    """
    folder = resolve_folder(settings.named_model, settings.revision)
    trusted, dtype = settings.trust_remote_code, dtype_of(settings)
    with translated(lambda error: ConfigError(f"model {settings.model!r} cannot be loaded: {error}", param="model")):
        config: Any = cast("Any", transformers.AutoConfig).from_pretrained(folder, trust_remote_code=trusted)
        max_tokens = _checked_context(config, settings.max_model_len)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=_DTYPES[dtype],
            attn_implementation=ATTENTION,
            use_safetensors=True,
            trust_remote_code=trusted,
        )
        model = with_full_precision_head(model.to(_device(settings.device)).eval())
    tokenizer = HFTokenizer(folder, trust_remote_code=trusted)
    stops = Stops(end_ids(folder, tokenizer.end_id), tokenizer.braces)
    return Loaded(folder, PackedModel(model, max_tokens, stops), tokenizer, weights_version(folder))


def dtype_of(settings: EngineSettings) -> str:
    """Precision of the weights: float32 equals a plain forward per prefix to 1e-4, and is "auto"."""
    return "float32" if settings.dtype == "auto" else settings.dtype


class FullPrecisionHead(torch.nn.Module):
    """A model's last layer in float32, whatever the precision of what comes before it.

    In bfloat16 a logit of 16 is rounded to a multiple of 0.125, which is more than all layers before it lose. The copy
    is made once and takes 4 bytes a weight, beside the embedding that it may have been tied to.
    """

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(head.weight.detach().float(), requires_grad=False)
        self.bias = None if head.bias is None else torch.nn.Parameter(head.bias.detach().float(), requires_grad=False)  # pyright: ignore[reportUnnecessaryComparison] - None without one

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits in float32."""
        return torch.nn.functional.linear(hidden.float(), self.weight, self.bias)


def with_full_precision_head(model: Any) -> Any:  # noqa: ANN401 - transformers' own
    """The model, with logits in float32; what has them already, or has an unusual head, stays as it is."""
    head = model.get_output_embeddings()
    if isinstance(head, torch.nn.Linear) and head.weight.dtype != torch.float32:
        model.set_output_embeddings(FullPrecisionHead(head))
    return model


def _checked_context(config: Any, asked: int | None) -> int:  # noqa: ANN401 - transformers' own
    """Longest context, for a model whose every layer attends to all of it in the plain way."""
    kinds = set(cast("list[str]", getattr(config, "layer_types", None) or ["full_attention"]))
    window = None if hasattr(config, "layer_types") else getattr(config, "sliding_window", None)
    if kinds != {"full_attention"} or window or getattr(config, "attn_logit_softcapping", None):
        raise ConfigError(
            f"engine 'transformers' packs models with plain full attention, this one ({config.model_type}) has "
            f"{', '.join(sorted(kinds))}, window {window}: use the vllm engine for it",
            param="model",
        )
    own = int(config.max_position_embeddings)
    if asked is not None and not 1 < asked <= own:
        raise ConfigError(f"max_model_len must be in [2, {own}] for this model, got {asked}", param="max_model_len")
    return asked or own


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
