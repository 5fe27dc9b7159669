"""Records on their way through OpenRLHF's own samples: float32, padded, concatenated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mrt_openrlhf.payload import KEY, pack, unpack
from openrlhf.trainer.ppo_utils.experience import Experience

from mrt_reward.training.records import Lapse, Prefixed, Record, Scored, number_of

values = st.floats(0, 1, width=32)
indices = st.integers(0, 2**22)


@st.composite
def scored(draw: st.DrawFn) -> Scored:
    ends = sorted(draw(st.sets(st.integers(1, 2**22), max_size=9)))
    value_P = draw(st.lists(values, min_size=len(ends) + 1, max_size=len(ends) + 1))
    return Scored(0, tuple(ends), np.array(value_P), draw(st.booleans()), draw(st.integers(0, 2**28 - 1)))


prefixed = st.builds(Prefixed, st.text().map(number_of), st.none() | values, st.booleans(), indices)


@given(st.lists(st.tuples(scored() | st.sampled_from(Lapse) | prefixed, indices), min_size=1, max_size=5))
def test_every_record_comes_back_through_openrlhfs_own_merging(
    sent: list[tuple[Scored | Lapse | Prefixed, int]],
) -> None:
    reported: dict[str, Any] = {"waited_s": 0.25, "rewarded_at": 1_795_838_400.125}
    samples = [
        Experience(info={KEY: torch.tensor([pack(Record(what, "why", "m@1", 0.5, 7, 3, 900, 300, **reported), num)])})
        for what, num in sent
    ]
    merged = Experience.concat_experiences(samples, 0).info[KEY]
    assert merged.dtype == torch.float32
    for (what, num), row in zip(sent, merged.tolist(), strict=True):
        record, num_tokens = unpack(row)
        assert num_tokens == num
        assert (record.latency_s, record.probes, record.cached_probes) == (0.5, 7, 3)
        assert (record.computed_tokens, record.proved_tokens) == (900, 300)
        # A time of the day in whole seconds has more digits than float32.
        assert (record.waited_s, record.rewarded_at) == (0.25, pytest.approx(1_795_838_400.125, abs=1e-3, rel=0))
        assert record.prover
        if isinstance(what, Scored):
            assert isinstance(record.what, Scored)
            assert record.what.value_P.tolist() == what.value_P.tolist()
            assert (record.what.ends, record.what.start) == (what.ends, what.start)
            assert (record.what.cut_off, record.what.version) == (what.cut_off, what.version)
        else:
            assert record.what == what
            assert type(record.what) is type(what)


def test_values_of_long_answers_come_through_float32() -> None:
    # The smallest normal float32 is 1.2e-38.
    value_P = np.array([0.0, 1e-300, 3e-120, 0.75, 1.0])
    row = torch.tensor([pack(Record(Scored(0, (1, 2, 3, 4), value_P, False)), 9)], dtype=torch.float32)
    what = unpack(row[0].tolist())[0].what
    assert isinstance(what, Scored)
    assert what.value_P == pytest.approx(value_P, rel=1e-7, abs=0)
    assert what.value_P[0] == 0


def test_zeros_are_no_record() -> None:
    with pytest.raises(ValueError, match="kind 1 to 3, got 0"):
        unpack([0.0] * 11)


def test_a_record_without_a_prover_says_so() -> None:
    record, _ = unpack(pack(Record(Lapse.TIMEOUT), 3))
    assert record.prover is None
    assert math.isnan(record.rewarded_at)
