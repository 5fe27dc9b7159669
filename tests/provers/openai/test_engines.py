"""A trainer's own engines: values of the weights that they have, none while they sleep, none of two weights."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.openai.engines import TrainerEngines
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint, rule
from tests.provers.openai.kit import FLEET, QUICK, SPELLINGS, fleet_of, likelihoods, make_proof, prefix_of
from tests.provers.openai.switchboard import Switchboard

HOSTS = FLEET[:2]


@pytest.fixture
def fakes(tokenizer: HFTokenizer) -> dict[str, FakeEndpoint]:
    return {host: FakeEndpoint("vllm", tokenizer) for host in HOSTS}


@pytest.fixture
def board(fakes: dict[str, FakeEndpoint]) -> Switchboard:
    return Switchboard({host: fake.transport for host, fake in fakes.items()})


async def begun(board: Switchboard, folder: Path, fakes: dict[str, FakeEndpoint]) -> TrainerEngines:
    engines = TrainerEngines(fleet_of(board, folder, HOSTS), "start", QUICK)
    info = await engines.begin(likelihood=True)
    assert (info.model, info.version, info.max_tokens) == ("m", "start", 4096)
    for fake in fakes.values():
        fake.asked.clear()
    return engines


def give(fakes: dict[str, FakeEndpoint], weights: int) -> None:
    """What a trainer does while they are paused."""
    for fake in fakes.values():
        fake.weights = weights


def check_values(proof: Proof, proven: Proven, weights: int) -> None:
    for probe, row in zip(proof.probes, likelihoods(proven), strict=True):
        ids, total = prefix_of(proof, probe), 0.0
        for token in SPELLINGS[2].ids:
            total += rule(ids, weights)[token]
            ids.append(token)
        close = np.exp([rule(ids, weights)[token] for token in SPELLINGS[2].close]).sum()
        assert row[2] == pytest.approx(total + np.log(close), abs=1e-9)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


async def test_values_are_of_the_weights_of_each_step_and_carry_its_name(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    engines = await begun(board, qwen_dir, fakes)
    proof = make_proof([5, 20, 33])
    for weights, version in enumerate(("start", "1", "2")):
        if weights:
            await engines.pause()
            give(fakes, weights)
            await engines.resume(version)
        proven = await engines.prove(proof)
        assert (proven.version, engines.info.version) == (version, version)
        check_values(proof, proven, weights)
    await engines.check()
    await engines.close()


async def test_what_is_asked_while_they_sleep_waits_for_the_new_weights(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    engines = await begun(board, qwen_dir, fakes)
    await engines.pause()
    proof = make_proof([5, 20])
    asked = asyncio.create_task(engines.prove(proof))
    gone = asyncio.create_task(engines.prove(proof))
    for _ in range(20):
        await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    # Nothing reached an engine that sleeps.
    assert not asked.done()
    assert [fake.asked for fake in fakes.values()] == [[], []]
    give(fakes, 7)
    await engines.resume("7")
    proven = await asked
    assert proven.version == "7"
    check_values(proof, proven, 7)
    await engines.close()


async def test_what_is_being_asked_is_given_up_at_once_and_asked_again(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    engines = await begun(board, qwen_dir, fakes)
    for fake in fakes.values():
        fake.hang = True
    proof = make_proof([5, 20])
    asked = asyncio.create_task(engines.prove(proof))
    await until(lambda: sum(fake.num_running for fake in fakes.values()) > 0)
    await engines.pause()
    assert sum(fake.num_running for fake in fakes.values()) == 0
    assert sum(fake.closed for fake in fakes.values()) > 0
    for fake in fakes.values():
        fake.hang = False
    give(fakes, 3)
    await engines.resume("3")
    check_values(proof, await asked, 3)
    # A caller who leaves is no pause: its requests are closed, and that is reported.
    fakes["a"].hang = fakes["b"].hang = True
    asked = asyncio.create_task(engines.prove(make_proof([5, 20], seed=1)))
    await until(lambda: sum(fake.num_running for fake in fakes.values()) > 0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert sum(fake.num_running for fake in fakes.values()) == 0
    await engines.close()


async def test_nobody_proves_until_all_that_answer_have_the_new_weights(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    engines = await begun(board, qwen_dir, fakes)
    await engines.pause()
    fakes["a"].weights = 1
    await engines.resume("1")
    proof = make_proof([5, 20])
    asked = asyncio.create_task(engines.prove(proof))
    await until(lambda: len(fakes["b"].asked) > 3)
    assert not asked.done()
    fakes["b"].weights = 1
    proven = await asked
    check_values(proof, proven, 1)
    await engines.close()


async def test_an_engine_that_goes_loses_its_traces_and_comes_back_with_the_weights_of_the_others_only(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    engines = await begun(board, qwen_dir, fakes)
    # What an engine wrote is asked about there.
    proofs = [replace(make_proof([5, 20], seed=seed), trace=f"http://a:9#{seed}") for seed in range(4)]
    for proof in proofs:
        check_values(proof, await engines.prove(proof), 0)
    assert (len(fakes["a"].asked) > 0, len(fakes["b"].asked)) == (True, 0)
    board.down = {"a"}
    for proof in proofs:
        check_values(proof, await engines.prove(proof), 0)
    assert [state.up for state in engines.endpoints] == [False, True]
    await engines.pause()
    fakes["b"].weights = 1
    await engines.resume("1")
    check_values(proofs[0], await engines.prove(proofs[0]), 1)
    board.down = set()
    await until(lambda: "log-probabilities" in engines.endpoints[0].problem)
    check_values(proofs[0], await engines.prove(proofs[0]), 1)
    fakes["a"].weights = 1
    await until(lambda: engines.endpoints[0].up)
    fakes["b"].asked.clear()
    check_values(proofs[0], await engines.prove(proofs[0]), 1)
    assert not fakes["b"].asked
    await engines.close()


async def test_engines_that_do_not_answer_after_a_step_are_asked_again_and_a_pause_ends_that(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    engines = await begun(board, qwen_dir, fakes)
    board.down = set(HOSTS)
    board.tries.clear()
    await engines.resume("1")
    await until(lambda: len(board.tries) > 4)
    await engines.pause()
    num_tries = len(board.tries)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(board.tries) == num_tries
    board.down = set()
    await engines.resume("2")
    assert (await engines.prove(make_proof([5, 20]))).version == "2"
    await engines.close()


@pytest.mark.parametrize("hosts", [HOSTS, HOSTS[:1]])
async def test_engines_that_are_all_away_are_waited_for(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path, hosts: Sequence[str]
) -> None:
    engines = TrainerEngines(fleet_of(board, qwen_dir, hosts), "start", QUICK)
    await engines.begin(likelihood=True)
    board.down = set(HOSTS)
    board.tries.clear()
    proof = make_proof([5, 20])
    asked = asyncio.create_task(engines.prove(proof))
    await until(lambda: len(board.tries) > 20)
    assert not asked.done()
    board.down = set()
    check_values(proof, await asked, 0)
    await engines.close()


async def test_one_engine_alone_takes_new_weights_too(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    engines = TrainerEngines(fleet_of(board, qwen_dir, ("a",)), "start", QUICK)
    await engines.begin(likelihood=True)
    await engines.pause()
    give(fakes, 2)
    await engines.resume("2")
    proof = make_proof([5, 20])
    check_values(proof, await engines.prove(proof), 2)
    assert engines.num_slots == 32
    await engines.close()


async def test_engines_that_tell_no_likelihoods_are_reported_at_the_start(
    tokenizer: HFTokenizer, qwen_dir: Path
) -> None:
    board = Switchboard({"a": FakeEndpoint("plain", tokenizer).transport})
    engines = TrainerEngines(fleet_of(board, qwen_dir, ("a",), max_model_len=4096), "start", QUICK)
    with pytest.raises(ProverError, match="use estimator 'rollouts'"):
        await engines.begin(likelihood=True)
    assert (await engines.begin(likelihood=False)).version == "start"
    await engines.close()


async def test_engines_that_do_not_answer_at_the_start_are_reported(board: Switchboard, qwen_dir: Path) -> None:
    board.down = set(HOSTS)
    engines = TrainerEngines(fleet_of(board, qwen_dir, HOSTS), "start", QUICK)
    with pytest.raises(ProverUnavailable, match="no endpoint answers"):
        await engines.begin(likelihood=True)
    await engines.close()
