from __future__ import annotations

import pytest

from mrt_reward.graders.quantities import bare_number, units_differ


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10 m/s", "10"), (r"9.8 \text{ m/s}^2", "9.8"), (r"10 \frac{\text{m}}{\text{s}}", "10"), ("$18.90", "18.90"),
        (r"\$5", "5"), ("5 apples", "5"), (r"12\text{ square units}", "12"), ("5 million", r"5 \cdot 10^{6}"),
        (r"\$2 million", r"2 \cdot 10^{6}"), (r"90^\circ", "90"), (r"\frac{1}{2} hour", r"\frac{1}{2}"),
        ("5", None), ("5m", None), ("5 x", None), ("5 or 7", None), (r"5\%", None), ("5 times 3", None), ("x m", None),
    ],
)  # fmt: skip
def test_a_quantity_is_its_number(text: str, number: str | None) -> None:
    assert bare_number(text) == number


@pytest.mark.parametrize(
    ("left", "right", "differ"),
    [
        ("10 km", "10 m", True), ("10 km/h", "10 m/s", True), ("$5", "5 euros", True),
        ("10 cm", "10 centimeters", False),
        ("9.8 m/s^2", "9.8 meters per second squared", False), ("5 apples", "5 pears", False), ("10", "10 m", False),
    ],
)  # fmt: skip
def test_only_two_known_units_can_differ(left: str, right: str, differ: bool) -> None:
    assert units_differ(left, right) is differ
