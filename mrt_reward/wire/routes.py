"""What each route takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, Discriminator, Field, Tag

from mrt_reward.core.credit import CreditConfig
from mrt_reward.options import ScoreOptions
from mrt_reward.types import Episode, ErrorInfo
from mrt_reward.wire.traces import MAX_TEXT, MAX_TRACES, Base64Ids, Model, TraceIn, TraceOut

MAX_PER_TOKEN = 64


class ScoreRequest(Model):
    """Traces to score, all with the same options."""

    traces: Annotated[list[TraceIn], Field(min_length=1, max_length=MAX_TRACES)]
    options: Annotated[ScoreOptions | None, Field(description="The server's own where they are not given.")] = None


class StreamedTrace(Model):
    """One line of a streamed reply: a trace, with its place in the request."""

    index: int
    trace: TraceOut


class EpisodesRequest(ScoreRequest):
    """Traces to cut into episodes; of the options, `segmenter` and `delimiters` matter."""


class ScoreResponse(Model):
    """The traces in the order of the request."""

    traces: list[TraceOut]


class EpisodesOut(Model):
    """Where one trace's thinking is cut."""

    id: str
    episodes: list[Episode]
    warnings: list[str]
    error: ErrorInfo | None


class EpisodesResponse(Model):
    """Segmentation of each trace; an error where it has none."""

    traces: list[EpisodesOut]


class SpanIn(Model):
    """Where an episode is, in characters of the completion."""

    char_start: Annotated[int, Field(ge=0, le=MAX_TEXT)]
    char_end: Annotated[int, Field(ge=0, le=MAX_TEXT)]


TokenEnds = Annotated[
    Base64Ids,
    Field(
        description="For each of the caller's tokens of the completion, the characters that are complete once it is "
        "there, as base64 of little-endian int32; needed for `per_token`."
    ),
]


class ScoredIn(Model):
    """A trace that was scored before: what credit needs of it."""

    id: Annotated[str, Field(min_length=1, max_length=500)]
    outcome: Annotated[
        float | None, Field(ge=-1e6, le=1e6, description="Reward r; null where it is not known, and then masked.")
    ]
    values: Annotated[
        list[Annotated[float, Field(ge=0, le=1)] | None],
        Field(max_length=10_001, description="J[0] … J[K]; null where missing, empty where it was not scored."),
    ]
    episodes: Annotated[
        list[SpanIn] | None, Field(max_length=10_000, description="The K spans; needed for `per_token`.")
    ] = None
    token_ends: TokenEnds | None = None


class ScoredGroup(Model):
    """All traces of one problem, scored before."""

    scored: Annotated[list[ScoredIn], Field(min_length=1, max_length=MAX_TRACES)]


class UnscoredGroup(Model):
    """All traces of one problem, to be scored first."""

    traces: Annotated[list[TraceIn], Field(min_length=1, max_length=MAX_TRACES)]
    token_ends: Annotated[
        list[TokenEnds] | None, Field(max_length=MAX_TRACES, description="One for each trace; needed for `per_token`.")
    ] = None


def _kind_of_group(group: object) -> str:
    scored = "scored" in cast("dict[str, object]", group) if isinstance(group, dict) else hasattr(group, "scored")
    return "scored" if scored else "traces"


AdvantageGroup = Annotated[
    Annotated[ScoredGroup, Tag("scored")] | Annotated[UnscoredGroup, Tag("traces")], Discriminator(_kind_of_group)
]


class AdvantagesRequest(Model):
    """Whole groups; a group's traces are either all scored or all to be scored."""

    groups: Annotated[list[AdvantageGroup], Field(min_length=1, max_length=MAX_TRACES)]
    credit: CreditConfig = CreditConfig()
    options: ScoreOptions | None = None
    per_token: Annotated[
        bool, Field(description=f"Also spread advantages over the caller's tokens; at most {MAX_PER_TOKEN} traces.")
    ] = False


class AdvantageOut(Model):
    """What one trace is paid; null `outcome` means that it has no reward and must be masked."""

    id: str
    outcome: Annotated[float | None, Field(description="Outcome advantage.")]
    episodes: Annotated[list[float], Field(description="Full advantage of each episode's tokens.")]
    answer: Annotated[float, Field(description="Advantage of the answer's tokens.")]
    scored: Annotated[bool, Field(description="Whether all of its values and its outcome are there.")]
    tokens: Annotated[
        str | None, Field(description="Advantage of each of the caller's tokens, as base64 of little-endian float32.")
    ] = None
    trace: Annotated[TraceOut | None, Field(description="Its score and spans, where it was scored here.")] = None
    error: Annotated[ErrorInfo | None, Field(description="Why `tokens` is missing though it was asked for.")] = None


class AdvantagesResponse(Model):
    """Groups and traces in the order of the request."""

    groups: list[list[AdvantageOut]]


class GetRewardRequest(BaseModel):
    """OpenRLHF's remote reward protocol; fields that later versions add are ignored."""

    query: Annotated[
        list[str], Field(min_length=1, max_length=MAX_TRACES, description="Prompt and response, special tokens kept.")
    ]
    prompts: Annotated[list[str], Field(max_length=MAX_TRACES, description="What each query starts with; trusted.")]
    labels: Annotated[list[Any], Field(max_length=MAX_TRACES, description="Gold answers: text, numbers, or lists.")]


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


class DrainRequest(Model):
    """Whether new work is refused from now on."""

    draining: bool = True


class WeightsRequest(Model):
    """Weights to serve from now on."""

    path: Annotated[
        str, Field(min_length=1, max_length=4096, description="Their folder, absolute or below the server's root.")
    ]
    kind: Annotated[
        Literal["checkpoint", "lora"], Field(description="All weights, or an adapter to the checkpoint that is served.")
    ] = "checkpoint"


class WeightsResponse(Model):
    """Who proves from now on."""

    model: str
    version: str


class VersionOut(Model):
    """Which release answers."""

    version: str


class ErrorBody(Model):
    """The OpenAI shape of an error."""

    error: ErrorInfo
