"""What each route takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, TypeAdapter
from pydantic_core import PydanticCustomError, core_schema

from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import TraceError
from mrt_reward.fields import IdsField, encode_ids, ids_of
from mrt_reward.options import ScoreOptions
from mrt_reward.types import Episode, ErrorInfo, ScoredTrace, TokenIds
from mrt_reward.wire.refused import LenientScored, LenientTrace
from mrt_reward.wire.traces import MAX_TRACES, Model, WholeScored

_SWITCHES = frozenset({"coupled", "keep_answers", "likelihood_prior", "scale_by_std", "charge_closing", "pay_ending"})
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

_OPTIONS: TypeAdapter[ScoreOptions] = TypeAdapter(Annotated[ScoreOptions, BeforeValidator(_refuse_switches)])


def read_options(given: ScoreOptions | Mapping[str, object]) -> ScoreOptions:
    """Options as a request holds them.

    Raises:
        ValidationError: of pydantic; a field breaks the schema.

    """
    return _OPTIONS.validate_python(given)


MAX_PER_TOKEN = 64
MAX_DEADLINE_MS = 86_400_000
"""Largest value of the header `X-Deadline-Ms`."""


class ScoreRequest(Model):
    """Traces to score, all with the same options.

    Attributes:
        traces: what to score; a broken one is an error of its own and leaves the others alone.

    """

    traces: Annotated[list[LenientTrace], Field(min_length=1, max_length=MAX_TRACES)]
    options: Annotated[Options, Field(description="The server's own where they are not given.")] = None


Notes = Annotated[
    list[str],
    Field(description="What holds for many traces and is said once: the prover's caveat, and what its template does."),
]


class StreamedTrace(Model):
    """One line of a streamed reply: a trace, with its index in the request, and the notes that no line had before.

    Attributes:
        index: the trace's index in the request, from 0.
        trace: its values, episodes and outcome.

    """

    index: int
    trace: WholeScored
    notes: Notes = Field(default_factory=list[str])


class EpisodesRequest(ScoreRequest):
    """Traces to cut into episodes; of the options, `segmenter` and `delimiters` matter.

    Attributes:
        traces: what to cut.

    """


class ScoreResponse(Model):
    """The traces in the order of the request.

    Attributes:
        traces: one for each of the request, in its order.

    """

    traces: list[WholeScored]
    notes: Notes = Field(default_factory=list[str])


class EpisodesOut(Model):
    """Where one trace's thinking is cut.

    Attributes:
        id: the trace's own.
        episodes: spans of its episodes, without progress.
        warnings: what the caller should look at in this trace.
        error: why it cannot be cut.

    """

    id: str
    episodes: list[Episode]
    warnings: list[str]
    error: ErrorInfo | None


class EpisodesResponse(Model):
    """Segmentation of each trace; an error where it has none.

    Attributes:
        traces: one for each of the request, in its order.

    """

    traces: list[EpisodesOut]
    notes: Notes = Field(default_factory=list[str])


def _ends_or_refused(raw: Any) -> TokenIds | TraceError:  # noqa: ANN401 - any JSON
    try:
        return ids_of(raw)
    except TraceError as error:
        return TraceError(f"token_ends: {error}", param="token_ends")


class _LenientEnds(IdsField):
    """Annotation of ids that are an error of their own trace where they cannot be read."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> Any:  # noqa: ANN401 - pydantic's
        """The array itself, or its error."""
        written = core_schema.plain_serializer_function_ser_schema(encode_ids, when_used="json")
        return core_schema.no_info_plain_validator_function(_ends_or_refused, serialization=written)


def _kind_of_trace(trace: object) -> str:
    fields = cast("dict[str, object]", trace) if isinstance(trace, dict) else {}
    return "scored" if isinstance(trace, ScoredTrace) or "values" in fields or "status" in fields else "trace"


