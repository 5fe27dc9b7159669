"""`mrt-reward compare-provers`: the same traces, several provers, and which of them teaches most."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.bars import bar
from mrt_reward.cli.columns import Map, renames_from
from mrt_reward.cli.estimator_errors import errors_against, show_errors, with_interval
from mrt_reward.cli.flags import ENGINE, flag, named_settings, with_settings
from mrt_reward.cli.line_up import LineUp, measure_estimators
from mrt_reward.cli.options import options_from
from mrt_reward.cli.pooling import BranchRun, Options, Policy, ScoredFiles, on_engine, pool_and_prompts, show_notes
from mrt_reward.cli.printed import show_table
from mrt_reward.config import ServeSettings
from mrt_reward.core.progress import WasteOptions
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.claims import measure_claims
from mrt_reward.evaluation.datasets.branching import BranchSettings, Point, policy_value
from mrt_reward.evaluation.estimators import fitted_prior
from mrt_reward.evaluation.line_up import NUMS
from mrt_reward.evaluation.pool import why_unusable
from mrt_reward.evaluation.prover_choice import MEASURES, Recommendation, recommend
from mrt_reward.evaluation.provers import PolicyValues, ProverMeasure, Scores, agreement, common_traces, measure
from mrt_reward.evaluation.result import Result
from mrt_reward.files import write_json
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import grader_of
from mrt_reward.wiring import build_scorer

CHUNK = 64
_BRANCHING = BranchSettings()


@dataclass(frozen=True, slots=True)
class Spec:
    """One prover to score with."""

    name: str
    settings: ServeSettings
    options: ScoreOptions


@with_settings(*ENGINE, "cache_path")
def compare_provers(
    scored: ScoredFiles,
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="JSON to write.")],
    prover: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=JSON",
            help='A prover to score the same traces with: settings and "options", or @FILE with them. Repeatable.',
        ),
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="The same traces, scored elsewhere. Repeatable.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the prover that scored the traces.")] = "as scored",
    reference: Annotated[
        str | None,
        typer.Option(
            help="Name of the prover that counts as the truth; adds each other one's error and its cost. With "
            "--estimators: likelihood, or plain or coupled and a number, such as 'coupled 128'."
        ),
    ] = None,
    estimators: Annotated[
        bool,
        typer.Option(
            "--estimators",
            help="Compare estimators of one prover instead: likelihood, and plain and coupled answers. The traces need "
            "not be scored. --cache-path lets it go on where it was stopped.",
        ),
    ] = False,
    answers: Annotated[
        list[int] | None,
        typer.Option(
            help="Answers a prefix of these estimators. Repeatable. [default: 2, 4, 8, 16]", show_default=False
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="SVG or PNG to draw with --estimators: error against answer tokens."),
    ] = None,
    fit_prior: Annotated[
        bool, typer.Option("--fit-prior", help="Also fit the posterior's prior to these traces, for options of others.")
    ] = False,
    policy_samples: Annotated[
        int,
        typer.Option(min=0, help="Continuations of a prefix by --model, for the policy's advantage; 0: outcomes."),
    ] = 0,
    claims: Annotated[
        int,
        typer.Option(
            min=0,
            help="Problems on which each --prover is offered claims without work, to warn of one that "
            "pays for them; 0: none.",
        ),
    ] = 64,
    max_tokens: Annotated[int, flag(BranchSettings, "max_tokens")] = _BRANCHING.max_tokens,
    seed: Annotated[int, flag(BranchSettings, "seed")] = _BRANCHING.seed,
    policy: Policy = None,
    options: Options = None,
    columns: Map = None,
    *,
    settings: ServeSettings,
) -> None:
    """Compare provers: how well they tell steps apart, and how far they agree with the policy (Rewarding Progress).

    Each --prover is settings of `serve` and scoring options, such as
    'bo4={"options": {"estimator": {"kind": "rollouts", "num_samples": 16, "best_of": 4}}}' or
    'large={"model": "Qwen/Qwen3-8B"}'. What it does not set is as the flags below say.
    """
    console = Console(stderr=True)
    scoring = options_from(options, ScoreOptions())
    _refuse_mixed_flags(columns, estimators=estimators, several=bool(prover or also or policy_samples))
    if estimators:
        wanted = LineUp(settings, scoring, reference, answers or NUMS, output, figure)
        measure_estimators(scored, renames_from(columns), wanted, console)
        return
    specs = [_spec(word, settings, scoring) for word in prover or ()]
    pool, _ = pool_and_prompts(scored, None, policy, scoring.delimiters)
    show_notes(console, pool.notes)
    scores = [Scores(name, pool.traces), *_elsewhere(also or (), scoring, policy)]
    scores += [_score(spec, pool.traces, console, claims) for spec in specs]
    _refuse_twins([each.name for each in scores])
    _check_reference(reference, [each.name for each in scores])
    try:
        scores = common_traces(scores)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    values: PolicyValues | None = None
    sampled: Mapping[str, int] = {}
    if policy_samples:
        run = BranchRun(settings, scoring, BranchSettings(policy_samples, max_tokens=max_tokens, seed=seed))
        values, sampled = _policy_values(run, scores[0].traces, console)
    measures = [measure(each, values) for each in scores]
    agreements = {f"{a.name} ~ {b.name}": agreement(a, b) for a, b in combinations(scores, 2)}
    advice = recommend(measures)
    source = f"{policy_samples} continuations a prefix" if policy_samples else "outcomes of traces that share a prefix"
    truth = next((each for each in scores if each.name == reference), None)
    errors = [] if truth is None else errors_against(truth, [each for each in scores if each is not truth])
    more: dict[str, object] = {}
    if reference:
        more = {"reference": reference, "errors": [asdict(each) for each in errors]}
    if fit_prior:
        more["priors"] = _fitted(scores, console)
    _write(output, measures, agreements, advice, {"policy_advantage": source, "sampled": dict(sampled), **more})
    _show(measures, agreements, advice, source)
    if errors:
        show_errors(errors, reference or "")
    console.print(str(output), highlight=False, soft_wrap=True)


def _refuse_mixed_flags(columns: Sequence[str] | None, *, estimators: bool, several: bool) -> None:
    if estimators and several:
        raise ConfigError("--estimators compares those of one prover: leave out --prover, --also and --policy-samples")
    if columns and not estimators:
        raise ConfigError("--map goes with --estimators: scored traces have the names that are expected", param="map")


def _spec(word: str, settings: ServeSettings, default: ScoreOptions) -> Spec:
    name, own, options = named_settings(word, "--prover", settings)
    grader_of((options or default).grader, own.graders)  # before a prover is built
    return Spec(name, own, options or default)


def _elsewhere(words: Sequence[str], scoring: ScoreOptions, policy: str | None) -> list[Scores]:
    found: list[Scores] = []
    for word in words:
        name, _, path = word.partition("=")
        if not name or not Path(path).is_file():
            raise ConfigError(f"--also {word!r}: expected NAME=FILE, and a file that is there", param="also")
        found.append(Scores(name, pool_and_prompts([Path(path)], None, policy, scoring.delimiters)[0].traces))
    return found


def _refuse_twins(names: Sequence[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ConfigError(f"provers need names of their own, got {', '.join(twins)} twice", param="prover")


def _check_reference(reference: str | None, names: Sequence[str]) -> None:
    if reference is not None and reference not in names:
        raise ConfigError(
            f"--reference {reference!r}: expected the name of a prover, one of {', '.join(names)}", param="reference"
        )


def _fitted(scores: Sequence[Scores], console: Console) -> dict[str, dict[str, float]]:
    """The prior of each prover's sampled answers, shown as it goes into options."""
    found = {each.name: fitted_prior(each) for each in scores}
    priors = {name: asdict(prior) for name, prior in found.items() if prior is not None}
    for name, prior in priors.items():
        console.print(f"prior fitted to {name}: {json.dumps(prior)}", highlight=False, markup=False, soft_wrap=True)
    return priors


