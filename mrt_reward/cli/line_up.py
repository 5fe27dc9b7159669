"""`mrt-reward compare-provers --estimators`: the same traces, one prover, many estimators, and what each is worth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from mrt_reward.cli.bars import bar
from mrt_reward.cli.columns import refuse_unanswered, refuse_unusable
from mrt_reward.cli.estimator_errors import errors_against, show_errors
from mrt_reward.cli.jsonl import read_rows
from mrt_reward.cli.pooling import pool_and_prompts
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.error_figure import check_figure, save_errors
from mrt_reward.evaluation.line_up import Contender, line_up, reference_of
from mrt_reward.evaluation.pool import why_unusable
from mrt_reward.evaluation.provers import Scores, common_traces
from mrt_reward.evaluation.result import Result
from mrt_reward.files import write_json
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import grader_of
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Trace
from mrt_reward.wiring import build_scorer

CHUNK = 64


@dataclass(frozen=True, slots=True)
class LineUp:
    """What is measured by what, and where that goes.

    Attributes:
        settings: of the engine.
        options: of scoring; of their estimator, how answers are drawn.
        reference: name of what counts as the truth; None chooses.
        nums: answers a prefix.
        output: JSON to write.
        figure: SVG or PNG to draw.

    """

    settings: ServeSettings
    options: ScoreOptions
    reference: str | None
    nums: Sequence[int]
    output: Path
    figure: Path | None


def measure_estimators(paths: Sequence[Path], renames: Mapping[str, str], wanted: LineUp, console: Console) -> None:
    """Score the traces with each estimator, compare them with the reference, and write what came of it.

    Args:
        paths: JSONL of traces, scored or not.
        renames: the files' columns that have other names than ours, and ours.
        wanted: what is measured.
        console: that shows the progress.

    Raises:
        ConfigError: a name or number is none, no row of a file can be used, or no trace could be scored by all.

    """
    if wanted.figure is not None:
        check_figure(wanted.figure)
    reference = reference_of(wanted.reference, wanted.options)
    contenders = [each for each in line_up(wanted.options, wanted.nums) if each != reference]
    traces = [trace for path in paths for trace in _traces(path, renames, wanted, console)]
    if not traces:
        raise ConfigError(f"expected traces with a problem, an answer and a completion in {_named(paths)}, got none")
    found = asyncio.run(_scored(traces, [reference, *contenders], wanted, console))
    try:
        truth, *scores = common_traces(found)
    except ValueError as error:
        raise ConfigError(f"no trace could be scored by all of {', '.join(each.name for each in found)}") from error
    if not scores:
        raise ConfigError(f"no trace could be scored by anything but {truth.name}", param="answers")
    errors = errors_against(truth, scores)
    num = len(truth.traces)
    record = {"reference": truth.name, "traces": num, "errors": [asdict(each) for each in errors]}
    write_json(wanted.output, record)
    show_errors(errors, truth.name)
    if num < len(traces):
        console.print(f"{len(traces) - num} of {len(traces)} traces were left out: not scored wholly by all")
    if wanted.figure is not None:
        save_errors(errors, truth.name, wanted.figure)
    for path in (wanted.output, wanted.figure):
        if path is not None:
            console.print(str(path), highlight=False, soft_wrap=True)


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _traces(path: Path, renames: Mapping[str, str], wanted: LineUp, console: Console) -> list[Trace]:
    """Of a file of traces, as `mrt-reward score` takes it, or of one that it wrote."""
    rows = list(read_rows(path, renames))
    if rows and all(row.trace is None for row in rows):
        if any("trace" in row.extra for row in rows):
            pool, _ = pool_and_prompts([path], None, None, wanted.options.delimiters)
            return [result.trace for result in pool.traces]
        refuse_unusable(path, rows)
    options = replace(wanted.options, estimator=reference_of(wanted.reference, wanted.options).estimator)
    refuse_unanswered(path, rows, options, grader_of(options.grader, wanted.settings.graders))
    if errors := [row.error for row in rows if row.error is not None]:
        note = f"{len(errors)} lines were skipped, the first: {errors[0]}"
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    return [row.trace for row in rows if row.trace is not None]


async def _scored(
    traces: Sequence[Trace], contenders: Sequence[Contender], wanted: LineUp, console: Console
) -> list[Scores]:
    scorer = build_scorer(wanted.settings)
    try:
        with bar(console) as progress:
            task = progress.add_task("scoring", total=len(contenders) * len(traces))
            found: list[Scores] = []
            for each in contenders:
                progress.update(task, description=f"scoring with {each.name}")
                results: dict[int, Result] = {}
                async for index, result in _results(scorer, traces, replace(wanted.options, estimator=each.estimator)):
                    results[index] = result
                    progress.advance(task)
                usable = [results[index] for index in sorted(results) if why_unusable(results[index]) is None]
                if usable:
                    found.append(Scores(each.name, usable))
                    continue
                # One that the engine cannot do, such as coupled answers of an endpoint, costs the others nothing.
                why = _first_error(results)
                if not found:
                    raise ConfigError(
                        f"{each.name} scored no trace, and the others are measured against it: {why}; take another "
                        "--reference",
                        param="reference",
                    )
                note = f"{each.name} is left out, because it scored no trace: {why}"
                console.print(note, highlight=False, markup=False, soft_wrap=True)
            return found
    finally:
        await scorer.close()


def _first_error(results: Mapping[int, Result]) -> str:
    errors = (results[index].scored.error for index in sorted(results))
    return next((error.message for error in errors if error is not None), "none of them thinks")


async def _results(scorer: Scorer, traces: Sequence[Trace], options: ScoreOptions) -> AsyncIterator[tuple[int, Result]]:
    for start in range(0, len(traces), CHUNK):
        async for index, scored in scorer.stream(traces[start : start + CHUNK], options):
            yield start + index, Result((traces[start + index], scored))
