"""Which folders of weights are deleted, and which never."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrt_reward.training.published import MARK, delete_old, publish


def save(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"weights")


def published(root: Path, *names: str) -> None:
    for age, name in enumerate(names):
        publish(root / name, save)
        os.utime(root / name / MARK, ns=(age, age))


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.mark.parametrize(
    ("keep_last", "kept"), [(1, ["d"]), (2, ["c", "d"]), (4, ["a", "b", "c", "d"]), (9, list("abcd"))]
)
def test_the_last_ones_are_kept(tmp_path: Path, keep_last: int, kept: list[str]) -> None:
    published(tmp_path, "a", "b", "c", "d")
    delete_old(tmp_path / "d", keep_last)
    assert left(tmp_path) == kept


def test_what_is_in_use_is_kept_though_others_are_newer(tmp_path: Path) -> None:
    # A run that began again from an earlier step publishes beside what it wrote before.
    published(tmp_path, "a", "in use", "b", "c")
    delete_old(tmp_path / "in use", 2)
    assert left(tmp_path) == ["c", "in use"]


def test_what_somebody_else_wrote_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "held something").mkdir()
    (tmp_path / "held something" / "precious").write_text("data")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    publish(elsewhere, save)
    (tmp_path / "link").symlink_to(elsewhere)
    publish(tmp_path / "held something", save)
    published(tmp_path, "a", "b")
    delete_old(tmp_path / "b", 1)
    assert left(tmp_path) == ["b", "held something", "link", "notes.txt", "theirs"]
    assert (elsewhere / "model.safetensors").is_file()


def test_a_folder_that_cannot_be_deleted_is_reported_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    published(tmp_path, "a", "b")

    def busy(_: Path) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr("mrt_reward.training.published.shutil.rmtree", busy)
    delete_old(tmp_path / "b", 1)
    assert "cannot be deleted: in use" in caplog.text
