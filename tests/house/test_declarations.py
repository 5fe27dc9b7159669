"""An option is declared once: in one record, which flags, environment, settings file, wire and trainers read."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest

from mrt_reward.config import ServeSettings
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import WasteOptions
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.options import AnswerOptions, Estimator, ScoreOptions, Segmenter
from mrt_reward.training.settings import TrainingSettings
from tests.house.declarations import declarations, flags_with_ranges, home, options_of
from tests.house.shape import Module, modules

SHARED: tuple[type[Any], ...] = (
    EngineSettings, ServeSettings, AnswerOptions, ScoreOptions, *get_args(Estimator), *get_args(Segmenter),
    CreditConfig, WasteOptions, TrainingSettings,
)  # fmt: skip
"""Records whose options are read by more than one of flags, environment, settings file, wire and trainers."""

OTHER_MEANING = {
    # A trainer's choice is wider than core's or the wire's: one more baseline, a name, or "the framework's own".
    "TrainingSettings.baseline", "TrainingSettings.scale_by_std", "TrainingSettings.segmenter",
    "TrainingSettings.estimator",
    # Segmenters: each with a meaning, and most with a default, of its own.
    "BalancedSegmenter.markers", "MarkerSegmenter.markers", "BalancedSegmenter.min_paragraphs",
    "MarkerSegmenter.min_paragraphs", "MarkerSegmenter.group", "ParagraphSegmenter.group",
    # /get_reward pays a scalar, and no episodes.
    "ServeSettings.alpha", "ServeSettings.paid_values",
    # How many answers without thinking were cut off, or whether one was.
    "Direct.truncated",
    # Fields of a trace or of a request, and what vLLM and stored scores say.
    "ScoreRequest.options", "AnswerCounts.num_tokens", "Record.num_tokens",
    "ProverInfo.dtype", "ProverInfo.coupled", "ProverOut.coupled", "Probe.seed",
    "RolloutPlan.keep_answers",
    # How a policy is sampled or continued, and what is drawn: no part of what a value is.
    "LoopSettings.model", "LoopSettings.temperature", "LoopSettings.max_tokens", "LoopSettings.seed",
    "BranchSettings.num_samples", "BranchSettings.temperature", "BranchSettings.top_p", "BranchSettings.max_tokens",
    "BranchSettings.seed", "SamplingSpec.temperature", "SamplingSpec.top_p", "SamplingSpec.max_tokens",
    "SamplingSpec.seed", "ForcingSpec.max_tokens", "SamplingSettings.temperature", "SamplingSettings.seed",
    "TuningSettings.seed", "MiniTrainingSettings.seed", "ReportSpec.seed", "PrefixSettings.seed",
    "ExampleArguments.url", "ExampleArguments.model",
    # How much is measured.
    "BenchPlan.num_samples", "WorkSpec.episode_tokens", "WorkSpec.seed", "Targets.url",
}  # fmt: skip
"""Fields that share a name with an option, and mean something else."""

REPORTED = {"ProverInfo.dtype", "ModelCard.max_model_len"}
"""What an engine says about itself."""

OWN_RANGES = {
    # How often a verb does its own work, or how much it shows.
    ("backtracks", "sample"), ("compare_provers", "policy_samples"), ("pairs", "sample"), ("evaluate", "extend"),
    ("compare_provers", "claims"), ("audit", "show"),
    ("curriculum", "round_"), ("report", "seed"), ("report", "examples"),
    ("demo", "problems"), ("demo", "traces"), ("demo", "seed"), ("demo", "port"),
    # Of the bundled model, whose records are in modules that load torch, which takes seconds.
    ("train", "seed"), ("train", "steps"), ("train", "problems"), ("evaluate", "problems"), ("sample", "problems"),
    ("sample", "traces"), ("sample", "budget"), ("sample", "seed"), ("tune", "epochs"), ("tune", "learning_rate"),
    ("tune", "seed"), ("compare", "problems"), ("compare", "traces"),
}  # fmt: skip
"""Flags whose range no record declares."""


def declared_in(found: Iterable[Module]) -> dict[str, set[str]]:
    """For each option of the shared records, every class that declares a field of its name."""
    homes: dict[str, set[str]] = {}
    for record in SHARED:
        for name in options_of(record) - {"kind"}:  # which of several records it is
            homes.setdefault(name, set()).add(home(record, name))
    found_in: dict[str, set[str]] = {name: set() for name in homes}
    for each in declarations(found):
        if each.name in homes and (each.declares or each.owner in homes[each.name]):
            found_in[each.name].add(str(each))
    return found_in


def declared_again(found: Iterable[Module]) -> list[set[str]]:
    """Classes that declare one option, where they are several."""
    return [left for declared in declared_in(found).values() if len(left := declared - OTHER_MEANING) > 1]


def engine_options_again(found: Iterable[Module]) -> set[str]:
    """Fields of other classes that are named as an engine's settings are, whatever they state."""
    # These three are words of many things.
    names = options_of(EngineSettings) - {"model", "engine", "tokenizer"}
    return {str(each) for each in declarations(found) if each.name in names and each.owner != "EngineSettings"}


def made(folder: Path, source: str) -> list[Module]:
    path = folder / "made.py"
    path.write_text(source)
    return [Module(path)]


def test_an_option_is_declared_in_one_record() -> None:
    assert declared_again(modules()) == []


def test_every_exception_is_still_needed() -> None:
    several = [declared for declared in declared_in(modules()).values() if len(declared) > 1]
    assert sorted(OTHER_MEANING - set().union(*several)) == []


def test_engine_settings_are_fields_of_one_record() -> None:
    assert engine_options_again(modules()) == REPORTED


def test_what_trainers_share_with_wire_and_core_is_inherited() -> None:
    shared = set().union(*(options_of(record) for record in (ScoreOptions, CreditConfig, WasteOptions)))
    own = {name for name in options_of(TrainingSettings) if home(TrainingSettings, name) == "TrainingSettings"}
    assert own & shared == {"baseline", "scale_by_std", "segmenter", "estimator"}
    assert options_of(AnswerOptions) < options_of(TrainingSettings)


def test_flags_take_their_ranges_from_records() -> None:
    assert flags_with_ranges(modules("mrt_reward/cli")) == OWN_RANGES


@pytest.mark.parametrize(
    "field",
    [
        "gamma: Annotated[float, Ge(0), Le(1)] = 1.0",
        "gamma: float = 1.0",
        "gamma: Annotated[float, Field(description='Discount.')]",
        "gamma: float = option(1.0, 'Discount.')",
    ],
)
def test_the_rule_finds_an_option_that_is_typed_again(tmp_path: Path, field: str) -> None:
    again = made(tmp_path, f"class Copy:\n    {field}\n")
    assert declared_again([*modules(), *again]) == [{"CreditOptions.gamma", "Copy.gamma"}]


def test_the_rules_find_copies_of_engine_settings_and_ranges_of_flags(tmp_path: Path) -> None:
    copy = made(tmp_path, "class Options(TypedDict, total=False):\n    revision: str | None\n    tokenizer: str\n")
    assert engine_options_again(copy) == {"Options.revision"}
    flag = made(tmp_path, "def verb(seed: Annotated[int, typer.Option(min=0)] = 0, k: Annotated[int, flag()] = 1): ...")
    assert flags_with_ranges(flag) == {("verb", "seed")}
    assert isinstance(flag[0].tree, ast.Module)
