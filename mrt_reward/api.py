"""Scoring in this process, for scripts and notebooks that want no server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from mrt_reward.config import load_settings
from mrt_reward.core.baselines import Extent
from mrt_reward.core.credit import Credit, credit
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import values_of
from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.mistakes import mistakes
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import grader_of
from mrt_reward.types import ScoredTrace, Trace
from mrt_reward.wire import read_options, sound_trace, trace_mistakes


def score(
    traces: Sequence[Trace | Mapping[str, object]],
    options: ScoreOptions | Mapping[str, object] | None = None,
    **settings: object,
) -> tuple[ScoredTrace, ...]:
    """Score traces with an engine of this process.

    Args:
        traces: records, or mappings with the fields of the wire's trace. Ids are labels here, and may repeat; a mapping
            without one gets its index.
        options: how to score: a record of `mrt_reward.options`, or a mapping as the wire takes it, such as
            `{"estimator": {"kind": "rollouts"}}`.
        settings: of the server, by name, such as `model`; without a model, the bundled mini model proves.

    Returns:
        The traces in their order; one that could not be scored has status "error" and says why.

    Raises:
        ConfigError: a setting or an option is wrong; no model is loaded then.
        TraceError: a trace breaks its schema; likewise.

    """
    from mrt_reward.wiring import build_scorer  # noqa: PLC0415 - loads torch

    chosen = load_settings(**settings)
    scoring = chosen.options if options is None else _read(options)
    grader_of(scoring.grader, chosen.graders)
    asked = [trace if isinstance(trace, Trace) else _read_trace(trace, index) for index, trace in enumerate(traces)]

    async def run() -> tuple[ScoredTrace, ...]:
        scorer = build_scorer(chosen)
        try:
            return await scorer.score(asked, scoring)
        finally:
            await scorer.close()

    return asyncio.run(run())


def _read_trace(given: Mapping[str, object], index: int) -> Trace:
    try:
        return sound_trace({"id": str(index), **given})
    except TypeError as error:
        what = f"traces.{index}: expected a trace or a mapping with its fields, got {type(given).__name__}"
        raise TraceError(what, param=f"traces.{index}") from error
    except ValidationError as error:
        [first, *_] = trace_mistakes(error)
        raise TraceError(f"traces.{index}: {first}", param=f"traces.{index}.{first.param}".rstrip(".")) from error


def _read(options: ScoreOptions | Mapping[str, object]) -> ScoreOptions:
    try:
        return read_options(options)
    except ValidationError as error:
        [first, *_] = mistakes(error.errors(include_url=False), ScoreOptions)
        raise ConfigError(f"options.{first}" if first.path else f"options: {first}", param="options") from error


def advantages(group: Sequence[ScoredTrace], config: CreditConfig | None = None) -> tuple[Credit, ...]:
    """Advantages of the scored traces of one problem; a trace that failed is paid its outcome alone.

    Raises:
        ValueError: what the configuration needs of the traces is not there, or their values do not go with it.

    """
    chosen = config or CreditConfig()
    chosen.check_values(group)
    extents = [Extent.of(trace) for trace in group]
    values = [values_of(trace, chosen.paid_values) for trace in group]
    return credit([trace.outcome for trace in group], values, chosen, extents)
