"""The records that flow through the pipeline: trace → episodes → prefixes → values → progress → credit.

Indexing is Python's throughout. Thinking is partitioned into K episodes `z[0] … z[K-1]`; the prefix `z[:j]` holds the
first j of them, so `z[:0]` is the bare problem with thinking opened, and there are K+1 values `J[0] … J[K]`. (The MRT
paper writes prefixes inclusively: its z_{0:j} is our `z[:j + 1]`.) Spans are half-open; characters are Unicode code
points of the completion; tokens are the prover's tokens of the completion.

The wire reads and writes these records themselves, within the limits that their annotations state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, MaxLen, MinLen
from numpy.typing import NDArray

from mrt_reward.errors import ErrorInfo
from mrt_reward.fields import GOLDS, ID, SESSION, IdsField

TokenIds = Annotated[NDArray[np.int32], IdsField]

MAX_TEXT = 16_000_000
"""Of a prompt or a completion, in characters."""

MAX_EPISODES = 10_000
"""Of a trace, whatever the segmenter; each is a probe that the prover answers."""

Text = Annotated[str, MaxLen(MAX_TEXT)]
Asked = Annotated[str, MinLen(1), MaxLen(MAX_TEXT)]
Outcome = Annotated[float, Ge(-1e6), Le(1e6)]
Share = Annotated[float, Ge(0), Le(1)]


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
    """One turn of a chat.

    Attributes:
        role: who speaks, such as `user`, as the chat template names it.
        content: what is said.

    """

    role: Annotated[str, MinLen(1), MaxLen(100)]
    content: Text


@dataclass(frozen=True, slots=True)
class Trace:
    """One response to one problem, as the caller sent it.

    Exactly one of `problem`, `messages` and `prompt` says what was asked; `prompt_ids` stands alone or goes with one of
    them, which then serves where the ids are of another tokenizer. `completion` is untrusted text; `completion_ids` may
    accompany or replace it where the caller's tokenizer is the prover's.

    Attributes:
        id: the caller's own, unique in a request; a number is its text.
        completion: untrusted text of the model.
        problem: the question, put through the prover's chat template as one user turn.
        messages: a chat, put through the prover's chat template.
        prompt: trusted text, tokenized with its control tokens.
        prompt_ids: prompt tokens, int32; on the wire base64 of little-endian int32, or a list.
        completion_ids: tokens of the completion, likewise.
        tokenizer: sha256 of the tokenizer.json that made the ids.
        answer: accepted gold answers, text or numbers; empty when unknown.
        group: traces of one group answer the same problem, and share J[0].
        session: under which it was written, or URL of the endpoint that wrote it: it is proved where it is cached.
        outcome: reward of the finished trace, if the caller knows it.
        episode_starts: character offsets where episodes start, for the `explicit` segmenter.
        metadata: the caller's own, returned untouched.

    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}

    id: Annotated[str, MinLen(1), MaxLen(500), ID]
    completion: Text | None = None
    problem: Asked | None = None
    messages: Annotated[tuple[Message, ...], MinLen(1), MaxLen(1000)] | None = None
    prompt: Asked | None = None
    prompt_ids: TokenIds | None = None
    completion_ids: TokenIds | None = None
    tokenizer: Annotated[str, MaxLen(200)] | None = None
    answer: Annotated[tuple[str, ...], GOLDS] = ()
    group: Annotated[str, MaxLen(500)] | None = None
    session: Annotated[str | None, SESSION] = None
    outcome: Outcome | None = None
    episode_starts: Annotated[tuple[Annotated[int, Ge(0), Le(MAX_TEXT)], ...], MaxLen(MAX_EPISODES)] | None = None
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
        logprob: mean of its tokens' at temperature 1, natural, with the end of turn if drawn; None where unknown.

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
        stderr: standard error; 0 for likelihoods; None with the value, and where a caller gave the value alone.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        bound: "lower" when the value can only understate (likelihood of listed spellings).
        correct: completions graded correct; None where nothing is sampled, as for the next three.
        incorrect: completions graded incorrect.
        unparsed: completions without an answer that could be read; they count as misses.
        ungraded: completions that the grader failed on, through no fault of theirs; they count nowhere.
        answer_tokens: mean length of the sampled answers in prover tokens; of a likelihood, the first spelling's.
        answers: the sampled answers themselves, where `Rollouts.keep_answers` asked for them.
        verdicts: of coupled answers, in the order m, which is the same at all prefixes of a problem; None of others.
        adaptive: whether earlier answers decided how many there are, which biases the share: pay the posterior.
        scores: of all answers, in that order, where the grader returns scores; None where one was not graded.

    """

    value: Share | None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    bound: Literal["lower"] | None = None
    correct: int | None = None
    incorrect: int | None = None
    unparsed: int | None = None
    ungraded: int | None = None
    answer_tokens: float | None = None
    answers: tuple[SampledAnswer, ...] | None = None
    verdicts: tuple[Verdict, ...] | None = None
    adaptive: bool = False
    scores: tuple[Share | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One segment of a trace's thinking, and what it earned.

    Attributes:
        char_start: its first character, a Unicode code point of the completion.
        char_end: one past its last character.
        token_start: its first token, a prover token of the thinking's text as the prover sees it.
        token_end: one past its last token.
        progress: `J[j + 1] - J[j]`, in [-1, 1]; None when either value is missing.
        stderr: its standard error: from pairs where answers are coupled, else as of independent values.
        low: lower end of its 95 % interval; None where only the standard error is known.
        high: upper end.

    """

    char_start: int
    char_end: int
    token_start: int
    token_end: int
    progress: float | None = None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Posterior:
    """What all answers of a trace say together of each J, with a prior (`core.posterior`): biased, and no value itself.

    Attributes:
        means: posterior mean of J[0] … J[K].
        intervals: for each, the ends of an interval with 98 % of the posterior, so that about 95 % of them hold J.
        unchanged: for each episode, the probability that J did not jump.
        progress_stderrs: for each episode, the standard deviation of its progress.
        progress_intervals: for each episode, the ends of such an interval of its progress, in [-1, 1].

    """

    means: tuple[Share, ...]
    intervals: tuple[tuple[Share, Share], ...]
    unchanged: tuple[Share, ...]
    progress_stderrs: tuple[float, ...]
    progress_intervals: tuple[tuple[float, float], ...]


