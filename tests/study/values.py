"""What a trace's prefixes are worth: by a real prover in this process, or by what they have revealed.

A prover of the study goes the whole way of every trainer: `TraceScorer`, the HTTP contract and the `Scorer`, without a
socket between them. Revealed truth skips that way, and cuts episodes as it would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrt_reward.config import load_settings
from mrt_reward.core.episodes import episode_spans, find_thinking
from mrt_reward.core.prefixes import token_spans
from mrt_reward.errors import ConfigError
from mrt_reward.in_process import scorer_and_service
from mrt_reward.mini.island import Problem
from mrt_reward.mini.truth import revealed_values
from mrt_reward.service.scorer import Scorer
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.records import Lapse, Record, Scored
from mrt_reward.training.scoring import TraceScorer
from mrt_reward.training.settings import TrainingSettings

Source = Literal["revealed", "likelihood", "answers", "coupled", "posterior"]
DRAWN = ("answers", "coupled", "posterior")


@dataclass(frozen=True)
class ValueSpec:
    """Where values come from.

    Attributes:
        source: `revealed` truth; the prover's `likelihood` of the gold answer; or the graded `answers` that it draws,
            each prefix for itself, or `coupled`, or these with their `posterior` along the trace paid.
        num_answers: K answers of each prefix.
        prover: model folder of the prover.
        following: whether it proves with the policy's own weights, as they are at each step.

    Raises:
        ConfigError: revealed truth is asked to follow.

    """

    source: Source = "revealed"
    num_answers: int = 4
    prover: Path = Path()
    following: bool = False

    def __post_init__(self) -> None:
        if self.following and self.source == "revealed":
            raise ConfigError("revealed values have no prover that could follow: leave --following out", param="values")

    @property
    def name(self) -> str:
        """Of the files of runs."""
        number = self.num_answers if self.source in DRAWN else ""
        return f"{self.source}{number}{'-following' if self.following else ''}"

    def asked(self) -> dict[str, Any]:
        """Training settings that ask for them."""
        if self.source not in DRAWN:
            return {}
        drawn = {"estimator": "rollouts", "num_samples": self.num_answers, "temperature": 1.0}
        paid = {"paid_values": "posterior"} if self.source == "posterior" else {}
        return {**drawn, **paid, "coupled": self.source != "answers"}


def prover_here(settings: TrainingSettings, tokens: PolicyTokens, spec: ValueSpec) -> tuple[TraceScorer, Scorer]:
    """A scorer of responses, and the service that it asks, which is here; nothing listens."""
    serving = load_settings(model=str(spec.prover), _env_file=None)
    return scorer_and_service(settings, tokens, serving)


def revealed_record(ids: Sequence[int], problem: Problem, tokens: PolicyTokens, settings: TrainingSettings) -> Record:
    """A response's episodes, in its own tokens, valued by what each prefix has revealed."""
    text, char_ends = tokens.locate(ids)
    thinking = find_thinking(text, settings.delimiters, opened=True)
    if thinking is None:
        return Record(Lapse.NO_THINKING)
    options = settings.score_options()
    spans = episode_spans(text, thinking, options.segmenter, char_ends=char_ends)
    value_P = revealed_values(problem, ["", *(text[thinking.start : span.end] for span in spans)])
    ends = tuple(span.end for span in token_spans(spans, char_ends))
    if any(after <= before for before, after in zip((0, *ends), ends, strict=False)):
        return Record(Lapse.MALFORMED, "two episodes end within one token")
    return Record(Scored(0, ends, np.asarray(value_P, np.float64), cut_off=not thinking.closed))
