"""The bundled task and the tiny reasoning model that is trained on it.

A family of search problems on a fixed island map (`island`), reasoning traces that search it sloppily (`writer`), what
each prefix has revealed (`truth`), the prover's own success rate by enumeration (`exact`), and a causal language model
in Hugging Face format (`MODEL_DIR`) that is both policy and prover. Importing this package loads none of them.
"""

from __future__ import annotations

from pathlib import Path

MODEL_DIR = Path(__file__).resolve().parent / "models" / "mini"
"""Folder of the bundled model: safetensors, configuration, tokenizer and model card."""

__all__ = ["MODEL_DIR"]
