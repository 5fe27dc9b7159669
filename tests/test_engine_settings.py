from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr, ValidationError

from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.engine_settings import EngineSettings, origin_of
from mrt_reward.errors import ConfigError


def test_a_servers_settings_are_those_of_its_engine_and_more() -> None:
    assert issubclass(ServeSettings, EngineSettings)
    assert set(EngineSettings.model_fields) < set(ServeSettings.model_fields)
    served = load_settings(model="m", dtype="bfloat16", engine_args={"max_num_seqs": 4})
    assert served.model_copy(update={"model": "n"}).model == "n"
    assert EngineSettings(**served.model_dump(include=set(EngineSettings.model_fields))).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtype": "int8"}, "'auto', 'float32', 'bfloat16' or 'float16'"),
        ({"max_model_len": 1}, "greater than or equal to 2"),
        ({"gpu_memory_utilization": 0}, "greater than 0"),
        ({"max_context_tokens": 64}, "Extra inputs are not permitted"),
        ({"engine_api_key": "a b"}, "printable ASCII without blanks"),
    ],
)
def test_values_outside_their_ranges_and_unknown_names_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EngineSettings.model_validate(given)


def test_settings_stay_as_they_are_and_keep_their_key_to_themselves() -> None:
    settings = EngineSettings(engine_api_key=SecretStr("secret"))
    assert "secret" not in repr(settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.model = "m"  # pyright: ignore[reportAttributeAccessIssue] - wrong on purpose


def test_an_engine_that_loads_a_model_needs_its_name() -> None:
    assert EngineSettings(model="m").named_model == "m"
    with pytest.raises(ConfigError, match="engine 'vllm' needs a model"):
        _ = EngineSettings(engine="vllm").named_model


def test_every_engine_is_named_where_it_is_chosen() -> None:
    field = EngineSettings.model_fields["engine"]
    assert [name for name in get_args(field.annotation) if name not in (field.description or "")] == []


@pytest.mark.parametrize(
    ("given", "urls"),
    [
        (None, ()),
        ("http://a:1", ("http://a:1",)),
        (" http://a:1, http://b:2/v1 ,", ("http://a:1", "http://b:2/v1")),
        (("http://a:1", "http://b:2"), ("http://a:1", "http://b:2")),
    ],
)
def test_endpoints_are_one_or_several(given: str | tuple[str, ...] | None, urls: tuple[str, ...]) -> None:
    assert EngineSettings(engine_url=given).engine_urls == urls


def test_endpoints_come_from_all_sources_that_settings_come_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MRT_REWARD_ENGINE_URL", "http://a:1,http://b:2")
    assert load_settings().engine_urls == ("http://a:1", "http://b:2")
    assert load_settings(engine_url="http://c:3").engine_urls == ("http://c:3",)
    monkeypatch.delenv("MRT_REWARD_ENGINE_URL")
    (tmp_path / "settings.toml").write_text('engine_url = ["http://d:4", "http://e:5"]')
    monkeypatch.setenv("MRT_REWARD_CONFIG", str(tmp_path / "settings.toml"))
    assert load_settings().engine_urls == ("http://d:4", "http://e:5")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://engine:8000/v1", "http://engine:8000"),
        ("https://me:secret@engine/secret/v1?key=secret#secret", "https://engine"),
        ("https://secret@[::1]:9/v1", "https://[::1]:9"),
        ("http://engine:secret", "(no URL)"),
        ("secret", "(no URL)"),
        ("", "(no URL)"),
    ],
)
def test_nothing_of_a_url_is_shown_that_may_be_secret(url: str, shown: str) -> None:
    assert origin_of(url) == shown
