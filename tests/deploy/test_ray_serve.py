"""The configuration of Ray Serve fits the server; `make test-serve` runs it."""

from __future__ import annotations

from typing import Any

from mrt_reward.config import ServeSettings
from mrt_reward.server.health import MAX_CHECK_S
from tests.deploy.kit import DEPLOY, loaded

CONFIG = loaded("ray_serve/serve.yaml")
[APPLICATION] = CONFIG["applications"]
[REPLICA] = APPLICATION["deployments"]


def default(name: str) -> Any:
    return ServeSettings.model_fields[name].default


def test_its_arguments_are_settings_of_the_server() -> None:
    assert set(APPLICATION["args"]) <= set(ServeSettings.model_fields)


def test_what_it_imports_is_beside_it() -> None:
    policy = REPLICA["autoscaling_config"]["policy"]["policy_function"]
    for path in (APPLICATION["import_path"], policy):
        module, _, name = path.partition(":")
        text = (DEPLOY / f"ray_serve/{module}.py").read_text(encoding="utf-8")
        assert f"def {name}(" in text or f"class {name}:" in text
    assert REPLICA["name"] == "Replica"


def test_a_probe_has_time_to_find_out_and_a_request_to_end() -> None:
    assert REPLICA["health_check_timeout_s"] > MAX_CHECK_S
    assert REPLICA["graceful_shutdown_timeout_s"] > default("drain_timeout_s")


def test_more_replicas_are_wanted_before_a_queue_is_full_as_on_kubernetes() -> None:
    wanted = REPLICA["autoscaling_config"]["policy"]["policy_kwargs"]["tokens_per_replica"]
    assert wanted <= default("max_queue_tokens") / 2
    assert wanted == loaded("helm/mrt-reward/values.yaml")["autoscaling"]["queueTokens"]
