"""`mrt-reward pairs`: per-step preference pairs from traces that went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.flags import LOCAL_ENGINE, taking, with_settings
from mrt_reward.cli.options import options_from
from mrt_reward.cli.pooling import (
    BranchRun,
    Format,
    Options,
    Output,
    Policy,
    ScoredFiles,
    TokenizerName,
    on_engine,
    pool_and_prompts,
    show_counts,
    show_notes,
)
from mrt_reward.config import ServeSettings
from mrt_reward.evaluation.datasets.branching import BranchSettings, Point
from mrt_reward.evaluation.datasets.pairs import PairSettings, pair_row, step_pairs, summary
from mrt_reward.files import write_json, write_jsonl
from mrt_reward.options import ScoreOptions


@with_settings(*LOCAL_ENGINE)
def pairs(
    scored: ScoredFiles,
    output: Output,
    *,
    pairing: PairSettings,
    sample: Annotated[
        int,
        typer.Option(
            min=0, help="Alternatives to sample at the worst step of wrong traces without a pair, by --model."
        ),
    ] = 0,
    branching: Annotated[BranchSettings, taking("temperature", "max_tokens", "seed")],
    format_: Annotated[
        Format,
        typer.Option("--format", help="messages: chats with a template that adds nothing, for TRL. text: plain text."),
    ] = Format.messages,
    options: Options = None,
    tokenizer: TokenizerName = None,
    policy: Policy = None,
    settings: ServeSettings,
) -> None:
    """Set each step of a wrong trace against a clearly better one from the same prefix, in DPO's format.

    Steps are clearly different where the 95 % intervals of the values after them do not overlap, and the difference
    is --min-margin at least. Beside OUTPUT, OUTPUT.stats.json tells how many wrong traces gave pairs, and why others
    did not.
    """
    scoring = options_from(options, ScoreOptions())
    pool, prompts = pool_and_prompts(scored, tokenizer, policy, scoring.delimiters)
    console = Console(stderr=True)
    found, report = step_pairs(pool.traces, pairing)
    sampled: Mapping[str, int] = {}
    if sample and report.pits:
        points = [Point(step.trace, step.index) for step in report.pits]
        more, sampled = on_engine(
            BranchRun(settings, scoring, replace(branching, num_samples=sample), pool.prover),
            console,
            "alternatives",
            lambda brancher, tell: brancher.steps(points, tell),
        )
        found, report = step_pairs(pool.traces, pairing, more)
    chats = format_ is Format.messages
    write_jsonl(output, (pair_row(pair, prompts.opened(pair.rejected.trace.trace), chats=chats) for pair in found))
    stats = output.with_name(f"{output.name}.stats.json")
    counts = summary(found, report, sampled)
    write_json(stats, {"prover": pool.prover, "min_margin": pairing.min_margin, **counts})
    show_notes(console, pool.notes)
    unusable = {reason.value: count for reason, count in pool.unusable.items()}
    figures = {"mean margin": counts["mean_margin"]}
    show_counts(console, f"{len(found)} pairs", {**report.counts(), **sampled, **unusable}, figures)
    console.print(f"{output}, {stats}", highlight=False, soft_wrap=True)
    if not found:
        console.print("no pairs: sample alternatives with --sample, or lower --min-margin", style="red")
        raise SystemExit(1)
