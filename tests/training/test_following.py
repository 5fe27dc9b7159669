"""Saved weights, handed to the servers' admin ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrt_reward.errors import ConfigError, WeightsError
from mrt_reward.files import WEIGHTS_MARKER
from mrt_reward.protocols import WeightsCanary
from mrt_reward.training import following
from mrt_reward.training.published import MARK
from mrt_reward.training.settings import TrainingSettings
from mrt_reward.wire import WeightsRequest
from tests.server.conftest import threaded_server
from tests.serving import free_port


def test_weights_are_handed_over_at_their_steps_once_they_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def load_weights(url: str, weights: WeightsRequest, **_: Any) -> str:
        assert (Path(weights.path) / WEIGHTS_MARKER).is_file()
        seen.append((url, weights.path))
        if url == "http://b":
            raise WeightsError("outside the root")
        return "v2"

    monkeypatch.setattr(following, "load_weights", load_weights)
    settings = TrainingSettings(follow_steps=2, admin_url=["http://a", "http://b"])
    assert following.hand_over(tmp_path, settings, 3) == {}
    assert following.hand_over(tmp_path, TrainingSettings(), 2) == {}
    done = following.hand_over(tmp_path, settings, 4)
    assert done == {"mrt/following/step": 4.0, "mrt/following/refused": 1.0, "mrt/following/vouched": 0.0}
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
    assert sorted(file.name for file in saved.iterdir()) == [WEIGHTS_MARKER, MARK]


@pytest.mark.parametrize("refusing", [False, True])
def test_what_was_saved_here_is_deleted_once_every_server_has_newer_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: bool
) -> None:
    def load_weights(url: str, weights: WeightsRequest, **_: Any) -> str:
        if refusing and url == "http://b" and weights.path.endswith("step-3"):
            raise WeightsError("its canary differs")
        return "v"

    monkeypatch.setattr(following, "load_weights", load_weights)
    settings = TrainingSettings(follow_steps=1, keep_last=1, admin_url=["http://a", "http://b"])
    for step in (1, 2, 3):
        following.hand_over(tmp_path / f"step-{step}", settings, step, save=Path.mkdir)
    # Where b refuses the third, it proves with the second, which stays.
    assert sorted(path.name for path in tmp_path.iterdir()) == (["step-2", "step-3"] if refusing else ["step-3"])


def test_a_trainers_own_checkpoints_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "load_weights", lambda *_, **__: "v2")
    settings = TrainingSettings(follow_steps=1, keep_last=1)
    for step in (1, 2, 3):
        (tmp_path / f"step-{step}").mkdir()
        following.hand_over(tmp_path / f"step-{step}", settings, step)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_senders_own_log_probability_goes_with_the_weights_where_they_are_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[WeightsRequest] = []

    def load_weights(_: str, weights: WeightsRequest, **__: Any) -> str:
        sent.append(weights)
        return "v"

    monkeypatch.setattr(following, "load_weights", load_weights)
    canary = WeightsCanary((1, 2), (3, 4), -0.5)
    settings = TrainingSettings(follow_steps=2)
    done = [following.hand_over(tmp_path, settings, step, canary=lambda: canary) for step in (1, 2)]
    done.append(following.hand_over(tmp_path, settings, 4, canary=lambda: None))
    assert [weights.canary for weights in sent] == [canary, None]
    assert [each.get("mrt/following/vouched") for each in done] == [None, 1.0, 0.0]


def test_weights_that_are_not_there_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = TrainingSettings(follow_steps=2)
    assert following.hand_over(tmp_path / "none", settings, 2)["mrt/following/refused"] == 1.0
    assert "nothing is there" in caplog.text


def test_a_server_that_sees_the_trainers_folder_is_found_at_the_start(tmp_path: Path) -> None:
    saved, port = tmp_path / "run" / "saved", free_port()
    settings = TrainingSettings(follow_steps=2, admin_url=f"http://127.0.0.1:{port}")
    with threaded_server(admin_port=port, weights_root=str(tmp_path)):
        following.check_shared(saved, settings, "mrt")
    assert not list(saved.iterdir())


def test_a_server_that_may_not_load_what_is_saved_is_reported_at_the_start(tmp_path: Path) -> None:
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
