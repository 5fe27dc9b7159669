"""What an engine can do beside proving is seen from its members alone."""

from __future__ import annotations

import pytest

from mrt_reward.protocols import EndpointState, Replicated
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.provers.openai.prover import OpenAIProver
from mrt_reward.provers.scripted import ScriptedProver

MEMBERS = {"load_weights", "silent_s", "wait_dead", "endpoints", "prefix_cache"}


@pytest.mark.parametrize(
    ("engine", "abilities"),
    [
        (TransformersProver, {"load_weights", "silent_s"}),
        (OpenAIProver, {"endpoints", "prefix_cache"}),
        (ScriptedProver, {"wait_dead"}),
    ],
)
def test_engines_have_the_abilities_that_their_users_rely_on(engine: type, abilities: set[str]) -> None:
    assert MEMBERS & set(dir(engine)) == abilities


def test_whoever_tells_of_endpoints_is_replicated() -> None:
    class Two:
        @property
        def endpoints(self) -> list[EndpointState]:
            return [EndpointState("http://a:1", True), EndpointState("http://b:1", False, "gone")]

    assert isinstance(Two(), Replicated)
    assert not isinstance(object(), Replicated)
