from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.config import load_settings
from mrt_reward.errors import ConfigError


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mrt.toml"
    path.write_text('port = 1\nhost = "file"\nalpha = 3.0\n[options]\nwaste_threshold = 0.1\n')
    monkeypatch.setenv("MRT_REWARD_CONFIG", str(path))
    monkeypatch.setenv("MRT_REWARD_HOST", "env")
    monkeypatch.setenv("MRT_REWARD_PORT", "2")
    settings = load_settings(port=3, model=None)
    assert (settings.port, settings.host, settings.alpha, settings.dtype) == (3, "env", 3.0, "float32")
    assert settings.options.waste_threshold == 0.1


def test_a_misspelt_key_is_told_with_the_right_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mrt.toml"
    path.write_text("prot = 1\n")
    monkeypatch.setenv("MRT_REWARD_CONFIG", str(path))
    with pytest.raises(ConfigError, match="did you mean 'port'"):
        load_settings()


def test_what_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="setting port"):
        load_settings(port=70_000)
    monkeypatch.setenv("MRT_REWARD_OPTIONS", "{not json")
    with pytest.raises(ConfigError, match="options"):
        load_settings()
    monkeypatch.delenv("MRT_REWARD_OPTIONS")
    monkeypatch.setenv("MRT_REWARD_CONFIG", str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigError, match="names no file"):
        load_settings()
    path = tmp_path / "broken.toml"
    path.write_text("= 1")
    monkeypatch.setenv("MRT_REWARD_CONFIG", str(path))
    with pytest.raises(ConfigError, match="not TOML"):
        load_settings()


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRT_REWARD_API_KEY", "hush")
    settings = load_settings()
    assert "hush" not in repr(settings)
    assert settings.plain_api_key == "hush"
    monkeypatch.delenv("MRT_REWARD_API_KEY")
    assert load_settings().plain_api_key is None
