"""The whole comparison, in three rounds: both fixed models, both engines, peers, and a small cache.

    python -m tests.bench.bench_full [--models mini 60M] [--engines vllm transformers] [--grow] [--out FOLDER]

It runs `mrt-reward bench --json` with one thread for each model and engine, for the peers of `mini`, and for a cache
that holds four traces; with --grow also from 100 to 10,000 prefixes of `mini`. Runs that are complete in FOLDER are not
measured again; those that failed are. `mini` is the bundled model; `60M` has random weights, always the same, as speed
does not depend on them. Needs vLLM for its engine and for the peers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from mrt_reward.benchmark.table import show
from mrt_reward.mini import MODEL_DIR
from tests.bench.bars import Bar, as_failures, as_rows, bars

ROOT = Path(__file__).parents[2]
CONTEXT = 2304
"""Tokens; a trace of 12 episodes of about 150, its problem and its answer fit."""

CACHE_BLOCKS = 4 * (59 + 13 * 2)
"""Four traces: 59 blocks of 32 for each, and 2 for each of its 13 terminators and answers."""

LARGE = {
    "vocab_size": 4096, "hidden_size": 640, "intermediate_size": 1792, "num_hidden_layers": 13,
    "num_attention_heads": 10, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip
"""60 million parameters behind mini's tokenizer."""

ROUNDS = 3

WORK = {
    "mini": ["--slow-problems", "4", "--free-tokens", "256"],
    "60M": ["--problems", "4", "--slow-problems", "1"],
}
"""The large model takes fifteen times as long a prefix."""


def build_large(folder: Path) -> Path:
    """The model of 60 M parameters, in a folder."""
    import torch  # noqa: PLC0415 - slow to import
    import transformers  # noqa: PLC0415

    if not (folder / "model.safetensors").is_file():
        torch.manual_seed(0)
        config = cast("Any", transformers).LlamaConfig(**LARGE, eos_token_id=2)
        cast("Any", transformers).LlamaForCausalLM(config).save_pretrained(folder)
        for file in MODEL_DIR.glob("tokenizer*"):
            shutil.copy(file, folder)
    return folder


def measure(out: Path, name: str, flags: list[str]) -> list[dict[str, Any]]:
    """Rows and failures of one run, from its file where all of them are there."""
    file = out / f"{name}.json"
    if not (file.is_file() and json.loads(file.read_text())["complete"]):
        command = [sys.executable, "-m", "mrt_reward.cli", "bench", "--threads", "1", "--max-model-len", str(CONTEXT)]
        Console().print(f"mrt-reward bench --threads 1 --max-model-len {CONTEXT} {' '.join(flags)}", soft_wrap=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        # What failed stands in the file, beside what was measured.
        subprocess.run([*command, *flags, "--json", str(file)], check=False, env=environment)
    return json.loads(file.read_text())["rows"] if file.is_file() else []


def runs(model: str, engines: list[str], folder: Path, *, grow: bool) -> dict[str, list[str]]:
    """Flags of each run, by its name."""
    common = ["--rounds", str(ROUNDS), *WORK[model], *(["--model", str(folder)] if model == "60M" else [])]
    grown = ["--grow"] if grow and model == "mini" else []
    found = {f"{model}-{engine}": ["--engine", engine, *common, *grown] for engine in engines}
    if "vllm" in engines:
        vllm = ["--engine", "vllm", *common, "--no-server"]
        cache = ["--engine-arg", f"num_gpu_blocks_override={CACHE_BLOCKS}"]
        found[f"{model}-small-cache"] = [*vllm, "--estimator", "likelihood", *cache]
        if model == "mini":
            found["mini-peers"] = [*vllm, "--no-in-process", "--peers"]
    return found


def tell(checks: list[Bar]) -> None:
    shown = Table(title="numbers to reach", title_justify="left")
    for column in ("", "measured", "target", "holds"):
        shown.add_column(column, overflow="fold")
    for bar in checks:
        value = "--" if bar.value is None else f"{bar.value:.3f}"
        sign = {True: "yes", False: "NO", None: "not measured"}[bar.holds]
        shown.add_row(bar.name, value, f"{'at least' if bar.at_least else 'at most'} {bar.target:g}", sign)
    Console(width=132).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mini", "60M"], choices=["mini", "60M"])
    parser.add_argument("--engines", nargs="+", default=["vllm", "transformers"], choices=["vllm", "transformers"])
    parser.add_argument("--grow", action="store_true", help="also 100, 1,000 and 10,000 prefixes")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of rows and of the 60 M model")
    arguments = parser.parse_args()
    if "vllm" in arguments.engines and importlib.util.find_spec("vllm") is None:
        parser.error("vLLM is not installed: run it in .venv-vllm, or with --engines transformers")
    arguments.out.mkdir(parents=True, exist_ok=True)
    large = build_large(arguments.out.resolve() / "60M") if "60M" in arguments.models else arguments.out
    checks: list[Bar] = []
    num_failed = 0
    for model in arguments.models:
        wanted = runs(model, arguments.engines, large, grow=arguments.grow)
        records = {name: measure(arguments.out, name, flags) for name, flags in wanted.items()}
        rows = {name: as_rows(each) for name, each in records.items()}
        failures = {name: as_failures(each) for name, each in records.items()}
        num_failed += sum(map(len, failures.values())) + sum(not each for each in records.values())
        for engine in arguments.engines:
            names = [f"{model}-{engine}", *(["mini-peers"] if "mini-peers" in rows and engine == "vllm" else [])]
            mine = [row for name in names for row in rows[name]]
            show(mine, [failure for name in names for failure in failures[name]], f"{model}, {engine}")
            checks += bars(model, engine, mine)
        if "vllm" in arguments.engines:
            small = f"{model}-small-cache"
            show(rows[small], failures[small], f"{model}, vllm, with a cache of four traces")
            checks += [bar for bar in bars(model, "vllm", rows[small]) if "computed" in bar.name]
    tell(checks)
    if num_failed:
        sys.exit(f"{num_failed} failed; run it again to measure the runs that they belong to")


if __name__ == "__main__":
    main()
