from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from mrt_reward.ranges import check_ranges, option


@dataclass(frozen=True)
class Settings:
    share: Annotated[float, Ge(0), Lt(1)] = 0.5
    most: Annotated[int, Gt(0), Le(8)] | None = None
    kind: Literal["a", "b"] = "a"
    maybe: Literal["c"] | None = None
    text: str = ""

    def __post_init__(self) -> None:
        check_ranges(self)


def test_an_option_has_a_default_and_a_description() -> None:
    @dataclass(frozen=True)
    class Walk:
        steps: int = option(2, "Steps of a walk.")

    assert Walk() == Walk(2)
    [field] = fields(Walk)
    assert field.metadata["description"] == "Steps of a walk."


def test_values_within_their_ranges_are_taken() -> None:
    assert Settings(0.0, 8, "b", "c", "anything").most == 8
    assert Settings().most is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share": 1.0}, "share must be at least 0 and below 1, got 1.0"),
        ({"share": float("nan")}, "share must be at least 0 and below 1, got nan"),
        ({"most": 0}, "most must be above 0 and at most 8, got 0"),
        ({"kind": "c"}, "kind must be one of a, b, got 'c'"),
        ({"maybe": "d"}, "maybe must be one of c, got 'd'"),
    ],
)
def test_others_are_refused_and_say_what_is_allowed(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**fields)  # pyright: ignore[reportArgumentType] - wrong on purpose