def _score(spec: Spec, traces: Sequence[Result], console: Console, num_claims: int) -> Scores:
    """Score the pool's traces with another prover, and see what it pays for claims about so many problems."""

    async def body() -> Scores:
        scorer = build_scorer(spec.settings)
        found: dict[int, Result] = {}
        started = time.perf_counter()
        try:
            with bar(console) as progress:
                task = progress.add_task(f"scoring with {spec.name}", total=len(traces))
                for start in range(0, len(traces), CHUNK):
                    chunk = [each.trace for each in traces[start : start + CHUNK]]
                    async for index, scored in scorer.stream(chunk, spec.options):
                        # The text stays where it was.
                        result = replace(traces[start + index], rescored=scored)
                        if why_unusable(result) is None:
                            found[start + index] = result
                        progress.advance(task)
            seconds = time.perf_counter() - started
            results = [found[index] for index in sorted(found)]
            claims = await measure_claims(scorer, spec.options, results, num_claims)
        finally:
            await scorer.close()
        return Scores(spec.name, results, seconds, claims)

    return asyncio.run(body())


def _policy_values(
    run: BranchRun, traces: Sequence[Result], console: Console
) -> tuple[PolicyValues, Mapping[str, int]]:
    """The policy's own success rate after every distinct prefix of the traces."""
    point_of: dict[bytes, Point] = {}
    for trace in traces:
        for index, key in enumerate(trace.prefix_keys()):
            point_of.setdefault(key, Point(trace, index))
    points = list(point_of.values())
    continued, counts = on_engine(run, console, "continuations", lambda brancher, tell: brancher.finished(points, tell))
    values = {key: policy_value(texts) for key, texts in zip(point_of, continued, strict=True) if texts}
    return values, counts


