"""MRT-RL from prefixes: rows as `mrt-reward prefixes` writes them, what they are paid, and a run on them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from adapters.custom_loop import prefixes
from adapters.custom_loop.prefixes import PrefixLoop, PrefixTrainingSettings, StartRow, read_groups
from adapters.custom_loop.train import PolicyRollouts, train
from mrt_reward.cli.app import app
from mrt_reward.core.credit import outcome_advantages, termination_advantage
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import ConfigError, MRTRewardError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.template import prompt_text
from mrt_reward.training.records import Prefixed, number_of

# No server is there: mode prefix asks none.
NOBODY = "http://127.0.0.1:9"
SMALL: dict[str, Any] = {"problems": 2, "group_size": 2, "max_tokens": 30, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traces of the bundled model, scored, and cut into rows."""
    folder = tmp_path_factory.mktemp("rows")
    traces, scored, rows = (str(folder / f"{name}.jsonl") for name in ("traces", "scored", "rows"))
    for words in (
        ["mini", "sample", traces, "--problems=8", "--traces=1"],
        ["score", traces, "-o", scored],
        ["prefixes", scored, "-o", rows, f"--tokenizer={MODEL_DIR}", "--min-episodes=1"],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (done.output, done.exception)
    return Path(rows)


def settings_of(rows: Path, out: Path, *, steps: int = 2, resume: bool = False, **mrt: Any) -> PrefixTrainingSettings:
    return PrefixTrainingSettings(rows=rows, out=out, steps=steps, resume=resume, mrt={"url": NOBODY, **mrt}, **SMALL)  # type: ignore[arg-type]


def trained(settings: PrefixTrainingSettings) -> list[dict[str, float]]:
    asyncio.run(train(settings, PrefixLoop))
    entries = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in entries]


def test_groups_are_whole_and_hold_a_row_that_stops_and_one_that_goes_on(made: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in made.read_text().splitlines()]
    groups = read_groups(settings_of(made, tmp_path))
    assert len(groups) == len(lines) / 2 >= 2
    for (stop, go), first, second in zip(groups, lines[::2], lines[1::2], strict=True):
        assert stop == StartRow(
            first["prompt"], first["answer"], Prefixed(number_of(first["mrt_group"]), go.prefixed.value, stop=True)
        )
        assert go == StartRow(
            second["prompt"], second["answer"], Prefixed(stop.prefixed.group, first["mrt_value_prefix"])
        )
        assert stop.text.startswith(go.text)
        assert stop.text.endswith("</think>\n\n")


