from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import numpy as np
import pytest
from tokenizers import Tokenizer

from mrt_reward.client import RetryPolicy
from mrt_reward.core.posterior import posterior
from mrt_reward.core.values import rollout_value
from mrt_reward.errors import GraderError, ProverError, RequestRejected, TraceError, WireError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.records import Lapse, Record, Scored
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import PATIENCE, TraceScorer, lapse_of
from mrt_reward.training.settings import TrainingSettings, load_training_settings
from mrt_reward.types import Message, Verdict
from tests.provers.conftest import byte_level, metaspace
from tests.server.conftest import VALUES, Live, live_server

TEXT = "One.\n\nTwo 🦊.\n\nThree.\n\n</think>\n\nThe final answer is \\boxed{42}"
CHAT = [Message("user", "6 times 7?")]
PROVER = {
    "model": "m",
    "version": "1",
    "engine": "scripted",
    "max_tokens": 1024,
    "note": "",
    "coupled": "exact",
    "tokenizer": "another",
    "graders": ["math"],
    "options": {},
}


@asynccontextmanager
async def scoring(
    backend: Tokenizer, prover: ScriptedProver | None = None, **given: object
) -> AsyncGenerator[tuple[TraceScorer, Live]]:
    async with live_server(prover or ScriptedProver(VALUES)) as live:
        settings = load_training_settings({"url": live.url, "segmenter": "paragraphs", **given}, where="mrt")
        scorer = TraceScorer(settings, PolicyTokens(backend.to_str()), replace(PATIENCE, base_s=0.001))
        try:
            yield scorer, live
        finally:
            await scorer.close()


