"""The custom loop without a server: its policy proves."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from adapters.custom_loop import train as recipe
from adapters.custom_loop.train import Loop, LoopSettings, train
from mrt_reward import in_process
from mrt_reward.config import load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.training.records import Record

SMALL: dict[str, Any] = {"problems": 1, "group_size": 3, "max_tokens": 50, "learning_rate": 1e-3}


def settings_of(out: Path, *, resume: bool = False, **mrt: Any) -> LoopSettings:
    return LoopSettings(out=out, resume=resume, mrt={"url": "policy", **mrt}, steps=2, **SMALL)  # type: ignore[arg-type]


class Watched(Loop):
    """Keeps what each step's responses came to, and asks another prover with the same weights."""

    def __init__(self, settings: LoopSettings) -> None:
        super().__init__(settings)
        self.found: list[list[Record]] = []
        self.wanted: list[list[Record]] = []

    async def score(self, rollouts: Any) -> Any:
        folder = self.settings.out / f"at-{len(self.log)}"
        self.export(folder)
        mode = self.policy.training
        records, how = await super().score(rollouts)
        assert self.policy.training is mode
        scorer, service = in_process.scorer_and_service(
            self.settings.mrt, self.scorer.tokens, load_settings(model=str(folder))
        )
        self.found.append(records)
        self.wanted.append(await scorer.score_all([rollouts.response(row) for row in range(len(records))]))
        await scorer.close()
        await service.close()
        return records, how


def test_a_run_without_a_server_is_paid_what_its_own_weights_say(tmp_path: Path) -> None:
    loops: list[Watched] = []

    class Kept(Watched):
        def __init__(self, settings: LoopSettings) -> None:
            super().__init__(settings)
            loops.append(self)

    out = tmp_path / "run"
    asyncio.run(train(settings_of(out), Kept))
    [loop] = loops
    for step, (found, wanted) in enumerate(zip(loop.found, loop.wanted, strict=True)):
        assert {record.prover for record in found} == {f"policy@{step}"}
        for record, other in zip(found, wanted, strict=True):
            assert record.scored is not None, record.reason
            assert other.scored is not None, other.reason
            np.testing.assert_allclose(record.scored.value_P, other.scored.value_P, atol=1e-5)
            assert record.scored.ends == other.scored.ends
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for entry in log:
        assert (entry["mrt/traces/scored"], entry["mrt/failed/share"], entry["mrt/prover/versions"]) == (3, 0, 1)
        assert 0 < entry["mrt/prover/overhead_s"] < entry["seconds"]
        assert entry["mrt/prover/computed_tokens"] > 0
        assert entry["grad_norm"] > 0
    one, two = (load_file(out / name / "model.safetensors") for name in ("at-0", "at-1"))
    assert any(not torch.equal(one[name].float(), two[name].float()) for name in one)
    # To go on with a server would be another run.
    other = Loop(settings_of(out, resume=True, url="http://127.0.0.1:1"))
    with pytest.raises(ConfigError, match=r"mrt\.url is None and was policy"):
        other.load()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mrt.follow_steps=2"], r"--mrt\.url=policy asks no server, and --mrt\.follow_steps=2 .*: leave it out"),
        (["--mrt.admin_url=http://127.0.0.1:9"], r"--mrt\.admin_url=.*http://127.0.0.1:9.* is for servers: leave it"),
    ],
)
def test_settings_of_servers_are_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", f"--out={tmp_path / 'run'}", "--mrt.url=policy", *flags])
    with pytest.raises(SystemExit, match=message):
        recipe.main()
    assert not (tmp_path / "run").exists()


def test_another_prover_is_refused_by_the_name_of_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRT_REWARD_MODEL", "mini-deep")
    with pytest.raises(ConfigError, match=r"--mrt\.url=policy proves with the policy itself, and model is set"):
        Loop(settings_of(tmp_path))
