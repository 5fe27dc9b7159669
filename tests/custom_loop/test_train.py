"""The loop for everybody else: the bundled model trained on a CPU, against real servers on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from adapters.custom_loop import train as recipe
from adapters.custom_loop.train import Loop, LoopSettings, train
from mrt_reward.errors import ConfigError, ProverError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.training.records import Lapse, Record, Scored
from mrt_reward.training.responses import Response
from tests.custom_loop.conftest import Served
from tests.server.conftest import threaded_server

SMALL: dict[str, Any] = {"problems": 2, "group_size": 3, "max_tokens": 70, "steps": 2, "learning_rate": 1e-3}
CLOCKED = (
    "seconds",
    "mrt/prover/overhead_s",
    "mrt/prover/latency_s/mean",
    "mrt/prover/latency_s/p95",
    "mrt/prover/latency_s/max",
)
CACHED = ("mrt/prover/cache_hit_share", "mrt/prover/computed_tokens", "mrt/prover/computed_per_token")
"""What depends on what the server has proved before."""


def settings_of(out: Path, url: str = "http://127.0.0.1:1", *, resume: bool = False, **mrt: Any) -> LoopSettings:
    return LoopSettings(out=out, resume=resume, mrt={"url": url, **mrt}, **SMALL)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return Loop(settings_of(tmp_path_factory.mktemp("loop")))


def logged(out: Path) -> list[dict[str, float]]:
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{name: each for name, each in entry.items() if name not in (*CLOCKED, *CACHED)} for entry in entries]


def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(served: Served, tmp_path: Path) -> None:
    url = served.url
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    asyncio.run(train(settings_of(whole, url)))
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    process = subprocess.Popen(
        [sys.executable, "-u", recipe.__file__, f"--out={broken}", f"--mrt.url={url}", *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert any(line.startswith("step 1:") for line in process.stdout)
        process.kill()
    assert len(logged(broken)) == 1
    # What a kill in the middle of saving leaves.
    (broken / "state.part").write_bytes(b"half a sta")
    asyncio.run(train(settings_of(broken, url, resume=True)))
    assert logged(broken) == logged(whole)
    assert [entry["step"] for entry in logged(whole)] == [1, 2]
    assert all(entry["mrt/traces/scored"] == 6 and entry["grad_norm"] > 0 for entry in logged(whole))
    theirs, ours = (load_file(out / "model" / "model.safetensors") for out in (broken, whole))
    start = load_file(recipe.MODEL_DIR / "model.safetensors")
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert any(not torch.equal(start[name].float(), ours[name]) for name in ours)


async def test_a_run_is_not_overwritten_and_not_mixed_with_another(loop: Loop, tmp_path: Path) -> None:
    loop.settings = settings_of(tmp_path)
    loop.save()
    with pytest.raises(ConfigError, match="go on with --resume, or choose another --out"):
        await train(settings_of(tmp_path))
    loop.settings = settings_of(tmp_path, resume=True, alpha=0.5)
    with pytest.raises(ConfigError, match=r"other settings: mrt.alpha is 0.5 and was 1.0"):
        loop.load()
    elsewhere = {"url": "http://127.0.0.1:2", "admin_url": "http://127.0.0.1:3"}
    loop.settings = settings_of(tmp_path, resume=True, timeout_s=1.0, **elsewhere)
    loop.load()


READINGS = [
    Record(Scored(0, (2, 3), np.array([0.25, 0.75, 0.75]), cut_off=False), outcome=1.0, num_tokens=4),
    Record(Scored(1, (3,), np.array([0.25, 0.5]), cut_off=True), outcome=0.0, num_tokens=3),
    Record(Lapse.TIMEOUT, outcome=0.0, num_tokens=2),
    Record(Lapse.NO_THINKING, outcome=0.0, num_tokens=1),
    Record(Scored(0, (4,), np.array([0.5, 0.25]), cut_off=True), outcome=0.0, num_tokens=4),
    Record(Scored(0, (2,), np.array([0.5, 0.5]), cut_off=True), outcome=0.0, num_tokens=2),
]
# The first group's rewards are 1, 0, 0: mean 1/3, standard deviation with ddof 1 √(1/3).
HIGH, LOW = (2 / 3) / (3**-0.5 + 1e-6), (-1 / 3) / (3**-0.5 + 1e-6)
GRPO = [[HIGH] * 4, [LOW] * 3 + [0], [LOW] * 2 + [0] * 2, [0] * 4, [0] * 4, [0] * 4]
# Progress of the episodes: 0.5 then 0; 0.25 after one token of opening; -0.25; 0.
PROGRESS = [[0.5, 0.5, 0, 0], [0, 0.25, 0.25, 0], [0] * 4, [0] * 4, [-0.25] * 4, [0] * 4]


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_progress_is_paid_on_top_of_grpo(loop: Loop, tmp_path: Path, alpha: float) -> None:
    loop.settings = settings_of(tmp_path, alpha=alpha)
    advantage_BT, metrics = loop.pay(READINGS)
    assert advantage_BT.tolist() == [pytest.approx(row, abs=1e-6) for row in np.add(GRPO, np.multiply(alpha, PROGRESS))]
    assert metrics["mrt/outcome/mean"] == pytest.approx(1 / 6)
    # Two of five episodes have no progress; the threshold is printed beside the share.
    assert (metrics["mrt/progress/waste_share"], metrics["mrt/waste_threshold"]) == (pytest.approx(0.4), 0.02)
    assert metrics["mrt/failed/timeout"] == 1
    assert metrics["response_length/mean"] == pytest.approx(16 / 6)


def test_too_many_failures_stop_the_run(loop: Loop, tmp_path: Path) -> None:
    loop.settings = settings_of(tmp_path)
    with pytest.raises(ProverError, match=r"4 of 6 traces .* \(4 timeout\); at most 50% .* --mrt.max_failed_share"):
        loop.pay([*READINGS[:2], *[Record(Lapse.TIMEOUT, outcome=1.0, num_tokens=2)] * 4])


def test_responses_come_in_groups_without_padding(loop: Loop, tmp_path: Path) -> None:
    loop.settings = settings_of(tmp_path)
    torch.manual_seed(0)
    problems = loop.draw(np.random.default_rng(0))
    rollouts = loop.think(problems)
    assert rollouts.problems == [problems[0]] * 3 + [problems[1]] * 3
    for row in range(6):
        response = rollouts.response(row)
        assert loop.tokenizer.decode(response.prompt_ids) == (
            f"<|im_start|>user\n{rollouts.problems[row].text}<|im_end|>\n<|im_start|>assistant\n<think>\n"
        )
        assert 0 not in response.response_ids
        assert 2 not in response.response_ids[:-1]
        assert len(response.response_ids) == 70 or response.response_ids[-1] == 2
        # Padding changes nothing: the same row alone, in one plain pass.
        ids = torch.tensor([[*response.prompt_ids, *response.response_ids]])
        plain = loop.policy(ids).logits.log_softmax(-1)[0, len(response.prompt_ids) - 1 : -1]
        wanted = plain.gather(1, torch.tensor(response.response_ids)[:, None])[:, 0]
        found = loop.logprobs(rollouts, torch.tensor([row]))[0, : len(response.response_ids)]
        assert torch.allclose(found, wanted, atol=1e-4)


def test_responses_say_at_which_step_they_were_sampled(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Response] = []

    async def score_all(responses: list[Response]) -> list[Record]:
        seen.extend(responses)
        return [Record(Lapse.NO_THINKING)] * len(responses)

    loop.settings = settings_of(tmp_path)
    rollouts = loop.think(loop.draw(np.random.default_rng(0)))
    monkeypatch.setattr(loop, "scorer", SimpleNamespace(score_all=score_all))
    for log in ([], [{}] * 4):
        monkeypatch.setattr(loop, "log", log)
        asyncio.run(loop.score(rollouts))
    assert [response.step for response in seen] == [0] * 6 + [4] * 6


def test_one_step_makes_what_was_paid_likelier(tmp_path: Path) -> None:
    loops = [
        Loop(settings_of(tmp_path).model_copy(update={"micro_rows": rows, "learning_rate": 1e-4})) for rows in (1, 16)
    ]
    torch.manual_seed(0)
    rollouts = loops[0].think(loops[0].draw(np.random.default_rng(0)))
    is_response = rollouts.mask[:, rollouts.num_prompt :]
    advantage_BT = torch.ones(is_response.shape) * torch.tensor([[1.0], [-1.0]] * 3)
    every = torch.arange(6)

    def gain(loop: Loop) -> float:
        with torch.no_grad():
            return float((advantage_BT * is_response * loop.logprobs(rollouts, every)).sum())

    before = gain(loops[0])
    norms = [loop.learn(rollouts, advantage_BT) for loop in loops]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert gain(loops[0]) > before
    assert gain(loops[0]) == pytest.approx(gain(loops[1]), abs=0.1)


def test_the_learning_rate_is_reached_in_a_line(tmp_path: Path) -> None:
    loop = Loop(settings_of(tmp_path).model_copy(update={"warmup_steps": 4, "learning_rate": 1e-3}))
    rollouts = loop.think(loop.draw(np.random.default_rng(0)))
    before = [each.detach().clone() for each in loop.policy.parameters()]
    loop.learn(rollouts, torch.ones(rollouts.mask[:, rollouts.num_prompt :].shape))
    # Adam's first step moves a weight by the learning rate, however small its gradient is.
    moved = max(
        float((now.detach() - then).abs().max()) for now, then in zip(loop.policy.parameters(), before, strict=True)
    )
    assert moved == pytest.approx(1e-3 / 4, rel=1e-2)
    for num_done, rate in ((1, 1e-3 / 2), (3, 1e-3), (9, 1e-3)):
        loop.log = [{}] * num_done
        assert loop.learning_rate == pytest.approx(rate)


def test_the_learning_rate_falls_in_a_line_where_asked(tmp_path: Path) -> None:
    changed = {"warmup_steps": 2, "learning_rate": 1e-3, "steps": 6, "decay": True}
    loop = Loop(settings_of(tmp_path).model_copy(update=changed))
    rates: list[float] = []
    for num_done in range(6):
        loop.log = [{}] * num_done
        rates.append(loop.learning_rate)
    assert rates == pytest.approx([0.5e-3, 1e-3, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    assert loop.identity()["steps"] == 6  # other steps would be another rate at each of them
    assert "steps" not in Loop(settings_of(tmp_path)).identity()


def test_traces_that_no_server_scores_train_on_their_outcome_and_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prover = ScriptedProver(lambda _text, _index: 0.5)
    with threaded_server(prover) as url:
        prover.unavailable = True
        loop = Loop(settings_of(tmp_path, url, max_failed_share=1.0, timeout_s=0.5))

        async def step() -> None:
            await loop.step()
            await loop.scorer.close()

        asyncio.run(step())
    assert loop.log[0]["mrt/failed/share"] == 1
    assert "mrt/progress/waste_share" not in loop.log[0]
    assert "6 of 6 traces have no values, one because: " in capsys.readouterr().out


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_server_that_is_down_is_reported_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no progress server answers at --mrt\.url="):
        asyncio.run(train(settings_of(tmp_path / "run", f"http://127.0.0.1:{free_port()}")))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_refused_before_a_server_is_asked(tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    with pytest.raises(ConfigError, match="holds a run already: go on with --resume, or choose another --out"):
        asyncio.run(train(settings_of(tmp_path, f"http://127.0.0.1:{free_port()}")))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mrt.alpha=-1"], 'mrt.alpha: expected a value greater than or equal to 0, got "-1"'),
        (["--mrt.baseline=termination"], "--mrt.baseline=termination compares"),
        (["--mrt.answer_progress=null"], "mrt.answer_progress: expected one of none, add, got null"),
        (["--mrt.mode=prefix"], "--mrt.mode prefix by prefixes.py"),
    ],
)
def test_wrong_settings_end_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", f"--out={tmp_path}", *flags])
    with pytest.raises(SystemExit, match=message):
        recipe.main()


def test_help_tells_defaults_and_units(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        recipe.main()
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--max_tokens int Longest response, in tokens. (default: 180)" in shown
    assert "--mrt.alpha float Weight of progress; 0 is outcome reward alone. (default: 1.0)" in shown
    # The word for what is unset is the one to type: `none` is a choice of some settings.
    assert "null leaves a value unset." in shown
    assert "--mrt.grader str Grader by its name. Unset: the default one. (default: null)" in shown
    assert "(default: None)" not in shown
