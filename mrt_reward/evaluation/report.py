"""Everything that a report is made of, from files of results to the files that are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.comparable import EstimatorCounts
from mrt_reward.evaluation.contents import contents
from mrt_reward.evaluation.figures import save_figures
from mrt_reward.evaluation.folder import FIGURES, REPORT_HTML, REPORT_MD, SUMMARY
from mrt_reward.evaluation.markdown import markdown
from mrt_reward.evaluation.measures import Lens
from mrt_reward.evaluation.page import page
from mrt_reward.evaluation.provenance import Invocation, Origins
from mrt_reward.evaluation.summarising import TARGETS, summarise
from mrt_reward.evaluation.summary import Summary
from mrt_reward.evaluation.tally import NUM_EXAMPLES, Caveats, Tally
from mrt_reward.evaluation.traces import ReadNotes, Results
from mrt_reward.files import write_json, write_text
from mrt_reward.version import __version__


@dataclass(frozen=True, slots=True)
class ReportSpec:
    """What a report holds.

    Attributes:
        lens: how traces are looked at.
        budgets: for accuracy and regret, in tokens; none chooses.
        targets: accuracies to be reached.
        seed: of the resampling.
        num_examples: traces to show in full.
        figures: whether to draw SVG and PNG files too, which needs matplotlib.
        made: the call that makes the report, which it then names; None names none.

    """

    lens: Lens = field(default_factory=Lens)
    budgets: tuple[float, ...] = ()
    targets: tuple[float, ...] = TARGETS
    seed: int = 0
    num_examples: int = NUM_EXAMPLES
    figures: bool = False
    made: Invocation | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A report's content, before it is put into words and pictures.

    Attributes:
        summary: its numbers.
        notes: what was met in the files.
        caveats: by model.
        facts: by model, where its numbers come from.
        tally: with the traces to show.

    """

    summary: Summary
    notes: ReadNotes
    caveats: dict[str, Caveats]
    facts: dict[str, dict[str, str]]
    tally: Tally


def read_report(paths: Sequence[Path], spec: ReportSpec, tell: Callable[[int], None] | None = None) -> Report:
    """Read files of results, once and one line at a time.

    Args:
        paths: files of `mrt-reward evaluate` or `score`.
        spec: what to show.
        tell: called now and then with the number of bytes read.

    Raises:
        ConfigError: there is no scored trace in them, or their values are of several estimators.

    """
    tally = Tally(spec.lens, num_examples=spec.num_examples)
    results, ways, origins = Results(paths), EstimatorCounts(), Origins()
    for result in results:
        tally.add(result)
        origins.add(result)
        if not result.is_direct:
            ways.add(result.scored, result.options)
        if tell is not None and results.notes.read % 64 == 0:
            tell(results.num_bytes)
    notes = results.notes
    if not tally.models:
        failures = ", ".join(f"{count} {code}" for code, count in notes.failed.most_common(5))
        raise ConfigError(
            f"no scored trace in {', '.join(map(str, paths))}: {notes.malformed} lines are no results, {notes.cut} are "
            f"cut, {sum(notes.failed.values())} traces failed{f' ({failures})' if failures else ''}"
            f"{f'; first: {notes.first_malformed}' if notes.first_malformed else ''}",
            param="sources",
        )
    ways.refuse_mixed()
    summary = summarise(tally, budgets=spec.budgets, targets=spec.targets, seed=spec.seed)
    names = tally.shown_names
    caveats = {names[model]: each for model, each in tally.caveats.items()}
    return Report(summary, notes, caveats, origins.facts(names), tally)


def make_report(
    paths: Sequence[Path], folder: Path, spec: ReportSpec, tell: Callable[[int], None] | None = None
) -> list[Path]:
    """Read results, and write summary.json, report.md, report.html and, if asked for, figures.

    Returns:
        The files written.

    Raises:
        ConfigError: there is no scored trace, or the folder cannot be written.

    """
    return write_report(read_report(paths, spec, tell), folder, spec)


def write_report(report: Report, folder: Path, spec: ReportSpec) -> list[Path]:
    """Write summary.json, report.md, report.html and, if asked for, figures; see `make_report`."""
    write_json(folder / SUMMARY, as_json(report))
    text = contents(report.summary, report.notes, report.caveats, report.facts, spec.made)
    write_text(folder / REPORT_MD, markdown(text))
    names = report.tally.shown_names
    examples = (replace(result, model=names[result.model]) for result in report.tally.examples)
    threshold = report.summary.waste_threshold
    write_text(folder / REPORT_HTML, page(text, examples, num_traces=report.notes.read, waste_threshold=threshold))
    figures = save_figures(report.summary, folder / FIGURES) if spec.figures else []
    return [folder / SUMMARY, folder / REPORT_MD, folder / REPORT_HTML, *figures]


def as_json(report: Report) -> dict[str, Any]:
    """What summary.json holds."""
    notes = report.notes
    caveats = {model: {**asdict(each), "provers": sorted(each.provers)} for model, each in report.caveats.items()}
    return {
        "made_by": f"mrt-reward {__version__}",
        **asdict(report.summary),
        "notes": {**vars(notes), "failed": dict(notes.failed), "models": dict(notes.models)},
        "caveats": caveats,
    }
