"""What a caller can choose about scoring, as frozen records with tested defaults.

The same records serve the Python API, the wire and the settings file, so a choice has one name everywhere.
Ranges and descriptions stand at the fields, where the wire, the OpenAPI document, trainers and `--help` read them. What
a trainer's settings share with the wire's records stands in bases of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from mrt_reward.ranges import option

Strict = {"extra": "forbid"}
"""Read by pydantic: unknown fields of these records are refused by name."""

Text = Annotated[str, MaxLen(10_000)]

MAX_SAMPLES = 128
"""Sampled answers a prefix."""

MRT_MARKERS = (
    "Wait",
    "But wait",
    "Alternatively",
    "Is there another way to think about this?",
    "But let me double-check",
    "But hold on",
)
"""How a paragraph starts when it opens an episode, in the authors' notebooks."""

MODEL_MARKERS = (
    *MRT_MARKERS,
    "However",
    "Hmm",
    "Maybe",
    "Or maybe",
    "But maybe",
    "But let me check",
    "Let me check",
    "Let me verify",
    "Let me try",
    "Let me think",
    "Let me recalculate",
    "Let's check",
)
"""How a sentence starts where today's models change course or check: the authors' list, and what starts sentences of
at least 5 of 35 traces of Qwen3-32B (`tests/bench/bench_segments.py` counts them)."""


@dataclass(frozen=True, slots=True)
class Delimiters:
    """What opens and closes thinking. Both empty: the whole completion is thinking (backtracking traces)."""

    __pydantic_config__: ClassVar[Any] = Strict

    open: Annotated[str, MaxLen(100)] = "<think>"
    close: Annotated[str, MaxLen(100)] = "</think>"


@dataclass(frozen=True, kw_only=True)
class EpisodeLimit:
    """What segmenters that look for places to cut share."""

    max_episodes: Annotated[int, Ge(1), Le(1000)] | None = option(8, "Most episodes of a trace.")


Markers = Annotated[tuple[Annotated[str, MinLen(1), MaxLen(200)], ...], MinLen(1), MaxLen(100)]


