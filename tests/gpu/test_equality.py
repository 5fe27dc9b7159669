"""The bars that the engine's numbers are held to, with numbers by hand: what is wrong does not pass them."""

from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, SpellingIds
from tests.gpu.equality import against_float32, against_plain

PROOF = Proof(
    np.arange(40, dtype=np.int32), (Probe(10, (1,)), Probe(40, (1,))), LikelihoodQuery((SpellingIds((5, 6, 7), (8,)),))
)
"""Four tokens of an answer, so that rounding may be 0.25 nats · √4."""


@pytest.mark.parametrize(
    ("ours", "apart", "ratio", "holds"),
    [
        ([-9.0, -3.0], 0.0, 6e12, (True, True)),
        # Half a nat is the bar, and the next cut changes 6 nats, which is 12√2 times the root mean square.
        ([-9.5, -3.0], 0.5, 16.97, (True, True)),
        ([-9.6, -3.0], 0.6, 14.14, (False, True)),
        # As another cut would have it.
        ([-3.0, -3.0], 6.0, 1.414, (False, False)),
        ([float("nan"), -3.0], float("nan"), float("nan"), (False, False)),
    ],
)
def test_answers_are_held_to_rounding_and_to_what_a_cut_changes(
    ours: list[float], apart: float, ratio: float, holds: tuple[bool, bool]
) -> None:
    theirs = np.array([[-9.0], [-3.0]])
    first, second = against_plain("m", [PROOF], [np.array(ours)[:, None]], [theirs])
    assert first.value == pytest.approx(apart, nan_ok=True)
    assert second.value == pytest.approx(ratio, rel=1e-3, nan_ok=True)
    assert (first.holds, second.holds) == holds


@pytest.mark.parametrize(("off", "holds"), [(0.1, True), (0.19, True), (0.21, False)])
def test_the_engine_may_be_twice_as_far_off_float32_as_plain_bfloat16(off: float, holds: bool) -> None:
    exact = np.array([[-9.0], [-3.0]])
    figure = against_float32("m", exact + off, exact - 0.1, exact)
    assert figure.value == pytest.approx(10 * off)
    assert figure.holds is holds
