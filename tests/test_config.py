"""Settings: flags over environment over TOML file over defaults."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrt_reward.config import ServeSettings, load_settings, misspelt_variables
from mrt_reward.errors import ConfigError
from mrt_reward.options import ParagraphSegmenter


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mrt.toml"
    monkeypatch.setenv("MRT_REWARD_CONFIG", str(path))
    return path


def test_flags_win_over_the_environment_which_wins_over_the_file(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text('port = 1\nadmin_port = 1\nhost = "h"\n[options.segmenter]\nkind = "paragraphs"\n')
    monkeypatch.setenv("MRT_REWARD_PORT", "2")
    monkeypatch.setenv("MRT_REWARD_ADMIN_PORT", "2")
    settings = load_settings(port=3, device=None)
    assert (settings.port, settings.admin_port, settings.host, settings.device) == (3, 2, "h", "auto")
    assert settings.options.segmenter == ParagraphSegmenter("paragraphs")


def test_defaults_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MRT_REWARD_CONFIG", raising=False)
    settings = load_settings()
    assert (settings.host, settings.port, settings.max_body_mb, settings.graders) == (
        "127.0.0.1",
        8000,
        32.0,
        {"math": "math"},
    )
    assert settings.plain_api_key is None


def test_every_setting_is_described() -> None:
    assert all(field.description for field in ServeSettings.model_fields.values())


def test_a_misspelt_key_names_the_one_that_was_meant(toml: Path) -> None:
    toml.write_text("max_body_mbs = 1\n")
    with pytest.raises(ConfigError, match=r"max_body_mbs.*did you mean 'max_body_mb'") as caught:
        load_settings()
    assert caught.value.param == "max_body_mbs"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('weights_marker = ".done"\n', "weights_marker"),
        ("[options]\nwaste_threshold = 0.1\n", "options.waste_threshold"),
    ],
)
def test_a_setting_that_is_gone_says_so_and_why(toml: Path, text: str, name: str) -> None:
    toml.write_text(text)
    with pytest.raises(ConfigError, match=rf"setting {name}: this \w+ is gone, because .*: remove it, and") as caught:
        load_settings()
    assert caught.value.param == name
    assert "did you mean" not in str(caught.value)


def test_a_variable_of_a_setting_that_is_gone_is_refused_and_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MRT_REWARD_CONFIG", raising=False)
    monkeypatch.setenv("MRT_REWARD_WEIGHTS_MARKER", ".done")
    with pytest.raises(ConfigError, match="variable MRT_REWARD_WEIGHTS_MARKER: this setting is gone"):
        load_settings()


def test_a_key_like_no_other_is_refused_too(toml: Path) -> None:
    toml.write_text("zzz = 1\n")
    with pytest.raises(ConfigError, match=r"setting zzz: this field is unknown: expected one of model, engine"):
        load_settings()


def test_a_file_that_is_not_toml_is_named(toml: Path) -> None:
    toml.write_text("port = = 1")
    with pytest.raises(ConfigError, match=r"mrt\.toml is not TOML"):
        load_settings()


def test_a_file_that_is_not_there_is_named(toml: Path) -> None:
    with pytest.raises(ConfigError, match=f"names no file: {toml}"):
        load_settings()


@pytest.mark.parametrize("flags", [{"port": 70_000}, {"api_key": ""}, {"log_format": "loud"}, {"graders": {}}])
def test_a_wrong_value_names_its_setting(flags: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"setting {next(iter(flags))}: ") as caught:
        load_settings(**flags)
    assert caught.value.param == next(iter(flags))


def test_an_unreadable_environment_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRT_REWARD_GRADERS", "{")
    with pytest.raises(ConfigError, match="settings cannot be read"):
        load_settings()


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRT_REWARD_API_KEY", "secret")
    settings = load_settings()
    assert settings.plain_api_key == "secret"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("key", [" k", "k ", "k\n", "a b", "k\u00e9", "\u043a", "k\x00", "\tk"])
@pytest.mark.parametrize("name", ["api_key", "admin_key", "engine_api_key"])
def test_a_key_that_no_header_can_carry_is_refused_at_the_start(name: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"setting {name}: .*printable ASCII without blanks"):
        load_settings(**{name: key})


def test_allowed_hosts_are_given_with_commas_or_as_a_list(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml.write_text('allowed_hosts = ["a", "b"]\n')
    assert load_settings().allowed_hosts == ("a", "b")
    monkeypatch.setenv("MRT_REWARD_ALLOWED_HOSTS", "c, d,")
    assert load_settings().allowed_hosts == ("c", "d")
    assert load_settings(allowed_hosts="e").allowed_hosts == ("e",)


def test_keys_of_several_callers_are_tables_of_the_file_and_hold_no_key(toml: Path) -> None:
    digest = "ab" * 32
    toml.write_text(
        f'[keys.alice]\nsha256 = "{digest}"\ntokens_per_minute = 2_000\n'
        f'[keys.ops]\nsha256 = "{"cd" * 32}"\nscopes = ["admin"]\n'
    )
    settings = load_settings()
    assert settings.keys["alice"].sha256 == digest
    assert (settings.keys["alice"].scopes, settings.keys["ops"].scopes) == (("score",), ("admin",))
    assert settings.tokens_per_minute == {"alice": 2_000, "ops": None}


@pytest.mark.parametrize(
    "table",
    ['sha256 = "secret"', f'sha256 = "{"AB" * 32}"', "tokens_per_minute = 5", f'sha256 = "{"ab" * 32}"\nscopes = []',
     f'sha256 = "{"ab" * 32}"\nscopes = ["all"]', f'sha256 = "{"ab" * 32}"\ntokens_per_minute = 0',
     f'sha256 = "{"ab" * 32}"\nkey = "secret"'],
)  # fmt: skip
def test_a_key_that_opens_nothing_or_is_no_hash_is_refused(toml: Path, table: str) -> None:
    toml.write_text(f"[keys.alice]\n{table}\n")
    with pytest.raises(ConfigError, match=r"keys\.alice"):
        load_settings()


@pytest.mark.parametrize("name", ["a b", "10.0.0.1", "::1", "fe80::1", "", "a" * 65])
def test_a_holders_name_is_a_word_and_no_address(toml: Path, name: str) -> None:
    toml.write_text(f'[keys."{name}"]\nsha256 = "{"ab" * 32}"\n')
    with pytest.raises(ConfigError, match="keys"):
        load_settings()


def test_a_misspelt_variable_is_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("MRT_REWARD_")]:
        monkeypatch.delenv(name)
    # Settings, our own other variables, and what Kubernetes sets for a service of this name.
    others = ("TEST_DATA", "FAULTS", "SOAK_S", "DEPLOY", "SERVICE_HOST", "PORT_8000_TCP", "PORT_8000_TCP_ADDR")
    for name in ("MODEL", "CONFIG", "OPTIONS__SEGMENTER__KIND", *others):
        monkeypatch.setenv(f"MRT_REWARD_{name}", "x")
    assert misspelt_variables() == []
    for name in ("MODLE", "GRADER", "OPTION__TERMINATOR"):
        monkeypatch.setenv(f"MRT_REWARD_{name}", "x")
    assert misspelt_variables() == [
        "variable MRT_REWARD_GRADER is not read: did you mean MRT_REWARD_GRADERS?",
        "variable MRT_REWARD_MODLE is not read: did you mean MRT_REWARD_MODEL?",
        "variable MRT_REWARD_OPTION__TERMINATOR is not read: did you mean MRT_REWARD_OPTIONS?",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[options.estimator]\nkind = "rollout"\n',
            "options.estimator.kind: expected one of likelihood, rollouts, got",
        ),
        ("[options.delimiters]\nopn = '<a>'\n", "options.delimiters.opn: this field is unknown; did you mean 'open'?"),
        ('engine = "transformer"\n', "got 'transformer'; did you mean 'transformers'?"),
    ],
)
def test_a_misspelt_word_within_a_setting_gets_the_nearest(toml: Path, text: str, message: str) -> None:
    toml.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["api_key = 271828\n", "cache_url = 271828\n", '[keys]\nann = "271828"\n'])
def test_what_may_be_a_secret_is_not_repeated(toml: Path, text: str) -> None:
    toml.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "271828" not in str(caught.value)
