"""`mrt-reward backtracks`: warm-up data for the backtracking variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.flags import LOCAL_ENGINE, taking, with_settings
from mrt_reward.cli.options import options_from
from mrt_reward.cli.pooling import (
    BranchRun,
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
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.datasets.backtracking import (
    Backtrack,
    BacktrackSettings,
    backtrack_row,
    backtracks_from,
    sampled_backtracks,
)
from mrt_reward.evaluation.datasets.branching import Brancher, BranchSettings, Point
from mrt_reward.evaluation.datasets.branching import OnProgress as Report
from mrt_reward.files import write_json, write_jsonl
from mrt_reward.options import ScoreOptions


@with_settings(*LOCAL_ENGINE)
def backtracks(
    scored: ScoredFiles,
    output: Output,
    *,
    options: Options = None,
    going_back: BacktrackSettings,
    sample: Annotated[
        int, typer.Option(min=0, help="Continuations to sample by --model where no right attempt shares the prefix.")
    ] = 0,
    branching: Annotated[BranchSettings, taking("max_tokens", "seed")],
    tokenizer: TokenizerName = None,
    policy: Policy = None,
    settings: ServeSettings,
) -> None:
    """Write wrong attempts that go back to their best step and end right; only the `completion` is to be trained.

    The traces have no thinking tags, and were scored with options such as
    '{"delimiters": {"open": "", "close": ""}, "segmenter": {"kind": "paragraphs"}, "terminator": …}'.
    """
    scoring = options_from(options, ScoreOptions())
    if scoring.delimiters.close:
        raise ConfigError(
            "backtracking traces have no thinking tags: score them with delimiters set to '', and name those --options",
            param="options",
        )
    pool, prompts = pool_and_prompts(scored, tokenizer, policy, scoring.delimiters)
    rows, left = backtracks_from(pool.traces, going_back)
    console = Console(stderr=True)
    counts = {"wrong attempts that fell": len(rows) + len(left), "taken over by another attempt": len(rows)}
    if sample and left:
        run = BranchRun(settings, scoring, replace(branching, num_samples=sample))
        points = [Point(trace, index) for trace, index in left]

        async def continued(brancher: Brancher, tell: Report) -> Sequence[Backtrack]:
            return sampled_backtracks(await brancher.finished(points, tell))

        more, failed = on_engine(run, console, "continuations", continued)
        rows += more
        counts |= {"taken over by a sampled continuation": len(more), **failed}
    counts |= {"without a right end": counts["wrong attempts that fell"] - len(rows)}
    write_jsonl(output, (backtrack_row(row, prompts.opened(row.wrong.trace), going_back) for row in rows))
    stats = output.with_name(f"{output.name}.stats.json")
    unusable = {reason.value: count for reason, count in pool.unusable.items()}
    write_json(stats, {"prover": pool.prover, "rows": len(rows), **counts, "unusable": unusable})
    show_notes(console, pool.notes)
    show_counts(console, f"{len(rows)} rows of {len(pool.traces)} attempts", {**counts, **unusable})
    console.print(f"{output}, {stats}", highlight=False, soft_wrap=True)
    if not rows:
        console.print("no rows: sample continuations with --sample, or lower --min-value or --min-fall", style="red")
        raise SystemExit(1)
