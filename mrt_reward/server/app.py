"""The routes of the public port, and the application that serves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel

from mrt_reward.config import ServeSettings
from mrt_reward.errors import MRTRewardError
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import grader_of
from mrt_reward.server import openrlhf
from mrt_reward.server.admin import AdminRoutes
from mrt_reward.server.advantages import advantages
from mrt_reward.server.calls import Caller, caller_of
from mrt_reward.server.contract import LINES, NDJSON, WORK, completed_openapi, documented
from mrt_reward.server.docs import page
from mrt_reward.server.errors import install_error_handlers
from mrt_reward.server.front import front
from mrt_reward.server.gate import Entrance, guard
from mrt_reward.server.gate.bodies import BodyLimits, Memory
from mrt_reward.server.gate.strict import StrictRoute
from mrt_reward.server.gate.waiting import Stopping
from mrt_reward.server.health import Readiness
from mrt_reward.server.keyrings import admin_keyring, public_keyring
from mrt_reward.server.repeats import Repeats
from mrt_reward.server.scoring import IndexedTrace, notes_of, score_each, segment_each
from mrt_reward.server.streaming import ScoreStream
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace
from mrt_reward.version import __version__
from mrt_reward.wire import (
    AdvantagesRequest,
    AdvantagesResponse,
    EpisodesRequest,
    EpisodesResponse,
    GetRewardRequest,
    GetRewardResponse,
    OverviewOut,
    ProverOut,
    ScoreRequest,
    ScoreResponse,
    StatusOut,
    VersionOut,
    WeightsLoading,
    WeightsResponse,
    scored_json,
)

logger = structlog.stdlib.get_logger(__name__)

ALWAYS_QUEUED = frozenset({"/v1/score", "/get_reward"})
"""Routes that score whatever is asked; /v1/advantages may be sent all scores."""

ADMIN_PORT = "this is the admin port; traces are scored on the other one, --port"

BODIES_AT_ONCE = 4
"""Memory for bodies in flight, in bodies of the largest size."""

Asking = Annotated[Caller, Depends(caller_of)]


class Routes:
    """The public routes, around one scorer."""

    def __init__(self, scorer: Scorer, settings: ServeSettings, telemetry: Telemetry) -> None:
        self._scorer = scorer
        self._settings = settings
        self._telemetry = telemetry
        self._readiness = Readiness(scorer)
        self._repeats = Repeats()

    def _options(self, options: ScoreOptions | None) -> ScoreOptions:
        return options or self._settings.options

    def admit(self, path: str) -> None:
        """Refuse, before its body is read, what would be refused after it: a full queue, a server that drains."""
        if path in ALWAYS_QUEUED:
            self._scorer.activity.refuse_if_draining()
            with self._scorer.queue.admitted(1):
                pass

    async def score(self, caller: Asking, body: ScoreRequest) -> Response:
        """Score traces: values of every prefix, progress of every episode.

        With `Accept: application/x-ndjson`, each trace is sent as soon as it is scored, one object per line with its
        index in the request.
        """
        await self._repeats.refuse_another_body(caller)
        caller.capped(self._settings.default_deadline_s)
        results = score_each(self._scorer, body.traces, self._options(body.options), self._telemetry.count_trace)
        if NDJSON in caller.request.headers.get("accept", ""):
            return ScoreStream(results, body.traces, caller)
        scored = await caller.attend(_collected(results))
        return await asyncio.to_thread(_scored_json, [scored[index] for index in range(len(body.traces))])

    async def advantages(self, caller: Asking, body: AdvantagesRequest) -> Response:
        """Turn groups of traces into advantages per episode, and per token on request."""
        await self._repeats.refuse_another_body(caller)
        caller.capped(self._settings.default_deadline_s)
        options = self._options(body.options)
        paid = await caller.attend(advantages(self._scorer, body, options, self._telemetry.count_trace))
        return await asyncio.to_thread(_paid_json, paid)

    async def episodes(self, caller: Asking, body: EpisodesRequest) -> Response:
        """Cut thinking into episodes, without scoring."""
        options = self._options(body.options)
        caller.capped(self._settings.default_deadline_s)
        cut = await caller.attend(segment_each(self._scorer, body.traces, options))
        return _json(cut)

    async def get_reward(self, caller: Asking, body: GetRewardRequest) -> Response:
        """OpenRLHF's remote reward: one scalar per query, r + α(J[K] - J[0]).

        A sum over the trace is all that one number can carry; for progress on its own episodes use /v1/score.
        """
        await self._repeats.refuse_another_body(caller)
        caller.capped(openrlhf.DEADLINE_S, self._settings.default_deadline_s)
        try:
            return _json(await caller.attend(self._rewards(body)))
        except MRTRewardError as error:
            # The trainer's client throws the body of an error away, so that the reason must be logged here.
            logger.warning("reward_refused", code=error.code, param=error.param, reason=str(error))
            raise

    async def _rewards(self, body: GetRewardRequest) -> GetRewardResponse:
        options = self._settings.options
        grader = grader_of(options.grader, self._scorer.graders)
        # In a thread, because a long query takes long to take apart.
        traces = await asyncio.to_thread(openrlhf.to_traces, body, needs_answer=grader.needs_answer)
        scored = await self._scorer.score(traces, options)
        for trace in scored:
            self._telemetry.count_trace(trace)
        return openrlhf.to_rewards(scored, self._settings.alpha, self._settings.paid_values)

    async def prover(self) -> ProverOut:
        """Who proves, and how when a request does not say."""
        info = self._scorer.info
        return ProverOut(
            model=info.name,
            version=info.version,
            engine=info.engine,
            max_tokens=info.max_tokens,
            note=info.note,
            coupled=info.coupled,
            computed_per_needed=info.computed_per_needed,
            endpoints=list(self._scorer.endpoints),
            tokenizer=self._scorer.tokenizer_sha256,
            graders=list(self._scorer.graders),
            options=self._settings.options,
        )

    async def overview(self) -> OverviewOut:
        """How busy the server is, and what it gave since it started: what the page at `/` shows."""
        return self._telemetry.overview.report()

    async def livez(self) -> StatusOut:
        """The process answers, and its engine does not hang: restart it where this fails."""
        self._readiness.refuse_hanging()
        return StatusOut()

    async def readyz(self) -> StatusOut:
        """Able to take work: the prover gets on with what it has, or generated a token a moment ago."""
        await self._readiness.check()
        return StatusOut()

    async def metrics(self) -> Response:
        """Prometheus metrics."""
        return Response(await self._telemetry.exposition(), media_type="text/plain; version=0.0.4")

    async def version(self) -> VersionOut:
        """Reply with the release that answers."""
        return VersionOut(version=__version__)


async def _collected(results: AsyncGenerator[IndexedTrace]) -> dict[int, ScoredTrace]:
    async with aclosing(results):
        return {index: scored async for index, scored in results}


def _scored_json(in_order: Sequence[ScoredTrace]) -> Response:
    traces = (scored_json(trace) for trace in in_order)
    return _piecewise(ScoreResponse(traces=[], notes=notes_of(in_order)), traces)


def _paid_json(paid: AdvantagesResponse) -> Response:
    groups = (f"[{','.join(trace.model_dump_json() for trace in group)}]" for group in paid.groups)
    return _piecewise(AdvantagesResponse(groups=[], notes=paid.notes), groups)


def _piecewise(empty: BaseModel, items: Iterable[str]) -> Response:
    """A reply whose first list is empty, with the items of that list, which are written one by one.

    Written in one go, 250,000 episodes hold the interpreter, and the event loop with it, for a third of a second.
    """
    before, after = empty.model_dump_json().split("[]", 1)
    return Response(f"{before}[{','.join(items)}]{after}", media_type="application/json")


def _json(record: BaseModel) -> Response:
    # Written once by pydantic; FastAPI would validate and copy it first.
    return Response(record.model_dump_json(), media_type="application/json")


def _application(title: str, description: str = "", elsewhere: str = "") -> FastAPI:
    """An application without routes; `elsewhere` says to whoever asks for another one where it may be."""
    app = FastAPI(title=title, version=__version__, description=description, docs_url=None, redoc_url=None)
    app.state.stopping = Stopping()
    app.state.elsewhere = elsewhere
    app.router.route_class = StrictRoute
    install_error_handlers(app)
    return app


def create_app(scorer: Scorer, settings: ServeSettings, telemetry: Telemetry | None = None) -> FastAPI:
    """The public application; `state.stopping` ends what is in flight."""
    telemetry = telemetry or Telemetry(scorer)
    app = _application("mrt-reward", "Dense progress rewards for LLM RL.")
    routes = Routes(scorer, settings, telemetry)
    work = documented(*WORK)
    app.post("/v1/score", response_model=ScoreResponse, responses={**work, 200: LINES})(routes.score)
    app.post("/v1/advantages", response_model=AdvantagesResponse, responses=work)(routes.advantages)
    app.post("/v1/episodes", response_model=EpisodesResponse, responses=work)(routes.episodes)
    app.post("/get_reward", response_model=GetRewardResponse, responses=work)(routes.get_reward)
    app.get("/v1/prover", responses=documented(401, 403, 500))(routes.prover)
    app.get("/v1/overview", responses=documented(401, 403, 500))(routes.overview)
    app.get("/livez", responses=documented(403, 503))(routes.livez)
    app.get("/readyz", responses=documented(403, 503))(routes.readyz)
    text: dict[int | str, Any] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    app.get("/metrics", response_class=Response, responses={**text, **documented(403)})(routes.metrics)
    app.get("/version", responses=documented(403))(routes.version)
    app.get("/", include_in_schema=False, response_class=HTMLResponse)(front)
    app.get("/docs", include_in_schema=False, response_class=HTMLResponse)(lambda: page(app.openapi()))
    app.get("/redoc", include_in_schema=False)(lambda: RedirectResponse("docs"))
    keyring = public_keyring(settings)
    app.openapi = completed_openapi(app, list(scorer.graders), with_key=keyring is not None)
    max_bytes = int(settings.max_body_mb * 1e6)
    limits = BodyLimits(max_bytes, settings.default_deadline_s, Memory(BODIES_AT_ONCE * max_bytes))
    entrance = Entrance(keyring, settings.host, settings.allowed_hosts, limits, routes.admit)
    guard(app, entrance, app.state.stopping, telemetry.count_request)
    return app


def create_admin_app(scorer: Scorer, settings: ServeSettings, telemetry: Telemetry | None = None) -> FastAPI:
    """The admin application, for its own port."""
    telemetry = telemetry or Telemetry(scorer)
    app = _application("mrt-reward admin", elsewhere=ADMIN_PORT)
    app.openapi = completed_openapi(app, with_key=False)
    admin = AdminRoutes(scorer, settings)
    app.post("/admin/drain", responses=documented(400, 401, 403, 415, 422, 503, 504))(admin.drain)
    app.delete("/admin/drain", responses=documented(401, 403, 415, 503))(admin.resume)
    app.delete("/admin/cache", responses=documented(401, 403, 415, 503))(admin.clear_cache)
    loading: dict[int | str, Any] = {202: {"model": WeightsLoading}, **documented(400, 401, 403, 415, 422, 501, 503)}
    app.post("/admin/weights", response_model=WeightsResponse, responses=loading)(admin.load_weights)
    limits = BodyLimits(1_000_000, settings.default_deadline_s, Memory(4_000_000))
    entrance = Entrance(admin_keyring(settings), settings.admin_host, settings.allowed_hosts, limits)
    guard(app, entrance, app.state.stopping, telemetry.count_request)
    return app
