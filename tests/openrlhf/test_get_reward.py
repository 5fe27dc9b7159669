"""`--reward.remote_url http://…/get_reward` without the adapter: OpenRLHF's own client, generator and advantages."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
from openrlhf.utils import agent as openrlhf_agent
from openrlhf.utils.agent import SingleTurnAgentExecutor
from transformers import AutoTokenizer

from mrt_reward.errors import ProverError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import Probe, Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from tests.openrlhf.batches import METHOD, arguments, maker
from tests.openrlhf.test_executor import Engine
from tests.server.conftest import TRACE, VALUES, live_server

CHAT = "<|im_start|>user\n6 times 7?<|im_end|>\n<|im_start|>assistant\n"
ANSWERED = str(TRACE["completion"])


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenRLHF waits a second before it sends something again."""
    pause = asyncio.sleep

    async def at_once(seconds: float) -> None:
        await pause(0 if seconds == 1 else seconds)

    monkeypatch.setattr(openrlhf_agent, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": at_once}))


async def ask(url: str, query: str, prompt: str = CHAT, label: Any = "42") -> Any:
    """As OpenRLHF's own client does."""
    return (await SingleTurnAgentExecutor(f"{url}/get_reward")._fetch_rewards_via_http([query], [prompt], [label]))[0]


def proved(prover: ScriptedProver) -> list[Probe]:
    """Every prefix that the prover answered for."""
    return [probe for proof in prover.proofs for probe in proof.probes]


async def test_openrlhfs_own_agent_trains_on_one_number_per_trace() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    async with live_server() as live:
        agent = SingleTurnAgentExecutor([f"{live.url}/get_reward"])
        parameters = SimpleNamespace(max_tokens=100, logprobs=None)
        engines = [
            Engine(tokenizer, "<think>\n" + ANSWERED),
            Engine(tokenizer, "\\boxed{41}"),
            Engine(tokenizer, ANSWERED),
        ]
        calls = [agent.execute(CHAT, "42", parameters, 200, tokenizer, engine) for engine in engines]
        answered: list[Any] = await asyncio.gather(*calls)
    assert answered[0]["scores"] == [1.0]
    # r + α·(J[K] - J[0]) = 1 + 0.75: where on the trace it was earned is lost.
    assert answered[0]["reward"] == pytest.approx([1.75])
    generator = SamplesGenerator.__new__(SamplesGenerator)
    samples = [generator._process_response_into_experience(each, max_len=200) for each in answered]
    args = arguments("dr_grpo")
    batch = maker(args).split_rollout_samples(samples)
    for each in batch:
        each.kl = each.action_mask * 0.0
    [done] = METHOD(maker(args), batch)
    rewards = [each["reward"][0] for each in answered]
    for row, reward in enumerate(rewards):
        written = done.advantages[row][done.action_mask[row].bool()]
        assert written.tolist() == pytest.approx([reward - sum(rewards) / 3] * len(written), abs=1e-6)


async def test_the_same_at_the_same_time_is_proved_once() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=0.3)) as live:
        replies = await asyncio.gather(*(ask(live.url, CHAT + "<think>\n" + ANSWERED) for _ in range(5)))
        assert all(reply == replies[0] for reply in replies)
        asked = proved(live.prover)
        assert len(asked) == len(VALUES)
        await ask(live.url, CHAT + "<think>\n" + ANSWERED)
        assert len(proved(live.prover)) == len(VALUES)


async def test_a_caller_that_gives_up_takes_nothing_from_one_that_asks_the_same() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=0.5)) as live:
        impatient = asyncio.create_task(ask(live.url, CHAT + "<think>\n" + ANSWERED))
        await asyncio.sleep(0.2)
        again = asyncio.create_task(ask(live.url, CHAT + "<think>\n" + ANSWERED))
        await asyncio.sleep(0.1)
        impatient.cancel()
        # What nobody had finished is proved for the one that still waits.
        assert (await again)["rewards"] == pytest.approx([1.75])


async def test_what_was_proved_before_a_failure_is_not_proved_again() -> None:
    class Failing(ScriptedProver):
        """Fails on one prefix, once."""

        failures = 1

        async def prove(self, proof: Proof) -> Proven:
            if self.failures and len(proof.probes) > 1:
                self.failures -= 1
                raise ProverError("lost")
            return await super().prove(proof)

    async with live_server(Failing(VALUES)) as live:
        first = await ask(live.url, CHAT + "<think>\n" + ANSWERED)
        assert first["extra_logs"]["mrt_failed"] == [1.0]
        assert first["rewards"] == first["scores"] == [1.0]
        second = await ask(live.url, CHAT + "<think>\n" + ANSWERED)
        assert second["rewards"] == pytest.approx([1.75])


@pytest.mark.parametrize("cut", [0, 5, 15])
async def test_the_response_is_found_by_the_prompt_also_where_it_was_cut_on_the_left(cut: int) -> None:
    async with live_server() as live:
        reply = await ask(live.url, CHAT[cut:] + "<think>\n" + ANSWERED + "<|im_end|>", CHAT)
    assert reply["scores"] == [1.0]
    assert reply["extra_logs"]["mrt_episodes"] == [3.0]


@pytest.mark.parametrize("prompt", ["another prompt", ""])
async def test_a_response_that_is_not_found_is_an_error_after_all_tries(prompt: str) -> None:
    # Its header may be the policy's own words, so it says nothing.
    async with live_server() as live:
        with pytest.raises(RuntimeError, match="5 times"):
            await ask(live.url, "lost<|im_end|>\n" + CHAT + ANSWERED, prompt)
        assert not live.prover.proofs