def _write(
    path: Path,
    measures: Sequence[ProverMeasure],
    agreements: Mapping[str, float | None],
    advice: Recommendation,
    more: Mapping[str, object],
) -> None:
    provers = [{name: value for name, value in asdict(each).items() if name != "bound_R"} for each in measures]
    write_json(path, {**more, "provers": provers, "agreement": dict(agreements), "recommendation": asdict(advice)})


def _show(
    measures: Sequence[ProverMeasure], agreements: Mapping[str, float | None], advice: Recommendation, source: str
) -> None:
    console = Console()
    columns: dict[str, Callable[[ProverMeasure], str]] = {
        "distinguishes": lambda each: with_interval(each.distinguishes),
        "aligns": lambda each: with_interval(each.aligns),
        "sum": lambda each: with_interval(each.bound),
        "variance of progress": lambda each: f"{each.spread:.4f}",
        f"progress below {WasteOptions().waste_threshold:g}": lambda each: f"{each.waste:.1%}",
        "values about 0 / about 1": lambda each: f"{each.low_share:.0%} / {each.high_share:.0%}",
        "claims: a guess earns": _paid_for_claims,
        "tokens a trace": lambda each: f"{each.tokens:,.0f}",
        "ms a trace": lambda each: "not measured" if each.seconds is None else f"{1000 * each.seconds:.1f}",
    }
    rows = {each.name: {head: cell(each) for head, cell in columns.items()} for each in measures}
    title = f"provers on {measures[0].traces} traces; the policy's advantage from {source}"
    show_table(console, title, "prover", rows)
    console.print(MEASURES, highlight=False, markup=False, soft_wrap=True)
    for pair, correlation in agreements.items():
        shown = "not defined" if correlation is None else f"{correlation:.3f}"
        console.print(f"agreement, {pair}: {shown}", highlight=False, markup=False)
    console.print(f"\nrecommended: {advice.name or 'none'}", highlight=False, markup=False)
    for reason in advice.reasons:
        console.print(f"- {reason}", highlight=False, markup=False, soft_wrap=True)


def _paid_for_claims(each: ProverMeasure) -> str:
    if each.claims is None:
        return "not asked"
    share = each.claims.share
    return with_interval(each.claims.guessed) + ("" if share is None else f", {share:.0%} of a trace")
