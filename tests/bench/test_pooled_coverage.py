from __future__ import annotations

import pytest

from tests.bench.pooled_coverage import lowest


def test_bins_are_pooled_by_how_many_intervals_they_hold_and_small_ones_are_left_out() -> None:
    one = [{"num": 90, "covered": 0.8}, {"num": 30, "covered": 1.0}, {"num": 5, "covered": 0.0}]
    other = [{"num": 30, "covered": 1.0}, {"num": 30, "covered": 0.9}, {"num": 0, "covered": None}]
    # 72 + 30 of 120 and 30 + 27 of 60; the last has 5 of the 60 that two runs want. In all 159 of 185.
    assert lowest([one, other]) == pytest.approx((159 / 185, 102 / 120))  # pyright: ignore[reportArgumentType] - plain dicts
