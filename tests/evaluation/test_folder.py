from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.folder import RESULTS, Folder, Log


def test_a_log_drops_a_cut_line_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for cut in (b"", b'{"id": 1}\n', b'{"id": 1}\n{"id"', b'{"i', b'{"id": 1}\n' + b"x" * 200_000):
        path.write_bytes(cut)
        log = Log(path)
        offset = log.add({"id": "new"})
        assert log.at(offset) == {"id": "new"}
        kept = [1] if b"\n" in cut else []
        assert [fields["id"] for _, fields in log.lines()] == [*kept, "new"]
        log.close()


def test_a_log_forgets_what_is_not_to_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"id": 1, "bad": true}\n[1]\n{"id": 2}\nnot json\n')
    log = Log(path, keep=lambda fields: not fields.get("bad"))
    log.add({"id": 3})
    log.close()
    assert path.read_text() == '{"id": 2}\n{"id": 3}\n'


def test_a_folder_is_held_by_one_and_must_be_writable(tmp_path: Path) -> None:
    with Folder(tmp_path / "out"), pytest.raises(ConfigError, match="another `mrt-reward evaluate`"):
        Folder(tmp_path / "out")
    with Folder(tmp_path / "out") as folder:
        (folder.path / RESULTS).write_text("x")
        folder.clear()
        assert not (folder.path / RESULTS).exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="expected a folder that can be written"):
        Folder(tmp_path / "file" / "out")


def test_a_model_is_not_gone_on_with_in_another_way(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        folder.remember("m", {"seed": 1, "options": {"a": (1, 2)}})
        folder.remember("m", {"seed": 1, "options": {"a": (1, 2)}})
        folder.remember("n", {"seed": 2})
        with pytest.raises(ConfigError, match="another seed"):
            folder.remember("m", {"seed": 2, "options": {"a": (1, 2)}})
