"""The whole way from a seed to a measured model, at a size that takes seconds."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mrt_reward.mini import MODEL_DIR, training
from mrt_reward.mini.bundled import BUNDLED, Bundled
from mrt_reward.mini.card import CARD_NAME, bars, tables, write_card
from mrt_reward.mini.evaluation import MiniMeasurement, measure
from mrt_reward.mini.network import NetworkSize, new_model
from mrt_reward.mini.packing import PackingRule
from mrt_reward.mini.tokenizer import load_tokenizer, train_tokenizer
from mrt_reward.mini.training import MINI_DEEP, SETTINGS, MiniTrainingSettings, Stage, batches, loss, train

SMALL = MiniTrainingSettings(
    stages=(Stage(2, 2, PackingRule(max_thinking_tokens=8)), Stage(1, 3, PackingRule(max_thinking_tokens=64))),
    size=NetworkSize(num_layers=1, num_heads=1, mlp_size=64),
    num_threads=1,
)

CHARTED = replace(
    MINI_DEEP,
    num_threads=1,
    stages=tuple(
        replace(stage, num_steps=steps, batch_rows=2) for stage, steps in zip(MINI_DEEP.stages, (1, 1, 2), strict=True)
    ),
)


@pytest.fixture(autouse=True, scope="module")
def learned_once() -> Generator[None]:
    """Most of what these trainings would take is to learn the tokenizer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_tokenizer", cache(train_tokenizer))
        yield


def test_training_writes_a_folder_that_transformers_loads(tmp_path: Path) -> None:
    losses = train(tmp_path, SMALL, quiet=True)
    assert len(losses) == 3
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path))
    assert model.config.head_dim == 64
    assert model.config.max_position_embeddings == 65_536
    assert load_tokenizer(tmp_path).get_vocab_size() == model.config.vocab_size == 4096
    again = train(tmp_path / "again", SMALL, quiet=True)
    assert losses == again
    # The tokenizer depends on the seed and on Python's own documentation only.
    assert train_tokenizer(SMALL.seed).to_str() == load_tokenizer(tmp_path).to_str()
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "again" / "model.safetensors").read_bytes()


def test_training_that_was_killed_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_STEPS", 1)
    whole = train(tmp_path / "whole", CHARTED, quiet=True)
    steps = iter(range(2))

    def killed(*given: Any) -> torch.Tensor:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return loss(*given)

    with monkeypatch.context() as patch:
        patch.setattr(training, "loss", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken", CHARTED, quiet=True)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    assert train(tmp_path / "broken", CHARTED, quiet=True) == whole
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]
    # What training needs to go on is no part of the model.
    assert not (tmp_path / "broken" / "training.pt").exists()


def test_a_batch_is_the_same_as_its_rows_alone() -> None:
    tokenizer = load_tokenizer(MODEL_DIR)
    model = new_model(SMALL.size, tokenizer, SMALL.seed).eval()
    batch = next(batches(tokenizer, SMALL))
    with torch.no_grad():
        together = loss(model, batch)
        # Worse than ln 4096: tied embeddings this large make a fresh model sure that a token comes again.
        assert 8.3 < float(together) < 40
        changed = replace(batch, id_BT=batch.id_BT.clone())
        changed.id_BT[~batch.visible_B1TT[:, 0].any(1)] = 7  # what nobody sees changes nothing
        assert float(loss(model, changed)) == pytest.approx(float(together))


@pytest.fixture(scope="module")
def measured() -> MiniMeasurement:
    seen: dict[str, tuple[int, int]] = {}
    result = measure(num_problems=12, progress=lambda what, done, total: seen.update({what: (done, total)}))
    assert seen["scoring"] == (12, 12)
    assert seen["sampling"][1] == 12 * 8
    return result


def test_the_bundled_model_is_near_its_card_on_a_few_problems(measured: MiniMeasurement) -> None:
    # The card's numbers come from many problems; a dozen can only tell that nothing is broken.
    assert 0.4 < measured.accuracy < 0.95
    assert measured.natural.known > 0.97
    assert measured.natural.error < 0.05
    assert measured.natural.correlation > 0.9
    mean, least = measured.answered
    assert 0.95 < least <= mean <= 1 + 1e-9
    assert measured.merged.num_values <= measured.natural.num_values


def test_the_card_states_what_was_measured(measured: MiniMeasurement, tmp_path: Path) -> None:
    write_card(tmp_path, measured, "3 steps.")
    card = (tmp_path / CARD_NAME).read_text()
    for bar in bars(measured):
        assert f"| {bar.name} | {bar.wanted} | {bar.measured} |" in card
    assert "3 steps." in card
    assert [table.row_count for table in tables(measured)] == [len(bars(measured)), 6]


@pytest.mark.parametrize("bundled", BUNDLED.values(), ids=BUNDLED)
def test_the_shipped_card_is_of_the_shipped_model(bundled: Bundled) -> None:
    card, settings = (bundled.folder / CARD_NAME).read_text(), SETTINGS[bundled.name]
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(str(bundled.folder))
    assert f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.2f} M parameters" in card
    assert f"{settings.num_steps} steps, seed {settings.seed}" in card


MISSED = ("prefixes with 0.1 < J_revealed < 0.9", "its ratio to the best predictor by episode index")


@pytest.mark.parametrize(
    ("name", "num_met", "missed", "problems"), [("mini", 17, (), 500), ("mini-deep", 14, 2 * MISSED, 200)]
)
def test_the_shipped_card_says_which_bars_are_met_on_many_problems(
    name: str, num_met: int, missed: tuple[str, ...], problems: int
) -> None:
    bundled = BUNDLED[name]
    card = (bundled.folder / CARD_NAME).read_text()
    assert card.count("| yes |") == num_met
    assert tuple(line.split(" | ")[0].removeprefix("| ") for line in card.splitlines() if "| no |" in line) == missed
    assert bool(bundled.caveat) == bool(missed)
    assert " ".join(bundled.caveat.split()) in " ".join(card.split())
    assert f"--problems {problems}" in card


@pytest.mark.parametrize("num_steps", [1, 2, 10, 95, 950, 2000])
def test_fewer_steps_keep_the_proportions(num_steps: int) -> None:
    scaled = MiniTrainingSettings().scaled(num_steps)
    assert scaled.num_steps == num_steps
    assert len(scaled.stages) == len(MiniTrainingSettings().stages)
    for now, before in zip(scaled.stages, MiniTrainingSettings().stages, strict=True):
        assert now.num_steps == pytest.approx(before.num_steps * num_steps / MiniTrainingSettings().num_steps, abs=1)
