"""The prior of values along a trace that fits many traces best: empirical Bayes, offline.

No value depends on it by itself: what was fitted is an option for other traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mrt_reward.core.posterior import log_evidence
from mrt_reward.options import PathPrior
from mrt_reward.types import Value

CANDIDATES: Mapping[str, Sequence[float]] = {
    "change": (0.05, 0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.85),
    "drift": (0.01, 0.02, 0.04, 0.06, 0.1, 0.15),
    "a": (0.3, 0.5, 0.7, 1.0, 1.5, 2.0),
    "b": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0),
    "coupling": (0.3, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99),
}
"""What each is chosen from; `strength` needs likelihoods and is left as it is."""

MAX_SWEEPS = 6


def fit_prior(traces: Iterable[Sequence[Value]], start: PathPrior | None = None) -> PathPrior:
    """The prior under which the sampled answers of the traces are most probable.

    One field after another takes its best candidate, until none gets better. A prior is the surer, the more traces
    there are: with fewer than about 50, keep the default.

    Args:
        traces: values of each; those that have no posterior are left out.
        start: where to begin; by default the default.

    Raises:
        ValueError: no trace is left.

    """
    prior = start or PathPrior()
    used = [values for values in traces if log_evidence(values, prior) is not None]
    if not used:
        raise ValueError("expected traces with rates of sampled answers, got none")
    coupled = any(value.verdicts is not None for values in used for value in values)

    def evidence(candidate: PathPrior) -> float:
        return sum(log_evidence(values, candidate) or 0.0 for values in used)

    best = evidence(prior)
    for _ in range(MAX_SWEEPS):
        before = best
        for name, candidates in CANDIDATES.items():
            if name == "coupling" and not coupled:
                continue
            for value in candidates:
                candidate = replace(prior, **{name: value})
                found = evidence(candidate)
                if found > best:
                    prior, best = candidate, found
        if best == before:
            break
    return prior
