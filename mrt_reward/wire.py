"""The HTTP contract: request and response models, shared by server and client."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mrt_reward.core.credit import CreditConfig
from mrt_reward.errors import TraceError
from mrt_reward.options import ScoreOptions
from mrt_reward.types import (
    Episode,
    ErrorInfo,
    Message,
    ScoredTrace,
    Status,
    TokenIds,
    Trace,
    Usage,
    Value,
)

MAX_TRACES = 1024
MAX_TEXT = 16_000_000

PROMPT_FIELDS = ("problem", "messages", "prompt", "prompt_ids")
COMPLETION_FIELDS = ("completion", "completion_ids")

Base64Ids = Annotated[
    str,
    Field(pattern=r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$", description="little-endian int32"),
]


class Model(BaseModel):
    """Base of the contract's records: unknown fields are refused by name, and NaN is no number."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class MessageIn(Model):
    """One turn of a chat."""

    role: Annotated[str, Field(min_length=1, max_length=100)]
    content: Annotated[str, Field(max_length=MAX_TEXT)]


def _needs_prompt_and_completion(schema: dict[str, Any]) -> None:
    """Say in the schema what the validator below checks."""
    schema["allOf"] = [
        {"anyOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names]}
        for names in (PROMPT_FIELDS, COMPLETION_FIELDS)
    ]


class TraceIn(Model):
    """One response to one problem: a prompt in one of four forms, and a completion as text or ids."""

    model_config = ConfigDict(json_schema_extra=_needs_prompt_and_completion)

    id: Annotated[str, Field(max_length=500, description="The caller's own; returned.")] = ""
    problem: Annotated[str | None, Field(max_length=MAX_TEXT, description="Goes through the prover's template.")] = None
    messages: Annotated[list[MessageIn] | None, Field(min_length=1, max_length=1000)] = None
    prompt: Annotated[str | None, Field(max_length=MAX_TEXT, description="Trusted, templated text.")] = None
    prompt_ids: Base64Ids | None = None
    completion: Annotated[str | None, Field(max_length=MAX_TEXT, description="Untrusted text of the model.")] = None
    completion_ids: Base64Ids | None = None
    tokenizer: Annotated[str | None, Field(max_length=200, description="sha256 of the ids' tokenizer.json.")] = None
    answer: Annotated[
        str | Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=64)] | None,
        Field(description="Accepted gold answers."),
    ] = None
    group: Annotated[str | None, Field(max_length=500)] = None
    outcome: Annotated[float | None, Field(ge=-1e6, le=1e6)] = None
    episodes: Annotated[list[Annotated[int, Field(ge=0, le=MAX_TEXT)]] | None, Field(max_length=10_000)] = None
    metadata: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> TraceIn:
        for names in (PROMPT_FIELDS, COMPLETION_FIELDS):
            if all(getattr(self, name) is None for name in names):
                raise ValueError(f"expected one of {', '.join(names)}, got none")
        return self

    def to_trace(self) -> Trace:
        """The record that the pipeline takes.

        Raises:
            TraceError: ids are not base64 of int32.

        """
        answer = [self.answer] if isinstance(self.answer, str) else self.answer or []
        return Trace(
            id=self.id,
            completion=self.completion,
            problem=self.problem,
            messages=None
            if self.messages is None
            else tuple(Message(turn.role, turn.content) for turn in self.messages),
            prompt=self.prompt,
            prompt_ids=decode_ids(self.prompt_ids, "prompt_ids"),
            completion_ids=decode_ids(self.completion_ids, "completion_ids"),
            tokenizer=self.tokenizer,
            answer=tuple(text for text in answer if text.strip()),
            group=self.group,
            outcome=self.outcome,
            episodes=None if self.episodes is None else tuple(self.episodes),
            metadata=self.metadata,
        )

    @classmethod
    def from_trace(cls, trace: Trace) -> TraceIn:
        """What a client sends for a trace."""
        return cls(
            id=trace.id,
            completion=trace.completion,
            problem=trace.problem,
            messages=None
            if trace.messages is None
            else [MessageIn(role=turn.role, content=turn.content) for turn in trace.messages],
            prompt=trace.prompt,
            prompt_ids=encode_ids(trace.prompt_ids),
            completion_ids=encode_ids(trace.completion_ids),
            tokenizer=trace.tokenizer,
            answer=list(trace.answer) or None,
            group=trace.group,
            outcome=trace.outcome,
            episodes=None if trace.episodes is None else list(trace.episodes),
            metadata=dict(trace.metadata),
        )


def encode_ids(ids: TokenIds | None) -> str | None:
    """Token ids as base64 of little-endian int32."""
    return None if ids is None else base64.b64encode(np.asarray(ids, "<i4").tobytes()).decode()


def decode_ids(text: str | None, field: str) -> TokenIds | None:
    """Token ids from base64 of little-endian int32.

    Raises:
        TraceError: it is not, or an id is negative.

    """
    if text is None:
        return None
    try:
        ids = np.frombuffer(base64.b64decode(text, validate=True), "<i4").astype(np.int32)
    except (binascii.Error, ValueError) as error:
        raise TraceError(f"{field}: expected base64 of little-endian int32: {error}", param=field) from error
    if ids.size and ids.min() < 0:
        raise TraceError(f"{field}: token ids must be at least 0, got {ids.min()}", param=field)
    return ids


class ScoreRequest(Model):
    """Traces to score, all with the same options."""

    traces: Annotated[list[TraceIn], Field(min_length=1, max_length=MAX_TRACES)]
    options: Annotated[ScoreOptions | None, Field(description="The server's own where they are not given.")] = None


class TraceOut(Model):
    """One trace scored: K + 1 values and K episodes."""

    id: str
    status: Status
    outcome: float | None
    values: list[Value]
    episodes: list[Episode]
    prover: str | None
    usage: Usage
    spellings: list[str]
    warnings: list[str]
    metadata: dict[str, Any]
    error: ErrorInfo | None

    @classmethod
    def from_scored(cls, scored: ScoredTrace) -> TraceOut:
        """What the server sends for a scored trace."""
        return cls(
            id=scored.id,
            status=scored.status,
            outcome=scored.outcome,
            values=list(scored.values),
            episodes=list(scored.episodes),
            prover=scored.prover,
            usage=scored.usage,
            spellings=list(scored.spellings),
            warnings=list(scored.warnings),
            metadata=dict(scored.metadata),
            error=scored.error,
        )

    def to_scored(self) -> ScoredTrace:
        """The record that callers of the client get."""
        return ScoredTrace(
            id=self.id,
            status=self.status,
            outcome=self.outcome,
            values=tuple(self.values),
            episodes=tuple(self.episodes),
            prover=self.prover,
            usage=self.usage,
            spellings=tuple(self.spellings),
            warnings=tuple(self.warnings),
            metadata=self.metadata,
            error=self.error,
        )


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


class AdvantageGroup(Model):
    """All traces of one problem, scored or not."""

    scored: Annotated[list[ScoredIn] | None, Field(min_length=1, max_length=MAX_TRACES)] = None
    traces: Annotated[list[TraceIn] | None, Field(min_length=1, max_length=MAX_TRACES)] = None


class AdvantagesRequest(Model):
    """Whole groups; a group's traces are either all scored or all to be scored."""

    groups: Annotated[list[AdvantageGroup], Field(min_length=1, max_length=MAX_TRACES)]
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
