from __future__ import annotations

import pytest

from mrt_reward.graders.assignments import num_elements, value_pairs


@pytest.mark.parametrize(
    ("answer", "gold", "pairs"),
    [
        ("y=4, x=3", "x=3,y=4", [("3", "3"), ("4", "4")]), ("(3,4)", "x=4,y=3", [("3", "4"), ("4", "3")]),
        ("(a,b)=(2,1)", "a=1,b=2", [("2", "1"), ("1", "2")]), ("y=4,x=3", "(3,4)", [("3", "3"), ("4", "4")]),
        (r"x=3\text{ and }y=4", r"\left(3,4\right)", [("3", "3"), ("4", "4")]), ("(1,2,3)", "x=1,y=2", []),
        ("x=(1,2), y=3", "y=3, x=(1,2)", [("3", "3"), ("(1,2)", "(1,2)")]),
        ("x=1, x=2", "1,2", None), ("(1,2)", "(1,2)", None), ("5", "x=5", None), ("x=5", "5", None),
        ("7", "x=3,y=4", None), ("1:2", "1:2", None), ("1:2:3", "1:2", []), ("1::3", "1:2:3", None),
        ("2:4:6", "1:2:3", [(r"\frac{4}{2}", r"\frac{2}{1}"), (r"\frac{6}{2}", r"\frac{3}{1}")]),
    ],
)  # fmt: skip
def test_values_are_paired_by_name(answer: str, gold: str, pairs: list[tuple[str, str]] | None) -> None:
    assert value_pairs(answer, gold) == pairs


@pytest.mark.parametrize(
    ("text", "count"),
    [("3, 5", 2), ("3 and 5", 2), (r"3\text{ or }5", 2), (r"\{1,2,3\}", 3), ("(1,2)", 1), ("[1,2)", 1),
    ("x=3,y=4", 2), ("7", 1)],
)  # fmt: skip
def test_a_tuple_is_one_element_and_a_list_is_several(text: str, count: int) -> None:
    assert num_elements(text) == count
