from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.training.metrics import batch_metrics, in_words, merged, overhead_s, record_metrics
from mrt_reward.training.records import Lapse, Record, Scored
from mrt_reward.training.settings import TrainingSettings

SETTINGS = TrainingSettings()


def test_a_batch_is_described() -> None:
    records = [
        Record(Scored(0, (4, 8), np.array([0.0, 0.5, 0.5]), cut_off=False), outcome=1.0, num_tokens=10),
        Record(Scored(0, (8,), np.array([0.5, 0.51]), cut_off=True), outcome=0.0, num_tokens=8),
        Record(Lapse.NO_THINKING, outcome=0.0, num_tokens=5),
        Record(Lapse.TIMEOUT, outcome=1.0, num_tokens=5),
    ]
    metrics = batch_metrics(records, SETTINGS, budget=8)
    assert metrics["mrt/outcome/mean"] == 0.5
    assert metrics["mrt/failed/timeout"] == 1
    assert metrics["mrt/failed/unreachable"] == 0
    assert metrics["mrt/failed/share"] == 0.25
    assert metrics["mrt/traces/scored"] == 2
    assert metrics["mrt/traces/no_thinking"] == 1
    assert metrics["mrt/value/first"] == 0.25
    assert metrics["mrt/value/last"] == pytest.approx(0.505)
    assert metrics["mrt/thinking/cut_off_share"] == 0.5
    # Progress: 0.5, 0 and 0.01, of which one is zero and two are below the threshold of 0.02.
    assert metrics["mrt/progress/mean"] == pytest.approx(0.17)
    assert metrics["mrt/progress/zero_share"] == pytest.approx(1 / 3)
    assert metrics["mrt/progress/waste_share"] == pytest.approx(2 / 3)
    assert metrics["mrt/progress/z0/mean"] == pytest.approx(0.255)
    assert metrics["mrt/progress/z1/mean"] == 0
    assert metrics["mrt/episodes/mean"] == 1.5
    assert metrics["mrt/episodes/tokens"] == pytest.approx(16 / 3)
    # First trace: 0 to 0.5 over 4 tokens and 0.5 over 4 more: area 3 of 8. Second: 0.5 to 0.51 over 8: area 4.04 of 8.
    assert metrics["mrt/regret"] == pytest.approx(1 - (3 + 4.04) / 16)


def test_a_posterior_does_not_go_by_the_name_of_the_value() -> None:
    records = [Record(Scored(0, (4,), np.array([0.25, 0.5]), cut_off=False), outcome=1.0, num_tokens=4)]
    settings = TrainingSettings(estimator="rollouts", paid_values="posterior")
    metrics = batch_metrics(records, settings, budget=8)
    assert (metrics["mrt/posterior/first"], metrics["mrt/posterior/last"]) == (0.25, 0.5)
    assert not [name for name in metrics if name.startswith("mrt/value")]


def test_progress_is_described_as_it_is_paid_and_a_floor_that_hides_it_is_reported() -> None:
    values = np.array([1e-40, 1e-30, 1e-200])
    records = [Record(Scored(0, (4, 8), values, cut_off=False), outcome=1.0, num_tokens=10)]
    metrics = batch_metrics(records, TrainingSettings(progress="log"), budget=8)
    # 23.026 nats up, and 161.181 down to the floor of 1e-100.
    assert metrics["mrt/progress/z0/mean"] == pytest.approx(23.026, abs=1e-3)
    assert metrics["mrt/progress/z1/mean"] == pytest.approx(-161.181, abs=1e-3)
    assert metrics["mrt/progress/floored_share"] == pytest.approx(1 / 3)
    assert metrics["mrt/value/last"] == 1e-200
    assert "mrt/progress/floored_share" not in batch_metrics(records, SETTINGS, budget=8)


