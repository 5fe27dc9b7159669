"""From the command line's words to OpenRLHF's own parser and Ray, without starting either."""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mrt_openrlhf import launch, worker
from mrt_openrlhf.flags import settings_of_environment, split_flags
from mrt_openrlhf.setup import AGENT, VARIABLE, Setup

from mrt_reward.errors import ConfigError
from tests.server.conftest import threaded_server
from tests.serving import free_port

PLAIN = ["--actor.model_name_or_path", "m", "--reward.remote_url", "http://r/x", "--data.label_key", "answer"]
GROUP = ["--algo.advantage.estimator", "group_norm", "--rollout.n_samples_per_prompt", "4"]
TO_GO = ["--mrt.credit", "to_go"]
FOLLOW = ["--mrt.follow_steps", "5", "--ckpt.save_hf", "--ckpt.save_steps", "5"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with threaded_server() as found:
        yield found


class Started(Exception):
    """OpenRLHF went on to train."""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs OpenRLHF's own main up to its first engine; gives its arguments there, and Ray's environment."""
    config, engines = (
        __import__("openrlhf.utils.config", fromlist=["x"]),
        __import__("openrlhf.trainer.ray", fromlist=["x"]),
    )

    def started(*arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
        found: dict[str, Any] = {}

        def init(runtime_env: Any = None, **_: Any) -> None:
            found["env"] = runtime_env

        def create(*_: Any, **kwargs: Any) -> None:
            found["engine"] = kwargs
            raise Started

        import ray  # noqa: PLC0415 - heavy

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(ray, "is_initialized", lambda: "env" in found)
        monkeypatch.setattr(engines, "create_vllm_engines", create)
        monkeypatch.setattr(config, "hierarchize", config.hierarchize)
        monkeypatch.setattr(sys, "argv", ["mrt_openrlhf"])
        with pytest.raises(Started):
            launch.run([*arguments, "--vllm.num_engines", "1"])
        return found["engine"], found["env"]

    return started


def test_flags_are_ours_or_openrlhfs() -> None:
    words = ["--a.b", "1", "--mrt.alpha", "0.5", "-c", '--mrt.delimiters={"open": "<a>"}', "--mrt.grader", "none", "d"]
    given, theirs = split_flags(words)
    assert given == {"alpha": 0.5, "delimiters": {"open": "<a>"}, "grader": None}
    assert theirs == ["--a.b", "1", "-c", "d"]
    assert split_flags(["--mrt.url", "http://a:1, http://b:2"])[0] == {"url": ["http://a:1", "http://b:2"]}
    assert split_flags(["--mrt.url=http://a:1"])[0] == {"url": "http://a:1"}
    assert split_flags(["--mrt.baseline", "none", "--mrt.max_episodes", "none"])[0] == {
        "baseline": "none",
        "max_episodes": None,
    }
    for words in (["--mrt.alpha"], ["--mrt.alpha", "--a.b"]):
        with pytest.raises(ConfigError, match=r"--mrt\.alpha needs a value"):
            split_flags(words)


def test_variables_are_settings_and_misspelt_ones_are_reported() -> None:
    given, warnings = settings_of_environment(
        {"MRT_ALPHA": "0.5", "MRT_REWARD_API_KEY": "k", "MRT_ALHPA": "1", "MRT_TEST_DUMP": "x", "ALPHA": "2"}
    )
    assert given == {"alpha": 0.5}
    assert warnings == ["MRT_ALHPA is no setting; did you mean MRT_ALPHA?"]


def test_openrlhf_goes_on_with_its_own_flags_and_our_agent(
    start: Any, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MRT_ALPHA", "0.25")
    monkeypatch.setenv("MRT_URL", "http://127.0.0.1:9")
    engine, env = start(*PLAIN, *GROUP, "--mrt.url", url, "--rollout.max_new_tokens", "77")
    assert engine["agent_func_path"] == str(AGENT)
    assert engine["remote_rm_url"] is None
    assert env["worker_process_setup_hook"] == worker.HOOK
    assert f"[mrt] {url} proves with" in capsys.readouterr().out
    for name, value in env["env_vars"].items():
        monkeypatch.setenv(name, value)
    setup = Setup.from_environment()
    assert setup == Setup({"alpha": 0.25, "url": url}, ("http://r/x",), None, 77)
    assert setup.settings.alpha == 0.25
    assert {"TOKENIZERS_PARALLELISM", "NCCL_DEBUG", VARIABLE} <= set(env["env_vars"])


def test_an_abbreviated_flag_is_read_as_openrlhf_reads_it(start: Any, url: str) -> None:
    with pytest.raises(ConfigError, match="gae"):
        start(*PLAIN, "--algo.advantage.est", "gae", "--mrt.url", url)


def test_gae_takes_progress_to_go(start: Any, url: str) -> None:
    engine, _ = start(*PLAIN, "--mrt.url", url, *TO_GO)
    assert engine["agent_func_path"] == str(AGENT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*PLAIN, *GROUP, "--mrt.alhpa", "1"], r"unknown setting --mrt\.alhpa; did you mean --mrt\.alpha"),
        (PLAIN, r"add --mrt\.credit to_go"),
        ([*PLAIN, *TO_GO, "--mrt.baseline", "group"], r"--mrt\.baseline=group cannot be had with .* gae"),
        ([*PLAIN, *TO_GO, "--mrt.gamma", "0.5"], r"--mrt\.gamma=0\.5 cannot be had"),
        ([*PLAIN, *GROUP, "--mrt.scale_by_std", "false"], "choose the estimator dr_grpo"),
        ([*PLAIN, *TO_GO, "--mrt.truncated", "forced"], r"--mrt\.truncated=forced changes outcomes within a group"),
        ([*PLAIN, *GROUP, "--train.agent_func_path", "a.py"], "both give the outcome"),
        ([*PLAIN[:2], *PLAIN[4:], *GROUP, "--train.agent_func_path", str(AGENT)], "mrt_openrlhf's own file"),
        ([*GROUP, "--actor.model_name_or_path", "m", "--data.label_key", "a"], "nothing gives the outcome"),
        ([*PLAIN[:4], *GROUP], "--data.label_key is not set"),
        ([*PLAIN, *GROUP, "--data.max_images_per_prompt", "1"], "traces about images"),
        ([*PLAIN, *GROUP, "--mrt.on_failure", "drop", "--reward.overlong_buffer_len", "9"], "length penalties"),
        ([*PLAIN, *GROUP, "--mrt.follow_steps", "5"], "add --ckpt.save_hf --ckpt.save_steps 5"),
        ([*PLAIN, *GROUP, *FOLLOW, "--ds.lora.rank", "8"], r"with --ds\.lora\.rank 8 OpenRLHF saves the adapter alone"),
        ([*PLAIN, *GROUP, "--mrt.mode", "prefix"], "add --algo.kl.use_loss"),
        ([*PLAIN, *GROUP, "--mrt.mode", "prefix", "--mrt.baseline", "group"], "none or termination"),
        ([*PLAIN[:4], *GROUP, "--mrt.mode", "prefix"], "name their column by --data.label_key"),
        ([*PLAIN, "--mrt.mode", "prefix"], "group_norm.*or without .dr_grpo."),
        ([*PLAIN, *GROUP, "--mrt.url", "http://127.0.0.1:9"], r"no progress server answers at --mrt\.url"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_change(start: Any, url: str, words: list[str], message: str) -> None:
    words = words if "--mrt.url" in words else [*words, "--mrt.url", url]
    with pytest.raises(ConfigError, match=message):
        start(*words)


def test_a_reward_that_already_has_progress_is_refused(start: Any, url: str) -> None:
    words = [*PLAIN, *GROUP, "--mrt.url", url]
    words[3] = f"{url}/get_reward"
    with pytest.raises(ConfigError, match="already has progress in its reward"):
        start(*words)


def test_a_server_that_may_not_load_what_is_saved_is_reported(start: Any, tmp_path: Path) -> None:
    root, port = tmp_path / "root", free_port()
    root.mkdir()
    with threaded_server(admin_port=port, weights_root=str(root)) as url:
        words = [*PLAIN, *GROUP, *FOLLOW, "--mrt.url", url, "--mrt.admin_url", f"http://127.0.0.1:{port}"]
        start(*words, "--ckpt.path", str(root / "saved"))
        with pytest.raises(ConfigError, match=rf"--mrt\.follow_steps: .*outside .*--weights-root {tmp_path / 'saved'}"):
            start(*words, "--ckpt.path", str(tmp_path / "saved"))


def test_rows_of_prefixes_need_no_server(start: Any) -> None:
    start(*PLAIN, *GROUP, "--algo.kl.init_coef", "0", "--mrt.mode", "prefix", "--mrt.url", "http://127.0.0.1:9")


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "version", lambda _: "0.12.0")
    with pytest.raises(ConfigError, match=r"extends OpenRLHF 0\.11\.2, and this is 0\.12\.0.*get_reward"):
        launch.run([])


def test_a_submitted_jobs_own_environment_is_left_as_it_is() -> None:
    setup = Setup({"alpha": 0.5})
    job = {"runtime_env": {"env_vars": {"NCCL_DEBUG": "INFO"}, "working_dir": "x"}}
    env = launch.runtime_env(setup, {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job), "TOKENIZERS_PARALLELISM": "false"})
    assert set(env) == {"env_vars", "worker_process_setup_hook"}
    assert "NCCL_DEBUG" not in env["env_vars"]
    assert env["env_vars"]["TOKENIZERS_PARALLELISM"] == "false"
    job["runtime_env"]["worker_process_setup_hook"] = worker.HOOK
    assert "worker_process_setup_hook" not in launch.runtime_env(
        setup, {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)}
    )
    job["runtime_env"]["worker_process_setup_hook"] = "mine.setup"
    with pytest.raises(ConfigError, match=r"mine\.setup, and Ray runs only one"):
        launch.runtime_env(setup, {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)})


def test_ray_that_runs_already_is_reported(start: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray  # noqa: PLC0415 - heavy

    args: Any = __import__("types").SimpleNamespace
    parsed = args(
        reward=args(
            remote_url="r.py", model_name_or_path=None, overlong_buffer_len=None, stop_properly_penalty_coef=None
        ),
        rollout=args(max_new_tokens=None),
        data=args(max_len=9, max_images_per_prompt=0, label_key="a"),
        train=args(agent_func_path=None),
        algo=args(advantage=args(estimator="dr_grpo"), kl=args(init_coef=0, use_loss=False)),
        ckpt=args(path="ckpt"),
    )
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="let it start Ray"):
        launch.prepare(parsed, {"url": url})


def test_the_command_says_what_is_wrong_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mrt_openrlhf", "--mrt.alpha"])
    with pytest.raises(SystemExit, match=r"error: --mrt\.alpha needs a value"):
        runpy.run_module("mrt_openrlhf", run_name="__main__")
    assert VARIABLE not in os.environ


def test_help_tells_our_settings_before_openrlhfs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mrt_openrlhf"])
    monkeypatch.setattr(launch, "extend_driver", lambda _: None)
    with pytest.raises(SystemExit):
        launch.run(["--help"])
    output = capsys.readouterr().out
    assert output.index("| `--mrt.alpha` | `1.0` |") < output.index("--rollout.batch_size")
