"""What each route takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from mrt_reward.core.credit import CreditConfig
from mrt_reward.errors import TraceError
from mrt_reward.options import ScoreOptions
from mrt_reward.types import Episode, ErrorInfo
from mrt_reward.wire.refused import LenientTrace, broken_field, fields_of, readable_id
from mrt_reward.wire.traces import MAX_TEXT, MAX_TRACES, Base64Ids, Model, TraceId, TraceOut

_SWITCHES = frozenset({"coupled", "keep_answers", "scale_by_std"})
"""Options that are true or false; all others that hold such a value are mistaken."""


def _refuse_switches(options: object) -> object:
    """Refuse true and false where a number is meant, which pydantic would take for 1 and 0."""
    held = cast("dict[str, object]", options) if isinstance(options, dict) else {}
    for name, value in held.items():
        if isinstance(value, bool) and name not in _SWITCHES:
            raise ValueError(f"{name}: expected no boolean, got {str(value).lower()}")
        _refuse_switches(value)
    return cast("object", options)


Options = Annotated[ScoreOptions | None, BeforeValidator(_refuse_switches)]

MAX_PER_TOKEN = 64
MAX_DEADLINE_MS = 86_400_000
"""Of `X-Deadline-Ms`."""


class ScoreRequest(Model):
    """Traces to score, all with the same options."""

    traces: Annotated[list[LenientTrace], Field(min_length=1, max_length=MAX_TRACES)]
    options: Annotated[Options, Field(description="The server's own where they are not given.")] = None


Notes = Annotated[
    list[str],
    Field(description="What holds for many traces and is said once: the prover's caveat, and what its template does."),
]


class StreamedTrace(Model):
    """One line of a streamed reply: a trace, with its place in the request, and the notes that no line had before."""

    index: int
    trace: TraceOut
    notes: Notes = Field(default_factory=list[str])


class EpisodesRequest(ScoreRequest):
    """Traces to cut into episodes; of the options, `segmenter` and `delimiters` matter."""


class ScoreResponse(Model):
    """The traces in the order of the request."""

    traces: list[TraceOut]
    notes: Notes = Field(default_factory=list[str])


class EpisodesOut(Model):
    """Where one trace's thinking is cut."""

    id: str
    episodes: list[Episode]
    warnings: list[str]
    error: ErrorInfo | None


class EpisodesResponse(Model):
    """Segmentation of each trace; an error where it has none."""

    traces: list[EpisodesOut]
    notes: Notes = Field(default_factory=list[str])


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

    id: TraceId
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


class RefusedScored(ScoredIn):
    """A scored trace that breaks the schema: it has no outcome and no values, and `error` says why."""

    _error: TraceError = PrivateAttr()

    @classmethod
    def of(cls, raw: object, error: TraceError) -> RefusedScored:
        """The trace as it was sent, and what is wrong with it."""
        refused = cls.model_construct(id=readable_id(fields_of(raw)), outcome=None, values=[])
        refused._error = error  # noqa: SLF001 - its own
        return refused

    @property
    def error(self) -> TraceError:
        """What is wrong."""
        return self._error


def _scored_or_refused(raw: Any, sound: ValidatorFunctionWrapHandler) -> ScoredIn:  # noqa: ANN401 - any JSON
    try:
        return cast("ScoredIn", sound(raw))
    except ValidationError as error:
        return RefusedScored.of(raw, broken_field(error, "trace"))


class ScoredGroup(Model):
    """All traces of one problem, scored before."""

    scored: Annotated[
        list[Annotated[ScoredIn, WrapValidator(_scored_or_refused)]], Field(min_length=1, max_length=MAX_TRACES)
    ]


NO_IDS = "!"
"""Stands for ids that are not base64, which are told where they are read."""


def _ends_or_none(raw: Any, sound: ValidatorFunctionWrapHandler) -> str:  # noqa: ANN401 - any JSON
    try:
        return cast("str", sound(raw))
    except ValidationError:
        return NO_IDS


class UnscoredGroup(Model):
    """All traces of one problem, to be scored first."""

    traces: Annotated[list[LenientTrace], Field(min_length=1, max_length=MAX_TRACES)]
    token_ends: Annotated[
        list[Annotated[TokenEnds, WrapValidator(_ends_or_none)]] | None,
        Field(max_length=MAX_TRACES, description="One for each trace; needed for `per_token`."),
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
    credit: Annotated[CreditConfig, BeforeValidator(_refuse_switches)] = CreditConfig()
    options: Options = None
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
    error: Annotated[
        ErrorInfo | None,
        Field(description="What is wrong with it, or why `tokens` is missing though it was asked for."),
    ] = None


class AdvantagesResponse(Model):
    """Groups and traces in the order of the request."""

    groups: list[list[AdvantageOut]]
    notes: Notes = Field(default_factory=list[str])


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
