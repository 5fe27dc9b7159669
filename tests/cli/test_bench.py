"""The benchmark as a user runs it: real model, real server, tiny work."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrt_reward.benchmark import serving
from mrt_reward.benchmark.plan import BenchPlan, Targets
from mrt_reward.benchmark.run import num_steps
from mrt_reward.cli.app import app
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from tests.server.conftest import threaded_server

RUN = CliRunner()
TINY = ["bench", "--problems", "1", "--traces", "2", "--episodes", "2", "--episode-tokens", "8", "--answer-tokens", "4"]


BROKEN = {"model": "/no_such_folder"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the verb sets is forgotten afterwards."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "ERROR")
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stderr")


def test_the_embedded_engine_is_measured_here_and_through_the_server(tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    done = RUN.invoke(app, [*TINY, "--samples", "2", "--threads", "1", "--json", str(output)])
    assert done.exit_code == 0, done.output
    assert "ours, transformers, server: likelihood" in done.output
    record = json.loads(output.read_text())
    assert record["complete"]
    rows = record["rows"]
    ways = [(row["kind"], row["place"], row["name"]) for row in rows]
    assert ways == [
        ("ours", "in process", "likelihood"),
        ("forward", "in process", "likelihood"),
        ("ours", "in process", "rollouts"),
        ("forward", "in process", "rollouts"),
        ("peer", "in process", "likelihood, one proof a prefix"),
        ("ours", "server", "likelihood"),
        ("ours", "server", "rollouts"),
    ]
    assert {row["prefixes"] for row in rows} == {5}
    by_way = dict(zip(ways, rows, strict=True))
    ours, forward = by_way["ours", "in process", "likelihood"], by_way["forward", "in process", "likelihood"]
    assert forward["computed_tokens"] == forward["needed_tokens"] == ours["needed_tokens"]
    assert ours["computed_tokens"] >= ours["needed_tokens"]
    # Naive: every prefix from its beginning.
    assert by_way[ways[4]]["computed_tokens"] > ours["computed_tokens"]
    assert by_way["ours", "server", "rollouts"]["answer_tokens"] <= 4


def test_growth_is_measured_at_each_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mrt_reward.cli.bench.SIZES", (100, 10))
    monkeypatch.setattr("mrt_reward.benchmark.ours.PREFIXES_OF_SIZE", 200)
    output = tmp_path / "rows.json"
    flags = ["--grow", "--no-server", "--estimator", "likelihood", "--json", str(output)]
    assert RUN.invoke(app, [*TINY, *flags]).exit_code == 0
    rows = {row["name"]: row["prefixes"] for row in json.loads(output.read_text())["rows"]}
    # 5 prefixes a problem: 20 problems twice, and 2 problems twenty times.
    assert rows["likelihood of 100"] == 200
    assert rows["likelihood of 10"] == 200


def test_a_running_server_is_measured_as_it_is(tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    with threaded_server() as url:
        # The scripted prover splits words, so its tokenizer is no model's.
        done = RUN.invoke(app, [*TINY, "--url", url, "--json", str(output)])
    assert isinstance(done.exception, ConfigError)
    assert "whose tokenizer is not the one of mini" in str(done.exception)


def test_peers_need_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    done = RUN.invoke(app, [*TINY, "--peers", "--no-in-process", "--no-server"])
    assert isinstance(done.exception, ConfigError)
    assert "leave out --peers" in str(done.exception)


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mrt_reward.benchmark.table", None)
    done = RUN.invoke(app, TINY)
    assert isinstance(done.exception, ConfigError)
    assert "pip install" in str(done.exception)


def test_a_server_that_does_not_start_is_reported_with_its_last_words_beside_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "rows.json"
    # The engine runs in this process; its server is given a setting that is none.
    monkeypatch.setattr(
        "mrt_reward.benchmark.run.our_server", lambda settings: serving.our_server(settings.model_copy(update=BROKEN))
    )
    done = RUN.invoke(app, [*TINY, "--estimator", "likelihood", "--json", str(output)])
    assert done.exit_code == 1
    assert "failed: ours, transformers, server: our server: a server for the benchmark did not start" in done.output
    record = json.loads(output.read_text())
    assert record["complete"] is False
    *measured, failed = record["rows"]
    assert [row["kind"] for row in measured] == ["ours", "forward", "peer"]
    assert "no_such_folder" in failed["failed"]


def test_a_server_gets_the_same_engine() -> None:
    settings = ServeSettings(model="m", max_model_len=64, engine_args={"block_size": 32})
    reported = serving.environment_of(settings)
    assert reported["MRT_REWARD_MODEL"] == "m"
    assert reported["MRT_REWARD_MAX_MODEL_LEN"] == "64"
    assert reported["MRT_REWARD_ENGINE_ARGS"] == '{"block_size": 32}'
    assert "MRT_REWARD_PORT" not in reported


def test_steps_are_counted_before_they_are_done() -> None:
    plan = BenchPlan(rounds=2, sizes=(100, 10_000))
    # Two rounds of two estimators, thirty rounds of the small size and one of the large one.
    assert num_steps("vllm", plan, Targets(url="http://x")) == 35
    # A start, the same with four forwards, and one proof a prefix; a start and the same;
    # a start and three peers twice, for two set-ups; (b).
    assert num_steps("vllm", plan, Targets(peers=True)) == (1 + 35 + 4 + 1) + (1 + 35) + (2 * (1 + 6) + 1)
    assert num_steps("openai", plan, Targets(server=False)) == 1 + 35 + 1


def test_a_plan_measures_nothing_and_says_where_each_number_comes_from() -> None:
    done = RUN.invoke(app, ["bench", "--plan", "--model", "/no_such_folder", "--problems", "128", "--traces", "8"])
    assert done.exit_code == 0, done.output
    assert {"given", "assumed", "measured", "published", "computed"} <= set(done.output.split())
    refused = RUN.invoke(app, ["bench", "--plan", "--tokens-per-s", "0"])
    assert isinstance(refused.exception, ConfigError)