def response(backend: Tokenizer, text: str = TEXT, prompt: str = "6 times 7?", **more: object) -> Response:
    fields: dict[str, object] = {"messages": CHAT, "answer": ["42"], "group": "g", **more}
    return Response(
        backend.encode(prompt, add_special_tokens=False).ids,
        backend.encode(text, add_special_tokens=False).ids,
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
async def test_episodes_land_on_the_policys_own_tokens(kind: str) -> None:
    backend = byte_level() if kind == "byte_level" else metaspace()
    async with scoring(backend) as (scorer, _):
        asked = response(backend)
        record = await scorer.score(asked)
    assert isinstance(record.what, Scored), record
    tokens = scorer.tokens
    pieces = [tokens.locate(asked.response_ids[span.start : span.end])[0] for span in record.what.spans]
    assert [piece.strip() for piece in pieces] == ["One.", "Two 🦊.", "Three."]
    assert record.what.value_P == pytest.approx(VALUES)
    assert not record.what.cut_off
    assert (record.probes, record.prover is not None, record.latency_s > 0) == (4, True, True)


async def seeds(given: dict[str, object], *asked: dict[str, object]) -> list[set[int]]:
    """Seeds of the probes of each response in turn."""
    backend, prover = byte_level(), ScriptedProver(VALUES)
    async with scoring(backend, prover, estimator="rollouts", num_samples=4, **given) as (scorer, _):
        for number, fields in enumerate(asked):
            record = await scorer.score(response(backend, **fields))  # type: ignore[arg-type]
            assert isinstance(record.what, Scored), record
            assert len(prover.proofs) == number + 1, "nothing of it was in the cache"
    return [{probe.seed for probe in proof.probes} for proof in prover.proofs]


async def test_coupled_answers_of_one_step_share_a_seed_and_those_of_another_have_a_fresh_one() -> None:
    other = TEXT.replace("Two", "Zwei")
    # Where nothing is said, answers are coupled, because this prover can.
    choices: list[dict[str, object]] = [{}, {"coupled": True}]
    for given in choices:
        first, second, later = await seeds(given, {"step": 3}, {"step": 3, "text": other}, {"step": 4})
        assert first == second
        assert first.isdisjoint(later)
        assert len(first) == len(later) == 1


async def test_the_step_leaves_plain_answers_alone() -> None:
    plain: dict[str, object] = {"coupled": False}
    assert await seeds(plain, {"step": 3}) == await seeds(plain, {"step": 4})


async def test_a_truncated_response_is_cut_off_to_its_last_token() -> None:
    backend = byte_level()
    async with scoring(backend) as (scorer, _):
        asked = response(backend, "<think>\nOne.\n\nTwo.\n\nThr")
        record = await scorer.score(asked)
    assert isinstance(record.what, Scored)
    assert record.what.cut_off
    assert record.what.ends[-1] == len(asked.response_ids)
    assert record.what.start > 0


async def test_thinking_that_the_policys_prompt_opened_is_opened_in_the_text() -> None:
    backend = byte_level()
    async with scoring(backend, ScriptedProver(VALUES)) as (scorer, _):
        asked = response(backend, "One.\n\nTwo.\n\nThr", prompt="6 times 7?<think>\n")
        record = await scorer.score(asked)
    assert isinstance(record.what, Scored)
    assert record.what.start == 0
    assert record.what.ends[-1] == len(asked.response_ids)


async def test_a_response_without_thinking_is_no_failure() -> None:
    backend = byte_level()
    async with scoring(backend, delimiters={"open": "<t>", "close": "</t>"}) as (scorer, _):
        record = await scorer.score(response(backend, "42"))
    assert record.what is Lapse.NO_THINKING, record


async def test_what_the_server_refuses_or_cannot_prove_has_a_reason() -> None:
    backend = byte_level()
    async with scoring(backend) as (scorer, _):
        record = await scorer.score(response(backend, answer=[]))
        assert record.what is Lapse.REJECTED
        assert "answer" in record.reason
    async with scoring(backend, ScriptedProver(VALUES, fail_on="Two")) as (scorer, _):
        record = await scorer.score(response(backend))
        assert record.what is Lapse.PROVER


async def test_a_gold_of_a_wrong_type_is_refused_before_it_is_sent_and_its_neighbours_are_scored() -> None:
    backend = byte_level()
    async with scoring(backend) as (scorer, _):
        asked = [response(backend, answer=answer) for answer in (True, {"tests": []}, ["42", None])]
        records = await asyncio.gather(*map(scorer.score, asked))
    assert [record.what for record in records[:2]] == [Lapse.REJECTED] * 2
    assert "answer: expected a gold answer as text or a finite number" in records[0].reason
    assert "got dict ({'tests': []})" in records[1].reason
    assert isinstance(records[2].what, Scored), records[2]


async def test_a_slow_server_is_a_timeout_and_an_absent_one_is_unreachable() -> None:
    backend = byte_level()
    async with scoring(backend, ScriptedProver(VALUES, delay_s=5), timeout_s=0.5) as (scorer, _):
        record = await scorer.score(response(backend))
        assert record.what is Lapse.TIMEOUT, record
    away = TraceScorer(TrainingSettings(url="http://127.0.0.1:9", timeout_s=1.0), PolicyTokens(backend.to_str()))
    record = await away.score(response(backend))
    assert record.what in (Lapse.UNREACHABLE, Lapse.TIMEOUT)
    await away.close()


async def test_concurrent_responses_travel_together() -> None:
    backend = byte_level()
    async with scoring(backend) as (scorer, live):
        seen: list[str] = []

        class Counting(httpx.AsyncHTTPTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                seen.append(request.url.path)
                return await super().handle_async_request(request)

        scorer.transport = Counting()
        records = await asyncio.gather(*(scorer.score(response(backend, group=str(n))) for n in range(40)))
        assert live.url
    assert all(isinstance(record.what, Scored) for record in records)
    assert seen.count("/v1/prover") == 1
    assert seen.count("/v1/score") <= 3


async def test_a_groups_traces_go_to_one_of_several_servers_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "secret")
    backend = byte_level()
    settings = TrainingSettings(url=["http://a", "http://b"], api_key_env="KEY", timeout_s=5.0)
    scorer = TraceScorer(settings, PolicyTokens(backend.to_str()), RetryPolicy(max_tries=1))
    asked: dict[str, set[str]] = {}

    def refuse(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        if request.url.path == "/v1/prover":
            return httpx.Response(200, json=PROVER)
        for trace in json.loads(request.content)["traces"]:
            asked.setdefault(trace["group"], set()).add(request.url.host)
        return httpx.Response(422, json={"error": {"message": "no", "type": "T", "code": "c", "param": None}})

    scorer.transport = httpx.MockTransport(refuse)
    await asyncio.gather(*(scorer.score(response(backend, group=f"g{n % 8}")) for n in range(32)))
    await scorer.close()
    assert len(asked) == 8
    assert all(len(hosts) == 1 for hosts in asked.values())
    assert set().union(*asked.values()) == {"a", "b"}


@pytest.mark.parametrize("same", [True, False])
async def test_token_ids_are_sent_where_the_tokenizers_are_the_same_and_text_elsewhere(same: bool) -> None:
    backend = byte_level()
    scorer = TraceScorer(TrainingSettings(), PolicyTokens(backend.to_str()), RetryPolicy(max_tries=1))
    sent: list[dict[str, object]] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/prover":
            return httpx.Response(200, json={**PROVER, **({"tokenizer": scorer.tokens.sha256} if same else {})})
        sent.extend(json.loads(request.content)["traces"])
        return httpx.Response(422, json={"error": {"message": "no", "type": "T", "code": "c", "param": None}})

    scorer.transport = httpx.MockTransport(refuse)
    await scorer.score(response(backend, session="http://a:9"))
    await scorer.close()
    assert sent[0]["session"] == "http://a:9"
    assert ("completion_ids" in sent[0], "prompt_ids" in sent[0], "completion" in sent[0]) == (same, same, not same)


async def test_a_trainer_is_paid_the_posterior_where_it_says_so() -> None:
    backend = byte_level()
    async with scoring(backend, estimator="rollouts", num_samples=4, paid_values="posterior") as (scorer, live):
        record = await scorer.score(response(backend))
        drawn = [(Verdict.CORRECT,) * right + (Verdict.INCORRECT,) * (4 - right) for right in (1, 2, 2, 4)]
        values = [replace(rollout_value(verdicts), verdicts=verdicts) for verdicts in drawn]
        found = posterior(values, scorer.settings.prior)
        assert found is not None
        assert isinstance(record.what, Scored), record
        assert record.what.value_P == pytest.approx(found.means)
    assert live.prover.num_calls == 1


async def test_a_reply_without_the_posterior_that_is_to_be_paid_is_malformed() -> None:
    backend = byte_level()
    async with scoring(backend) as (scorer, _):
        # As of a server whose grader returns scores, or that knows no posterior.
        scorer.settings = replace(scorer.settings, paid_values="posterior")
        record = await scorer.score(response(backend))
    assert record.what is Lapse.MALFORMED
    assert "has no posterior" in record.reason


async def test_replies_that_do_not_fit_are_malformed() -> None:
    backend = byte_level()
    scorer = TraceScorer(TrainingSettings(), PolicyTokens(backend.to_str()), replace(PATIENCE, base_s=0.001))

    def garbage(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/score":
            return httpx.Response(200, text="{}\n")
        return httpx.Response(200, json={})

    scorer.transport = httpx.MockTransport(garbage)
    record = await scorer.score(response(backend))
    assert record.what is Lapse.MALFORMED
    assert "is no ProverOut" in record.reason
    await scorer.close()


@pytest.mark.parametrize(
    ("error", "lapse"),
    [
        (RequestRejected("no"), Lapse.REJECTED),
        (GraderError("no"), Lapse.PROVER),
        (ProverError("no"), Lapse.PROVER),
        (WireError("HTTP 500"), Lapse.PROVER),
        (TraceError("no"), Lapse.REJECTED),
    ],
)
def test_errors_have_their_lapse(error: Exception, lapse: Lapse) -> None:
    assert lapse_of(error) is lapse  # type: ignore[arg-type]


async def test_episodes_within_one_token_are_paid_together() -> None:
    # One token spells the whole thinking, so all its episodes end with it: 0.25 to 1.0 is paid there.
    backend = byte_level()
    async with scoring(backend) as (scorer, _):
        asked = response(backend)
        record = await scorer.score(asked)
    assert isinstance(record.what, Scored)
    assert (np.diff(record.what.ends) > 0).all()


async def test_replies_past_the_timeout_are_lost_and_their_neighbours_are_not() -> None:
    backend = byte_level()
    async with scoring(backend, timeout_s=2.0) as (scorer, _):

        class Delaying(httpx.AsyncHTTPTransport):
            """Delays every request that holds a marked trace past the timeout."""

            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if b"LATE" in request.content:
                    await asyncio.sleep(30)
                return await super().handle_async_request(request)

        scorer.transport = Delaying()
        texts = [TEXT.replace("Two", "LATE") if index % 10 < 3 else TEXT for index in range(10)]
        # One at a time, so that each reply is a request of its own.
        records = [await scorer.score(response(backend, text)) for text in texts]
    late = [record for record in records if record.what is Lapse.TIMEOUT]
    assert len(late) == 3
    assert all(isinstance(record.what, Scored) for record in records if record not in late)


async def test_a_restarted_server_is_waited_for() -> None:
    backend = byte_level()
    async with scoring(backend, timeout_s=20.0) as (scorer, _):
        refusals = 6

        class Restarting(httpx.AsyncHTTPTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                nonlocal refusals
                if refusals:
                    refusals -= 1
                    raise httpx.ConnectError("refused")
                return await super().handle_async_request(request)

        scorer.transport = Restarting()
        record = await scorer.score(response(backend))
    assert isinstance(record.what, Scored)


async def test_an_engine_that_is_away_is_waited_for_and_traces_fail_alone_where_it_stays_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = byte_level()
    async with scoring(backend, timeout_s=20.0) as (scorer, live):
        known = await scorer.score(response(backend))
        live.prover.unavailable = True
        texts = [TEXT.replace("Two", word) for word in ("Four", "Five")]
        asking = asyncio.create_task(scorer.score_all([response(backend, text) for text in texts]))
        while "is away" not in caplog.text:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        live.prover.unavailable = False
        assert all(isinstance(record.what, Scored) for record in await asking)
        live.prover.unavailable = True
        scorer.retry = RetryPolicy(max_tries=2, base_s=0.001)
        await scorer.close()
        records = await scorer.score_all([response(backend, text) for text in (TEXT, TEXT.replace("Two", "Six"))])
    assert isinstance(known.what, Scored)
    assert isinstance(records[0].what, Scored), "it is in the server's cache"
    assert (records[1].what, records[1].reason.partition(":")[0]) == (Lapse.PROVER, "prover_unavailable")


def test_a_record_is_a_row_of_a_batch() -> None:
    scored = Scored(0, (2,), np.array([0.25, 0.5]), cut_off=False)
    assert Record(scored).rewarded(1.0, 4) == Record(scored, outcome=1.0, num_tokens=4)
    assert Record(Lapse.TIMEOUT, "late").rewarded(0.0, 4) == Record(Lapse.TIMEOUT, "late", outcome=0.0, num_tokens=4)
