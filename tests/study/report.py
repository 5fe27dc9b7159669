"""The study's page: tables of finished runs, and their curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from mrt_reward.errors import ConfigError
from mrt_reward.mini.charts import REGIMES
from tests.study.comparing import Difference, Finished, first_at, grouped, paired, tokens_per_right, trained
from tests.study.evaluating import TIMES_BUDGET

Group = tuple[str, str, str]
RIVAL_NAMES = ("outcome", "masked", "forced", "scalar")

_COLUMNS = {
    "regret": "regret to 3 budgets",
    "regret_budget": "regret to 1 budget",
    "revealed_regret": "revealed regret",
    "right": "right within 3 budgets",
    "within": "right within 1 budget",
    "tokens": "tokens",
    "waste": "waste, by words",
    "idle": "idle episodes",
    "episodes": "episodes",
    "unthought": "right without thinking",
    "false_claims": "false verdicts",
}
WARM = 4
"""Steps whose success in training is left out."""
_PAIRED = ("regret", "within", "right", "tokens", "waste", "idle")


def is_rival(arm: str) -> bool:
    """Whether an arm pays no episode."""
    return arm.startswith(RIVAL_NAMES)


def strongest_rival(groups: Mapping[Group, Sequence[Finished]]) -> Group | None:
    """Of one regime: the rival whose mean regret at the end is lowest."""
    rivals = [key for key in groups if is_rival(key[1])]
    return min(rivals, key=lambda key: _final(groups[key], "regret"), default=None)


def page(runs: Sequence[Finished]) -> str:
    """Tables of all regimes, in Markdown.

    Raises:
        ConfigError: no run is done, or those of a regime were not evaluated on the same problems.

    """
    if not runs:
        raise ConfigError("no run is done yet")
    parts: list[str] = []
    for regime in [name for name in REGIMES if any(run.regime == name for run in runs)]:
        groups = {key: each for key, each in grouped(runs).items() if key[0] == regime}
        if len({run.candidates.size for each in groups.values() for run in each}) != 1:
            raise ConfigError("expected runs that were evaluated on the same problems at the end")
        rival = strongest_rival(groups)
        tables = (
            _means(groups),
            _reached(groups, rival),
            _differences(groups, rival),
            _trained(groups),
            _seeds(groups),
            _sizes(groups),
        )
        parts += [f"## {regime}", *tables]
    return "\n\n".join(part for part in parts if part) + "\n"


def _final(runs: Sequence[Finished], metric: str) -> float:
    return float(np.mean([run.final.mean.get(metric, np.nan) for run in runs]))


def _label(key: Group) -> str:
    return f"{key[1]} ({key[2]})"


def _legend(key: Group, *, how: bool) -> str:
    """What a picture calls an arm, for readers who know no arm; with how it was trained where that differs."""
    rewards = {"outcome": "outcome reward (GRPO)", "paper-1": "progress reward, the paper's"}
    name = rewards.get(key[1], f"{key[1]}, a rival" if is_rival(key[1]) else f"progress reward ({key[1]})")
    return f"{name}: {key[2]}" if how else name


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _number(value: float) -> str:
    """Empty where older runs were not asked."""
    return "" if np.isnan(value) else f"{value:.3g}"


def _means(groups: Mapping[Group, Sequence[Finished]]) -> str:
    """Of the last step, and of the policy before training."""
    first = next(iter(groups.values()))[0].points[0]
    rows = [["before training", "", *(_number(first.mean.get(name, np.nan)) for name in _COLUMNS), ""]]
    for key in sorted(groups, key=lambda key: _final(groups[key], "regret")):
        report = [_number(_final(groups[key], name)) for name in _COLUMNS]
        rows.append([_label(key), str(len(groups[key])), *report, f"{tokens_per_right(groups[key]):.0f}"])
    return _table(["arm (values)", "seeds", *_COLUMNS.values(), "tokens per right answer"], rows)


def _reached(groups: Mapping[Group, Sequence[Finished]], rival: Group | None) -> str:
    """When each arm came down to the strongest rival's last regret."""
    if rival is None:
        return ""
    goal, rows = _final(groups[rival], "regret"), list[list[str]]()
    for key, runs in groups.items():
        reached = first_at(runs, goal)
        step = "never" if reached.step is None else f"{reached.step:.1f}"
        tokens = "never" if reached.training_tokens is None else f"{reached.training_tokens / 1000:.0f} k"
        rows.append([_label(key), step, tokens])
    report = f"Steps and training tokens until regret {goal:.3f}, the last of {_label(rival)}, the strongest rival:"
    return f"{report}\n\n{_table(['arm (values)', 'steps', 'training tokens'], rows)}"


