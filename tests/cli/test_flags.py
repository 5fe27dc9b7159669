from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from annotated_types import Ge, Gt, Le
from typer.testing import CliRunner, Result

from mrt_reward.cli.flags import ENGINE, SERVE_FLAGS, chosen, flag, named_settings, taking, with_settings
from mrt_reward.cli.several import graders_from
from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.ranges import check_ranges, option


@dataclass(frozen=True)
class Walk:
    steps: Annotated[int, Ge(1), Le(9)] | None = option(2, "Steps of a walk.")
    share: Annotated[float, Gt(0), Le(1)] = option(0.5, "Share of it.")

    def __post_init__(self) -> None:
        check_ranges(self)


def run(verb: Callable[..., None], *words: str) -> Result:
    app = typer.Typer()
    app.command()(verb)
    return CliRunner().invoke(app, words, env={"COLUMNS": "200", "TERM": "dumb", "MRT_REWARD_DTYPE": "bfloat16"})


def test_a_flag_has_its_range_and_its_meaning_from_the_record() -> None:
    taken: list[int | None] = []

    def verb(
        steps: Annotated[int | None, flag(Walk, "steps")] = None, share: Annotated[float, flag(Walk, "share")] = 0.5
    ) -> None:
        taken.append(chosen(Walk, steps=steps, share=share).steps)

    output = " ".join(run(verb, "--help").output.split())
    assert "[1<=x<=9]" in output
    assert "Steps of a walk." in output
    assert "Share of it. Above 0." in output
    assert run(verb, "--steps", "9").exit_code == 0
    assert run(verb, "--steps", "10").exit_code == 2
    refused = run(verb, "--share", "0").exception
    assert isinstance(refused, ConfigError)
    assert str(refused) == "share must be above 0 and at most 1, got 0.0"
    assert taken == [9]


def test_a_verb_gets_settings_from_flags_over_the_environment() -> None:
    taken: list[ServeSettings] = []

    @with_settings(*ENGINE)
    def verb(first: str, *, settings: ServeSettings) -> None:
        """Does it."""
        taken.append(settings)

    assert run(verb, "x", "--max-model-len", "64", "--engine-arg", "seed=3").exit_code == 0
    [settings] = taken
    assert (settings.max_model_len, settings.dtype, settings.engine_args) == (64, "bfloat16", {"seed": 3})
    refused = run(verb, "x", "--max-model-len", "1").exception
    assert isinstance(refused, ConfigError)
    assert refused.param == "max_model_len"
    assert "Does it." in run(verb, "--help").output


@dataclass(frozen=True)
class Trip:
    stops: Annotated[int, Ge(1)] = option(3, "Stops of a trip.")
    names: Annotated[list[str] | None, typer.Option("--name", help="A traveller.")] = None
    pace: float = 1.0


def test_a_record_becomes_the_flags_of_its_options_and_reaches_the_verb_whole() -> None:
    taken: list[object] = []

    @with_settings()
    def verb(*, walk: Walk, settings: Annotated[Trip, taking("names", "stops", stops="--halts")]) -> None:
        taken.append((walk, settings))

    assert run(verb, "--steps", "4", "--halts", "2", "--name", "a", "--name", "b").exit_code == 0
    assert taken == [(Walk(4), Trip(2, ["a", "b"]))]
    shown = run(verb, "--help").output
    order = [shown.index(word) for word in ("--steps", "--share", "--name", "--halts")]
    assert order == sorted(order)
    assert "--pace" not in shown
    assert "[default: 2]" in " ".join(shown.split())
    assert "[1<=x<=9]" in shown
    assert run(verb, "--steps", "10").exit_code == 2


def test_options_of_a_record_that_do_not_go_together_are_refused_by_name() -> None:
    @with_settings()
    def verb(*, walk: Walk) -> None:
        del walk

    refused = run(verb, "--share", "0").exception
    assert isinstance(refused, ConfigError)
    assert str(refused) == "share must be above 0 and at most 1, got 0.0"


def test_every_setting_is_a_flag_of_serve_but_keys_and_a_few() -> None:
    without = set(ServeSettings.model_fields) - set(SERVE_FLAGS)
    assert {name for name in without if name.endswith("_key")} == {"api_key", "admin_key", "engine_api_key"}
    assert "keys" in without
    assert len(without) == 9


def test_graders_are_named_in_order_and_a_specification_is_its_own_name() -> None:
    assert graders_from(None) is None
    words = ["exact", "loose=math", "mine=score:rewards:f", "http://127.0.0.1:9/score?a=1"]
    assert list((graders_from(words) or {}).items()) == [
        ("exact", "exact"), ("loose", "math"), ("mine", "score:rewards:f"), (words[3], words[3]),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="'math' twice"):
        graders_from(["math", "math=exact"])


def test_a_named_prover_is_set_as_the_verb_where_it_says_nothing_else() -> None:
    verb = load_settings(model="large", tokenizer="large", threads=1, cache_path="scores.sqlite")
    name, settings, options = named_settings('fast={"threads": 2}', "--prover", verb)
    assert (name, settings.model, settings.tokenizer, settings.threads) == ("fast", "large", "large", 2)
    assert (settings.cache_path, options) == ("scores.sqlite", None)
    _, settings, options = named_settings('other={"model": "small", "options": {"terminator": "official"}}', "-p", verb)
    assert (settings.model, settings.tokenizer, settings.threads) == ("small", None, 1)
    assert options is not None
    assert options.terminator == "official"


def test_a_misspelt_variable_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    @with_settings("model")
    def verb(settings: ServeSettings) -> None:
        """Does it."""
        del settings

    monkeypatch.setenv("MRT_REWARD_MODLE", "x")
    assert "warning: variable MRT_REWARD_MODLE is not read: did you mean MRT_REWARD_MODEL?\n" in run(verb).output


def test_a_wrong_option_of_a_named_prover_is_named_and_its_json_is_not_blamed() -> None:
    word = 'a={"options": {"estimator": {"kind": "rolouts"}}}'
    with pytest.raises(ConfigError) as caught:
        named_settings(word, "--prover", load_settings())
    expected = "--prover a: options.estimator.kind: expected one of likelihood, rollouts, got 'rolouts'; did you mean"
    assert str(caught.value).startswith(expected)
