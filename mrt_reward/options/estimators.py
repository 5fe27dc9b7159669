"""How a prefix's value is got: one record for each estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from mrt_reward.options.priors import PathPrior
from mrt_reward.ranges import Strict, option

MAX_SAMPLES = 128
"""Sampled answers a prefix."""


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
    coupled: bool | None = option(
        None, "Whether a problem's prefixes draw with the same noise: surer progress. Unset: where the engine can."
    )
    mean_samples: Annotated[float, Ge(1), Le(MAX_SAMPLES)] | None = option(
        None,
        "Answers per prefix on average over a trace, given in rounds where progress is uncertain, and then the "
        "posterior has to be paid; num_samples is the most per prefix. Unset: num_samples everywhere.",
    )
    likelihood_prior: bool = option(
        False, "Whether the likelihood of the boxed gold answer sharpens the posterior of sampled answers."
    )
    prior: PathPrior = option(PathPrior(), "What the posterior believes of values before it sees answers.")


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

EstimatorName = Literal["likelihood", "rollouts"]
"""The `kind` of each, for those who choose it by its name."""
