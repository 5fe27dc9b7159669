from __future__ import annotations

import pytest

from mrt_reward.protocols import ProverInfo


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("/home/me/secret/qwen", "qwen"),
        ("/home/me/secret/qwen/", "qwen"),
        ("./out/checkpoint-2", "checkpoint-2"),
        ("~/models/m", "m"),
        ("..", ".."),
        (".", "."),
        ("Qwen/Qwen3-1.7B", "Qwen/Qwen3-1.7B"),
        ("scripted", "scripted"),
    ],
)
def test_a_folder_is_reported_by_its_last_part(model: str, name: str) -> None:
    assert ProverInfo(model, "1", "scripted", 1000).name == name
