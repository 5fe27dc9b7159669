"""Spans of questions to an endpoint of engine `openai`, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import uvicorn
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mrt_reward.backoff import Backoff
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.provers.openai.prover import OpenAIProver
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.service.scorer import Scorer
from tests.provers.conftest import save_model
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.server.conftest import TRACE, Live, live_server
from tests.server.test_otel import TRACE_ID, TRACEPARENT, Collector, ask, attributes, collector, named
from tests.service.conftest import WordGrader, speller

__all__ = ["collector"]


@dataclass(frozen=True)
class Engine:
    """A server of ours whose engine is an endpoint."""

    live: Live
    fake: FakeEndpoint
    endpoint: uvicorn.Server

    async def stop_endpoint(self) -> None:
        """Close its port."""
        await self.endpoint.shutdown()


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Engine]:
    """One whose endpoint was asked nothing yet but who it is."""
    save_model(folder, "Qwen2")
    fake = FakeEndpoint("vllm", HFTokenizer(folder))
    endpoint = uvicorn.Server(uvicorn.Config(fake.app, port=0, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(endpoint.serve())
    while not endpoint.started:  # noqa: ASYNC110 - uvicorn says it by a flag alone
        await asyncio.sleep(0.01)
    port = endpoint.servers[0].sockets[0].getsockname()[1]
    url = f"http://user:secret-password@127.0.0.1:{port}"
    settings = EngineSettings(engine_url=url, tokenizer=str(folder))
    prover = OpenAIProver(settings, backoff=Backoff(max_tries=2, base_s=0.01))
    async with live_server(None, Scorer(prover, {"word": WordGrader()}, speller)) as live:
        fake.asked.clear()
        yield Engine(live, fake, endpoint)
    endpoint.should_exit = True
    await serving


def questions(collector: Collector) -> list[Span]:
    return [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]


async def test_questions_to_an_endpoint_carry_the_trace_on(collector: Collector, tmp_path: Path) -> None:
    async with engine(tmp_path) as own:
        assert await ask(f"{own.live.url}/v1/score", {"traces": [TRACE]}, traceparent=TRACEPARENT) == 200
    carried = [headers["traceparent"].split("-") for headers, _ in own.fake.asked]
    assert carried
    posts = {span.span_id.hex(): span for span in questions(collector)}
    [prove] = named(collector.spans, "mrt_reward.prove")
    for _, trace_id, span_id, _ in carried:
        assert trace_id == TRACE_ID
        assert posts[span_id].parent_span_id == prove.span_id
        assert attributes(posts[span_id])["http.response.status_code"] == 200
    assert b"secret" not in b"".join(collector.bodies)


async def test_a_question_that_nobody_answers_says_so_without_the_message(collector: Collector, tmp_path: Path) -> None:
    async with engine(tmp_path) as own:
        await own.stop_endpoint()
        await ask(f"{own.live.url}/v1/score", {"traces": [TRACE]}, traceparent=TRACEPARENT)
    # A question that was given up meanwhile, beside those, has no error.
    failed = [span for span in questions(collector) if span.status.code == Status.STATUS_CODE_ERROR]
    assert {(attributes(span)["error.type"], span.trace_id.hex()) for span in failed} == {("ConnectError", TRACE_ID)}
    assert not [span for span in collector.spans if cast("object", span.events) or span.status.message]
    assert b"attempts failed" not in b"".join(collector.bodies)


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
async def test_what_no_followed_request_asks_for_has_no_span(collector: Collector, tmp_path: Path, path: str) -> None:
    async with engine(tmp_path) as own:
        before = own.endpoint.server_state.total_requests
        assert (await own.live.http.get(path)).status_code == 200
        assert own.endpoint.server_state.total_requests > before
    assert not collector.spans
