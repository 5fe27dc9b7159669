"""The routes."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from mrt_reward.config import ServeSettings
from mrt_reward.errors import ProverError, TraceError
from mrt_reward.options import ScoreOptions
from mrt_reward.server import openrlhf
from mrt_reward.server.advantages import advantages
from mrt_reward.server.calls import CallerGone, attended, deadline_s, first_then_rest, started
from mrt_reward.server.errors import DOCUMENTED, install_error_handlers
from mrt_reward.server.limits import Gate, StrictRoute
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ErrorInfo, ScoredTrace, Trace
from mrt_reward.version import __version__
from mrt_reward.wire import (
    AdvantagesRequest,
    AdvantagesResponse,
    EpisodesOut,
    EpisodesResponse,
    ErrorBody,
    GetRewardRequest,
    GetRewardResponse,
    ProverOut,
    ScoreRequest,
    ScoreResponse,
    StatusOut,
    StreamedTrace,
    TraceOut,
    VersionOut,
)

NDJSON = "application/x-ndjson"
READY_FOR_S = 1.0
"""How long an answer of /readyz is believed, so that probes do not load the engine."""

GONE = Response(status_code=499)


class Routes:
    """The public routes, around one scorer."""

    def __init__(self, scorer: Scorer, settings: ServeSettings, telemetry: Telemetry) -> None:
        self._scorer = scorer
        self._settings = settings
        self._telemetry = telemetry
        self._ready_until = 0.0

    def _options(self, options: ScoreOptions | None) -> ScoreOptions:
        return options or self._settings.options

    async def _score(self, traces: list[Trace], options: ScoreOptions) -> tuple[ScoredTrace, ...]:
        scored = await self._scorer.score(traces, options)
        for trace in scored:
            self._telemetry.count_trace(trace)
        return scored

    async def score(self, request: Request, body: ScoreRequest) -> Any:  # noqa: ANN401 - a model or a stream
        """Score traces: values of every prefix, progress of every episode.

        With `Accept: application/x-ndjson`, each trace is sent as soon as it is scored, one object per line with its
        place in the request.
        """
        traces = [trace.to_trace() for trace in body.traces]
        options = self._options(body.options)
        seconds = deadline_s(request, self._settings.default_deadline_s)
        if NDJSON in request.headers.get("accept", ""):
            lines = first_then_rest(self._scorer, traces, options, self._telemetry, seconds)
            return StreamingResponse(await attended(request, started(lines), seconds), media_type=NDJSON)
        scored = await attended(request, self._score(traces, options), seconds)
        return ScoreResponse(traces=[TraceOut.from_scored(trace) for trace in scored])

    async def advantages(self, request: Request, body: AdvantagesRequest) -> AdvantagesResponse:
        """Turn groups of traces into advantages per episode."""
        seconds = deadline_s(request, self._settings.default_deadline_s)
        return await attended(request, advantages(self._scorer, body, self._options(body.options)), seconds)

    def episodes(self, body: ScoreRequest) -> EpisodesResponse:
        """Cut thinking into episodes, without scoring."""
        options = self._options(body.options)
        return EpisodesResponse(traces=[self._segmented(trace.to_trace(), options) for trace in body.traces])

    def _segmented(self, trace: Trace, options: ScoreOptions) -> EpisodesOut:
        try:
            found = self._scorer.segment(trace, options)
        except TraceError as error:
            info = ErrorInfo(str(error), type(error).__name__, error.code, error.param)
            return EpisodesOut(id=trace.id, episodes=[], warnings=[], error=info)
        return EpisodesOut(id=trace.id, episodes=list(found.episodes), warnings=list(found.warnings), error=None)

    async def get_reward(self, request: Request, body: GetRewardRequest) -> GetRewardResponse:
        """OpenRLHF's remote reward: one scalar per query, r + α(J[K] - J[0]).

        A sum over the trace is all that one number can carry; for progress on its own episodes use /v1/score.
        """
        seconds = min(deadline_s(request, self._settings.default_deadline_s), openrlhf.DEADLINE_S)
        traces = openrlhf.to_traces(body)
        scored = await attended(request, self._score(traces, self._settings.options), seconds)
        return openrlhf.to_rewards(scored, self._settings.alpha)

    def prover(self) -> ProverOut:
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

    def livez(self) -> StatusOut:
        """The process is alive."""
        return StatusOut()

    async def readyz(self) -> StatusOut:
        """The prover has just generated a token."""
        if self._scorer.draining or time.monotonic() > self._ready_until:
            await self._scorer.check()
            self._ready_until = time.monotonic() + READY_FOR_S
        return StatusOut()

    def metrics(self) -> Response:
        """Prometheus metrics."""
        return Response(self._telemetry.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def version(self) -> VersionOut:
        """Which release answers."""
        return VersionOut(version=__version__)


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: DOCUMENTED[status] for status in statuses}


def create_app(scorer: Scorer, settings: ServeSettings, telemetry: Telemetry) -> FastAPI:
    """The public application."""
    app = FastAPI(title="mrt-reward", version=__version__, description="Dense progress rewards.")
    app.router.route_class = StrictRoute
    install_error_handlers(app)
    app.add_exception_handler(CallerGone, lambda _request, _error: GONE)
    routes = Routes(scorer, settings, telemetry)
    work = _documented(400, 401, 413, 422, 429, 503, 504)
    streamed = {200: {"content": {NDJSON: {"schema": StreamedTrace.model_json_schema()}}}}
    app.post("/v1/score", response_model=ScoreResponse, responses={**work, **streamed})(routes.score)
    app.post("/v1/advantages", responses=work)(routes.advantages)
    app.post("/v1/episodes", responses=_documented(400, 401, 413, 422))(routes.episodes)
    app.post("/get_reward", responses=work)(routes.get_reward)
    app.get("/v1/prover", responses=_documented(401))(routes.prover)
    app.get("/livez")(routes.livez)
    app.get("/readyz", responses=_documented(503))(routes.readyz)
    app.get("/metrics", response_class=Response)(routes.metrics)
    app.get("/version")(routes.version)
    api_key = settings.plain_api_key
    app.add_middleware(Gate, telemetry=telemetry, max_body_bytes=int(settings.max_body_mb * 1e6), api_key=api_key)
    return app


def create_admin_app(scorer: Scorer, settings: ServeSettings, telemetry: Telemetry) -> FastAPI:
    """The admin application, for its own port."""
    app = FastAPI(title="mrt-reward admin", version=__version__)
    app.router.route_class = StrictRoute
    install_error_handlers(app)

    async def drain() -> StatusOut:
        """Refuse new work, and answer once what was in flight is done."""
        await scorer.drain()
        return StatusOut()

    async def clear_cache() -> StatusOut:
        """Forget all cached values."""
        await scorer.cache.clear()
        return StatusOut()

    def load_weights() -> StatusOut:
        """Load new weights by path; the embedded engine cannot."""
        raise ProverError(f"engine {scorer.info.engine!r} cannot load weights while it runs: restart the server")

    app.post("/admin/drain")(drain)
    app.delete("/admin/cache")(clear_cache)
    app.post("/admin/weights", responses={500: {"model": ErrorBody}})(load_weights)
    api_key = settings.plain_api_key
    app.add_middleware(Gate, telemetry=telemetry, max_body_bytes=1_000_000, api_key=api_key)
    return app