@dataclass(frozen=True)
class BalancedSegmenter(EpisodeLimit):
    """Episodes of like length: cut at marked sentences, else at paragraphs, else at sentence ends (the default).

    The next episode starts at the first marked sentence, line or paragraph once the running one has the shortest
    length; where none comes before the longest, at the paragraph, else the sentence, the line, the word, nearest to
    the middle between the two. Formulas stay whole. Lengths are in characters, so that all provers see the same cuts.

    Attributes:
        markers: openings of sentences that start an episode.
        min_chars: shortest episode, but for the last; ceil(n / max_episodes) of n characters of thinking where this
            gives too many episodes.
        min_paragraphs: before a marker an episode is also long enough if it has this many, where that does not give
            too many episodes.
        max_chars: longest episode, at least twice the shortest; 2 ceil(n / max_episodes) where that is more.

    Raises:
        ValueError: max_chars is below twice min_chars.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["balanced"] = "balanced"
    markers: Markers = MODEL_MARKERS
    min_chars: Annotated[int, Ge(1), Le(1_000_000)] = 100
    min_paragraphs: Annotated[int, Ge(1), Le(1000)] = 3
    max_chars: Annotated[int, Ge(2), Le(2_000_000)] = 300

    def __post_init__(self) -> None:
        if self.max_chars < 2 * self.min_chars:
            raise ValueError(
                f"max_chars must be at least twice min_chars, got {self.max_chars} and {self.min_chars}: an episode "
                "that is too long is cut in two that are long enough"
            )


@dataclass(frozen=True)
class MarkerSegmenter(EpisodeLimit):
    """An episode starts at a paragraph that starts with a marker (the authors' rule).

    Attributes:
        markers: paragraph openings that start an episode.
        min_paragraphs: an episode runs for at least this many paragraphs before the next may start.
        max_steps: stop splitting after this many boundaries; the remainder is the last episode (authors: 45, 49, 99).
        group: merge this many consecutive episodes into one (the authors: 3, 5 or 10).
        separator: what separates paragraphs: blank lines, however many and whatever white space is in them, or
            exactly two line feeds, as in the notebooks, where every further two are an empty paragraph that counts.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["markers"] = "markers"
    markers: Markers = MRT_MARKERS
    min_paragraphs: Annotated[int, Ge(1), Le(1000)] = 3
    max_steps: Annotated[int, Ge(1), Le(100_000)] | None = None
    group: Annotated[int, Ge(1), Le(1000)] = 1
    separator: Literal["blank_lines", "two_line_feeds"] = "blank_lines"


@dataclass(frozen=True)
class ParagraphSegmenter(EpisodeLimit):
    """Every `group` paragraphs are an episode; above `max_episodes`, ceil(K / max_episodes) consecutive ones merge."""

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["paragraphs"]
    group: Annotated[int, Ge(1), Le(1000)] = 1


EpisodeTokens = Annotated[int, Ge(1), Le(1_000_000)]


@dataclass(frozen=True)
class TokenSegmenter(EpisodeLimit):
    """Episodes of `num_tokens` prover tokens each; the last may be shorter."""

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["tokens"]
    num_tokens: EpisodeTokens = 512


@dataclass(frozen=True, slots=True)
class ExplicitSegmenter:
    """Episodes start where the trace's own `episodes` field says."""

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["explicit"]


TextSegmenter = BalancedSegmenter | MarkerSegmenter | ParagraphSegmenter
"""Those that read the text alone."""

Segmenter = BalancedSegmenter | MarkerSegmenter | ParagraphSegmenter | TokenSegmenter | ExplicitSegmenter

AUTHORS_SEGMENTERS = {
    "mrt-omni-math": MarkerSegmenter(max_steps=49, group=5, max_episodes=None, separator="two_line_feeds"),
    "mrt-aime": MarkerSegmenter(max_steps=45, group=3, max_episodes=None, separator="two_line_feeds"),
    "mrt-regret": MarkerSegmenter(max_steps=99, group=10, max_episodes=None, separator="two_line_feeds"),
}
"""The settings of the authors' notebooks, by name."""


@dataclass(frozen=True, slots=True)
class Terminator:
    r"""The trusted text that ends thinking and asks for the answer at once.

    Attributes:
        forced: follows a prefix that was cut short. A blank line goes before it where the prefix ends in mid-line.
        natural: follows the whole thinking of a trace that closed it by itself.
        answer: `boxed` ends at `\\boxed`, so the answer is the braces that come next; `free` lets the prover write.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    forced: Annotated[str, MinLen(1), MaxLen(10_000)]
    natural: Annotated[str, MinLen(1), MaxLen(10_000)]
    answer: Literal["boxed", "free"]


_BOXED = "</think>\n\nThe final answer is \\boxed"

TERMINATORS = {
    "boxed": Terminator(forced=_BOXED, natural=_BOXED, answer="boxed"),
    "official": Terminator(
        forced=(
            "Time is up.\n\nGiven the time I've spent and the approaches I've tried, I should stop thinking and "
            "formulate a final answer based on what I already have.\n</think>\n\n"
            "**Step-by-Step Explanation and Answer:**\n\n1. **"
        ),
        natural="</think>",
        answer="free",
    ),
    "qwen3": Terminator(
        forced=(
            "Considering the limited time by the user, I have to give the solution based on the thinking directly now."
            "\n</think>\n\n"
        ),
        natural="</think>\n\n",
        answer="free",
    ),
}
TerminatorName = Literal["boxed", "official", "qwen3"]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Value by teacher forcing: the probability, at temperature 1, of the gold answer and its close.

    Attributes:
        spellings: accepted spellings of the answer, instead of the ones derived from it; at most 8.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["likelihood"] = "likelihood"
    spellings: Annotated[tuple[Annotated[str, MinLen(1), MaxLen(1000)], ...], MinLen(1), MaxLen(8)] | None = None


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """M answers per prefix, and what is made of them."""

    num_samples: Annotated[int, Ge(1), Le(MAX_SAMPLES)] = option(8, "Answers per prefix, for rollouts.")
    temperature: Annotated[float, Ge(0), Le(10)] = option(0.6, "Temperature of these answers; 0 is greedy.")
    best_of: Annotated[int, Ge(1), Le(MAX_SAMPLES)] = option(1, "k of the Best-of-k prover, for rollouts.")
    coupled: bool = option(False, "Whether a problem's prefixes draw with the same noise: surer progress.")


@dataclass(frozen=True)
class Rollouts(SamplingOptions):
    """Value by sampling: M answers per prefix, graded.

    Attributes:
        top_p: nucleus; 1 keeps the whole distribution.
        max_tokens: longest answer in tokens; None means 64 after a boxed terminator and 1024 after a free one.
        seed: of the sampling; a prefix's own draws depend on it and on the prefix, never on the batch.
        keep_answers: return every sampled answer with its value, for majority votes and for reading.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["rollouts"]
    top_p: Annotated[float, Gt(0), Le(1)] = 0.95
    max_tokens: Annotated[int, Ge(1), Le(32_768)] | None = None
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    keep_answers: bool = False


Estimator = Likelihood | Rollouts


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How an answer is forced after a prefix, and who grades it."""

    delimiters: Delimiters = option(Delimiters(), "What opens and closes thinking.")
    terminator: TerminatorName | Terminator = option(
        "boxed", "What forces an answer: boxed, official, qwen3, or yours, as a mapping."
    )
    grader: Annotated[str, MinLen(1), MaxLen(200)] | None = option(None, "Grader by its name; none is the default one.")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(AnswerOptions):
    """Everything a caller can choose about how traces are scored.

    Attributes:
        segmenter: where thinking is cut into episodes.
        estimator: how a prefix's value is got.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    segmenter: Segmenter = field(default_factory=BalancedSegmenter, metadata={"discriminator": "kind"})
    estimator: Estimator = field(default_factory=Likelihood, metadata={"discriminator": "kind"})

    def resolved_terminator(self) -> Terminator:
        """The terminator itself, looked up by name where a name was given."""
        return TERMINATORS[self.terminator] if isinstance(self.terminator, str) else self.terminator
