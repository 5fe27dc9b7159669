from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError


def test_a_servers_settings_are_those_of_its_engine_and_more() -> None:
    assert issubclass(ServeSettings, EngineSettings)
    assert set(EngineSettings.model_fields) < set(ServeSettings.model_fields)
    served = load_settings(model="m", dtype="bfloat16", engine_args={"max_num_seqs": 4})
    assert served.model_copy(update={"model": "n"}).model == "n"
    assert EngineSettings(**served.model_dump(include=set(EngineSettings.model_fields))).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dtype": "int8"}, "'auto', 'float32', 'bfloat16' or 'float16'"),
        ({"max_model_len": 1}, "greater than or equal to 2"),
        ({"gpu_memory_utilization": 0}, "greater than 0"),
        ({"max_context_tokens": 64}, "Extra inputs are not permitted"),
        ({"engine_api_key": "a b"}, "printable ASCII without blanks"),
    ],
)
def test_values_outside_their_ranges_and_unknown_names_are_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
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
