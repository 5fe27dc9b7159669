"""`mrt-reward audit`: which traces of a run look like attempts to game the prover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mrt_reward.cli.flags import chosen, flag
from mrt_reward.cli.options import options_from
from mrt_reward.cli.pooling import Options, Policy, ScoredFiles, pool_and_prompts, show_counts, show_notes
from mrt_reward.evaluation.audit import Audit, Audited, AuditSettings, Sign, SignTotals
from mrt_reward.evaluation.audit import audit as audited
from mrt_reward.files import write_json
from mrt_reward.options import ScoreOptions

_DEFAULT = AuditSettings()


def audit(
    scored: ScoredFiles,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="JSON to write, with every trace it found.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Traces to show, those that earned most first.")] = 20,
    min_rise: Annotated[float, flag(AuditSettings, "min_rise")] = _DEFAULT.min_rise,
    bare_words: Annotated[int, flag(AuditSettings, "bare_words")] = _DEFAULT.bare_words,
    sprayed: Annotated[float, flag(AuditSettings, "sprayed")] = _DEFAULT.sprayed,
    repeated: Annotated[float, flag(AuditSettings, "repeated")] = _DEFAULT.repeated,
    restated: Annotated[float, flag(AuditSettings, "restated")] = _DEFAULT.restated,
    times: Annotated[float, flag(AuditSettings, "times")] = _DEFAULT.times,
    policy: Policy = None,
    options: Options = None,
) -> None:
    """Show which traces of a run look like attempts to game the prover, and what they earned.

    Signs are read off the text and the scores; none is a proof, and a lie told as the truth would be has none.
    """
    settings = chosen(
        AuditSettings,
        min_rise=min_rise,
        bare_words=bare_words,
        sprayed=sprayed,
        repeated=repeated,
        restated=restated,
        times=times,
    )
    delimiters = options_from(options, ScoreOptions()).delimiters
    pool, _ = pool_and_prompts(scored, None, policy, delimiters)
    found = audited(pool.traces, settings, delimiters)
    unusable = {reason.value: count for reason, count in pool.unusable.items()}
    console = Console(stderr=True)
    show_notes(console, pool.notes)
    if unusable:
        show_counts(console, "not looked at", unusable)
    _show(found, show)
    if output is not None:
        write_json(output, {"prover": pool.prover, **_record(found), "unusable": unusable})
        console.print(str(output), highlight=False, soft_wrap=True)


def _record(found: Audit) -> Mapping[str, object]:
    return {
        "settings": asdict(found.settings),
        "traces": len(found.traces),
        "signs": {sign.name.lower(): {"what": sign.value, **asdict(found.tally(sign))} for sign in Sign},
        "any_sign": asdict(found.any_sign),
        "no_sign": asdict(found.no_sign),
        "found": [_line(each) for each in found.flagged],
    }


def _line(each: Audited) -> Mapping[str, object]:
    reported = {sign.name.lower(): amount for sign, amount in each.found.items()}
    return {
        "id": each.id,
        "problem": each.problem,
        "progress": each.progress,
        "outcome": each.outcome,
        "signs": reported,
    }


def _show(found: Audit, most: int) -> None:
    console = Console()
    table = Table(title=f"{found.any_sign.traces} of {len(found.traces)} traces have a sign", title_justify="left")
    for column in ("sign", "what", "traces", "share", "mean progress"):
        table.add_column(column, justify="left" if column in ("sign", "what") else "right")
    for sign in Sign:
        table.add_row(sign.name.lower(), sign.value, *_cells(found.tally(sign)))
    table.add_section()
    table.add_row("any", "", *_cells(found.any_sign))
    table.add_row("none", "", *_cells(found.no_sign))
    console.print(table)
    if shown := found.flagged[:most]:
        console.print(_traces(shown))


def _cells(tally: SignTotals) -> tuple[str, str, str]:
    return str(tally.traces), f"{tally.share:.1%}", _number(tally.progress)


def _traces(shown: list[Audited]) -> Table:
    table = Table(title="those that earned most", title_justify="left")
    for column in ("trace", "progress", "outcome", "signs"):
        table.add_column(column, justify="right" if column in ("progress", "outcome") else "left", overflow="fold")
    for each in shown:
        message = ", ".join(f"{sign.name.lower()} {amount:.2g}" for sign, amount in each.found.items())
        # Ids are whatever a run called its traces.
        name = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in each.id)
        table.add_row(Text(name), _number(each.progress), _number(each.outcome), message)
    return table


def _number(number: float | None) -> str:
    return "not known" if number is None else f"{number:+.3f}"
