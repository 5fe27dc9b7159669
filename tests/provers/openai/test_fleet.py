"""Several endpoints: who gets a trace, what happens when one goes, and who is let in again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.responses import Response

from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable
from mrt_reward.protocols import Proof, Replicated
from mrt_reward.provers.openai.prover import OpenAIProver
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import FLEET, SAMPLED, expected, fleet_of, likelihoods, make_proof
from tests.provers.openai.switchboard import Switchboard
from tests.provers.proving import failure_of, prove_all


@pytest.fixture
def fakes(tokenizer: HFTokenizer) -> dict[str, FakeEndpoint]:
    return {host: FakeEndpoint("vllm", tokenizer) for host in FLEET}


@pytest.fixture
def board(fakes: dict[str, FakeEndpoint]) -> Switchboard:
    return Switchboard({host: fake.transport for host, fake in fakes.items()})


def traces(num: int) -> list[Proof]:
    return [make_proof([5, 20, 33], seed=seed) for seed in range(num)]


def up(prover: OpenAIProver) -> str:
    return "".join(host for host, state in zip(FLEET, prover.endpoints, strict=True) if state.up)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


def owners(fakes: dict[str, FakeEndpoint]) -> dict[str, set[str]]:
    """For each session the hosts that were asked in it, of what was asked about traces."""
    found: dict[str, set[str]] = {}
    for host, fake in fakes.items():
        for headers, _ in fake.asked:
            found.setdefault(headers["x-session-id"], set()).add(host)
    return found


async def started(board: Switchboard, folder: Path, fakes: dict[str, FakeEndpoint], **settings: Any) -> OpenAIProver:
    prover = fleet_of(board, folder, **settings)
    await prover.check()
    for fake in fakes.values():
        fake.asked.clear()
    return prover


async def test_all_prefixes_of_a_trace_go_to_one_endpoint_and_traces_to_all(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    whole = traces(30)
    # A part of a trace, as is asked where its other values are known, has the name of the whole.
    parts = [Proof(one.token_ids[:5], one.probes[:1], one.query, one.session) for one in whole]
    proven = await prove_all(prover, whole + parts)
    for proof, one in zip(whole, proven[:30], strict=True):
        np.testing.assert_allclose(likelihoods(one), expected(proof), atol=1e-9)
    found = owners(fakes)
    assert len(found) == 30
    assert all(len(hosts) == 1 for hosts in found.values())
    assert len(Counter(host for [host] in found.values())) == 3
    assert [state.num_proofs for state in prover.endpoints] == [
        2 * sum(hosts == {host} for hosts in found.values()) for host in FLEET
    ]
    assert (prover.num_slots, isinstance(prover, Replicated)) == (96, True)
    await prover.close()


async def test_an_endpoint_that_goes_loses_its_traces_to_the_others_and_they_lose_none(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    await prove_all(prover, traces(30))
    before = owners(fakes)
    board.down = {"b"}
    for fake in fakes.values():
        fake.asked.clear()
    proven = await prove_all(prover, traces(30))
    for proof, one in zip(traces(30), proven, strict=True):
        np.testing.assert_allclose(likelihoods(one), expected(proof), atol=1e-9)
        assert one.version == prover.info.version
    after = owners(fakes)
    moved = {session for session in before if before[session] != after[session]}
    assert moved == {session for session, hosts in before.items() if hosts == {"b"}}
    assert up(prover) == "ac"
    state = prover.endpoints[1]
    assert ("no server at http://b:9" in state.problem, state.num_failures) == (True, 1)
    # It comes back, and has its own traces again.
    board.down = set()
    await until(lambda: up(prover) == "abc")
    for fake in fakes.values():
        fake.asked.clear()
    await prove_all(prover, traces(30))
    assert owners(fakes) == before
    await prover.close()


async def test_a_trace_whose_endpoint_dies_under_it_is_proved_elsewhere(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    board.cut = {"a"}
    proven = await prove_all(prover, traces(30))
    for proof, one in zip(traces(30), proven, strict=True):
        np.testing.assert_allclose(likelihoods(one), expected(proof), atol=1e-9)
    assert up(prover) == "bc"
    lost, *others = prover.endpoints
    assert lost.num_retries >= 1, "its traces were asked of others"
    assert [state.num_retries for state in others] == [0, 0]
    await prover.close()


async def test_where_all_are_gone_the_failure_is_typed_and_nobody_storms(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    board.down = set(FLEET)
    board.tries.clear()
    failures = await asyncio.gather(*(prover.prove(proof) for proof in traces(50)), return_exceptions=True)
    assert all(type(failure) is ProverUnavailable for failure in failures)
    assert "no endpoint answers: http://a:9: no server at" in str(failures[0])
    # 50 traces were in flight, at most 32 of them at each endpoint; each of these was tried once. From then on one task
    # asks each endpoint again, and traces that come later are reported at once.
    tried = len(board.tries)
    with pytest.raises(ProverUnavailable, match="no endpoint answers"):
        await prover.prove(make_proof([5], seed=99))
    assert len(board.tries) - tried <= 3, "a trace of its own asks nobody"
    board.down = set()
    await until(lambda: up(prover) == "abc")
    await prover.prove(make_proof([5], seed=99))
    await prover.close()


async def test_a_short_outage_of_all_is_waited_out(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    board.down = set(FLEET)
    proving = asyncio.create_task(prover.prove(make_proof([5, 20])))
    await until(lambda: up(prover) == "")
    board.down = {"a", "b"}
    np.testing.assert_allclose(likelihoods(await proving), expected(make_proof([5, 20])), atol=1e-9)
    assert up(prover) == "c"
    await prover.close()


async def test_a_fault_of_the_question_is_no_fault_of_the_endpoint(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    proof = make_proof([5], SAMPLED)
    await prover.prove(proof)
    [owner] = [host for host, fake in fakes.items() if fake.asked]
    fakes[owner].replies += [Response("bad question", 500)]
    assert "bad question" in str(await failure_of(prover, proof))
    assert up(prover) == "abc"
    # An endpoint that writes no token either is broken, and the trace goes on.
    fakes[owner].replies += [Response("engine is dead", 500)] * 2
    await prover.prove(proof)
    assert up(prover) == "abc".replace(owner, "")
    await prover.close()


async def test_an_endpoint_that_is_away_at_the_start_is_let_in_later(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    board.down = {"a"}
    prover = await started(board, qwen_dir, fakes)
    assert up(prover) == "bc"
    version = prover.info.version
    board.down = set()
    await until(lambda: up(prover) == "abc")
    assert prover.info.version == version
    await prover.close()
    board.down = set(FLEET)
    with pytest.raises(ProverUnavailable, match=r"http://a:9.*http://b:9.*http://c:9"):
        await fleet_of(board, qwen_dir).check()


def _other_name(fakes: dict[str, FakeEndpoint]) -> None:
    fakes["b"].models[0]["id"] = "n"


def _other_weights(fakes: dict[str, FakeEndpoint]) -> None:
    fakes["b"].weights = 7


def _other_way(fakes: dict[str, FakeEndpoint]) -> None:
    fakes["b"].ignored_fields = {"logprob_token_ids"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_name, "http://a:9 and http://b:9 do not serve one model: of the second, model 'n', not 'm'"),
        (_other_weights, "http://a:9 and http://b:9 .* log-probabilities of one answer are .* nats away"),
        (_other_way, "http://a:9 and http://b:9 .* likelihoods are read by echo, not by token_ids"),
    ],
)
async def test_endpoints_that_serve_different_models_are_refused_by_name(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path, change: Any, message: str
) -> None:
    change(fakes)
    prover = fleet_of(board, qwen_dir)
    with pytest.raises(ConfigError, match=message):
        await prover.check()
    error = await failure_of(prover, make_proof([5]))
    assert (type(error), error.param) == (ProverError, "engine_url")
    await prover.close()


async def test_endpoints_of_different_tokenizers_are_refused(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path, metaspace_dir: Path, tokenizer: HFTokenizer
) -> None:
    for fake in fakes.values():
        fake.returns_tokens = tokenizer
    await started(board, qwen_dir, fakes)
    fakes["c"].returns_tokens = HFTokenizer(metaspace_dir)
    with pytest.raises(ConfigError, match=r"http://a:9 and http://c:9 .* its tokenizer gives other ids"):
        await fleet_of(board, qwen_dir).check()


async def test_one_that_comes_back_with_other_weights_stays_out(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    version = prover.info.version
    board.down = {"b"}
    await prove_all(prover, traces(9))
    fakes["b"].weights = 7
    board.down = set()
    await until(lambda: "nats away" in prover.endpoints[1].problem)
    proven = await prove_all(prover, traces(9))
    assert {one.version for one in proven} == {version}
    for proof, one in zip(traces(9), proven, strict=True):
        np.testing.assert_allclose(likelihoods(one), expected(proof), atol=1e-9)
    # The others follow, one by one: whoever answers first then has the new version, and the rest agree with it.
    board.down = {"a", "c"}
    for host in "ac":
        fakes[host].weights = 7
    await prover.prove(make_proof([5], seed=3))
    board.down = set()
    await until(lambda: up(prover) == "abc")
    assert prover.info.version != version
    await prover.close()


async def test_a_version_that_moves_at_one_endpoint_leaves_it_out_until_the_others_move(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    version = prover.info.version
    # The same numbers to rounding, and another name: nobody can say that these are the same weights.
    fakes["a"].models[0]["root"] = "/models/step-2"
    await prover.check()
    assert (up(prover), prover.info.version) == ("bc", version)
    await until(lambda: "its version changed" in prover.endpoints[0].problem)
    for host in "bc":
        fakes[host].models[0]["root"] = "/models/step-2"
    await prover.check()
    await until(lambda: up(prover) == "abc")
    assert prover.info.version != version
    assert {one.version for one in await prove_all(prover, traces(9))} == {prover.info.version}
    await prover.close()


async def test_a_check_passes_while_somebody_writes(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    fakes["a"].replies += [Response("boom", 500)]
    await prover.check()
    assert up(prover) == "bc"
    board.down = set(FLEET)
    with pytest.raises(ProverUnavailable, match="no endpoint answers"):
        await prover.check()
    await prover.close()


async def test_leaving_closes_the_requests_and_moves_nothing(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    for fake in fakes.values():
        fake.hang = True
    proving = asyncio.create_task(prover.prove(make_proof([5, 20])))
    await until(lambda: any(fake.num_running for fake in fakes.values()))
    proving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await proving
    assert sum(fake.closed for fake in fakes.values()) == 2
    assert up(prover) == "abc"
    await prover.close()


async def test_what_all_can_is_what_is_promised(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    fakes["b"].max_model_len = 100
    fakes["b"].models[0]["max_model_len"] = 100
    for host in FLEET:
        fakes[host].memory = 3
    fakes["c"].seeding = "ignored"
    prover = await started(board, qwen_dir, fakes)
    assert (prover.info.max_tokens, prover.info.coupled) == (100, "none")
    assert (await failure_of(prover, make_proof([99]))).code == "context_length_exceeded"
    await prover.close()


async def test_an_endpoint_that_is_named_twice_is_refused(board: Switchboard, qwen_dir: Path) -> None:
    with pytest.raises(ConfigError, match="names http://a:9 twice"):
        fleet_of(board, qwen_dir, ("a", "b", "a"))