def test_a_run_on_rows_that_were_made_goes_on_where_it_was_saved(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    log = trained(settings_of(made, whole))
    assert "where it goes on" in capsys.readouterr().out
    trained(settings_of(made, broken, steps=1))
    with pytest.raises(ConfigError, match="go on with --resume"):
        trained(settings_of(made, broken))
    assert trained(settings_of(made, broken, resume=True)) == log
    # Two groups of two rows of two traces.
    for entry in log:
        assert (entry["mrt/prefix/stop/rows"], entry["mrt/prefix/continue/rows"]) == (4, 4)
        assert not [name for name in entry if "progress" in name or "prover" in name]
    assert any(entry["grad_norm"] > 0 for entry in log)
    start, theirs, ours = (
        load_file(out / "model.safetensors") for out in (MODEL_DIR, broken / "model", whole / "model")
    )
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert any(not torch.equal(start[name].float(), ours[name]) for name in ours)


CLOSED, OPEN = prompt_text("Which place?") + "</think>\n\n", prompt_text("Which place?")
RIGHT, WRONG = "The final answer is \\boxed{51}", "The final answer is \\boxed{5}"
# Row, response, its outcome, and the part of the response that is trained.
A, B = Prefixed(1, 0.25), Prefixed(2, 0.75)
A_STOP, B_STOP = Prefixed(1, 0.25, stop=True), Prefixed(2, 0.75, stop=True)
BATCH = [
    (StartRow(CLOSED, "51", A_STOP), RIGHT, 1.0, RIGHT),
    (StartRow(CLOSED, "51", A_STOP), WRONG, 0.0, WRONG),
    (StartRow(OPEN, "51", A), f"Try 51.</think>{RIGHT}", 1.0, f"Try 51.</think>{RIGHT}"),
    (StartRow(OPEN, "5", A), "Try 51.", 0.0, "Try 51."),
    (StartRow(OPEN, "51", B_STOP), f"Try 51.</think>{RIGHT}", 1.0, f"</think>{RIGHT}"),
    (StartRow(OPEN, "51", B), f"Try 5.</think>{WRONG}", 0.0, f"Try 5.</think>{WRONG}"),
    # It must stop and does not: nothing of it is an answer, and it is in no baseline.
    (StartRow(OPEN, "51", B_STOP), "Try 51.", 0.0, ""),
]


@pytest.fixture(scope="module")
def loop(made: Path, tmp_path_factory: pytest.TempPathFactory) -> PrefixLoop:
    return PrefixLoop(settings_of(made, tmp_path_factory.mktemp("loop")))


def rolled_out(loop: PrefixLoop, rows: Sequence[StartRow], responses: Sequence[str]) -> PolicyRollouts:
    """As if the policy had answered with these texts."""
    prompts, answers = (
        loop.tokenizer(list(texts), add_special_tokens=False, padding=True, padding_side=side, return_tensors="pt")
        for texts, side in (([row.text for row in rows], "left"), (responses, "right"))
    )
    ids, mask = (torch.cat([prompts[name], answers[name]], 1) for name in ("input_ids", "attention_mask"))
    return PolicyRollouts(list(rows), ids, mask, prompts["input_ids"].shape[1])


@pytest.mark.parametrize("baseline", ["none", "termination"])
def test_tokens_are_paid_by_their_group_or_against_their_prefix(
    loop: PrefixLoop, made: Path, tmp_path: Path, baseline: str
) -> None:
    loop.settings = settings_of(made, tmp_path, baseline=baseline)
    rows, texts, outcomes, parts = zip(*BATCH, strict=True)
    advantage_BT, metrics = asyncio.run(loop.advantages(rolled_out(loop, rows, texts)))
    if baseline == "none":
        of_groups = [
            outcome_advantages(np.array(outcomes[here]), CreditConfig()) for here in (slice(0, 4), slice(4, 6))
        ]
        paid = [*np.concatenate(of_groups), 0.0]
    else:
        paid = [
            *(termination_advantage(r, row.prefixed.value or 0.0) for row, r in zip(rows[:6], outcomes, strict=False)),
            0.0,
        ]
    assert all(paid[:6])
    for advantage_T, text, part, wanted in zip(advantage_BT.tolist(), texts, parts, paid, strict=True):
        size, num = (len(loop.tokenizer.encode(each, add_special_tokens=False)) for each in (text, part))
        assert advantage_T == pytest.approx([0.0] * (size - num) + [wanted] * num + [0.0] * (len(advantage_T) - size))
    assert metrics["mrt/outcome/mean"] == pytest.approx(3 / 7)
    assert metrics["mrt/failed/unsupported"] == 1


GOOD = {"prompt": OPEN, "answer": "51", "mrt_group": "g", "mrt_value_prefix": 0.5, "mrt_stop": False}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("half a li", r"line 2: expected an object with prompt, answer and mrt_group, got half a li"),
        ([1], "line 2: expected an object"),
        ({"prompt": None}, "line 2: expected a prompt as text"),
        ({"answer": ""}, "line 2: expected a prompt as text, and its gold answer"),
        ({"mrt_group": None}, "line 2 has no mrt_group, which mode=prefix needs"),
        ({"mrt_value_prefix": 1.5}, r"line 2: mrt_value_prefix must be in \[0, 1\], got 1.5"),
        ({"mrt_value_prefix": None}, "baseline=termination needs the column mrt_value_prefix"),
        ({"mrt_stop": "no"}, "line 2: mrt_stop must be true or false, got 'no'"),
        ({}, r"has 1 groups: set --problems to no more than that"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused_before_anything_is_loaded(
    tmp_path: Path, wrong: Any, message: str
) -> None:
    second = wrong if isinstance(wrong, str) else json.dumps({**GOOD, **wrong} if isinstance(wrong, dict) else wrong)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"{json.dumps(GOOD)}\n{second}\n\n")
    with pytest.raises(MRTRewardError, match=message):
        PrefixLoop(settings_of(rows, tmp_path, baseline="termination"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rows=none.jsonl"], "rows: Path does not point to a file"),
        (["--mrt.mode=episodes"], "--mrt.mode episodes is trained by train.py"),
        (["--mrt.follow_steps=2"], "--mrt.follow_steps needs mode=episodes"),
        # The mode stays where another setting is given.
        (["--mrt.baseline=termination", "--problems=99"], "groups: set --problems"),
    ],
)
def test_wrong_settings_end_with_one_sentence(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["prefixes.py", f"--out={tmp_path}", f"--rows={made}", *flags])
    with pytest.raises(SystemExit, match=message):
        prefixes.main(PrefixTrainingSettings, PrefixLoop)
