"""Saved weights, handed to the servers' admin ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrt_reward.errors import ConfigError, WeightsError
from mrt_reward.files import WEIGHTS_MARKER
from mrt_reward.training import following
from mrt_reward.training.settings import TrainingSettings
from tests.server.conftest import threaded_server
from tests.serving import free_port


def test_weights_are_handed_over_at_their_steps_once_they_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def load_weights(url: str, path: str, **_: Any) -> str:
        assert (Path(path) / WEIGHTS_MARKER).is_file()
        seen.append((url, path))
        if url == "http://b":
            raise WeightsError("outside the root")
        return "v2"

    monkeypatch.setattr(following, "load_weights", load_weights)
    settings = TrainingSettings(follow_steps=2, admin_url=["http://a", "http://b"])
    assert following.hand_over(tmp_path, settings, 3) == {}
    assert following.hand_over(tmp_path, TrainingSettings(), 2) == {}
    done = following.hand_over(tmp_path, settings, 4)
    assert done == {"mrt/following/step": 4.0, "mrt/following/refused": 1.0}
    assert seen == [("http://a", str(tmp_path)), ("http://b", str(tmp_path))]


def test_weights_that_the_trainer_did_not_save_are_saved_where_they_are_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "load_weights", lambda *_, **__: "v2")
    settings, saved = TrainingSettings(follow_steps=2), tmp_path / "saved"
    assert following.hand_over(saved, settings, 3, save=Path.mkdir) == {}
    assert following.hand_over(saved, TrainingSettings(), 2, save=Path.mkdir) == {}
    assert not saved.exists()
    assert following.hand_over(saved, settings, 4, save=Path.mkdir)["mrt/following/refused"] == 0.0
    assert [file.name for file in saved.iterdir()] == [WEIGHTS_MARKER]


def test_weights_that_are_not_there_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = TrainingSettings(follow_steps=2)
    assert following.hand_over(tmp_path / "none", settings, 2)["mrt/following/refused"] == 1.0
    assert "nothing is there" in caplog.text


def test_a_server_that_sees_the_trainers_folder_is_found_at_the_start(tmp_path: Path) -> None:
    saved, port = tmp_path / "run" / "saved", free_port()
    settings = TrainingSettings(follow_steps=2, admin_url=f"http://127.0.0.1:{port}")
    with threaded_server(admin_port=port, weights_root=str(tmp_path)):
        following.check_shared(saved, settings, "mrt")
    assert not list(saved.iterdir())


def test_a_server_that_may_not_load_what_is_saved_is_told_at_the_start(tmp_path: Path) -> None:
    root, saved, port = tmp_path / "root", tmp_path / "saved", free_port()
    root.mkdir()
    url = f"http://127.0.0.1:{port}"
    settings = TrainingSettings(follow_steps=2, admin_url=url)
    with (
        threaded_server(admin_port=port, weights_root=str(root)),
        pytest.raises(ConfigError, match=rf"mrt\.follow_steps: {url} .*outside .*--weights-root {saved} \(or a folder"),
    ):
        following.check_shared(saved, settings, "mrt")
    with pytest.raises(ConfigError, match=rf"{url} would not load .* set mrt\.admin_url to its admin port"):
        following.check_shared(saved, settings, "mrt")
    assert not list(saved.iterdir())


def test_nobody_is_asked_where_no_prover_follows(tmp_path: Path) -> None:
    following.check_shared(tmp_path / "saved", TrainingSettings(admin_url="http://127.0.0.1:9"), "mrt")
    assert not list(tmp_path.iterdir())
