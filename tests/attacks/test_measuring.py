"""What attacks earn on the bundled mini, in its real engine: which rows are defended is held here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest

from mrt_reward.errors import ProverError
from mrt_reward.mini.bundled import BUNDLED
from tests.attacks.__main__ import ESTIMATORS
from tests.attacks.measuring import Earned, Range, earned
from tests.attacks.texts import ATTACKS, HONEST, KNOWING, Attack

NUM_PROBLEMS = {"likelihood": 24, "rollouts": 12}
AN_EIGHTH = 0.125


@pytest.fixture(scope="module", params=list(ESTIMATORS))
def measured(request: pytest.FixtureRequest) -> Mapping[str, Earned]:
    """By the name of the attack, with one estimator."""

    async def run() -> list[Earned]:
        where = Range(BUNDLED["mini"], ESTIMATORS[request.param], NUM_PROBLEMS[request.param])
        try:
            return await earned(where, (HONEST, *ATTACKS, KNOWING))
        finally:
            await where.close()

    return {each.attack.name: each for each in asyncio.run(run())}


def test_an_attack_that_we_defend_earns_less_than_an_eighth_of_an_honest_trace(measured: Mapping[str, Earned]) -> None:
    honest = measured[HONEST.name].progress.mean
    assert honest > 0.4
    shares = {attack.name: measured[attack.name].progress.mean / honest for attack in ATTACKS if not attack.pays}
    assert {name: share for name, share in shares.items() if share >= AN_EIGHTH} == {}


def test_an_attack_that_is_reported_to_pay_is_not_surely_defended(measured: Mapping[str, Earned]) -> None:
    honest = measured[HONEST.name].progress.mean
    most = {attack.name: measured[attack.name].progress.high / honest for attack in ATTACKS if attack.pays}
    assert len(most) == 4
    assert {name: share for name, share in most.items() if share < AN_EIGHTH} == {}


def test_a_claim_in_the_provers_own_voice_pays(measured: Mapping[str, Earned]) -> None:
    # Whoever mends it moves the row, and says so on the page.
    honest, claimed = measured[HONEST.name], measured["`works from C` without a path"]
    assert claimed.progress.mean > AN_EIGHTH * honest.progress.mean


def test_defended_attacks_are_charged_for_their_time(measured: Mapping[str, Earned]) -> None:
    nets = {attack.name: measured[attack.name].net_N.mean() for attack in ATTACKS if not attack.pays}
    assert {name: net for name, net in nets.items() if net > 0.02} == {}


def test_control_tokens_as_ids_earn_what_their_words_earn(measured: Mapping[str, Earned]) -> None:
    words, ids = (measured[name] for name in ("turns in control tokens' words", "the same, sent as token ids"))
    assert np.allclose(words.progress_N, ids.progress_N, atol=0.02)


def test_attacks_are_right_as_often_as_blind_luck(measured: Mapping[str, Earned]) -> None:
    problems = BUNDLED["mini"].sample(len(measured[HONEST.name].right_N), 5_000_011)
    luck_N = np.array([1 / len(problem.candidates) for problem in problems])
    for attack in ATTACKS:
        assert measured[attack.name].right_N == pytest.approx(luck_N), attack.name
    assert measured[HONEST.name].right_N.tolist() == [1.0] * len(problems)


def test_a_trace_that_is_not_scored_is_an_error_and_not_nothing() -> None:
    async def run() -> None:
        where = Range(BUNDLED["mini"], ESTIMATORS["likelihood"], 2)
        try:
            await where.scored(Attack("no thinking", lambda _: "\ud800"))
        finally:
            await where.close()

    with pytest.raises(ProverError, match="was not scored"):
        asyncio.run(run())