def test_what_was_not_measured_is_not_logged() -> None:
    metrics = batch_metrics([Record(Lapse.TIMEOUT, outcome=1.0, num_tokens=3)], SETTINGS, budget=8)
    assert not [name for name in metrics if "progress" in name or "value" in name]
    only_values = [Record(Scored(0, (), np.array([0.5]), cut_off=False), outcome=1.0, num_tokens=3)]
    assert "mrt/progress/mean" not in batch_metrics(only_values, SETTINGS, budget=8)
    assert record_metrics([]) == {}


def test_an_outcome_that_is_not_known_is_left_out_of_the_mean() -> None:
    unknown = Record(None, outcome=float("nan"), num_tokens=3)
    assert (
        batch_metrics([unknown, Record(None, outcome=1.0, num_tokens=3)], SETTINGS, budget=8)["mrt/outcome/mean"] == 1.0
    )
    assert "mrt/outcome/mean" not in batch_metrics([unknown], SETTINGS, budget=8)


def test_how_scoring_went_is_described() -> None:
    records = [
        Record(Lapse.TIMEOUT, "late", None, 4.0),
        Record(Lapse.PARTIAL, "", "m@1", 2.0, probes=4, cached_probes=1, computed_tokens=90, proved_tokens=60),
    ]
    metrics = record_metrics(records, overhead_s=5.0)
    assert metrics["mrt/prover/latency_s/mean"] == 3.0
    assert metrics["mrt/prover/latency_s/max"] == 4.0
    assert metrics["mrt/prover/cache_hit_share"] == 0.25
    assert metrics["mrt/prover/versions"] == 1.0
    # 90 tokens were run for a trace of 60, which one pass over it would have read.
    assert (metrics["mrt/prover/computed_tokens"], metrics["mrt/prover/computed_per_token"]) == (90.0, 1.5)
    assert metrics["mrt/prover/overhead_s"] == 5.0
    unmeasured = {"mrt/prover/cache_hit_share", "mrt/prover/computed_per_token", "mrt/prover/overhead_s"}
    assert not unmeasured & set(record_metrics(records[:1]))


def test_what_a_step_waited_for_values_is_what_was_not_hidden_behind_its_slowest_trace() -> None:
    def record(rewarded_at: float, waited_s: float) -> Record:
        return Record(Lapse.NO_THINKING, rewarded_at=rewarded_at, waited_s=waited_s)

    # The slowest trace's own reward was there at 108, and its values at 110; the first's wait was over by then.
    assert overhead_s([record(104.0, 3.0), record(110.0, 2.0)]) == 2.0
    # Here another trace came in after both, so that the step waited for no values.
    assert overhead_s([record(104.0, 3.0), record(110.0, 2.0), record(112.0, 0.0)]) == 0.0
    assert overhead_s([Record(Lapse.NO_THINKING, waited_s=1.0)]) is None
    assert overhead_s([]) is None


def test_a_step_is_reported_in_one_line_without_what_was_not_measured() -> None:
    measured = {"mrt/outcome/mean": 0.625, "mrt/progress/waste_share": 0.4, "mrt/failed/share": 0.0, "grad_norm": 2.0}
    assert (
        in_words({**measured, "mrt/waste_threshold": 0.02}) == "accuracy 0.62, waste 0.40 below 0.02, not scored 0.00"
    )
    # A share of waste is not printed without its threshold.
    assert in_words(measured) == "accuracy 0.62, not scored 0.00"
    assert in_words({}) == ""


def test_batches_of_a_step_are_summed_where_they_are_counts_and_averaged_elsewhere() -> None:
    first = {"mrt/failed/timeout": 1.0, "mrt/failed/share": 0.5, "mrt/progress/mean": 0.1}
    second = {"mrt/failed/timeout": 2.0, "mrt/failed/share": 0.1}
    wanted = {"mrt/failed/timeout": 3.0, "mrt/failed/share": 0.3, "mrt/progress/mean": 0.1}
    assert merged([first, second]) == pytest.approx(wanted)
    assert merged([]) == {}
