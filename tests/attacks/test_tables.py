from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tests.attacks.filler import REPEATS, SETTINGS, Paid
from tests.attacks.measuring import Earned
from tests.attacks.tables import attack_table, filler_table
from tests.attacks.texts import ATTACKS, HONEST, KNOWING, Attack

PAGE = (Path(__file__).parents[2] / "deploy" / "attacks.md").read_text(encoding="utf-8")


def row(name: str, progress: float, *, pays: bool = False) -> Earned:
    each = np.array([progress - 0.1, progress + 0.1])
    return Earned(Attack(name, lambda _: "", pays=pays), each, each - 0.5, np.array([0.0, 0.5]))


def test_a_row_tells_progress_its_interval_its_share_of_an_honest_traces_and_what_is_left_of_it() -> None:
    honest, attack = row("honest", 0.5, pays=True), row("attack", 0.1)
    # s = 0.2/√2, so that 1.96·s/√2 = 0.196; 0.1 is a fifth of 0.5.
    assert attack_table({"a": [honest, attack], "b": [honest, attack]}).splitlines() == [
        "| thinking | a | b | right |",
        "| --- | --- | --- | --- |",
        "| **honest** | +0.500 ± 0.196 (100 %, +0.00) | +0.500 ± 0.196 (100 %, +0.00) | 0.25 |",
        "| attack | +0.100 ± 0.196 (20 %, -0.40) | +0.100 ± 0.196 (20 %, -0.40) | 0.25 |",
    ]


def test_a_setting_tells_what_tokens_are_paid_by_length_of_filler() -> None:
    table = filler_table({"x": Paid((1.0, 2.0, 3.0, -4.0), 0.5, -0.25)})
    assert table.splitlines()[0] == "| credit | 0 tokens | 14 tokens | 35 tokens | 140 tokens | going on | ending |"
    assert table.splitlines()[2] == "| x | +1.0 | +2.0 | +3.0 | -4.0 | +0.500 | -0.250 |"
    assert len(REPEATS) == 4


def test_the_page_tells_of_every_attack_and_marks_those_that_pay() -> None:
    found = re.findall(r"^\| (\*\*)?(.+?)(?:\*\*)? \| [+-]0\.\d{3} ± ", PAGE, re.M)
    rows = {name: bool(mark) for mark, name in found}
    assert rows == {attack.name: attack.pays for attack in (HONEST, *ATTACKS, KNOWING)}
    assert all(f"| {name} |" in PAGE for name in SETTINGS)
