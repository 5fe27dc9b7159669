"""The benchmark on vLLM with all its peers, on tiny work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrt_reward.cli.app import app

WORK = ["--problems", "2", "--traces", "2", "--episodes", "3", "--episode-tokens", "40", "--slow-problems", "1"]
LIMITS = ["--max-model-len", "1024", "--engine-arg", "kv_cache_memory_bytes=100000000", "--threads", "1"]


@pytest.mark.slow
def test_vllm_is_measured_against_its_bound_and_its_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the verb sets is forgotten afterwards.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "WARNING")
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    output = tmp_path / "rows.json"
    flags = ["--engine", "vllm", "--peers", "--samples", "2", "--free-tokens", "8", "--json", str(output)]
    done = CliRunner().invoke(app, ["bench", *WORK, *LIMITS, *flags])
    assert done.exit_code == 0, (done.output, done.exception)
    rows = json.loads(output.read_text())["rows"]
    assert [(row["kind"], row["place"], row["name"][:10], row["prefixes"]) for row in rows] == [
        ("ours", "in process", "likelihood", 14),
        ("forward", "in process", "likelihood", 14),
        ("ours", "in process", "rollouts", 7),
        ("forward", "in process", "rollouts", 7),
        ("peer", "in process", "likelihood", 7),
        ("ours", "server", "likelihood", 14),
        ("ours", "server", "rollouts", 7),
        *(
            ("peer", "server", name, prefixes)
            for _ in ("vLLM's defaults", "our executor")
            for name, prefixes in (("(a) a requ", 14), ("(c) a requ", 14), ("(d) prompt", 7))
        ),
        ("peer", "in process", "(b) a bloc", 7),
    ]
    assert all(row["cpu_s"] > 0 and row["peak_mb"] > 0 for row in rows)
    # Prompt log-probabilities find nothing in the cache, so every prefix is computed from its beginning.
    for concurrent, by_prompt_logprobs in ((8, 9), (11, 12)):
        assert rows[by_prompt_logprobs]["computed_to_needed"] > rows[concurrent]["computed_to_needed"] >= 1
    assert rows[13]["answer_tokens"] <= 8
