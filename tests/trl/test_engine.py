"""TRL's own vLLM server proves: here its HTTP routes over a model in memory, whose weights change between steps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mrt_trl.checks import check_config
from mrt_trl.scoring import scorer_of
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig

from mrt_reward.errors import ConfigError
from mrt_reward.in_process import PolicyScorer
from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking
from mrt_reward.training.records import Record
from mrt_reward.training.responses import Response
from mrt_reward.training.settings import TrainingSettings
from tests.verl.cpu.routes import Routes

SETTINGS = TrainingSettings(url="rollout", segmenter="paragraphs", timeout_s=120)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL_DIR)


@pytest.fixture
def policy() -> Any:
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)


@pytest.fixture
def url(policy: Any) -> Iterator[str]:
    """Of a server that generates with this policy, as it is."""
    ports: list[int] = []
    opened, over = threading.Event(), threading.Event()

    async def run() -> None:
        routes = Routes(str(MODEL_DIR), policy, lambda: False)
        ports.append(await routes.open())
        opened.set()
        await asyncio.to_thread(over.wait)
        await routes.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert opened.wait(60)
    yield f"http://127.0.0.1:{ports[0]}"
    over.set()
    thread.join()


def made(url: str, tokenizer: Any) -> Any:
    """A trainer as far as its server is concerned."""
    args = SimpleNamespace(vllm_server_base_url=url, vllm_server_host="0.0.0.0", vllm_server_port=8000)
    return SimpleNamespace(args=args, processing_class=tokenizer)


def responses(tokenizer: Any, step: int) -> list[Response]:
    made: list[Response] = []
    for row, problem in enumerate(sample_problems(2, 7)):
        thinking = write_thinking(problem, BASE_SLOPPINESS, np.random.default_rng(row)).text
        texts = template.prompt_text(problem.text), f"{thinking}</think>\n\nThe final answer is \\boxed{{7}}"
        prompt, response = (tokenizer.encode(text, add_special_tokens=False) for text in texts)
        made.append(Response(prompt, response, answer=str(problem.answer), group=str(row), step=step))
    return made


def values(records: list[Record]) -> list[float]:
    assert {record.reason for record in records} == {""}
    return [value for record in records if record.scored for value in record.scored.value_P.tolist()]


async def test_values_are_those_of_the_policy_at_each_step_and_name_it(url: str, policy: Any, tokenizer: Any) -> None:
    scorer = await asyncio.to_thread(scorer_of, made(url, tokenizer), SETTINGS)
    reported: list[list[float]] = []
    for step in (0, 3):
        records = await scorer.score_all(responses(tokenizer, step))
        assert {record.prover for record in records} == {f"{MODEL_DIR.name}@{step}"}
        alone = PolicyScorer(policy, tokenizer, TrainingSettings(url="policy", segmenter="paragraphs"), "mrt")
        assert values(records) == pytest.approx(values(await alone.score_all(responses(tokenizer, step))), abs=1e-4)
        await alone.close()
        reported.append(values(records))
        with torch.no_grad():
            for weights in policy.parameters():
                weights.mul_(1.02)
    await scorer.close()
    assert len(reported[0]) > 4
    assert np.abs(np.subtract(reported[0], reported[1])).max() > 1e-3


def test_a_server_that_is_away_learns_when_the_trainer_is_made(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"mrt\.url=rollout: the server that TRL generates with .*:9\) cannot prove"):
        scorer_of(made("http://127.0.0.1:9", tokenizer), SETTINGS)


@pytest.mark.parametrize("given", [{}, {"use_vllm": True, "vllm_mode": "colocate"}])
def test_an_engine_without_an_address_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"mrt\.url=rollout asks the vLLM server .*vllm_mode='server'"):
        check_config(GRPOConfig(bf16=False, use_cpu=True, **given), SETTINGS)


def test_a_server_of_trls_is_taken() -> None:
    check_config(GRPOConfig(bf16=False, use_cpu=True, use_vllm=True, vllm_mode="server"), SETTINGS)
