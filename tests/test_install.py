"""The command that an error names installs the extra from where this copy came from."""

from __future__ import annotations

import shlex
from importlib import metadata

import pytest

from mrt_reward.install import command_for, install_command


def test_an_editable_clone_is_named_by_its_folder() -> None:
    origin = {"dir_info": {"editable": True}, "url": "file:///home/me/my%20code/mrt-reward"}
    assert shlex.split(command_for("vllm", origin)) == ["pip", "install", "-e", "/home/me/my code/mrt-reward[vllm]"]


def test_a_wheel_and_a_plain_clone_are_named_by_their_address() -> None:
    for origin in (
        {"archive_info": {}, "url": "file:///tmp/mrt_reward-0.1.0-py3-none-any.whl"},
        {"dir_info": {}, "url": "file:///tmp/mrt-reward"},
    ):
        assert shlex.split(command_for("eval", origin))[-1] == f"mrt-reward[eval] @ {origin['url']}"


def test_a_git_address_keeps_the_commit_that_is_installed() -> None:
    origin = {"url": "https://example.org/mrt-reward.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}}
    command = command_for("trl", origin)
    assert command == "pip install 'mrt-reward[trl] @ git+https://example.org/mrt-reward.git@0a1b2c'"


def test_what_was_never_installed_is_a_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert install_command("vllm") == "pip install '.[vllm]' in a clone of mrt-reward"
