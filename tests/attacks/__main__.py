"""Measure the attacks, and print the tables of `deploy/attacks.md`.

    python -m tests.attacks [--problems 100] [--model mini] [--estimator likelihood]

Both bundled models and both estimators, unless some are named.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from mrt_reward.mini.bundled import BUNDLED
from mrt_reward.options import Likelihood, Rollouts, ScoreOptions
from tests.attacks.filler import paid_for_filler
from tests.attacks.measuring import Earned, Range, earned
from tests.attacks.tables import attack_table, filler_table
from tests.attacks.texts import ATTACKS, HONEST, KNOWING

ESTIMATORS = {
    "likelihood": ScoreOptions(estimator=Likelihood()),
    "rollouts": ScoreOptions(estimator=Rollouts("rollouts", temperature=1.0, top_p=1.0)),
}


async def _measure(models: list[str], estimators: list[str], num_problems: int) -> None:
    measured: dict[str, list[Earned]] = {}
    for model in models:
        for estimator in estimators:
            name = f"{model}, {estimator}"
            where = Range(BUNDLED[model], ESTIMATORS[estimator], num_problems)
            try:
                reported = lambda attack, name=name: print(f"{name}: {attack}", file=sys.stderr)  # noqa: E731
                measured[name] = await earned(where, (HONEST, *ATTACKS, KNOWING), reported)
                if estimator == "likelihood":
                    print(f"{model}, filler:\n\n{filler_table(await paid_for_filler(where))}", flush=True)
            finally:
                await where.close()
    print(attack_table(measured))


def main() -> None:
    """Read the flags and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--problems", type=int, default=100, help="problems of each model")
    parser.add_argument("--model", action="append", choices=list(BUNDLED), help="repeatable")
    parser.add_argument("--estimator", action="append", choices=list(ESTIMATORS), help="repeatable")
    given = parser.parse_args()
    models, estimators = given.model or list(BUNDLED), given.estimator or list(ESTIMATORS)
    asyncio.run(_measure(models, estimators, given.problems))


if __name__ == "__main__":
    main()
