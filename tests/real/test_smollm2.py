"""The folder holds what the wheel holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.real.smollm2 import FILE, converted, is_made_from, source_of, wheel

NUM_HEADS = 9


def stored(name: str) -> Any:
    """A tensor of the GGUF file, as its own package reads it."""
    gguf: Any = pytest.importorskip("gguf")
    [tensor] = [each for each in gguf.GGUFReader(wheel() / FILE).tensors if each.name == name]
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("model.layers.17.self_attn.v_proj.weight", "blk.17.attn_v.weight"),
        ("model.layers.29.input_layernorm.weight", "blk.29.attn_norm.weight"),
        ("model.norm.weight", "output_norm.weight"),
    ],
)
def test_weights_are_those_of_the_file(folder: Path, name: str, theirs: str) -> None:
    np.testing.assert_array_equal(_saved(folder, name), stored(theirs))


def test_queries_are_turned_back_to_halves(folder: Path) -> None:
    # The file keeps the two numbers that one angle turns side by side; transformers keeps them half a head apart.
    theirs = stored("blk.4.attn_q.weight")
    width = theirs.shape[1]
    halves = theirs.reshape(NUM_HEADS, -1, 2, width).swapaxes(1, 2).reshape(-1, width)
    np.testing.assert_array_equal(_saved(folder, "model.layers.4.self_attn.q_proj.weight"), halves)


def test_settings_and_template_are_the_models(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in settings
    assert (settings["model_type"], settings["vocab_size"], settings["num_hidden_layers"]) == ("llama", 49_152, 30)
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    assert "<|im_start|>" in template
    assert "<think>" not in template


def test_what_is_converted_already_is_left_alone_and_another_file_is_not_taken_for_it(folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert converted(folder) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    source = source_of(wheel() / FILE)
    assert is_made_from(folder, source)
    assert not is_made_from(folder, {**source, "sha256": "0" * 64})
    assert not is_made_from(folder / "gone", source)


def _saved(folder: Path, name: str) -> Any:
    import safetensors.numpy  # noqa: PLC0415 - where torch is

    return safetensors.numpy.load_file(folder / "model.safetensors")[name]
