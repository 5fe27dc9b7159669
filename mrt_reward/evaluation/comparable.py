"""Whether values compare: they were got by one estimator, from answers that were forced and drawn in one way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mrt_reward.errors import ConfigError
from mrt_reward.types import ScoredTrace

DEFINING = ("temperature", "top_p", "best_of", "max_tokens")
"""Options of `rollouts` that change what a value estimates; the number of answers and the seed do not."""


@dataclass
class EstimatorCounts:
    """In how many ways the values of some lines were got.

    Attributes:
        kinds: lines by estimator.
        details: lines by what else defines their values, of those that say so; files of earlier versions do not.

    """

    kinds: Counter[str] = field(default_factory=Counter[str])
    details: Counter[str] = field(default_factory=Counter[str])

    def add(self, scored: ScoredTrace, options: Mapping[str, Any] | None) -> None:
        """Count a line; one without values counts for nothing.

        Args:
            scored: what the line holds.
            options: that it was scored with; None where it does not say.

        """
        if not scored.values:
            return
        if options is None:
            # Only likelihoods are lower bounds.
            self.kinds["likelihood" if scored.values[0].bound else "rollouts"] += 1
            return
        self.kinds[str(_estimator(options).get("kind"))] += 1
        self.details[way_of(options)] += 1

    def refuse_mixed(self) -> None:
        """Refuse values that do not compare.

        Raises:
            ConfigError: there are several ways; the message names them and how many lines have each.

        """
        for found in (self.kinds, self.details):
            if len(found) > 1:
                named = ", ".join(f"{way} ({count})" for way, count in found.most_common())
                raise ConfigError(
                    f"expected values of one estimator, which alone compare, got lines of {named}: score all traces "
                    "with the same --options, or take one file at a time"
                )


def way_of(options: Mapping[str, Any]) -> str:
    """How values are got with scoring options, in words: equal where they compare."""
    estimator, terminator = _estimator(options), options.get("terminator")
    named = [f"{name} {estimator[name]}" for name in DEFINING if estimator.get(name) is not None]
    forced = terminator if isinstance(terminator, str) else "of its own"
    return ", ".join([str(estimator.get("kind")), *named, f"terminator {forced}"])


def _estimator(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", options.get("estimator") or {})
