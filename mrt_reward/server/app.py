"""The routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Any, TypeVar, cast

import structlog
from fastapi import Depends, FastAPI, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Send

from mrt_reward.config import ServeSettings
from mrt_reward.errors import MRTRewardError
from mrt_reward.options import ScoreOptions
from mrt_reward.server import openrlhf
from mrt_reward.server.advantages import advantages
from mrt_reward.server.calls import Caller, CallerGone, caller_of, collected, until_late
from mrt_reward.server.contract import LINES, NDJSON, WORK, completed_openapi, documented
from mrt_reward.server.errors import install_error_handlers
from mrt_reward.server.health import Readiness
from mrt_reward.server.limits import CALLER_GONE, Gate, StrictRoute
from mrt_reward.server.recording import Recording, Replays, once
from mrt_reward.server.scoring import Placed, failed, score_each, segment_each
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.server.weights import allowed_folder
from mrt_reward.service.scorer import Scorer
from mrt_reward.version import __version__
from mrt_reward.wire import (
    AdvantagesRequest,
    AdvantagesResponse,
    EpisodesRequest,
    EpisodesResponse,
    GetRewardRequest,
    GetRewardResponse,
    ProverOut,
    ScoreRequest,
    ScoreResponse,
    StatusOut,
    StreamedTrace,
    TraceIn,
    TraceOut,
    VersionOut,
    WeightsRequest,
    WeightsResponse,
)

logger = structlog.stdlib.get_logger(__name__)

Item = TypeVar("Item")
Asking = Annotated[Caller, Depends(caller_of)]


class LineStream(StreamingResponse):
    """Lines as they come; a caller who hangs up stops their source at once."""

    media_type = NDJSON

    async def stream_response(self, send: Send) -> None:
        """Send all lines."""
        async with aclosing(cast("AsyncGenerator[bytes]", self.body_iterator)):
            await super().stream_response(send)


class Routes:
    """The public routes, around one scorer."""

    def __init__(self, scorer: Scorer, settings: ServeSettings, telemetry: Telemetry) -> None:
        self._scorer = scorer
        self._settings = settings
        self._telemetry = telemetry
        self._readiness = Readiness(scorer)
        self._replays = Replays()

    def _options(self, options: ScoreOptions | None) -> ScoreOptions:
        return options or self._settings.options

    async def _recording(self, caller: Caller, work: Callable[[], AsyncGenerator[Item]]) -> Recording[Item]:
        caller.capped(self._settings.default_deadline_s)
        return self._replays.recording(caller.key, (caller.request.url.path, await caller.request.body()), work)

    async def _one(self, caller: Caller, work: Callable[[], AsyncGenerator[Item]]) -> Item:
        recording = await self._recording(caller, work)
        [result] = await caller.attend(collected(recording.read()))
        return result

    async def score(self, caller: Asking, body: ScoreRequest) -> Response:
        """Score traces: values of every prefix, progress of every episode.

        With `Accept: application/x-ndjson`, each trace is sent as soon as it is scored, one object per line with its
        place in the request.
        """
        options = self._options(body.options)
        count = self._telemetry.count_trace
        recording = await self._recording(caller, lambda: score_each(self._scorer, body.traces, options, count))
        if NDJSON in caller.request.headers.get("accept", ""):
            lines = _lines(recording, caller, body.traces)
            first = await caller.attend(_first(lines))
            return LineStream(_resumed(first, lines))
        scored = dict(await caller.attend(collected(recording.read())))
        return _json(ScoreResponse(traces=[TraceOut.from_scored(scored[place]) for place in range(len(body.traces))]))

    async def advantages(self, caller: Asking, body: AdvantagesRequest) -> Response:
        """Turn groups of traces into advantages per episode, and per token on request."""
        options = self._options(body.options)
        count = self._telemetry.count_trace
        return _json(await self._one(caller, lambda: once(advantages(self._scorer, body, options, count))))

    async def episodes(self, caller: Asking, body: EpisodesRequest) -> Response:
        """Cut thinking into episodes, without scoring."""
        options = self._options(body.options)
        caller.capped(self._settings.default_deadline_s)
        cut = await caller.attend(asyncio.to_thread(segment_each, self._scorer, body.traces, options))
        return _json(EpisodesResponse(traces=cut))

    async def get_reward(self, caller: Asking, body: GetRewardRequest) -> Response:
        """OpenRLHF's remote reward: one scalar per query, r + α(J[K] - J[0]).

        A sum over the trace is all that one number can carry; for progress on its own episodes use /v1/score.
        """
        caller.capped(openrlhf.DEADLINE_S)
        try:
            return _json(await self._one(caller, lambda: once(self._rewards(body))))
        except MRTRewardError as error:
            # The trainer's client throws the body of an error away, so that the reason must be told here.
            logger.warning("reward_refused", code=error.code, param=error.param, reason=str(error))
            raise

    async def _rewards(self, body: GetRewardRequest) -> GetRewardResponse:
        options = self._settings.options
        grader = self._scorer.graders[options.grader or next(iter(self._scorer.graders))]
        scored = await self._scorer.score(openrlhf.to_traces(body, needs_answer=grader.needs_answer), options)
        for trace in scored:
            self._telemetry.count_trace(trace)
        return openrlhf.to_rewards(scored, self._settings.alpha)

    async def prover(self) -> ProverOut:
        """Who proves, and how when a request does not say."""
        info = self._scorer.info
        return ProverOut(
            model=info.model,
            version=info.version,
            engine=info.engine,
            max_tokens=info.max_tokens,
            note=info.note,
            tokenizer=self._scorer.tokenizer_sha256,
            graders=list(self._scorer.graders),
            options=self._settings.options,
        )

    async def livez(self) -> StatusOut:
        """The process is alive."""
        return StatusOut()

    async def readyz(self) -> StatusOut:
        """The prover generated a token a moment ago."""
        await self._readiness.check()
        return StatusOut()

    async def metrics(self) -> Response:
        """Prometheus metrics."""
        return Response(self._telemetry.exposition(), media_type="text/plain; version=0.0.4")

    async def version(self) -> VersionOut:
        """Which release answers."""
        return VersionOut(version=__version__)


def _json(record: BaseModel) -> Response:
    # Written once by pydantic; FastAPI would validate and copy it first.
    return Response(record.model_dump_json(), media_type="application/json")


def _lines(recording: Recording[Placed], caller: Caller, asked: Sequence[TraceIn]) -> AsyncGenerator[bytes]:
    waiting = set(range(len(asked)))

    async def tracked() -> AsyncGenerator[Placed]:
        async with aclosing(recording.read()) as items:
            async for place, scored in items:
                waiting.discard(place)
                yield place, scored

    def rest() -> list[Placed]:
        return [(place, failed(asked[place], caller.late())) for place in sorted(waiting)]

    async def written() -> AsyncGenerator[bytes]:
        async with aclosing(until_late(tracked(), caller, rest)) as items:
            async for place, scored in items:
                line = StreamedTrace(index=place, trace=TraceOut.from_scored(scored))
                yield line.model_dump_json().encode() + b"\n"

    return written()


async def _first(lines: AsyncGenerator[bytes]) -> bytes:
    """The first line, awaited before the reply's status is sent, so that refusals keep theirs."""
    return await anext(lines)