def _differences(groups: Mapping[Group, Sequence[Finished]], rival: Group | None) -> str:
    """Each arm against the strongest rival, paired."""
    if rival is None:
        return ""
    # Older runs were not asked for all of them.
    metrics = [name for name in _PAIRED if all(name in run.problems for runs in groups.values() for run in runs)]
    rows = [
        [_label(key), *(_shown(paired(runs, groups[rival], metric)) for metric in metrics)]
        for key, runs in groups.items()
        if key != rival and {run.seed for run in runs} & {run.seed for run in groups[rival]}
    ]
    head = ["minus the strongest rival", *(_COLUMNS[metric] for metric in metrics)]
    report = "Paired by seed and problem at the last step; 95 % intervals by bootstrap over both:"
    return f"{report}\n\n{_table(head, rows)}" if rows else ""


def _trained(groups: Mapping[Group, Sequence[Finished]]) -> str:
    """Success in training, where nothing is taken off or added to the outcome, against plain outcome reward."""
    plain = {key: runs for key, runs in groups.items() if not key[1].startswith("scalar") and "length" not in key[1]}
    rows: list[list[str]] = []
    for key, runs in plain.items():
        mean = np.mean([run.outcomes[WARM:].mean() for run in runs])
        base = _outcome(plain, key) if key[1] != "outcome" else []
        paired_seeds = {run.seed for run in runs} & {run.seed for run in base}
        gap = _shown(trained(runs, base, WARM + 1)) if len(paired_seeds) > 1 else ""
        rows.append([_label(key), str(len(runs)), f"{mean:.3f}", gap])
    report = (
        f"Success within the budget in training, mean over steps {WARM + 1} to the last; Student's interval over seeds:"
    )
    return f"{report}\n\n{_table(['arm (values)', 'seeds', 'success', 'minus outcome'], rows)}" if rows else ""


def _outcome(groups: Mapping[Group, Sequence[Finished]], key: Group) -> Sequence[Finished]:
    """Outcome reward alone, trained as these were, whatever its values: it is paid for none."""
    _, _, rates = key[2].partition(",")
    same = (
        runs
        for (regime, arm, values), runs in groups.items()
        if (regime, arm) == (key[0], "outcome") and values.partition(",")[2] == rates
    )
    return next(same, [])


def _seeds(groups: Mapping[Group, Sequence[Finished]]) -> str:
    """Each seed by itself, because one may have gone another way than the others."""
    seeds = sorted({run.seed for runs in groups.values() for run in runs})
    rows: list[list[str]] = []
    for key, runs in groups.items():
        of = {run.seed: f"{run.outcomes[WARM:].mean():.3f}" for run in runs}
        rows.append([_label(key), "outcome in training", *(of.get(seed, "") for seed in seeds)])
        for metric in ("regret", "within", "waste"):
            of = {run.seed: f"{run.final.mean[metric]:.3f}" for run in runs}
            rows.append([_label(key), _COLUMNS[metric], *(of.get(seed, "") for seed in seeds)])
    return f"Each seed, at the last step:\n\n{_table(['arm (values)', 'metric', *map(str, seeds)], rows)}"


