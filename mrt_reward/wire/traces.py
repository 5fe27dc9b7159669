"""A trace on the wire, going in and coming out."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from mrt_reward.errors import TraceError
from mrt_reward.golds import MAX_GOLD_CHARS, MAX_GOLDS, golds_of
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
MAX_DEPTH = 64
"""Deepest nesting of a body, itself included; far above what the contract needs, far below what recursion stands."""

PROMPT_FIELDS = ("problem", "messages", "prompt", "prompt_ids")

Base64Ids = Annotated[
    str,
    Field(pattern=r"^([A-Za-z0-9+/]{16})*([A-Za-z0-9+/]{6}==|[A-Za-z0-9+/]{11}=)?$", description="little-endian int32"),
]


def _id_text(given: Any) -> Any:  # noqa: ANN401 - any JSON
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _golds(given: Any) -> list[str] | None:  # noqa: ANN401 - any JSON
    if given is None:
        return None
    try:
        return list(golds_of(given))
    except TraceError as error:
        raise PydanticCustomError("gold", "{told}", {"told": str(error)}) from error


TraceId = Annotated[
    str,
    Field(min_length=1, max_length=500, description="The caller's own, unique in the request; a number is its text."),
    BeforeValidator(_id_text, json_schema_input_type=Annotated[str, Field(min_length=1, max_length=500)] | int),
]

_GOLD = [{"type": "string", "maxLength": MAX_GOLD_CHARS}, {"type": "number"}]
Golds = Annotated[
    list[str] | None,
    BeforeValidator(_golds),
    WithJsonSchema(
        {"anyOf": [*_GOLD, {"type": "array", "maxItems": MAX_GOLDS, "items": {"anyOf": _GOLD}}, {"type": "null"}]}
    ),
]


class Model(BaseModel):
    """Base of the contract's records: unknown fields are refused by name, and NaN is no number."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class MessageIn(Model):
    """One turn of a chat."""

    role: Annotated[str, Field(min_length=1, max_length=100)]
    content: Annotated[str, Field(max_length=MAX_TEXT)]

    @classmethod
    def from_message(cls, message: Message) -> MessageIn:
        """What a client sends for a turn."""
        return cls(role=message.role, content=message.content)


class TraceIn(Model):
    """One response to one problem.

    Exactly one of `problem`, `messages` and `prompt` says what was asked; `prompt_ids` stands alone or goes with one of
    them, which then serves where the ids are of another tokenizer. `completion`, `completion_ids` or both say what was
    answered. A trace that breaks these rules, or this schema, gets an error of its own; its neighbours are scored.
    """

    id: TraceId
    problem: Annotated[
        str | None, Field(min_length=1, max_length=MAX_TEXT, description="Goes through the prover's chat template.")
    ] = None
    messages: Annotated[
        list[MessageIn] | None,
        Field(min_length=1, max_length=1000, description="A chat, for the prover's chat template."),
    ] = None
    prompt: Annotated[
        str | None, Field(min_length=1, max_length=MAX_TEXT, description="Trusted text, already templated.")
    ] = None
    prompt_ids: Base64Ids | None = None
    completion: Annotated[str | None, Field(max_length=MAX_TEXT, description="Untrusted text of the model.")] = None
    completion_ids: Base64Ids | None = None
    tokenizer: Annotated[str | None, Field(max_length=200, description="sha256 of the ids' tokenizer.json.")] = None
    answer: Annotated[Golds, Field(description="Accepted gold answers: text or numbers.")] = None
    group: Annotated[
        str | None, Field(max_length=500, description="Traces of one group answer the same problem and share J[0].")
    ] = None
    outcome: Annotated[
        float | None, Field(ge=-1e6, le=1e6, description="Reward of the finished trace, where the caller knows it.")
    ] = None
    episodes: Annotated[
        list[Annotated[int, Field(ge=0, le=MAX_TEXT)]] | None,
        Field(max_length=10_000, description="Where episodes start, in characters, for segmenter `explicit`."),
    ] = None
    metadata: Annotated[dict[str, Any], Field(description="The caller's own; returned untouched.")] = {}

    def _refuse_contradictions(self) -> None:
        asked = [name for name in PROMPT_FIELDS if getattr(self, name) is not None]
        texts = [name for name in asked if name != "prompt_ids"]
        if not asked:
            raise TraceError(f"expected one of {', '.join(PROMPT_FIELDS)}, got none: send one", param="problem")
        if len(texts) > 1:
            raise TraceError(
                f"expected exactly one of problem, messages and prompt, got {' and '.join(texts)}: send one",
                param=texts[1],
            )
        if self.completion is None and self.completion_ids is None:
            raise TraceError("expected completion or completion_ids, got neither: send one", param="completion")
        if self.prompt_ids == "":
            raise TraceError("prompt_ids: expected at least one token, got none", param="prompt_ids")

    def to_trace(self) -> Trace:
        """The record that the pipeline takes.

        Raises:
            TraceError: fields contradict each other or are missing, or ids are not base64 of int32.

        """
        self._refuse_contradictions()
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
            answer=tuple(self.answer or ()),
            group=self.group,
            outcome=self.outcome,
            episodes=None if self.episodes is None else tuple(self.episodes),
            metadata=self.metadata,
        )

    @classmethod
    def from_trace(cls, trace: Trace) -> TraceIn:
        """What a client sends for a trace: only what it has."""
        messages = trace.messages
        given = {
            "completion": trace.completion,
            "problem": trace.problem,
            "messages": None if messages is None else [MessageIn.from_message(turn) for turn in messages],
            "prompt": trace.prompt,
            "prompt_ids": encode_ids(trace.prompt_ids),
            "completion_ids": encode_ids(trace.completion_ids),
            "tokenizer": trace.tokenizer,
            "answer": list(trace.answer) or None,
            "group": trace.group,
            "outcome": trace.outcome,
            "episodes": None if trace.episodes is None else list(trace.episodes),
            "metadata": dict(trace.metadata) or None,
        }
        present = {name: value for name, value in given.items() if value is not None}
        return cls.model_validate({"id": trace.id, **present})


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
    except ValueError as error:
        raise TraceError(f"{field}: expected base64 of little-endian int32: {error}", param=field) from error
    if ids.size and ids.min() < 0:
        raise TraceError(f"{field}: token ids must be at least 0, got {ids.min()}", param=field)
    return ids


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
    prefix_tokens: list[int] = []

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
            prefix_tokens=list(scored.prefix_tokens),
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
            prefix_tokens=tuple(self.prefix_tokens),
        )
