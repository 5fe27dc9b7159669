"""Weights that the trainer saved, handed to the servers' admin ports."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mrt_verl import vouching
from mrt_verl.following import check_following, hand_over
from omegaconf import DictConfig, OmegaConf

from mrt_reward.errors import UNFINISHED, ConfigError
from mrt_reward.training.settings import TrainingSettings
from tests.verl.test_vouching import Worker


@contextmanager
def admin_port(status: int, seen: list[Any], code: str = "weights_refused") -> Generator[str]:
    """A server that takes weights, or does not."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            taken = {"model": "m", "version": "v2"}
            refused = {"error": {"message": "outside the root", "type": "T", "code": code, "param": None}}
            body = json.dumps(taken if status == 200 else refused).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


ROLLOUT: dict[str, Any] = {"actor_rollout_ref": {"rollout": {"dtype": "float32"}}}
WORKERS = [Worker(4)]


@pytest.fixture(autouse=True)
def _answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouching.ray, "get", lambda reported, timeout: reported)


def config(folder: Path) -> DictConfig:
    return OmegaConf.create({"trainer": {"default_local_dir": str(folder)}, **ROLLOUT})


def test_the_saved_weights_of_a_step_are_handed_over_once_they_are_marked_finished(tmp_path: Path) -> None:
    saved = tmp_path / "global_step_4" / "actor" / "huggingface"
    saved.mkdir(parents=True)
    seen: list[Any] = []
    with admin_port(200, seen) as url:
        settings = TrainingSettings(follow_steps=2, admin_url=url)
        assert hand_over(config(tmp_path), settings, 3, WORKERS) == {}
        done = hand_over(config(tmp_path), settings, 4, WORKERS)
    assert done == {"mrt/following/step": 4.0, "mrt/following/refused": 0.0, "mrt/following/vouched": 1.0}
    [(route, sent)] = seen
    canary = sent.pop("canary")
    assert (route, sent) == ("/admin/weights", {"path": str(saved), "kind": "checkpoint"})
    assert canary == {"prompt_ids": [1, 2], "answer_ids": [3, 4], "logprob": -0.75, "precision": "float32"}
    assert (saved / ".complete").is_file()


def test_a_server_that_refuses_is_counted_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "global_step_2" / "actor" / "huggingface").mkdir(parents=True)
    seen: list[Any] = []
    with admin_port(400, seen) as url:
        settings = TrainingSettings(follow_steps=2, admin_url=[url, url])
        assert hand_over(config(tmp_path), settings, 2, WORKERS)["mrt/following/refused"] == 2.0
    assert "keeps its old weights at step 2: outside the root" in caplog.text


def test_weights_that_are_not_there_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = TrainingSettings(follow_steps=2)
    assert hand_over(config(tmp_path), settings, 2, WORKERS)["mrt/following/refused"] == 1.0
    assert "nothing is there" in caplog.text
    assert hand_over(config(tmp_path), TrainingSettings(), 2, WORKERS) == {}


def following(folder: Path) -> DictConfig:
    return OmegaConf.create(
        {
            "trainer": {"default_local_dir": str(folder), "save_freq": 2},
            "actor_rollout_ref": {"actor": {"checkpoint": {"save_contents": ["model", "hf_model"]}}},
        }
    )


def test_a_server_that_sees_the_trainers_folder_is_found_at_the_start(tmp_path: Path) -> None:
    seen: list[Any] = []
    with admin_port(422, seen, UNFINISHED) as url:
        check_following(following(tmp_path / "saved"), TrainingSettings(follow_steps=2, admin_url=url))
    assert seen == [("/admin/weights", {"path": str(tmp_path / "saved/mrt_trial"), "kind": "checkpoint"})]
    assert not list((tmp_path / "saved").iterdir())


def test_a_server_that_may_not_load_what_is_saved_is_reported_at_the_start(tmp_path: Path) -> None:
    with (
        admin_port(422, []) as url,
        pytest.raises(ConfigError, match=rf"outside the root.*--weights-root {tmp_path} \(or a folder above"),
    ):
        check_following(following(tmp_path), TrainingSettings(follow_steps=2, admin_url=url))
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:9 would not load"):
        check_following(following(tmp_path), TrainingSettings(follow_steps=2, admin_url="http://127.0.0.1:9"))
    assert not list(tmp_path.iterdir())


def test_checkpoints_are_deleted_by_verls_own_option(tmp_path: Path) -> None:
    settings = TrainingSettings(follow_steps=2, keep_last=3)
    with pytest.raises(ConfigError, match=r"reward\.mrt\.keep_last=3: .*add trainer\.max_actor_ckpt_to_keep=3"):
        check_following(following(tmp_path), settings)
