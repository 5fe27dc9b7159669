"""TRL's own advantages, and what progress adds to them, on batches of scripted completions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mrt_trl.rows import shows_images
from transformers import AutoTokenizer

from mrt_reward.core.credit import credit, outcome_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import ProverError, TraceError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.training.records import number_of
from tests.server.conftest import threaded_server
from tests.trl.policy import (
    TEXT,
    VALUES,
    Generated,
    Recorded,
    right,
    script,
    scripted_problems,
    scripted_server,
    trainer,
    value_of,
)

WRONG = TEXT.replace("42", "41")
UNTHOUGHT = "</think>\n\nThe final answer is \\boxed{41}"
MARKED = ["One.\n\n", "Two.\n\n", "Three.\n\n"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with scripted_server() as found:
        yield found


def generated(made: Recorded, rows: int = 4) -> Generated:
    """One generation batch of training, all but generation itself TRL's own."""
    made.model.train()  # type: ignore[union-attr]
    made._generate_and_score_completions([dict(row) for row in made.train_dataset.select(range(rows))])  # type: ignore[union-attr]
    return made.kept[-1]


def made_of(folder: Path, url: str, texts: Sequence[str], mrt: dict[str, Any] | None = None, **given: Any) -> Recorded:
    given.setdefault("train_dataset", scripted_problems())
    return trainer(folder, url, mrt, rollout_func=script(*texts), **given)


