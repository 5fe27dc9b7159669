from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic_settings import BaseSettings

from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import ConfigError
from mrt_reward.options import (
    AUTHORS_SEGMENTERS,
    BalancedSegmenter,
    Delimiters,
    MarkerSegmenter,
    Rollouts,
    ScoreOptions,
    TokenSegmenter,
)
from mrt_reward.training.settings import (
    SETTING_NAMES,
    TrainingSettings,
    as_json,
    from_flags,
    load_training_settings,
)

WHERE = "reward.mrt"
PAGE = Path(__file__).parents[2] / "adapters" / "SETTINGS.md"


def load(**given: object) -> TrainingSettings:
    return load_training_settings(given, where=WHERE)


def test_the_defaults_are_the_papers_and_those_of_the_package() -> None:
    settings = load()
    assert settings.score_options() == settings.score_options(step=7) == ScoreOptions()
    credit = settings.credit_config(scale_by_std=True, epsilon=1e-6, singleton="raw")
    assert credit == settings.credit_config() == CreditConfig()
    assert (credit.credit, credit.baseline) == ("immediate", "none")
    assert settings.on_failure == "mask"


@pytest.mark.parametrize(
    ("given", "meant"), [("alhpa", "alpha"), ("segmentor", "segmenter"), ("URL", "url"), ("timeout", "timeout_s")]
)
def test_a_misspelt_setting_is_refused_with_the_right_name(given: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown setting reward.mrt.{given}; did you mean reward.mrt.{meant}\?"):
        load(**{given: 1})


def test_an_unknown_setting_without_a_near_one_is_refused_with_all_names() -> None:
    with pytest.raises(ConfigError, match="known: progress, log_floor, alpha, credit, gamma"):
        load(qqqqqq=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpha": -1}, "reward.mrt.alpha: .*got -1"),
        ({"credit": "later"}, "reward.mrt.credit"),
        ({"delimiters": {"start": "<a>"}}, "reward.mrt.delimiters.*start"),
        ({"baseline": "termination"}, "mode=prefix"),
        ({"mode": "prefix", "follow_steps": 2}, "mode=episodes"),
        ({"keep_last": 2}, "keep_last deletes weights that reward.mrt.follow_steps wrote"),
        ({"best_of": 9}, "at most num_samples = 8"),
        ({"paid_values": "posterior"}, "needs reward.mrt.estimator=rollouts"),
        ({"paid_values": "posterior", "estimator": "rollouts", "best_of": 2}, "reward.mrt.best_of=1"),
        ({"estimator": "rollouts", "mean_samples": 4}, "set reward.mrt.paid_values=posterior"),
        ({"estimator": "rollouts", "paid_values": "posterior", "mean_samples": 9}, "mean_samples must be at most"),
        ({"prior": {"change": 1}}, "reward.mrt.prior"),
        ({"credit": "anytime"}, "needs reward.mrt.anytime_budget"),
        ({"charge_closing": True}, "needs reward.mrt.baseline group or rate, got none"),
        ({"pay_ending": True, "credit": "to_go"}, "pay_ending needs reward.mrt.credit immediate, got to_go"),
        ({"progress": "log", "estimator": "rollouts"}, "reward.mrt.progress=log needs .*likelihood.*got rollouts"),
        ({"progress": "log", "answer_progress": "add"}, "reward.mrt.answer_progress=add pays r - J.K.*no difference"),
        ({"log_floor": 0.0}, "reward.mrt.log_floor: .*got 0.0"),
        ({"log_floor": 1}, "reward.mrt.log_floor: .*less than 1"),
    ],
)
def test_wrong_settings_are_refused_by_name(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(**given)


def test_every_setting_is_described() -> None:
    described: dict[str, Any] = cast("Any", TrainingSettings).__pydantic_fields__
    assert all(field.description for field in described.values())


def test_settings_are_written_as_json_and_read_again() -> None:
    settings = load(segmenter={"kind": "markers", "group": 3}, terminator="official", max_episodes=None, url=["a", "b"])
    record = json.loads(json.dumps(as_json(settings)))
    assert load(**record) == settings
    assert tuple(record) == SETTING_NAMES


def test_options_follow_the_settings() -> None:
    options = load(
        segmenter="tokens", episode_tokens=64, max_episodes=3, estimator="rollouts", best_of=4
    ).score_options()
    assert options.segmenter == TokenSegmenter("tokens", num_tokens=64, max_episodes=3)
    assert options.estimator == Rollouts("rollouts", num_samples=8, temperature=0.6, best_of=4, coupled=None)
    assert load().score_options().segmenter == BalancedSegmenter()
    assert load(segmenter="balanced", max_episodes=5).score_options().segmenter == BalancedSegmenter(max_episodes=5)
    assert load(segmenter="markers", max_episodes=5).score_options().segmenter == MarkerSegmenter(max_episodes=5)
    assert load(segmenter={"kind": "balanced", "markers": ["Hm"]}).score_options().segmenter == BalancedSegmenter(
        markers=("Hm",)
    )
    assert load(segmenter="mrt-aime").score_options().segmenter == AUTHORS_SEGMENTERS["mrt-aime"]
    assert load(segmenter={"kind": "markers", "group": 3}).score_options().segmenter == MarkerSegmenter(group=3)
    assert load(segmenter="paragraphs").score_options().segmenter.kind == "paragraphs"


ASKED: dict[str, dict[str, object]] = {
    "segmenter": {"segmenter": "paragraphs"},
    "max_episodes": {"max_episodes": 3},
    "episode_tokens": {"segmenter": "tokens", "episode_tokens": 64},
    "delimiters": {"delimiters": {"open": "<t>", "close": "</t>"}},
    "terminator": {"terminator": "official"},
    "estimator": {"estimator": "rollouts"},
    "num_samples": {"estimator": "rollouts", "num_samples": 4},
    "temperature": {"estimator": "rollouts", "temperature": 1.0},
    "best_of": {"estimator": "rollouts", "best_of": 2},
    "coupled": {"estimator": "rollouts", "coupled": False},
    "mean_samples": {"estimator": "rollouts", "paid_values": "posterior", "mean_samples": 3},
    "likelihood_prior": {"estimator": "rollouts", "likelihood_prior": True},
    "prior": {"estimator": "rollouts", "prior": {"change": 0.2}},
    "grader": {"grader": "exact"},
}
PAID: dict[str, dict[str, object]] = {
    "progress": {"progress": "log"},
    "log_floor": {"progress": "log", "log_floor": 1e-30},
    "alpha": {"alpha": 0.5},
    "credit": {"credit": "to_go"},
    "paid_values": {"estimator": "rollouts", "paid_values": "posterior"},
    "gamma": {"gamma": 0.9},
    "anytime_budget": {"credit": "anytime", "anytime_budget": 100},
    "anytime_weights": {"anytime_weights": "trapezoid"},
    "baseline": {"baseline": "group"},
    "charge_closing": {"baseline": "rate", "charge_closing": True},
    "pay_ending": {"pay_ending": True},
    "truncated": {"truncated": "forced"},
    "answer_progress": {"answer_progress": "add"},
    "progress_norm": {"progress_norm": "group_std"},
    "length_norm": {"length_norm": "episode"},
    "scale_by_std": {"scale_by_std": False},
}
ELSEWHERE = {
    "scoring": {"url", "api_key_env", "timeout_s"},
    "advantages": {"mode", "on_failure", "max_failed_share", "regret_budget"},
    "metrics": {"waste_threshold"},
    "following": {"follow_steps", "keep_last", "admin_url", "admin_key_env"},
}
"""Settings whose effect is tested beside what they change."""


@pytest.mark.parametrize("name", ASKED)
def test_what_servers_are_asked_for_follows_each_setting(name: str) -> None:
    without = {key: value for key, value in ASKED[name].items() if key != name}
    assert load(**ASKED[name]).score_options() != load(**without).score_options()


@pytest.mark.parametrize("name", PAID)
def test_what_is_paid_follows_each_setting(name: str) -> None:
    def paid(**given: object) -> CreditConfig:
        return load(**given).credit_config(scale_by_std=True, epsilon=1e-6, singleton="raw")

    assert getattr(paid(**PAID[name]), name) != getattr(paid(), name)


def test_no_setting_is_without_a_test() -> None:
    assert set(SETTING_NAMES) == {*ASKED, *PAID, *set().union(*ELSEWHERE.values())}


def test_the_frameworks_own_scaling_holds_until_the_user_says_otherwise() -> None:
    assert not load().credit_config(scale_by_std=False, epsilon=0, singleton="zero").scale_by_std
    assert load(scale_by_std=True).credit_config(scale_by_std=False, epsilon=0, singleton="zero").scale_by_std
    prefix = load(mode="prefix", baseline="termination")
    assert prefix.credit_config(scale_by_std=True, epsilon=0, singleton="raw").baseline == "none"


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MRT_REWARD_API_KEY", raising=False)
    monkeypatch.setenv("KEY", "secret")
    settings = load(api_key_env="KEY", url=["http://a", "http://b"], admin_url=["http://c"])
    assert (settings.api_key, settings.admin_key) == ("secret", "secret")
    assert (settings.urls, settings.admin_urls) == (["http://a", "http://b"], ["http://c"])
    assert (load().api_key, load().urls, load().admin_urls) == (
        None,
        ["http://127.0.0.1:8000"],
        ["http://127.0.0.1:8001"],
    )


def test_the_policy_proves_where_it_stands_alone_for_the_servers() -> None:
    # A command line makes a list of one address.
    assert load(url="policy").by_policy
    assert load(url=["policy"]).by_policy
    assert not load().by_policy
    assert not load(url=["http://a", "policy"]).by_policy


def test_a_command_line_says_which_flag_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    class Run(BaseSettings):
        steps: int = 1
        mrt: TrainingSettings = TrainingSettings()

    monkeypatch.setattr(sys, "argv", ["run.py", "--steps=3", "--mrt.alpha=0.5"])
    assert from_flags(Run) == Run(steps=3, mrt=TrainingSettings(alpha=0.5))
    monkeypatch.setattr(sys, "argv", ["run.py", "--mrt.alpha=-1"])
    with pytest.raises(ConfigError, match=r'^setting mrt\.alpha: .* greater than or equal to 0, got "-1"$'):
        from_flags(Run)
    for word in ("--mrt.alpa=3", "--mrt.alpa"):
        monkeypatch.setattr(sys, "argv", ["run.py", word])
        with pytest.raises(ConfigError, match=r"unrecognized arguments: --mrt\.alpa.*; did you mean '--mrt\.alpha'\?"):
            from_flags(Run)
    monkeypatch.setattr(sys, "argv", ["run.py", "--steps"])
    with pytest.raises(ConfigError, match="--steps: expected one argument"):
        from_flags(Run)


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--mrt.alpha 0.5", TrainingSettings(alpha=0.5)),
        ("--mrt.url http://a:8901,http://b:8901", TrainingSettings(url=["http://a:8901", "http://b:8901"])),
        ("--mrt.max_episodes null", TrainingSettings(max_episodes=None)),
        (
            '--mrt.delimiters \'{"open": "<a>", "close": "</a>"}\'',
            TrainingSettings(delimiters=Delimiters(open="<a>", close="</a>")),
        ),
    ],
)
def test_a_command_line_of_ones_own_takes_what_the_page_of_settings_says(
    flag: str, meant: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Run(BaseSettings):
        mrt: TrainingSettings = TrainingSettings()

    assert f"`{flag}`" in PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["run.py", *shlex.split(flag)])
    assert from_flags(Run) == Run(mrt=meant)
