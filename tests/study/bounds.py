"""What there is to gain: regret of searchers that look up every path rightly and are believed at once.

No policy that searches in one order can be sure of less than the terse one's regret, but for luck; the sloppy one is
what `mini-deep` was trained to imitate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from tokenizers import Tokenizer

from mrt_reward.core.regret import normalised_regret
from mrt_reward.mini.charts import Regime, sample_charted_problems
from mrt_reward.mini.island import Problem
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids
from mrt_reward.mini.truth import open_candidates, prefixes
from mrt_reward.mini.writer import CHARTED_SLOPPINESS, TIDY, Sloppiness, walk_paragraphs, write_thinking
from tests.study.evaluating import EVALUATION_SEED, TIMES_BUDGET, answer_tokens


def terse(problem: Problem, rng: Generator) -> list[str]:
    """Prefixes of a search that writes walks and verdicts alone, in a random order, and stops when it knows."""
    written = [""]
    for index in rng.permutation(len(problem.candidates)):
        if len(open_candidates(problem, written[-1])) == 1:
            break
        paragraphs = walk_paragraphs(problem, problem.candidates[index])
        written.append(written[-1] + "".join(f"{each}\n\n" for each in paragraphs))
    return written


def writer(sloppiness: Sloppiness) -> Callable[[Problem, Generator], list[str]]:
    """Prefixes of what the maker of `mini-deep`'s training texts writes."""

    def write(problem: Problem, rng: Generator) -> list[str]:
        return prefixes(write_thinking(problem, sloppiness, rng).text)

    return write


SEARCHERS: dict[str, Callable[[Problem, Generator], list[str]]] = {
    "terse": terse,
    "tidy": writer(TIDY),
    "sloppy": writer(CHARTED_SLOPPINESS),
}


@dataclass(frozen=True)
class Bound:
    """A searcher's mean regret to the evaluation's limit, in [0, 1], and mean tokens of its thinking and answer."""

    searcher: str
    regret: float
    tokens: float


def bounds(regime: Regime, policy: Path, num_problems: int = 256) -> Sequence[Bound]:
    """Of each searcher, on the problems of the final evaluation.

    Args:
        regime: of the problems.
        policy: model folder, whose tokens are counted.
        num_problems: how many.

    """
    tokenizer = load_tokenizer(policy)
    problems = sample_charted_problems(num_problems, EVALUATION_SEED, regime)
    limit, answer = TIMES_BUDGET * regime.budget_tokens, answer_tokens(policy)
    return [_bound(name, problems, tokenizer, answer, limit) for name in SEARCHERS]


def tidy_regret(regime: Regime, policy: Path) -> float:
    """Regret of the tidy searcher, as `bounds` has it."""
    return next(bound.regret for bound in bounds(regime, policy) if bound.searcher == "tidy")


def _bound(name: str, problems: Sequence[Problem], tokenizer: Tokenizer, answer: int, limit: int) -> Bound:
    rng = np.random.default_rng(0)
    regrets, tokens = list[float](), list[float]()
    for problem in problems:
        written = SEARCHERS[name](problem, rng)
        x_P = np.array([len(token_ids(tokenizer, text)) + answer for text in written], np.float64)
        value_P = np.array([1.0 / len(open_candidates(problem, text)) for text in written])
        regrets.append(normalised_regret(x_P, value_P, limit))
        tokens.append(float(x_P[-1]))
    return Bound(name, float(np.mean(regrets)), float(np.mean(tokens)))
