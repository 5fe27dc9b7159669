"""Which estimators are measured against each other: plain and coupled answers, few and many, and likelihood."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mrt_reward.errors import ConfigError
from mrt_reward.options import MAX_SAMPLES, Estimator, Likelihood, Rollouts, ScoreOptions

NUMS = (2, 4, 8, 16)
"""Answers a prefix, where nothing else is asked for."""

_NAME = re.compile(r"(plain|coupled) ([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Contender:
    """One estimator, and its name in tables."""

    name: str
    estimator: Estimator


def sampling_of(options: ScoreOptions) -> Rollouts:
    """How answers are drawn: as the options say where these are rollouts, and otherwise at temperature 1 and top-p 1.

    Only there likelihood values the same prover.
    """
    given = options.estimator
    return given if isinstance(given, Rollouts) else Rollouts("rollouts", temperature=1.0, top_p=1.0)


def line_up(options: ScoreOptions, nums: Sequence[int]) -> list[Contender]:
    """Likelihood, where it values the same prover, and for each number of answers plain ones and coupled ones.

    Raises:
        ConfigError: a number is outside its range, or given twice.

    """
    if not nums or len(set(nums)) < len(nums) or not all(1 <= num <= MAX_SAMPLES for num in nums):
        raise ConfigError(f"--answers: expected numbers from 1 to {MAX_SAMPLES}, each once, got {list(nums)}")
    sampled = [sampled_by(f"{kind} {num}", options) for num in sorted(nums) for kind in ("plain", "coupled")]
    return [*([Contender("likelihood", Likelihood())] if _has_likelihood(options) else []), *sampled]


def reference_of(name: str | None, options: ScoreOptions) -> Contender:
    """What counts as the truth: by default likelihood where it values the same prover, else as many answers as may be.

    Answers of a reference are drawn from another seed, so that they share no noise with those that are measured.

    Raises:
        ConfigError: the name is none of an estimator, or of one that values another prover.

    """
    if name is None:
        name = "likelihood" if _has_likelihood(options) else f"coupled {MAX_SAMPLES}"
    if name == "likelihood":
        if not _has_likelihood(options):
            sampling = sampling_of(options)
            raise ConfigError(
                "--reference likelihood is the prover at temperature 1 and top-p 1 after a boxed terminator, and "
                f"answers are drawn at temperature {sampling.temperature:g} and top-p {sampling.top_p:g} after "
                f"a {options.resolved_terminator().answer} one: use --reference 'coupled {MAX_SAMPLES}'",
                param="reference",
            )
        return Contender(name, Likelihood())
    drawn = sampled_by(name, options)
    assert isinstance(drawn.estimator, Rollouts)  # noqa: S101 - by its making
    return replace(drawn, estimator=replace(drawn.estimator, seed=(drawn.estimator.seed + 1) % 2**32))


def sampled_by(name: str, options: ScoreOptions) -> Contender:
    """An estimator by its name, such as `coupled 8`.

    Raises:
        ConfigError: it is none.

    """
    found = _NAME.fullmatch(name)
    if found is None or int(found[2]) > MAX_SAMPLES:
        raise ConfigError(
            f"--reference {name!r}: expected likelihood, or plain or coupled and a number of answers up to "
            f"{MAX_SAMPLES}, such as 'coupled {MAX_SAMPLES}'",
            param="reference",
        )
    sampling = replace(sampling_of(options), num_samples=int(found[2]), coupled=found[1] == "coupled")
    return Contender(name, sampling)


def family(name: str) -> str:
    """The name without its number of answers: of what differs in that alone."""
    return re.sub(r" \d+(?=$|,)", "", name)


def _has_likelihood(options: ScoreOptions) -> bool:
    sampling = sampling_of(options)
    boxed = options.resolved_terminator().answer == "boxed"
    return boxed and sampling.temperature == sampling.top_p == 1 == sampling.best_of
