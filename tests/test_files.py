from __future__ import annotations

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


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_json(tmp_path / "x.json", {})


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="taken/x cannot be written"), replacing(tmp_path / "taken" / "x"):
        pass
