"""Saved weights, handed to the servers' admin ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrt_reward.errors import WeightsError
from mrt_reward.training import following
from mrt_reward.training.settings import TrainingSettings


def test_weights_are_handed_over_at_their_steps_once_they_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def load_weights(url: str, path: str, **_: Any) -> str:
        assert (Path(path) / following.MARKER).is_file()
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


def test_weights_that_are_not_there_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = TrainingSettings(follow_steps=2)
    assert following.hand_over(tmp_path / "none", settings, 2)["mrt/following/refused"] == 1.0
    assert "nothing is there" in caplog.text
