"""Measures what the bundled model has to fulfil, on fresh problems; the model card is written from the result.

Dimension key: V pooled values, E pooled episodes (progress); P prefixes of one trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mrt_reward.mini.bundled import MINI, Bundled
from mrt_reward.mini.exact import CausalLM, answer_probabilities
from mrt_reward.mini.island import Problem
from mrt_reward.mini.policy import SampledTrace, SamplingSettings, load_model, sample_traces
from mrt_reward.mini.truth import prefixes, revealed_values

FRESH_SEED = 1_000_003
GROUP_SIZE = 8
MAX_EPISODES = 8
"""Cap of the default scoring; longer traces are merged for the second set of numbers."""

_NUM_FULL_TABLES = 50


@dataclass(frozen=True)
class ValueReport:
    """How the prover's values compare with what was revealed, over the prefixes of one trace per problem.

    Attributes:
        num_values: prefixes measured.
        num_episodes: episodes measured.
        waste: share of episodes whose revealed progress is exactly zero.
        known: mean value where `J_revealed` = 1, the rate of right forced answers.
        between: share of prefixes with 0.1 < `J_revealed` < 0.9.
        error: mean absolute error of the value on those.
        index_error: the same of the best predictor that sees only the episode index.
        correlation: of estimated and revealed progress.

    """

    num_values: int
    num_episodes: int
    waste: float
    known: float
    between: float
    error: float
    index_error: float
    correlation: float


@dataclass(frozen=True)
class MiniMeasurement:
    """Everything that is measured of a bundled model.

    Attributes:
        bundled: whose problems, budget and bars.
        num_problems: fresh problems.
        num_parameters: weights of the model, tied ones counted once.
        folder_bytes: size of the folder's files.
        accuracy: of the policy at its budget.
        mixed: share of groups of 8 with right and wrong traces.
        truncated: share of traces that the budget ended.
        chance_gap: largest difference, over numbers of candidates N, between the mean value at z[:0] and 1/N.
        answered: mean and least probability, over prefixes, that a forced answer is one of the candidates.
        episode_quantiles: 5, 50 and 95 % quantile of the number of episodes of a trace.
        natural: values on the natural episodes.
        merged: values on at most 8 episodes.

    """

    bundled: Bundled
    num_problems: int
    num_parameters: int
    folder_bytes: int
    accuracy: float
    mixed: float
    truncated: float
    chance_gap: float
    answered: tuple[float, float]
    episode_quantiles: tuple[float, float, float]
    natural: ValueReport
    merged: ValueReport


@dataclass(frozen=True)
class _Scored:
    """One trace with both truths."""

    problem: Problem
    estimated_P: NDArray[np.float64]
    revealed_P: NDArray[np.float64]

    def merged(self) -> _Scored:
        """At most `MAX_EPISODES` episodes, by joining consecutive ones."""
        num_episodes = self.revealed_P.size - 1
        size = max(1, -(-num_episodes // MAX_EPISODES))
        kept = [*range(0, num_episodes, size), num_episodes]
        return _Scored(self.problem, self.estimated_P[kept], self.revealed_P[kept])


def score(model: CausalLM, tokenizer: Tokenizer, trace: SampledTrace) -> _Scored:
    """Values of all natural prefixes of one trace, and what they reveal."""
    problem = trace.problem
    texts = prefixes(trace.thinking)
    estimated_PA = answer_probabilities(model, tokenizer, problem, texts, [problem.answer])
    return _Scored(problem, estimated_PA[:, 0], revealed_values(problem, texts))


def value_report(scored: Sequence[_Scored]) -> ValueReport:
    """Pool the prefixes of many traces."""
    estimated_V = np.concatenate([trace.estimated_P for trace in scored])
    revealed_V = np.concatenate([trace.revealed_P for trace in scored])
    index_V = np.concatenate([np.arange(trace.revealed_P.size) for trace in scored])
    estimated_E = np.concatenate([np.diff(trace.estimated_P) for trace in scored])
    revealed_E = np.concatenate([np.diff(trace.revealed_P) for trace in scored])
    between_V = (revealed_V > 0.1) & (revealed_V < 0.9)
    # The median minimises the absolute error, so no predictor of the index alone does better.
    best_V = np.zeros_like(revealed_V)
    for index in np.unique(index_V[between_V]):
        best_V[index_V == index] = np.median(revealed_V[between_V & (index_V == index)])
    return ValueReport(
        num_values=revealed_V.size,
        num_episodes=revealed_E.size,
        waste=float(np.mean(np.abs(revealed_E) < 1e-12)),
        known=float(np.mean(estimated_V[revealed_V == 1.0])),
        between=float(np.mean(between_V)),
        error=float(np.mean(np.abs(estimated_V - revealed_V)[between_V])),
        index_error=float(np.mean(np.abs(best_V - revealed_V)[between_V])),
        correlation=float(np.corrcoef(estimated_E, revealed_E)[0, 1]),
    )


def _chance_gap(scored: Sequence[_Scored]) -> float:
    """Largest distance from chance before anything was thought, over numbers of candidates."""
    gaps: list[float] = []
    for num_candidates in sorted({len(trace.problem.candidates) for trace in scored}):
        starts = [trace.estimated_P[0] for trace in scored if len(trace.problem.candidates) == num_candidates]
        gaps.append(abs(float(np.mean(starts)) - 1.0 / num_candidates))
    return max(gaps)


def measure(
    folder: Path | None = None,
    bundled: Bundled = MINI,
    num_problems: int = 500,
    progress: Callable[[str, int, int], None] | None = None,
) -> MiniMeasurement:
    """Measure a model folder on fresh problems: groups of 8 at the policy's budget, values on the first of each.

    Args:
        folder: of the model; None is the bundled one itself.
        bundled: whose problems, budget and bars.
        num_problems: fresh problems; the sampling error of each share falls as its square root.
        progress: called with (what is done, how much of it, of how much).

    Returns:
        Every number of the model card.

    """

    def report(what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(what, done, total)

    folder = folder or bundled.folder
    model, tokenizer = load_model(folder)
    problems = bundled.sample(num_problems, FRESH_SEED)
    settings = SamplingSettings(bundled.budget_tokens, seed=FRESH_SEED)
    groups = sample_traces(
        (model, tokenizer), problems, GROUP_SIZE, settings, lambda done, total: report("sampling", done, total)
    )
    scored: list[_Scored] = []
    for group in groups:
        scored.append(score(model, tokenizer, group[0]))
        report("scoring", len(scored), len(groups))
    answered: list[NDArray[np.float64]] = []
    for group in groups[:_NUM_FULL_TABLES]:
        problem, texts = group[0].problem, prefixes(group[0].thinking)
        probability_PA = answer_probabilities(model, tokenizer, problem, texts, problem.candidates)
        answered.append(probability_PA.sum(axis=1))
    answered_V = np.concatenate(answered)
    right_GT = np.array([[trace.is_right for trace in group] for group in groups])
    quantiles = np.percentile([trace.revealed_P.size - 1 for trace in scored], [5, 50, 95])
    return MiniMeasurement(
        bundled=bundled,
        num_problems=num_problems,
        num_parameters=sum(weight.numel() for weight in model.parameters()),
        folder_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        accuracy=float(right_GT.mean()),
        mixed=float(np.mean(right_GT.any(axis=1) & ~right_GT.all(axis=1))),
        truncated=float(np.mean([[trace.is_truncated for trace in group] for group in groups])),
        chance_gap=_chance_gap(scored),
        answered=(float(answered_V.mean()), float(answered_V.min())),
        episode_quantiles=(float(quantiles[0]), float(quantiles[1]), float(quantiles[2])),
        natural=value_report(scored),
        merged=value_report([trace.merged() for trace in scored]),
    )
