"""What each route takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from mrt_reward.core.credit import CreditConfig
from mrt_reward.options import ScoreOptions
from mrt_reward.types import Episode, ErrorInfo
from mrt_reward.wire.traces import MAX_TRACES, Model, TraceIn, TraceOut


class ScoreRequest(Model):
    """Traces to score, all with the same options."""

    traces: Annotated[list[TraceIn], Field(min_length=1, max_length=MAX_TRACES)]
    options: Annotated[ScoreOptions | None, Field(description="The server's own where they are not given.")] = None


class StreamedTrace(Model):
    """One line of a streamed reply: a trace, with its place in the request."""

    index: int
    trace: TraceOut


class ScoreResponse(Model):
    """The traces in the order of the request."""

    traces: list[TraceOut]


class EpisodesResponse(Model):
    """Segmentation of each trace; an error where it has none."""

    traces: list[EpisodesOut]


class EpisodesOut(Model):
    """Where one trace's thinking is cut."""

    id: str
    episodes: list[Episode]
    warnings: list[str]
    error: ErrorInfo | None


class ScoredIn(Model):
    """A trace that was scored before: what credit needs of it."""

    id: Annotated[str, Field(max_length=500)] = ""
    outcome: Annotated[float | None, Field(ge=-1e6, le=1e6)]
    values: Annotated[
        list[Annotated[float, Field(ge=0, le=1)] | None], Field(max_length=10_001, description="J[0] … J[K].")
    ]


class ScoredGroup(Model):
    """All traces of one problem, scored before."""

    scored: Annotated[list[ScoredIn], Field(min_length=1, max_length=MAX_TRACES)]


class UnscoredGroup(Model):
    """All traces of one problem, to be scored now."""

    traces: Annotated[list[TraceIn], Field(min_length=1, max_length=MAX_TRACES)]


class AdvantagesRequest(Model):
    """Whole groups of traces."""

    groups: Annotated[list[ScoredGroup | UnscoredGroup], Field(min_length=1, max_length=MAX_TRACES)]
    credit: CreditConfig = CreditConfig()
    options: ScoreOptions | None = None


class AdvantageOut(Model):
    """What one trace is paid; null `outcome` means that it has no reward and must be masked."""

    id: str
    outcome: Annotated[float | None, Field(description="Outcome advantage.")]
    episodes: Annotated[list[float], Field(description="Full advantage of each episode's tokens.")]
    answer: Annotated[float, Field(description="Advantage of the answer's tokens.")]
    scored: Annotated[bool, Field(description="Whether all of its progress is there.")]
    trace: Annotated[TraceOut | None, Field(description="Its score and spans, where it was scored here.")] = None


class AdvantagesResponse(Model):
    """Groups and traces in the order of the request."""

    groups: list[list[AdvantageOut]]


class GetRewardRequest(BaseModel):
    """OpenRLHF's remote reward protocol; fields that later versions add are ignored."""

    query: Annotated[list[str], Field(min_length=1, max_length=MAX_TRACES)]
    prompts: list[str]
    labels: list[Any]


class GetRewardResponse(Model):
    """OpenRLHF's reply: one number per query in every list, and always the same keys."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


class ProverOut(Model):
    """Who proves, and how when a request does not say."""

    model: str
    version: str
    engine: str
    max_tokens: int
    note: str
    tokenizer: str
    graders: list[str]
    options: ScoreOptions


class StatusOut(Model):
    """A short answer of the server about itself."""

    status: Literal["ok"] = "ok"


class VersionOut(Model):
    """Which release answers."""

    version: str


class ErrorBody(Model):
    """The OpenAI shape of an error."""

    error: ErrorInfo