class Status(str, Enum):
    """How much of a trace was scored."""

    OK = "ok"
    PARTIAL = "partial"
    """Some values are missing."""
    ERROR = "error"
    """None was measured; `error` says why."""


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
        id: the trace's own.
        status: ok; partial, where some values are missing; or error, where there are none and `error` says why.
        outcome: reward r; None where it is not known, and then masked.
        values: J[0] … J[K]; empty where it was not scored.
        episodes: z[0] … z[K-1].
        prover: the `model@version` that answered.
        usage: what it cost.
        metadata: the caller's own, untouched.
        error: why there are no values.
        spellings: of the gold answer, as the likelihood summed them.
        warnings: what the caller should look at in this trace.
        notes: what holds for its whole batch and is said once in a reply: the prover's caveat, and what the prompt's
            template does that was dealt with. Of a client, they stand at the traces at which the server said them.
        posterior: of its values, where they are rates of sampled answers.
        prefix_tokens: length of each of the K+1 terminated prefixes in prover tokens: prompt, prefix and terminator.
        truncated: whether it was cut off while thinking, so that it gives no answer; None where that is not known.

    """

    id: Annotated[str, MaxLen(500)]
    status: Status
    outcome: Outcome | None = None
    values: Annotated[tuple[Value, ...], MaxLen(MAX_EPISODES + 1)] = ()
    episodes: Annotated[tuple[Episode, ...], MaxLen(MAX_EPISODES)] = ()
    prover: str | None = None
    usage: Usage = Usage()
    spellings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    error: ErrorInfo | None = None
    prefix_tokens: tuple[int, ...] = ()
    truncated: bool | None = None
    posterior: Posterior | None = None
    notes: tuple[str, ...] = field(default=(), metadata={"exclude": True})
