"""`mrt-reward star`: chats to fine-tune on, from the traces that made most progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.flags import taking, with_settings
from mrt_reward.cli.options import options_from
from mrt_reward.cli.pooling import (
    Format,
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
from mrt_reward.evaluation.datasets.prompts import messages_of
from mrt_reward.evaluation.datasets.star import (
    SelectedTrace,
    StarSettings,
    chat_row,
    judge,
    response,
    text_row,
)
from mrt_reward.evaluation.datasets.star_report import report_record, star_report
from mrt_reward.files import write_json, write_jsonl
from mrt_reward.options import ScoreOptions
from mrt_reward.types import Message


@with_settings()
def star(
    scored: ScoredFiles,
    output: Output,
    *,
    settings: Annotated[
        StarSettings,
        taking("select", "per_problem", "truncate", "tolerance", "min_value", "min_episodes", "answer"),
    ],
    format_: Annotated[
        Format, typer.Option("--format", help="messages: a chat. text: prompt and completion, rendered (--tokenizer).")
    ] = Format.messages,
    tokenizer: TokenizerName = None,
    policy: Policy = None,
    options: Options = None,
) -> None:
    """Keep the traces that made most progress, cut them where they were done, and write them to fine-tune on.

    Beside OUTPUT, OUTPUT.stats.json tells what was kept and why.
    """
    delimiters = options_from(options, ScoreOptions()).delimiters
    pool, prompts = pool_and_prompts(scored, tokenizer, policy, delimiters)
    judged = judge(pool.traces, settings)
    kept = [each for each in judged if each.fate.is_kept]

    def row(each: SelectedTrace) -> Mapping[str, object]:
        if format_ is Format.text:
            return text_row(each, prompts.opened(each.trace.trace), settings, delimiters)
        if each.trace.trace.prompt is not None:
            raise ConfigError("traces with a rendered `prompt` are no chats: use --format text", param="format")
        said = Message("assistant", response(each, settings, delimiters))
        if not prompts.keeps([*messages_of(each.trace.trace), said]):
            raise ConfigError(
                f"the chat template of {tokenizer} drops thinking from what the assistant says, and a model would be "
                "trained on answers alone: use --format text",
                param="format",
            )
        return chat_row(each, settings, delimiters)

    write_jsonl(output, map(row, kept))
    report = star_report(judged, pool.unusable, settings)
    stats = output.with_name(f"{output.name}.stats.json")
    write_json(stats, {"prover": pool.prover, **report_record(report, settings)})
    console = Console(stderr=True)
    show_notes(console, pool.notes)
    show_counts(
        console,
        f"{report.kept} of {report.traces} traces kept, of {report.problems_kept} of {report.problems} problems",
        report.fates,
        report.figures(),
    )
    console.print(f"{output}, {stats}", highlight=False, soft_wrap=True)
    if not kept:
        console.print("nothing was kept: lower --min-value, or see the reasons above", style="red")
        raise SystemExit(1)
