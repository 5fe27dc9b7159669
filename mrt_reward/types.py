"""The records that flow through the pipeline: trace → episodes → prefixes → values → progress → credit.

Indexing is Python's throughout. Thinking is partitioned into K episodes `z[0] … z[K-1]`; the prefix `z[:j]` holds the
first j of them, so `z[:0]` is the bare problem with thinking opened, and there are K+1 values `J[0] … J[K]`. (The MRT
paper writes prefixes inclusively: its z_{0:j} is our `z[:j + 1]`.) Spans are half-open; characters are Unicode code
points of the completion; tokens are the prover's tokens of the completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]


class Verdict(str, Enum):
    """What the grader concluded about one completion."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNPARSED = "unparsed"
    """No answer could be extracted; counts as a miss."""
    UNGRADED = "ungraded"
    """The grader failed through no fault of the completion; excluded from the estimate."""


@dataclass(frozen=True, slots=True)
class Grade:
    """One completion judged: a verdict, or a score in [0, 1] from graders that return one.

    Attributes:
        verdict: with a score, CORRECT/INCORRECT is the score's side of one half.
        score: mean reward from a reward model; None for 0/1 graders.
        reason: why, in a few words, for UNPARSED and UNGRADED.

    """

    verdict: Verdict
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One response to one problem, as the caller sent it.

    Exactly one of `problem`, `messages`, `prompt` and `prompt_ids` says what was asked. `completion` is untrusted text;
    `completion_ids` may accompany or replace it where the caller's tokenizer is the prover's.

    Attributes:
        problem: the question, put through the prover's chat template as one user turn.
        messages: a chat, put through the prover's chat template.
        prompt: trusted text, tokenized with its control tokens.
        prompt_ids: prompt tokens, int32.
        tokenizer: sha256 of the tokenizer.json that made the ids.
        answer: accepted gold answers; empty when unknown.
        group: traces of one group answer the same problem, and share J[0].
        outcome: reward of the finished trace, if the caller knows it.
        episodes: character offsets where episodes start, for the `explicit` segmenter.
        metadata: the caller's own, returned untouched.

    """

    id: str
    completion: str | None = None
    problem: str | None = None
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    prompt_ids: TokenIds | None = None
    completion_ids: TokenIds | None = None
    tokenizer: str | None = None
    answer: tuple[str, ...] = ()
    group: str | None = None
    outcome: float | None = None
    episodes: tuple[int, ...] | None = None
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range [start, end)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """One forced answer, kept because it was asked for.

    Attributes:
        text: what the prover wrote after the terminator; untrusted.
        verdict: of the grader.
        tokens: its length in prover tokens, without the end of turn.
        logprob: mean natural log-probability of its tokens at temperature 1, the end of turn included where it was
            drawn; None where the engine does not tell it.

    """

    text: str
    verdict: Verdict
    tokens: int
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """J of one prefix: the prover's success rate when thinking is cut there.

    Attributes:
        value: in [0, 1]; None when nothing could be measured.
        stderr: standard error; 0 for likelihoods, which have no sampling error; None with the value.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        bound: "lower" when the value can only understate (likelihood of listed spellings).
        correct: completions graded correct; None where nothing is sampled, as for the next three.
        answer_tokens: mean length of the sampled answers in prover tokens; of a likelihood, the first spelling's.
        answers: the sampled answers themselves, where `Rollouts.keep_answers` asked for them.

    """

    value: float | None
    stderr: float | None
    low: float | None
    high: float | None
    bound: Literal["lower"] | None = None
    correct: int | None = None
    incorrect: int | None = None
    unparsed: int | None = None
    ungraded: int | None = None
    answer_tokens: float | None = None
    answers: tuple[SampledAnswer, ...] | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One segment of a trace's thinking, and what it earned.

    Attributes:
        progress: `J[j + 1] - J[j]`, in [-1, 1]; None when either value is missing.
        stderr: its standard error.

    """

    char_start: int
    char_end: int
    token_start: int
    token_end: int
    progress: float | None = None
    stderr: float | None = None


class Status(str, Enum):
    """How much of a trace was scored."""

    OK = "ok"
    PARTIAL = "partial"
    """Some values are missing."""
    ERROR = "error"
    """None was measured; `error` says why."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """A failure as the wire tells it (the OpenAI shape)."""

    message: str
    type: str
    code: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a trace cost.

    Attributes:
        prompt_tokens: length of the longest terminated prefix, in prover tokens.
        computed_tokens: tokens the engine ran through the network, sampled ones included; 0 when all was cached.
        probes: terminated prefixes.
        cached_probes: of them, answered without the engine.

    """

    prompt_tokens: int = 0
    computed_tokens: int = 0
    probes: int = 0
    cached_probes: int = 0


@dataclass(frozen=True, slots=True)
class ScoredTrace:
    """One trace with its K+1 values and K episodes.

    Attributes:
        prover: the `model@version` that answered.
        spellings: of the gold answer, as the likelihood summed them.
        warnings: what the caller should look at in this trace.
        notes: what holds for its whole batch and is said once in a reply: the prover's caveat, and what the prompt's
            template does that was dealt with. Of a client, they stand at the traces at which the server said them.
        prefix_tokens: length of each of the K+1 terminated prefixes in prover tokens: prompt, prefix and terminator.

    """

    id: str
    status: Status
    outcome: float | None = None
    values: tuple[Value, ...] = ()
    episodes: tuple[Episode, ...] = ()
    prover: str | None = None
    usage: Usage = Usage()
    spellings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    error: ErrorInfo | None = None
    prefix_tokens: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
