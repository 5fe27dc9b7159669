"""What replicas are wanted for, and which settings they take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mrt_queued_tokens import QUEUED_TOKENS, QueuedTokens
from mrt_ray_serve import replica_settings

from mrt_reward.errors import ConfigError


def wanted(reported: dict[str, float] | None, current: int, target: int) -> float:
    context: Any = SimpleNamespace(
        aggregated_metrics=None if reported is None else {QUEUED_TOKENS: reported},
        current_num_replicas=current,
        target_num_replicas=target,
    )
    number, state = QueuedTokens(tokens_per_replica=1000)(context)
    assert state == {}
    return number


def test_replicas_are_wanted_for_the_sum_of_what_waits() -> None:
    assert wanted({"a": 2500.0}, current=1, target=1) == 2.5  # Serve rounds up.
    assert wanted({"a": 300.0, "b": 200.0}, current=2, target=2) == 0.5
    assert wanted({"a": 0.0, "b": 0.0}, current=2, target=2) == 0


def test_a_replica_that_has_not_reported_is_not_taken_for_idle() -> None:
    assert wanted({"a": 100.0}, current=2, target=2) == 2
    assert wanted(None, current=1, target=1) == 1
    assert wanted({"a": 5000.0}, current=2, target=2) == 5


@pytest.mark.parametrize("name", ["tls_cert", "tls_key", "tls_client_ca", "weights_root", "admin_key"])
def test_settings_that_a_replica_cannot_keep_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        replica_settings({name: "something"})


def test_a_replica_needs_a_key_unless_none_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert replica_settings({}).host == "0.0.0.0"
    monkeypatch.delenv("MRT_REWARD_API_KEY")
    with pytest.raises(ConfigError, match="MRT_REWARD_API_KEY"):
        replica_settings({})
    assert replica_settings({"no_key": True}).plain_api_key is None
