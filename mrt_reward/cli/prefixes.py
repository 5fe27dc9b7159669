"""`mrt-reward prefixes`: prefix-conditioned groups for MRT-RL as published."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.flags import with_settings
from mrt_reward.cli.options import options_from
from mrt_reward.cli.pooling import (
    Options,
    Output,
    Policy,
    ScoredFiles,
    TokenizerName,
    pool_and_prompts,
    show_counts,
    show_notes,
)
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.datasets.parquet import write_parquet
from mrt_reward.evaluation.datasets.prefixes import (
    PrefixSettings,
    draw_cuts,
    in_turn,
    prefix_rows,
    summary,
    text_record,
    verl_record,
)
from mrt_reward.files import write_json, write_jsonl
from mrt_reward.options import ScoreOptions


@with_settings()
def prefixes(
    scored: ScoredFiles,
    output: Output,
    *,
    tokenizer: TokenizerName = None,
    settings: PrefixSettings,
    data_source: Annotated[str, typer.Option(help="veRL's column of that name.")] = "mrt",
    policy: Policy = None,
    options: Options = None,
) -> None:
    """Cut traces after a random number of episodes, and write for each prefix a row that stops and one that goes on.

    OUTPUT ends in .parquet (as veRL reads it) or in .jsonl (as OpenRLHF and TRL do). Beside it, OUTPUT.stats.json
    tells what was drawn.
    """
    if output.suffix not in (".parquet", ".jsonl"):
        raise ConfigError(
            f"--output: expected a name that ends in .parquet or .jsonl, got {output.name}", param="output"
        )
    scoring = options_from(options, ScoreOptions())
    pool, prompts = pool_and_prompts(scored, tokenizer, policy, scoring.delimiters)
    cuts = draw_cuts(pool.traces, settings)
    terminator = scoring.resolved_terminator()
    rows = in_turn(prefix_rows(cut, prompts.opened(cut.trace.trace), terminator, scoring.delimiters) for cut in cuts)
    if output.suffix == ".parquet":
        write_parquet(output, (verl_record(row, index, data_source) for index, row in enumerate(rows)))
    else:
        write_jsonl(output, (text_record(row) for row in rows))
    figures = summary(cuts, pool.traces)
    stats = output.with_name(f"{output.name}.stats.json")
    write_json(
        stats, {"prover": pool.prover, **figures, "unusable": {why.value: n for why, n in pool.unusable.items()}}
    )
    console = Console(stderr=True)
    show_notes(console, pool.notes)
    unusable = {reason.value: count for reason, count in pool.unusable.items()}
    show_counts(console, f"{2 * len(cuts)} rows of {len(cuts)} prefixes", unusable, figures)
    console.print(f"{output}, {stats}", highlight=False, soft_wrap=True)
    if not cuts:
        console.print("no prefixes: widen --min-value … --max-value, or lower --min-episodes", style="red")
        raise SystemExit(1)
