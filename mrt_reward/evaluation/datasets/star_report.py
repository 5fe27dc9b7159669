"""What MRT-STaR kept of a pool, and why: counts, tokens and values before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mrt_reward.core.progress import Floats
from mrt_reward.evaluation.datasets.star import Fate, SelectedTrace, StarSettings, provenance
from mrt_reward.evaluation.pool import Unusable


@dataclass(frozen=True, slots=True)
class StarReport:
    """Statistics of one selection. Means are over kept traces; None where none was kept.

    Attributes:
        traces: read, usable or not.
        problems: of usable traces.
        problems_kept: of kept ones.
        fates: number of traces by what became of them, unusable ones included.
        answers: number of kept traces by what follows their cut: `own` or `forced`.
        tokens_before: prover tokens of thinking, whole.
        tokens_after: of it, up to the cut.
        episodes_before: episodes of the whole trace.
        episodes_after: episodes kept.
        value: J at the cut.
        progress: J at the cut minus J[0].

    """

    traces: int
    problems: int
    problems_kept: int
    fates: Mapping[str, int]
    answers: Mapping[str, int]
    tokens_before: float | None
    tokens_after: float | None
    episodes_before: float | None
    episodes_after: float | None
    value: float | None
    progress: float | None

    @property
    def kept(self) -> int:
        """Number of traces in the data."""
        return sum(self.answers.values())

    def figures(self) -> Mapping[str, object]:
        """For people: what changed between the whole traces and what was kept of them."""
        return {
            "thinking tokens, whole → kept": f"{_shown(self.tokens_before)} → {_shown(self.tokens_after)}",
            "episodes, whole → kept": f"{_shown(self.episodes_before)} → {_shown(self.episodes_after)}",
            "value at the cut": _shown(self.value),
            "progress up to it": _shown(self.progress),
            "answers": ", ".join(f"{count} {name}" for name, count in sorted(self.answers.items())) or "none",
        }


def star_report(
    judged: Sequence[SelectedTrace], unusable: Mapping[Unusable, int], settings: StarSettings
) -> StarReport:
    """Sum up a selection."""
    kept = [each for each in judged if each.fate.is_kept]
    number_K6 = np.array([_numbers(each) for each in kept], np.float64).reshape(-1, len(_NUMBERS))
    fates = Counter(each.fate.value for each in judged) + Counter(
        {reason.value: count for reason, count in unusable.items()}
    )
    return StarReport(
        traces=len(judged) + sum(unusable.values()),
        problems=len({each.trace.problem_key for each in judged}),
        problems_kept=len({each.trace.problem_key for each in kept}),
        fates={fate: fates[fate] for fate in _in_order(fates)},
        answers=dict(Counter(str(provenance(each, settings)["mrt_answer"]) for each in kept)),
        **{name: _mean(number_K6[:, index]) for index, name in enumerate(_NUMBERS)},
    )


_NUMBERS = ("tokens_before", "tokens_after", "episodes_before", "episodes_after", "value", "progress")


def _numbers(judged: SelectedTrace) -> tuple[float, ...]:
    trace, cut = judged.trace, judged.cut
    whole = trace.num_episodes
    return trace.tokens_at(whole), trace.tokens_at(cut), whole, cut, trace.values[cut], judged.progress


def _in_order(fates: Mapping[str, int]) -> list[str]:
    named = [fate.value for fate in (*Fate, *Unusable)]
    return [name for name in named if fates.get(name)]


def _mean(number_K: Floats) -> float | None:
    known_K = number_K[~np.isnan(number_K)]
    return float(known_K.mean()) if known_K.size else None


def _shown(number: float | None) -> str:
    return "not known" if number is None else f"{number:.4g}"


def report_record(report: StarReport, settings: StarSettings) -> Mapping[str, object]:
    """For a JSON file: the statistics and the settings that gave them."""
    return {"settings": asdict(settings), "kept": report.kept, **asdict(report)}