def _shown(gap: Difference) -> str:
    return f"{gap.mean:+.3g} [{gap.low:+.3g}, {gap.high:+.3g}]"


def _sizes(groups: Mapping[Group, Sequence[Finished]]) -> str:
    """Easy and hard problems apart: of at most, and of more than, the median number of candidates."""
    sizes = next(iter(groups.values()))[0].candidates
    middle = float(np.median(sizes))
    if (sizes > middle).sum() == 0:
        return ""
    rows: list[list[str]] = []
    for key, runs in groups.items():
        row = [_label(key)]
        for of in (sizes <= middle, sizes > middle):
            row += [
                f"{np.nanmean([run.problems[name][of] for run in runs]):.3g}" for name in ("regret", "right", "tokens")
            ]
        rows.append(row)
    head = [f"{what}, {size}" for size in ("easy", "hard") for what in ("regret", "right", "tokens")]
    report = f"Easy problems have at most {middle:g} candidates, hard ones more:"
    return f"{report}\n\n{_table(['arm (values)', *head], rows)}"


def draw(runs: Sequence[Finished], path: Path, faultless: Mapping[str, float] | None = None) -> None:
    """Learning curves, and accuracy against budget at the end, of all regimes; the same runs draw the same file.

    Args:
        runs: all that are shown.
        path: of the SVG.
        faultless: regret of a searcher that makes no mistake, by regime.

    """
    regimes = [name for name in REGIMES if any(run.regime == name for run in runs)]
    figure = Figure(figsize=(9.6, 0.3 + 2.8 * len(regimes)), layout="constrained")
    grid = np.atleast_2d(figure.subplots(len(regimes), 3, squeeze=False))
    for row, regime in zip(grid, regimes, strict=True):
        groups = {key: each for key, each in grouped(runs).items() if key[0] == regime}
        differing = len({how for _, _, how in groups}) > 1
        for number, (key, each) in enumerate(groups.items()):
            label = _legend(key, how=differing)
            how = {"color": f"C{number % 10}", "linestyle": "--" if is_rival(key[1]) else "-"}
            for axes, metric in zip(row, ("regret", "tokens"), strict=False):
                _learning(axes, each, metric, how, label)
            curve = np.mean([run.final.curve for run in each], axis=0)
            most = TIMES_BUDGET * REGIMES[regime].budget_tokens
            row[2].plot(np.linspace(0, most, curve.size + 1)[1:], curve, label=label, **how)
        thin = " (thin: single seeds)" if any(len(each) > 1 for each in groups.values()) else ""
        if faultless:
            row[0].axhline(
                faultless[regime], color="0.5", linestyle=":", linewidth=1.0, label="a search without mistakes"
            )
        for axes, title, x, y in zip(
            row,
            (f"normalised regret{thin}", f"tokens of a trace{thin}", "accuracy at a budget, at the end"),
            ("optimiser step", "optimiser step", "budget, tokens"),
            ("regret, lower is better", "tokens", "share right, higher is better"),
            strict=True,
        ):
            axes.set_title(title if len(regimes) == 1 else f"{regime}: {title}", fontsize=10)
            axes.set_xlabel(x)
            axes.set_ylabel(y)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.spines[["top", "right"]].set_visible(False)
    shown = {label: line for row in grid for line, label in zip(*row[0].get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=len(shown), frameon=False, fontsize=9)
    with mpl.rc_context({"svg.hashsalt": "mrt-reward", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def _learning(axes: Any, runs: Sequence[Finished], metric: str, how: Mapping[str, str], label: str) -> None:
    steps = [point.step for point in runs[0].points]
    values = [[point.mean[metric] for point in run.points] for run in runs]
    for each in values:
        axes.plot(steps, each, linewidth=0.8, alpha=0.35, **how)
    axes.plot(steps, np.mean(values, axis=0), linewidth=2.0, label=label, **how)
