"""All that a caller can choose about how traces are scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import MaxLen, MinLen

from mrt_reward.options.estimators import Estimator, Likelihood
from mrt_reward.options.segmenters import BalancedSegmenter, ByName, Delimiters, Segmenter
from mrt_reward.options.terminators import TERMINATORS, Terminator, TerminatorName
from mrt_reward.ranges import Strict, option


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How an answer is forced after a prefix, and who grades it."""

    delimiters: Delimiters = option(Delimiters(), "What opens and closes thinking.")
    terminator: TerminatorName | Terminator = option(
        "boxed", "What forces an answer: boxed, official, qwen3, or yours, as a mapping."
    )
    grader: Annotated[str, MinLen(1), MaxLen(200)] | None = option(None, "Grader by its name. Unset: the default one.")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(AnswerOptions):
    """Everything a caller can choose about how traces are scored.

    Attributes:
        segmenter: where thinking is cut into episodes; the name of one of the authors' stands for its settings.
        estimator: how a prefix's value is got.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    segmenter: Annotated[Segmenter, ByName] = field(default_factory=BalancedSegmenter)
    estimator: Estimator = field(default_factory=Likelihood, metadata={"discriminator": "kind"})

    def resolved_terminator(self) -> Terminator:
        """The terminator itself, looked up by name where a name was given."""
        return TERMINATORS[self.terminator] if isinstance(self.terminator, str) else self.terminator
