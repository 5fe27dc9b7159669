"""Where thinking is found, and where it is cut into episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast, get_args, get_type_hints

from annotated_types import Ge, Le, MaxLen, MinLen

from mrt_reward.ranges import Strict, option

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
    """What opens and closes thinking. Both empty: the whole completion is thinking (backtracking traces).

    Attributes:
        open: text that opens it.
        close: text that closes it.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    open: Annotated[str, MaxLen(100)] = "<think>"
    close: Annotated[str, MaxLen(100)] = "</think>"


@dataclass(frozen=True, kw_only=True)
class EpisodeLimit:
    """What segmenters that look for offsets to cut at share."""

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
    """Every `group` paragraphs are an episode; above `max_episodes`, ceil(K / max_episodes) consecutive ones merge.

    Attributes:
        group: paragraphs of an episode.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["paragraphs"]
    group: Annotated[int, Ge(1), Le(1000)] = 1


EpisodeTokens = Annotated[int, Ge(1), Le(1_000_000)]


@dataclass(frozen=True)
class TokenSegmenter(EpisodeLimit):
    """Episodes of `num_tokens` prover tokens each; the last may be shorter.

    Attributes:
        num_tokens: prover tokens of an episode.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    kind: Literal["tokens"]
    num_tokens: EpisodeTokens = 512


@dataclass(frozen=True, slots=True)
class ExplicitSegmenter:
    """Episodes start where the trace's own `episode_starts` say."""

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


class ByName:
    """Annotation of a segmenter: where one is read, the name of one of the authors' stands for its settings."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: Any) -> Any:  # noqa: ANN401 - pydantic's
        """A record, or its fields, or a name."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see `mrt_reward.fields`

        kinds = {get_args(get_type_hints(each)["kind"])[0]: each for each in get_args(Segmenter)}
        records = {kind: handler.generate_schema(each) for kind, each in kinds.items()}
        return core_schema.no_info_before_validator_function(
            _named, core_schema.tagged_union_schema(records, discriminator="kind")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's
        """The same in JSON."""
        return {"anyOf": [handler(schema), {"type": "string", "enum": list(AUTHORS_SEGMENTERS)}]}


def _named(given: object) -> object:
    kind = cast("dict[str, object]", given).get("kind") if isinstance(given, dict) else None
    if isinstance(kind, str) and kind in AUTHORS_SEGMENTERS:
        raise ValueError(f'{kind} is no kind, and has no fields: give "{kind}" itself in place of the object')
    if isinstance(given, str) and given.startswith("mrt-"):
        if given not in AUTHORS_SEGMENTERS:
            raise ValueError(f"expected one of {', '.join(AUTHORS_SEGMENTERS)}, got {given!r}")
        return AUTHORS_SEGMENTERS[given]
    return cast("object", given)
