"""Fine-tuning and comparing bundled models, at a size that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mrt_reward.cli.app import app
from mrt_reward.errors import ConfigError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.comparison import Interval, compare, measure_group
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.policy import SampledTrace, load_model
from mrt_reward.mini.template import TERMINATOR, answer_text, prompt_text
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids
from mrt_reward.mini.tuning import IGNORED, TuningSettings, chat_loss, collate, read_chats, tune
from mrt_reward.mini.writer import TIDY, write_thinking

RUN = CliRunner()


def chats(folder: Path, num_chats: int) -> Path:
    """What `mrt-reward star` writes, of a perfect searcher."""
    rng, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for problem in sample_problems(num_chats, 9):
        said = f"<think>\n{write_thinking(problem, TIDY, rng).text}{TERMINATOR}{answer_text(problem.answer)}"
        turns = [{"role": "user", "content": problem.text}, {"role": "assistant", "content": said}]
        rows.append({"messages": turns, "id": "x"})
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_only_what_the_assistant_says_is_trained(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(MODEL_DIR)
    short, long = sorted(read_chats(chats(tmp_path, 2), tokenizer), key=lambda chat: len(chat.ids))
    problem = json.loads((tmp_path / "chats.jsonl").read_text().splitlines()[0])["messages"][0]["content"]
    assert {chat.num_prompt for chat in (short, long)} >= {len(token_ids(tokenizer, prompt_text(problem)))}
    id_BT, mask_BT, target_BT = collate([short, long], pad=0)
    assert mask_BT.sum(dim=1).tolist() == [len(short.ids), len(long.ids)]
    assert target_BT[0, : short.num_prompt].unique().tolist() == [IGNORED]
    assert target_BT[0, short.num_prompt : len(short.ids)].tolist() == list(short.ids[short.num_prompt :])
    assert target_BT[0, len(short.ids) :].unique().tolist() in ([IGNORED], [])
    # Padding changes nothing: the loss of both is the mean over their trained tokens.
    model, _ = load_model()
    with torch.no_grad():
        together = float(chat_loss(model, id_BT, mask_BT, target_BT))
        alone = [float(chat_loss(model, *collate([chat], pad=0))) for chat in (short, long)]
    trained = [len(chat.ids) - chat.num_prompt for chat in (short, long)]
    assert together == pytest.approx(np.average(alone, weights=trained), rel=1e-4)


def test_tuning_learns_what_it_is_shown_and_leaves_the_embeddings(tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    settings = TuningSettings(num_epochs=3, batch_rows=8)
    losses = tune(
        MODEL_DIR, chats(tmp_path, 16), tmp_path / "m", settings, lambda done, all_, _: reported.append((done, all_))
    )
    assert (len(losses), reported[-1]) == (6, (6, 6))
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
    before, after = load_model()[0].state_dict(), load_model(tmp_path / "m")[0].state_dict()
    same = {name for name, weights in before.items() if torch.equal(weights, after[name])}
    # Tied: the embedding is the head as well. Norms move by less than bfloat16 tells apart.
    assert same >= {"model.embed_tokens.weight", "lm_head.weight"}
    assert not [name for name in same if "proj" in name]
    again = tune(MODEL_DIR, tmp_path / "chats.jsonl", tmp_path / "n", settings)
    assert again == losses


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "line 1: expected `messages`"),
        ("nothing", "line 1: expected `messages`"),
        ('{"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}', "a user's turn"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}', "starts with"),
        ("", "no chats"),
    ],
)
def test_what_is_no_chat_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(line)
    with pytest.raises(ConfigError, match=message):
        read_chats(path, load_tokenizer(MODEL_DIR))


def test_a_group_is_measured_against_the_truth() -> None:
    [problem] = sample_problems(1, 3)
    thinking = write_thinking(problem, TIDY, np.random.default_rng(0)).text
    right = f"{thinking}{TERMINATOR}{answer_text(problem.answer)}"
    traces = [
        SampledTrace(problem, (), (1,) * 10, right, is_truncated=False),
        SampledTrace(problem, (), (1,) * 30, "But hold on.\n\nNo.\n\nNo.\n\n", is_truncated=True),
    ]
    got = measure_group(problem, traces)
    assert (got["accuracy"], got["tokens"], got["truncated"]) == (0.5, 20, 0.5)
    # A tidy search wastes nothing; the musing is one wasted episode beside its own.
    assert got["waste"] == pytest.approx(1 / (2 * got["episodes"]))


def test_intervals_are_of_the_mean_over_problems() -> None:
    # 0, 0, 1, 1: mean 1/2, s = 1/√3, half-width 1.96/√3/2 = 0.5658; the problem without a number is left out.
    got = Interval.over(np.array([0, 0, 1, 1, np.nan]))
    assert (got.mean, got.high - got.mean) == (0.5, pytest.approx(0.5658, abs=1e-4))
    with pytest.raises(ValueError, match="at least 2 problems, got 1"):
        Interval.over(np.array([1.0, np.nan]))


def test_models_are_compared_on_the_same_problems_and_draws() -> None:
    one, same = compare([MODEL_DIR, MODEL_DIR], num_problems=3, num_traces=1)
    assert one.difference(same, "tokens") == Interval(0, 0, 0)
    assert 20 < one.interval("tokens").mean <= 180


def test_the_verbs_sample_tune_and_compare(tmp_path: Path) -> None:
    sampled, data = tmp_path / "t.jsonl", chats(tmp_path, 4)
    done = RUN.invoke(app, ["mini", "sample", str(sampled), "--problems", "2", "--traces", "2", "--budget", "20"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in sampled.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["s0-p0-t0", "s0-p0-t1", "s0-p1-t0", "s0-p1-t1"]
    assert rows[0]["group"] == "s0-p0"
    done = RUN.invoke(app, ["mini", "tune", str(data), str(tmp_path / "m"), "--epochs", "1"])
    assert "1 steps, loss" in done.output
    done = RUN.invoke(app, ["mini", "compare", str(MODEL_DIR), str(tmp_path / "m"), "--problems", "2", "--traces", "1"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "difference" in done.output
