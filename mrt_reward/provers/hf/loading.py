"""A model from a folder or the hub, checked to prove rightly, and the identity of its weights."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, translated
from mrt_reward.provers.checkpoints import end_ids, resolve_folder, weights_version
from mrt_reward.provers.hf.selfcheck import ProvedModel, proved
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
    model: ProvedModel
    tokenizer: HFTokenizer
    version: str


def load(settings: EngineSettings) -> Loaded:
    """Load the model onto the device, in evaluation mode.

    Raises:
        ConfigError: nothing loadable is there, or the model cannot be asked rightly.

    """
    folder = resolve_folder(settings.named_model, settings.revision)
    trusted, dtype = settings.trust_remote_code, dtype_of(settings)
    failed = translated(lambda error: ConfigError(f"model {settings.model!r} cannot be loaded: {error}", param="model"))
    with failed, without_bars():
        config: Any = cast("Any", transformers.AutoConfig).from_pretrained(folder, trust_remote_code=trusted)
        max_tokens = checked_context(config, settings.max_model_len)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=_DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=trusted,
        )
        model = with_full_precision_head(model.to(_device(settings.device)).eval())
    tokenizer = HFTokenizer(folder, trust_remote_code=trusted)
    stops = Stops(end_ids(folder, tokenizer.end_id), tokenizer.braces)
    return Loaded(folder, proved(model, max_tokens, stops, tokenizer), tokenizer, weights_version(folder))


@contextmanager
def without_bars() -> Generator[None]:
    """Without the bars of transformers, which would stand in the output of whoever uses this as a library.

    Releases before 5.9 may have no such hook, and show them.
    """
    set_hook: Any = getattr(transformers.utils.logging, "set_tqdm_hook", None)

    def silent(bar: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 - tqdm's
        return bar(*args, **{**kwargs, "disable": True})

    before = set_hook and set_hook(silent)
    try:
        yield
    finally:
        if set_hook:
            set_hook(before)


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
        """Logits of hidden states, computed and returned in float32."""
        return torch.nn.functional.linear(hidden.float(), self.weight, self.bias)


def with_full_precision_head(model: Any) -> Any:  # noqa: ANN401 - transformers' own
    """The model, with logits in float32; what has them already, or has an unusual head, stays as it is."""
    head = model.get_output_embeddings()
    if isinstance(head, torch.nn.Linear) and head.weight.dtype != torch.float32:
        model.set_output_embeddings(FullPrecisionHead(head))
    return model


def checked_context(config: Any, asked: int | None) -> int:  # noqa: ANN401 - transformers' own
    """Longest context, within which the model sees every token alike whatever follows it."""
    own = _longest(config.get_text_config())
    if own is None and asked is None:
        raise ConfigError(
            f"this model ({config.model_type}) names no longest context: give max_model_len, in tokens",
            param="max_model_len",
        )
    if asked is not None and not 1 < asked <= (own or asked):
        raise ConfigError(f"max_model_len must be in [2, {own}] for this model, got {asked}", param="max_model_len")
    return asked or own or 0


CHANGING = ("dynamic", "longrope")
"""Kinds of rotary embedding that turn all tokens by other angles once a context outgrows the first length."""


def _longest(config: Any) -> int | None:  # noqa: ANN401 - transformers' own
    own = getattr(config, "max_position_embeddings", None)
    rope = cast("dict[str, Any]", getattr(config, "rope_parameters", None) or {})
    if rope.get("rope_type") in CHANGING:
        # Beyond it the prefixes of a trace are not turned as the trace is, so that they share nothing with it.
        own = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", own)
    return None if own is None else int(own)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