async def _resumed(first: bytes, lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(lines):
        yield first
        async for line in lines:
            yield line


def create_app(scorer: Scorer, settings: ServeSettings, telemetry: Telemetry | None = None) -> FastAPI:
    """The public application."""
    telemetry = telemetry or Telemetry(scorer)
    app = FastAPI(title="mrt-reward", version=__version__, description="Dense progress rewards for LLM RL.")
    app.router.route_class = StrictRoute
    install_error_handlers(app)
    app.add_exception_handler(CallerGone, lambda _request, _error: Response(status_code=CALLER_GONE))
    routes = Routes(scorer, settings, telemetry)
    work = documented(*WORK)
    app.post("/v1/score", response_model=ScoreResponse, responses={**work, 200: LINES})(routes.score)
    app.post("/v1/advantages", response_model=AdvantagesResponse, responses=work)(routes.advantages)
    app.post("/v1/episodes", response_model=EpisodesResponse, responses=work)(routes.episodes)
    app.post("/get_reward", response_model=GetRewardResponse, responses=work)(routes.get_reward)
    app.get("/v1/prover", responses=documented(401, 500))(routes.prover)
    app.get("/livez")(routes.livez)
    app.get("/readyz", responses=documented(503))(routes.readyz)
    text = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    app.get("/metrics", response_class=Response, responses=cast("Any", text))(routes.metrics)
    app.get("/version")(routes.version)
    app.openapi = completed_openapi(app, list(scorer.graders), with_key=settings.api_key is not None)
    _guard(app, settings, telemetry, int(settings.max_body_mb * 1e6), settings.plain_api_key)
    return app


def _guard(app: FastAPI, settings: ServeSettings, telemetry: Telemetry, max_body_bytes: int, key: str | None) -> None:
    app.add_middleware(
        Gate,
        telemetry=telemetry,
        max_body_bytes=max_body_bytes,
        api_key=key,
        max_read_s=settings.default_deadline_s,
    )


def create_admin_app(scorer: Scorer, settings: ServeSettings, telemetry: Telemetry | None = None) -> FastAPI:
    """The admin application, for its own port."""
    telemetry = telemetry or Telemetry(scorer)
    app = FastAPI(title="mrt-reward admin", version=__version__)
    app.router.route_class = StrictRoute
    install_error_handlers(app)
    app.add_exception_handler(CallerGone, lambda _request, _error: Response(status_code=CALLER_GONE))

    async def drain(caller: Asking) -> StatusOut:
        """Refuse new work from now on, and answer once what was in flight is done."""
        await caller.capped(settings.drain_timeout_s).attend(scorer.drain())
        return StatusOut()

    async def clear_cache() -> StatusOut:
        """Forget all cached values."""
        await scorer.cache.clear()
        return StatusOut()

    async def load_weights(caller: Asking, body: WeightsRequest) -> WeightsResponse:
        """Serve the weights of a folder from now on: a checkpoint, or a LoRA adapter to it.

        Only safetensors, only below the server's `weights_root`, only once the marker file is there. It answers when
        the new weights do; a refusal leaves the old ones in service.
        """
        caller.capped(settings.default_deadline_s)
        folder = await asyncio.to_thread(allowed_folder, settings, body.path)
        info = await caller.attend(scorer.load_weights(folder, body.kind))
        return WeightsResponse(model=info.model, version=info.version)

    app.post("/admin/drain", responses=documented(400, 401, 504))(drain)
    app.delete("/admin/cache", responses=documented(401, 503))(clear_cache)
    app.post("/admin/weights", responses=documented(400, 401, 415, 422, 501, 503, 504))(load_weights)
    _guard(app, settings, telemetry, 1_000_000, settings.plain_admin_key)
    return app