def added_by_hand(progress: Sequence[float]) -> list[float]:
    """What `TEXT`'s tokens get: its three paragraphs their progress, all others nothing."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    ends = [len("".join(MARKED[: j + 1])) for j in range(3)]
    added: list[float] = []
    for token in range(len(ids)):
        begun = len(tokenizer.decode(ids[:token]))
        added.append(next((each for each, end in zip(progress, ends, strict=True) if begun < end), 0.0))
    return added


SCALES = [
    {"scale_rewards": "group"},
    {"scale_rewards": "batch"},
    {"scale_rewards": "none"},
    {"multi_objective_aggregation": "normalize_then_sum"},
]


@pytest.mark.parametrize("scale", SCALES, ids=lambda each: next(iter(each.values())))
def test_progress_is_added_to_whatever_trl_makes_of_the_rewards(
    url: str, tmp_path: Path, scale: dict[str, Any]
) -> None:
    def short(completions: Sequence[Any], **_: Any) -> list[float | None]:
        # None where it does not apply, as TRL allows.
        return [None if index == 1 else len(each[0]["content"]) / 100 for index, each in enumerate(completions)]

    given: dict[str, Any] = {"reward_funcs": [right, short], "reward_weights": [1.0, 0.5], **scale}
    for alpha in (0.0, 0.5):
        batch = generated(made_of(tmp_path, url, [TEXT, WRONG, UNTHOUGHT, TEXT], {"alpha": alpha}, **given))
        added = (batch.advantages - batch.theirs_B[:, None]).numpy()
        by_hand = added_by_hand([0.25, 0.0, 0.5])
        assert added[0][: len(by_hand)] == pytest.approx(alpha * np.array(by_hand), abs=1e-6)
        assert added[1][: len(by_hand)] == pytest.approx(alpha * np.array(by_hand), abs=1e-6)
        assert not added[2].any()
        assert len(set(batch.theirs_B.tolist())) > 1


def test_the_difference_is_alpha_times_what_core_gives(url: str, tmp_path: Path) -> None:
    mrt = {"alpha": 0.5, "credit": "to_go", "baseline": "group_index", "answer_progress": "add"}
    batch = generated(made_of(tmp_path, url, [TEXT, WRONG, UNTHOUGHT, WRONG], mrt))
    whole = np.array(VALUES)
    values = [whole, whole, None, whole]
    config = CreditConfig(alpha=0.5, credit="to_go", baseline="group_index", answer_progress="add", epsilon=1e-4)
    for row, paid in enumerate(credit([1.0, 0.0, 0.0, 0.0], values, config)):
        assert batch.theirs_B[row].item() == pytest.approx(paid.outcome_advantage, abs=1e-6)
        if values[row] is None:
            assert batch.advantages[row].numpy() == pytest.approx(paid.outcome_advantage, abs=1e-6)
            continue
        indices = added_by_hand([1.0, 2.0, 3.0])
        wanted = [paid.answer_advantage if not index else paid.episode_advantage_K[int(index) - 1] for index in indices]
        assert batch.advantages[row, : len(wanted)].numpy() == pytest.approx(wanted, abs=1e-5)


def test_coupled_answers_are_seeded_by_trls_own_step(tmp_path: Path) -> None:
    prover = ScriptedProver(value_of)
    with threaded_server(prover) as url:
        made = made_of(tmp_path, url, [TEXT, WRONG], {"estimator": "rollouts", "coupled": True})
        seeds: list[set[int]] = []
        for step in (0, 5):
            made.state.global_step = step
            prover.proofs.clear()
            generated(made)
            seeds.append({probe.seed for proof in prover.proofs for probe in proof.probes})
    # All rows ask about one problem.
    assert len(seeds[0]) == len(seeds[1]) == 1
    assert seeds[0] != seeds[1]


def test_rows_that_no_function_rewards_are_paid_nothing_as_trl_does(url: str, tmp_path: Path) -> None:
    def sometimes(completions: Sequence[Any], **_: Any) -> list[float | None]:
        return [None, 1.0, 0.0, 1.0]

    made = made_of(tmp_path, url, [TEXT], reward_funcs=sometimes)
    batch = generated(made)
    assert not batch.advantages[0].any()
    assert batch.advantages[1].any()
    assert made._metrics["train"]["mrt/outcome/mean"] == pytest.approx([2 / 3])
    assert made._metrics["train"]["mrt/traces/scored"] == [4.0]


@pytest.mark.parametrize("on_failure", ["mask", "drop", "abort"])
def test_a_trace_without_a_score_is_masked_or_dropped_or_stops_the_run(
    url: str, tmp_path: Path, on_failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    # The server refuses a trace without a gold answer.
    data = scripted_problems(4, solution=["", "42", "42", "42"])
    made = made_of(tmp_path, url, [TEXT, TEXT, WRONG, WRONG], {"on_failure": on_failure}, train_dataset=data)
    if on_failure == "abort":
        with pytest.raises(ProverError, match=r"1 of 4 traces .*\(1 rejected\).*mrt.on_failure=abort"):
            generated(made)
        assert made._mrt_batch is None
        return
    batch = generated(made)
    assert "no progress for 1 of 4 traces: rejected" in caplog.text
    assert made._metrics["train"]["mrt/failed/rejected"] == [1.0]
    outcome = np.array([0.0, 1.0, 0.0, 0.0])
    if on_failure == "mask":
        theirs = outcome_advantages(outcome, CreditConfig(epsilon=1e-4))
        assert batch.advantages[0].numpy() == pytest.approx(theirs[0], abs=1e-6)
    else:
        theirs = np.array([0.0, *outcome_advantages(outcome[1:], CreditConfig(epsilon=1e-4))])
        assert not batch.advantages[0].any()
    assert batch.theirs_B.numpy() == pytest.approx(theirs, abs=1e-6)
    added = added_by_hand([0.25, 0.0, 0.5])
    assert batch.advantages[1, : len(added)].numpy() == pytest.approx(theirs[1] + np.array(added), abs=1e-6)


def test_too_many_traces_without_a_score_stop_the_run(url: str, tmp_path: Path) -> None:
    data = scripted_problems(4, solution=["", "", "", "42"])
    with pytest.raises(ProverError, match=r"3 of 4 traces of this batch have no progress \(3 rejected\); at most 50%"):
        generated(made_of(tmp_path, url, [TEXT], train_dataset=data))


def test_masked_truncated_completions_stay_masked_and_count_in_baselines(url: str, tmp_path: Path) -> None:
    cut = "One.\n\nTwo.\n\nThree"
    ended = TEXT + "<|im_end|>"
    made = made_of(tmp_path, url, [ended, cut], {"baseline": "group"}, mask_truncated_completions=True)
    batch = generated(made)
    assert [bool(row.any()) for row in batch.output["completion_mask"]] == [True, False, True, False]
    assert made._metrics["train"]["mrt/thinking/cut_off_share"] == [0.5]
    assert made._metrics["train"]["mrt/traces/scored"] == [4.0]


def test_what_a_tool_wrote_keeps_trls_mask(url: str, tmp_path: Path) -> None:
    roll_out = script(TEXT)

    def with_tool(prompts: list[Any], made: Any) -> dict[str, Any]:
        output = roll_out(prompts, made)
        masks = [[1] * len(ids) for ids in output["completion_ids"]]
        for mask in masks:
            mask[2] = 0
        return {**output, "env_mask": masks}

    made = trainer(tmp_path, url, rollout_func=with_tool, train_dataset=scripted_problems())
    batch = generated(made)
    assert batch.output["tool_mask"][:, 2].tolist() == [0] * 4
    assert made._metrics["train"]["mrt/traces/scored"] == [4.0]


def test_gold_answers_may_stand_in_another_column_and_be_several(url: str, tmp_path: Path) -> None:
    data = scripted_problems(4, gold=[["42", "42.0"]]).rename_column("solution", "other")

    def any_right(completions: Sequence[Any], **_: Any) -> list[float]:
        return [1.0] * len(completions)

    made = made_of(tmp_path, url, [TEXT], train_dataset=data, reward_funcs=any_right, answer_column="gold")
    generated(made)
    assert made._metrics["train"]["mrt/traces/scored"] == [4.0]


def test_prompts_of_plain_text_are_scored_too(url: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)

    def roll_out(prompts: list[str], _: Any) -> dict[str, Any]:
        ids = tokenizer.encode(TEXT, add_special_tokens=False)
        asked = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in prompts]
        many = [list(ids) for _ in prompts]
        return {"prompt_ids": asked, "completion_ids": many, "logprobs": [[0.0] * len(ids) for ids in many]}

    data = scripted_problems().remove_columns("prompt").add_column("prompt", ["6 times 7? <think>\n"] * 8)
    made = trainer(tmp_path, url, rollout_func=roll_out, train_dataset=data)
    generated(made)
    assert made._metrics["train"]["mrt/traces/scored"] == [4.0]


def test_evaluation_is_never_proved(tmp_path: Path) -> None:
    with scripted_server() as url:
        made = made_of(tmp_path, url, [TEXT], per_device_eval_batch_size=4)
    # The server is gone, and nobody notices.
    metrics = made.evaluate(scripted_problems(4))
    assert math.isfinite(metrics["eval_loss"])
    assert made.kept[-1].advantages.dim() == 1
    assert not [name for name in metrics if "mrt/" in name]


def test_an_error_of_the_users_reward_is_the_users_and_nothing_is_left_running(url: str, tmp_path: Path) -> None:
    def broken(**_: Any) -> list[float]:
        raise RuntimeError("mine")

    made = made_of(tmp_path, url, [TEXT], reward_funcs=broken)
    with pytest.raises(RuntimeError, match="mine"):
        generated(made)
    assert made._mrt_batch is None


@pytest.mark.parametrize("baseline", ["none", "termination"])
def test_rows_of_prefixes_are_paid_by_their_own_group_or_against_their_prefix(tmp_path: Path, baseline: str) -> None:
    # TRL's groups are rows 0-3 and 4-7; here they are the even and the odd rows. No server is there.
    data = scripted_problems(8, mrt_group=["even", "odd"], mrt_value_prefix=[0.25, 0.5], mrt_stop=[True, False])
    texts = [TEXT, TEXT, WRONG, WRONG, TEXT, WRONG, WRONG, WRONG]
    mrt = {"mode": "prefix", "baseline": baseline}
    made = made_of(tmp_path, "http://127.0.0.1:9", texts, mrt, train_dataset=data, per_device_train_batch_size=8)
    batch = generated(made, 8)
    outcome = np.array([1.0, 1, 0, 0, 1, 0, 0, 0])
    wanted = np.zeros(8)
    for first, value in ((0, 0.25), (1, 0.5)):
        here = outcome[first::2]
        together = outcome_advantages(here, CreditConfig(epsilon=1e-4, singleton="zero"))
        wanted[first::2] = together if baseline == "none" else here - value
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    for row, advantage in enumerate(wanted):
        ids = tokenizer.encode(texts[row], add_special_tokens=False)
        found = batch.advantages[row, : len(ids)].numpy()
        close = next(t for t in range(len(ids)) if "</think>" in tokenizer.decode(ids[: t + 1]))
        trained = np.arange(len(ids)) >= (close if row % 2 == 0 else 0)
        assert found == pytest.approx(np.where(trained, advantage, 0.0), abs=1e-6)
    assert made._metrics["train"]["mrt/prefix/stop/rows"] == [4.0]
    assert number_of("even") != number_of("odd")


def test_a_row_that_must_stop_and_has_no_answer_is_left_out(tmp_path: Path) -> None:
    data = scripted_problems(4, mrt_group=["g"], mrt_stop=[True, False, False, False])
    texts = ["One.\n\nTwo.", TEXT, WRONG, WRONG]
    made = made_of(tmp_path, "http://127.0.0.1:9", texts, {"mode": "prefix"}, train_dataset=data)
    batch = generated(made)
    assert not batch.advantages[0].any()
    assert made._metrics["train"]["mrt/failed/unsupported"] == [1.0]


def test_rows_of_prefixes_that_say_nothing_usable_are_refused(tmp_path: Path) -> None:
    for columns, message in (
        ({"mrt_group": ["g", None]}, "has no mrt_group"),
        ({"mrt_group": ["g"], "mrt_value_prefix": [1.5]}, r"must be in \[0, 1\], got 1.5"),
    ):
        data = scripted_problems(4, **columns)
        made = made_of(tmp_path, "http://127.0.0.1:9", [TEXT], {"mode": "prefix"}, train_dataset=data)
        with pytest.raises(TraceError, match=message):
            generated(made)


def test_prompts_with_images_are_known() -> None:
    text = [{"role": "user", "content": [{"type": "text", "text": "6 times 7?"}]}]
    seen = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    assert not shows_images({}, "6 times 7?")
    assert not shows_images({"image": None, "images": []}, text)
    assert shows_images({"image": object()}, text)
    assert shows_images({"images": [object()]}, text)
    assert shows_images({}, seen)


def test_a_prompt_with_images_is_unsupported_and_the_rest_is_scored(url: str, tmp_path: Path) -> None:
    made = made_of(tmp_path, url, [TEXT, TEXT, WRONG, WRONG])
    rows = [dict(row) for row in made.train_dataset.select(range(4))]  # type: ignore[union-attr]
    with made._batch(rows) as batch:
        seen = [{"role": "user", "content": [{"type": "image"}]}]
        ids = AutoTokenizer.from_pretrained(MODEL_DIR).encode(TEXT, add_special_tokens=False)
        batch.generated([seen, *(row["prompt"] for row in rows[1:])], [[1]] * 4, [ids] * 4)
        assert list(batch.rewarded(np.array([1.0, 1.0, 0.0, 0.0]))) == [False] * 4
        advantages = batch.advantages(torch.zeros(4), len(ids))
    assert not advantages[0].any()
    assert advantages[1].any()
    assert made._metrics["train"]["mrt/failed/unsupported"] == [1.0]


def test_rewards_before_generation_are_our_own_mistake(url: str, tmp_path: Path) -> None:
    made = made_of(tmp_path, url, [TEXT])
    with made._batch([]) as batch, pytest.raises(RuntimeError, match="expected TRL to generate"):
        batch.rewarded(np.zeros(0))
