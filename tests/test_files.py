from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.files import replacing, write_json, write_jsonl


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "new" / "rows.jsonl"
    assert write_jsonl(target, [{"a": 1}, {"b": "\ud800"}]) == 2
    assert [json.loads(line) for line in target.read_text().splitlines()] == [{"a": 1}, {"b": "\ud800"}]

    def failing() -> object:
        yield {"a": 2}
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_jsonl(target, failing())  # type: ignore[arg-type]
    assert json.loads(target.read_text().splitlines()[0]) == {"a": 1}
    assert [path.name for path in target.parent.iterdir()] == ["rows.jsonl"]


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_file_keeps_its_permissions_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "elsewhere" / "link.json"
    link.parent.mkdir()
    write_json(real, {"a": 1})
    assert real.stat().st_mode & 0o777 == 0o666 & ~_umask()
    real.chmod(0o640)
    link.symlink_to(real)
    write_json(link, {"a": 2})
    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"a": 2}
    assert real.stat().st_mode & 0o777 == 0o640


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_disk_holds_a_file_before_it_replaces_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        calls.append(("sync", Path(f"/proc/self/fd/{descriptor}").resolve().name))
        sync(descriptor)

    def replaced(source: Path, target: Path) -> Path:
        calls.append(("replace", target.name))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_json(tmp_path / "x.json", {})
    scratch = f".x.json.{os.getpid()}.tmp"
    assert calls == [("sync", scratch), ("replace", "x.json"), ("sync", tmp_path.name)]


def test_a_file_that_cannot_be_read_meanwhile_is_not_reported_as_one_that_cannot_be_written(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(FileNotFoundError, match="other"):
        write_jsonl(tmp_path / "x.json", ({"line": line} for line in (tmp_path / "other").open()))
    with pytest.raises(ConfigError, match=r"x.json cannot be written: .*No space left"), replacing(tmp_path / "x.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_json(tmp_path / "x.json", {})


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="taken/x cannot be written"), replacing(tmp_path / "taken" / "x"):
        pass
