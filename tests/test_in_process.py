"""The service in the process of a trainer: the values of a server, and none of another step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mrt_reward import in_process
from mrt_reward.config import load_settings
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverUnavailable
from mrt_reward.in_process import EnginesService, PolicyScorer
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problem
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.records import Lapse, Record
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import TraceScorer
from mrt_reward.training.settings import TrainingSettings
from tests.verl.cpu.routes import Routes

LIKELIHOOD = TrainingSettings(url="policy", segmenter="paragraphs")
ANSWERS = TrainingSettings(
    url="policy", segmenter="paragraphs", estimator="rollouts", num_samples=3, temperature=1.0, coupled=True
)
WAYS = (LIKELIHOOD, ANSWERS)
TEXTS = (
    "The first one.\n\nThe second one.\n\nSo it is 42.\n\n</think>\n\nThe final answer is \\boxed{42}",
    "Nothing is known.\n\nI do not know",
)


@pytest.fixture
def policy() -> Any:
    return cast("Any", AutoModelForCausalLM).from_pretrained(MODEL_DIR, dtype="float32").train()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return cast("Any", AutoTokenizer).from_pretrained(MODEL_DIR)


def responses_of(tokenizer: Any, step: int, num_problems: int = 2) -> list[Response]:
    """A group of two for each problem."""
    rng = np.random.default_rng(0)
    made: list[Response] = []
    for _ in range(num_problems):
        problem = sample_problem(rng)
        asked = tokenizer.apply_chat_template([{"role": "user", "content": problem.text}], add_generation_prompt=True)
        for text in TEXTS:
            ids = tokenizer.encode(text, add_special_tokens=False)
            made.append(Response(asked["input_ids"], ids, (), str(problem.answer), problem.text, step))
    return made


async def served(folder: Path, settings: TrainingSettings, responses: Sequence[Response], tokenizer: Any) -> Any:
    """What a service says whose prover has the weights of a folder."""
    serving = load_settings(model=str(folder))
    scorer, service = in_process.scorer_and_service(settings, PolicyTokens.of(tokenizer, folder), serving)
    records = await scorer.score_all(responses)
    await scorer.close()
    await service.close()
    return records


def values(records: Sequence[Record]) -> list[float]:
    assert [record.reason for record in records] == [""] * len(records)
    return [value for record in records if record.scored for value in record.scored.value_P.tolist()]


def learn(policy: Any, tokenizer: Any) -> None:
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    ids = torch.tensor([tokenizer.encode(TEXTS[0])])
    policy(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()


async def test_values_are_those_of_a_server_with_the_weights_of_each_step(
    policy: Any, tokenizer: Any, tmp_path: Path
) -> None:
    scorers = [PolicyScorer(policy, tokenizer, settings, "mrt") for settings in WAYS]
    seen: list[list[float]] = []
    for step in (7, 8):
        folder = tmp_path / str(step)
        policy.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        responses = responses_of(tokenizer, step)
        for settings, scorer in zip(WAYS, scorers, strict=True):
            found = await scorer.score_all(responses)
            assert values(found) == pytest.approx(
                values(await served(folder, settings, responses, tokenizer)), abs=1e-5
            )
            # Nothing of the step before is left: J[0] of a group is proved once, and by these weights.
            assert {record.prover for record in found} == {f"policy@{step}"}
            assert len({record.scored.version for record in found if record.scored}) == 1
            assert sum(record.cached_probes for record in found) == 2
            assert all(record.computed_tokens > 0 and record.proved_tokens > 0 for record in found)
            seen.append(values(found))
        learn(policy, tokenizer)
    assert np.abs(np.array(seen[0]) - np.array(seen[2])).max() > 1e-3
    for scorer in scorers:
        await scorer.close()


async def test_what_was_proved_is_forgotten_even_where_the_step_is_said_to_be_the_same(
    policy: Any, tokenizer: Any
) -> None:
    scorer = PolicyScorer(policy, tokenizer, LIKELIHOOD, "mrt")
    before = values(await scorer.score_all(responses_of(tokenizer, 3)))
    assert values(await scorer.score_all(responses_of(tokenizer, 3))) == before
    learn(policy, tokenizer)
    after = values(await scorer.score_all(responses_of(tokenizer, 3)))
    assert np.abs(np.array(before) - np.array(after)).max() > 1e-3
    await scorer.close()


def test_a_scorer_goes_on_in_another_event_loop_once_it_was_closed(policy: Any, tokenizer: Any) -> None:
    scorer = PolicyScorer(policy, tokenizer, ANSWERS, "mrt")

    async def once() -> list[float]:
        found = values(await scorer.score_all(responses_of(tokenizer, 0)))
        await scorer.close()
        return found

    assert asyncio.run(once()) == asyncio.run(once())
    assert policy.training


async def test_traces_that_get_no_values_in_time_are_lapses_and_the_module_is_given_back(
    policy: Any, tokenizer: Any
) -> None:
    settings = TrainingSettings(url="policy", timeout_s=1e-3)
    scorer = PolicyScorer(policy, tokenizer, settings, "mrt")
    records = await scorer.score_all(responses_of(tokenizer, 0))
    assert {record.what for record in records} == {Lapse.TIMEOUT}
    assert policy.training
    assert policy.config._attn_implementation == "sdpa"
    assert await scorer.score_all([]) == []
    await scorer.close()


@pytest.mark.parametrize(
    ("name", "value"), [("MODEL", "mini-deep"), ("ENGINE", "vllm"), ("DTYPE", "bfloat16"), ("CACHE_PATH", "values.db")]
)
def test_another_prover_beside_the_policy_is_refused_by_name(
    policy: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"MRT_REWARD_{name}", value)
    with pytest.raises(
        ConfigError, match=rf"mrt\.url=policy proves with the policy .* by MRT_REWARD_{name} .*leave it"
    ):
        PolicyScorer(policy, tokenizer, LIKELIHOOD, "mrt")


async def test_the_services_own_settings_and_a_servers_key_do_no_harm(
    policy: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MRT_REWARD_API_KEY", "of-a-server")
    monkeypatch.setenv("MRT_REWARD_MAX_MODEL_LEN", "64")
    scorer = PolicyScorer(policy, tokenizer, LIKELIHOOD, "mrt")
    output = capsys.readouterr().out
    assert output == "[mrt] the policy itself proves, in float32, at each step with the weights of that step\n"
    records = await scorer.score_all(responses_of(tokenizer, 0))
    await scorer.close()
    assert all("context holds 64" in record.reason for record in records)
    # A trainer's output is no server's log.
    assert capsys.readouterr().out == ""


def test_a_tokenizer_without_a_file_is_refused(policy: Any) -> None:
    class Slow:
        def save_pretrained(self, _: str) -> None:
            raise NotImplementedError("no files")

    with pytest.raises(ConfigError, match="tokenizer cannot be written as files: no files"):
        PolicyScorer(policy, Slow(), LIKELIHOOD, "mrt")


async def test_a_trainers_engines_prove_for_its_other_processes_at_each_step(
    policy: Any, tokenizer: Any, tmp_path: Path
) -> None:
    routes = Routes(str(MODEL_DIR), policy.eval(), lambda: False)
    engines = EngineSettings(engine_url=f"http://127.0.0.1:{await routes.open()}", tokenizer=str(MODEL_DIR))
    service = EnginesService(engines, "127.0.0.1", "rollout", "mrt")
    url, info = await service.start("0", likelihood=True)
    assert (info.name, info.version) == (MODEL_DIR.name, "0")
    tokens = PolicyTokens.of(tokenizer, MODEL_DIR)
    settings = replace(LIKELIHOOD, url=url)
    asking = TraceScorer(settings, tokens, api_key=service.key)
    responses = responses_of(tokenizer, 0)
    seen: list[list[float]] = []
    for step in ("0", "1"):
        folder = tmp_path / step
        policy.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found = await asking.score_all(responses)
        truth = values(await served(folder, LIKELIHOOD, responses, tokenizer))
        assert values(found) == pytest.approx(truth, abs=1e-4)
        assert {record.prover for record in found} == {f"{MODEL_DIR.name}@{step}"}
        seen.append(truth)
        await service.pause()
        learn(policy, tokenizer)
        await service.resume("1")
    assert np.abs(np.array(seen[0]) - np.array(seen[1])).max() > 1e-3
    stranger = TraceScorer(replace(settings, timeout_s=5.0), tokens)
    [refused, *_] = await stranger.score_all(responses)
    assert "key" in refused.reason
    for each in (stranger, asking, service, routes):
        await each.close()


async def test_a_service_that_ends_before_anybody_asked_leaves_nothing_open(policy: Any) -> None:
    routes = Routes(str(MODEL_DIR), policy.eval(), lambda: False)
    engines = EngineSettings(engine_url=f"http://127.0.0.1:{await routes.open()}", tokenizer=str(MODEL_DIR))
    service = EnginesService(engines, "127.0.0.1", "rollout", "mrt")
    url, _ = await service.start("0", likelihood=False)
    await service.close()
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)
    await service.close()
    await routes.close()


async def test_a_trainers_engines_that_are_away_are_reported_at_the_start() -> None:
    engines = EngineSettings(engine_url="http://127.0.0.1:9", tokenizer=str(MODEL_DIR))
    service = EnginesService(engines, "127.0.0.1", "rollout", "mrt")
    with pytest.raises(ProverUnavailable, match="no server at http://127"):
        await service.start("0", likelihood=False)
    await service.close()


@pytest.mark.parametrize("name", ["MODEL", "ENGINE_URL", "CACHE_PATH"])
def test_settings_of_other_provers_contradict_a_trainers_engines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MRT_REWARD_{name}", "x")
    engines = EngineSettings(engine_url="http://127.0.0.1:9", tokenizer=str(MODEL_DIR))
    with pytest.raises(ConfigError, match=rf"mrt\.url=rollout proves with the policy .* by MRT_REWARD_{name} .*leave"):
        EnginesService(engines, "127.0.0.1", "rollout", "mrt")
