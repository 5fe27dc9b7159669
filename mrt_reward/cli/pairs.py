"""`mrt-reward pairs`: per-step preference pairs from traces that went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.flags import LOCAL_ENGINE, chosen, flag, with_settings
from mrt_reward.cli.options import options_from
from mrt_reward.cli.pooling import (
    BranchRun,
    Format,
    Options,
    Output,
    Policy,
    Scored,
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

_DEFAULT, _BRANCHING = PairSettings(), BranchSettings()


@with_settings(*LOCAL_ENGINE)
def pairs(
    scored: Scored,
    output: Output,
    min_margin: Annotated[float, flag(PairSettings, "min_margin")] = _DEFAULT.min_margin,
    per_trace: Annotated[int, flag(PairSettings, "per_trace")] = _DEFAULT.per_trace,
    sample: Annotated[
        int,
        typer.Option(
            min=0, help="Alternatives to sample at the worst step of wrong traces without a pair, by --model."
        ),
    ] = 0,
    temperature: Annotated[float, flag(BranchSettings, "temperature")] = _BRANCHING.temperature,
    max_tokens: Annotated[int, flag(BranchSettings, "max_tokens")] = _BRANCHING.max_tokens,
    seed: Annotated[int, flag(BranchSettings, "seed")] = _BRANCHING.seed,
    format_: Annotated[
        Format,
        typer.Option("--format", help="messages: chats with a template that adds nothing, for TRL. text: plain text."),
    ] = Format.messages,
    options: Options = None,
    tokenizer: TokenizerName = None,
    policy: Policy = None,
    *,
    settings: ServeSettings,
) -> None:
    """Set each step of a wrong trace against a clearly better one from the same prefix, in DPO's format.

    Steps are clearly different where the 95 % intervals of the values after them do not overlap, and the difference
    is --min-margin at least. Beside OUTPUT, OUTPUT.stats.json tells how many wrong traces gave pairs, and why others
    did not.
    """
    pairing = chosen(PairSettings, min_margin=min_margin, per_trace=per_trace)
    scoring = options_from(options, ScoreOptions())
    pool, prompts = pool_and_prompts(scored, tokenizer, policy, scoring.delimiters)
    console = Console(stderr=True)
    found, report = step_pairs(pool.traces, pairing)
    sampled: Mapping[str, int] = {}
    if sample and report.pits:
        branching = chosen(
            BranchSettings, num_samples=sample, temperature=temperature, max_tokens=max_tokens, seed=seed
        )
        points = [Point(step.trace, step.place) for step in report.pits]
        more, sampled = on_engine(
            BranchRun(settings, scoring, branching, pool.prover),
            console,
            "alternatives",
            lambda brancher, tell: brancher.steps(points, tell),
        )
        found, report = step_pairs(pool.traces, pairing, more)
    chats = format_ is Format.messages
    write_jsonl(output, (pair_row(pair, prompts.opened(pair.rejected.trace.trace), chats=chats) for pair in found))
    stats = output.with_name(f"{output.name}.stats.json")
    told = summary(found, report, sampled)
    write_json(stats, {"prover": pool.prover, "min_margin": min_margin, **told})
    show_notes(console, pool.notes)
    unusable = {reason.value: count for reason, count in pool.unusable.items()}
    figures = {"mean margin": told["mean_margin"]}
    show_counts(console, f"{len(found)} pairs", {**report.counts(), **sampled, **unusable}, figures)
    console.print(f"{output}, {stats}", highlight=False, soft_wrap=True)
    if not found:
        console.print("no pairs: sample alternatives with --sample, or lower --min-margin", style="red")
        raise SystemExit(1)
