"""What a training run logs about its progress rewards, under `mrt/…`.

Dimension key: N rows of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from mrt_reward.core.credit_config import PaidValues
from mrt_reward.core.progress import progress_rewards, waste_mask
from mrt_reward.core.regret import normalised_regret
from mrt_reward.training.advantages import failed_lapse
from mrt_reward.training.records import Lapse, Record, Scored
from mrt_reward.training.settings import TrainingSettings

MAX_INDEX = 8
"""Episodes whose progress is logged by index."""

FLOORED = 1.001
"""Times the floor, up to which a value counts as at it: what came back from float32 differs by rounding."""

_WORDS = (
    "accuracy {mrt/outcome/mean:.2f}",
    "{mrt/prefix/stop/outcome:.2f} where it stops and {mrt/prefix/continue/outcome:.2f} where it goes on",
    "{response_length/mean:.0f} tokens",
    "regret {mrt/regret:.2f}",
    "waste {mrt/progress/waste_share:.2f} below {mrt/waste_threshold:g}",
    "not scored {mrt/failed/share:.2f}",
)

_COUNTED = ("mrt/failed/", "mrt/traces/", "mrt/groups/")


def batch_metrics(records: Sequence[Record], settings: TrainingSettings, budget: int) -> dict[str, float]:
    """Of a batch's rows; what was not measured is left out rather than logged as a number.

    Args:
        records: one per row, padding left out; an outcome that is not known is NaN.
        settings: for the waste threshold.
        budget: C of the regret, in tokens of the response.

    """
    outcome_N = np.array([record.outcome for record in records], np.float64)
    scored = [record.scored for record in records if record.scored]
    metrics = {f"mrt/failed/{lapse.name.lower()}": 0.0 for lapse in Lapse if lapse.failed}
    for record in records:
        if lapse := failed_lapse(record):
            metrics[f"mrt/failed/{lapse.name.lower()}"] += 1.0
    metrics["mrt/failed/share"] = _mean(failed_lapse(record) is not None for record in records)
    metrics["mrt/traces/scored"] = float(len(scored))
    metrics["mrt/traces/no_thinking"] = float(sum(record.lapse is Lapse.NO_THINKING for record in records))
    # Too short a response for any mark.
    metrics["mrt/traces/unmarked"] = float(sum(each.scored is None and each.lapse is None for each in records))
    if np.isfinite(outcome_N).any():
        metrics["mrt/outcome/mean"] = float(outcome_N[np.isfinite(outcome_N)].mean())
    if scored:
        metrics |= _value_metrics(scored, budget, settings.paid_values) | _episode_metrics(scored, settings)
    return metrics


def in_words(metrics: Mapping[str, float]) -> str:
    """A step in one line, for people; what was not measured is left out."""
    parts: list[str] = []
    for words in _WORDS:
        with suppress(KeyError):
            parts.append(words.format_map(metrics))
    return ", ".join(parts)


def merged(batches: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Metrics of a step that was trained in several batches: counts are summed, the rest is averaged."""
    values: dict[str, list[float]] = {}
    for metrics in batches:
        for name, value in metrics.items():
            values.setdefault(name, []).append(value)
    return {
        name: sum(each) if name.startswith(_COUNTED) and not name.endswith("share") else sum(each) / len(each)
        for name, each in values.items()
    }


def overhead_s(records: Sequence[Record]) -> float | None:
    """Seconds by which the last reward of a step came later than it would have without values, at least 0.

    What was scored while others were still written, or rewarded, cost the step nothing. None where the trainer does not
    say when rewards were there.
    """
    parts = [record for record in records if math.isfinite(record.rewarded_at)]
    if not parts:
        return None
    return max(each.rewarded_at for each in parts) - max(each.rewarded_at - each.waited_s for each in parts)


def record_metrics(records: Sequence[Record], overhead_s: float | None = None) -> dict[str, float]:
    """Of how scoring went.

    Args:
        records: of a step's responses.
        overhead_s: seconds that the step waited for them and did nothing else; None where the trainer cannot tell.

    """
    if not records:
        return {}
    latency_N = np.array([record.latency_s for record in records])
    num_probes = sum(record.probes for record in records)
    metrics = {
        "mrt/prover/latency_s/mean": float(latency_N.mean()),
        "mrt/prover/latency_s/p95": float(np.quantile(latency_N, 0.95)),
        "mrt/prover/latency_s/max": float(latency_N.max()),
        "mrt/prover/probes": float(num_probes),
        "mrt/prover/computed_tokens": float(sum(record.computed_tokens for record in records)),
        "mrt/prover/versions": float(len({record.prover for record in records if record.prover})),
    }
    if num_probes:
        metrics["mrt/prover/cache_hit_share"] = sum(record.cached_probes for record in records) / num_probes
    if num_proved := sum(record.proved_tokens for record in records):
        metrics["mrt/prover/computed_per_token"] = metrics["mrt/prover/computed_tokens"] / num_proved
    if overhead_s is not None:
        metrics["mrt/prover/overhead_s"] = overhead_s
    return metrics


def _value_metrics(scored: Sequence[Scored], budget: int, paid: PaidValues) -> dict[str, float]:
    """Of what is paid; a posterior does not go by the name of the value."""
    name = "value" if paid == "raw" else "posterior"
    curves = [(np.array([each.start, *each.ends], np.float64), np.clip(each.value_P, 0.0, 1.0)) for each in scored]
    return {
        f"mrt/{name}/first": _mean(each.value_P[0] for each in scored),
        f"mrt/{name}/last": _mean(each.value_P[-1] for each in scored),
        "mrt/regret": _mean(normalised_regret(tokens, values, budget) for tokens, values in curves),
        "mrt/thinking/cut_off_share": _mean(each.cut_off for each in scored),
    }


def _episode_metrics(scored: Sequence[Scored], settings: TrainingSettings) -> dict[str, float]:
    """Of progress as it is paid: in nats where it is that of log J."""
    with_episodes = [each for each in scored if each.ends]
    metrics = {"mrt/episodes/mean": _mean(len(each.ends) for each in scored)}
    if not with_episodes:
        return metrics
    progress = [progress_rewards(settings.levels(each.value_P)) for each in with_episodes]
    pooled = np.concatenate(progress)
    tokens = np.concatenate([np.diff([each.start, *each.ends]) for each in with_episodes])
    # What came back from float32 differs from zero by rounding alone.
    zero = np.abs(pooled) < 1e-6
    metrics |= {
        "mrt/progress/mean": float(pooled.mean()),
        "mrt/progress/std": float(pooled.std()),
        "mrt/progress/zero_share": float(zero.mean()),
        "mrt/progress/waste_share": float((zero | waste_mask(pooled, settings.waste_threshold)).mean()),
        "mrt/episodes/tokens": float(tokens.mean()),
    }
    if settings.progress == "log":
        # A floor that many values reach hides their progress.
        value_V = np.concatenate([each.value_P for each in with_episodes])
        metrics["mrt/progress/floored_share"] = float((value_V <= settings.log_floor * FLOORED).mean())
    for j in range(min(MAX_INDEX, max(len(each.ends) for each in with_episodes))):
        here = np.array([each[j] for each in progress if each.size > j])
        metrics[f"mrt/progress/z{j}/mean"] = float(here.mean())
        metrics[f"mrt/progress/z{j}/std"] = float(here.std())
    return metrics


def _mean(numbers: Iterable[float]) -> float:
    return float(np.mean(list(numbers)))