GroupTrace = Annotated[
    Annotated[LenientTrace, Tag("trace")] | Annotated[LenientScored, Tag("scored")], Discriminator(_kind_of_trace)
]
"""A trace, to be scored first, or a scored one; they are distinguished by `values` and `status`."""


def _refuse_old_name(group: object) -> object:
    if isinstance(group, dict) and "scored" in group:
        raise PydanticCustomError("renamed", "scored is traces now; its token_ends stand beside it, one for each trace")
    return cast("object", group)


class Group(Model):
    """All traces of one problem, each scored before or to be scored first: a reply of `/v1/score` is one.

    Attributes:
        traces: all traces of the problem, scored or not.

    """

    traces: Annotated[list[GroupTrace], Field(min_length=1, max_length=MAX_TRACES)]
    token_ends: Annotated[
        list[Annotated[TokenIds | TraceError, _LenientEnds]] | None,
        Field(
            max_length=MAX_TRACES,
            description="One for each trace, needed for `per_token`: for each of the caller's tokens of the "
            "completion, the characters that are complete once it is there.",
        ),
    ] = None
    notes: Annotated[list[str], Field(description="Of a reply of `/v1/score`; not read.")] = Field(
        default_factory=list[str]
    )


class AdvantagesRequest(Model):
    """Whole groups.

    Attributes:
        groups: all traces of a problem each.
        credit: how progress is paid.
        options: how traces without scores are scored; the server's own where they are not given.

    """

    groups: Annotated[
        list[Annotated[Group, BeforeValidator(_refuse_old_name)]], Field(min_length=1, max_length=MAX_TRACES)
    ]
    credit: Annotated[CreditConfig, BeforeValidator(_refuse_switches)] = CreditConfig()
    options: Options = None
    per_token: Annotated[
        Literal[False, True, "base64", "list"],
        Field(
            description=f"Also spread advantages over the caller's tokens, at most {MAX_PER_TOKEN} traces: as base64 "
            "of little-endian float32, which true means too, or as a list."
        ),
    ] = False


class AdvantageOut(Model):
    """What one trace is paid. All is null for a trace without a reward: mask it.

    One with a reward and without values is paid its outcome advantage alone.

    Attributes:
        id: the trace's own.

    """

    id: str
    outcome_advantage: Annotated[
        float | None,
        Field(
            description="Also of what stands before the first episode. A trace alone in its group keeps its raw "
            "reward, as in veRL, unless `singleton` of `credit` is zero."
        ),
    ]
    episode_advantages: Annotated[list[float | None], Field(description="Full advantage of each episode's tokens.")]
    answer_advantage: Annotated[float | None, Field(description="Advantage of the answer's tokens.")]
    closing_advantage: Annotated[
        float | None,
        Field(description="Of the first of them, where thinking closes; null in the reply of an older server too."),
    ] = None
    ending_bonuses: Annotated[
        list[float] | None,
        Field(
            description="Of the token behind each episode, on top of what it is paid already: zero unless "
            "`pay_ending`; null in the reply of an older server too."
        ),
    ] = None
    scored: Annotated[bool, Field(description="Whether all of its values and its outcome are there.")]
    token_advantages: Annotated[
        str | list[float] | None, Field(description="Advantage of each of the caller's tokens, as `per_token` asks.")
    ] = None
    trace: Annotated[WholeScored | None, Field(description="Its score and spans, where it was scored here.")] = None
    error: Annotated[
        ErrorInfo | None,
        Field(description="What is wrong with it, or why `token_advantages` is missing though it was asked for."),
    ] = None


class AdvantagesResponse(Model):
    """Groups and traces in the order of the request.

    Attributes:
        groups: for each group, one record a trace, in the order of the request.

    """

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
    """OpenRLHF's reply: one number per query in every list, and always the same keys.

    Attributes:
        rewards: r + α(J[K] - J[0]); r alone where the prover failed.
        scores: r, the reward of the finished trace.
        extra_logs: numbers for the log, by name.

    """

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]
