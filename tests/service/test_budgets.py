"""Tokens that a key may have proved."""

from __future__ import annotations

import pytest

from mrt_reward.errors import BudgetSpent
from mrt_reward.service.budgets import Budgets


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_budget_holds_a_minute_and_its_debt_is_paid_off_at_its_rate() -> None:
    clock = Clock()
    budgets = Budgets({"lab": 600}, clock)  # 10 tokens a second
    budgets.charge("lab", 599)
    budgets.refuse_if_spent("lab")  # 1 is left, and one request may cost more.
    budgets.charge("lab", 101)
    with pytest.raises(BudgetSpent, match=r"'lab' may have 600 tokens a minute.* 100 over") as caught:
        budgets.refuse_if_spent("lab")
    assert caught.value.retry_after_s == pytest.approx(11.0)  # 100 tokens at 10 a second, and one second more.
    assert (caught.value.code, caught.value.retryable) == ("budget_spent", True)
    clock.now += 9.9
    with pytest.raises(BudgetSpent):
        budgets.refuse_if_spent("lab")
    clock.now += 1.1
    budgets.refuse_if_spent("lab")


def test_a_pause_saves_up_one_minute_and_no_more() -> None:
    clock = Clock()
    budgets = Budgets({"lab": 600}, clock)
    clock.now += 3600
    budgets.charge("lab", 600)
    with pytest.raises(BudgetSpent):
        budgets.refuse_if_spent("lab")


def test_callers_without_a_budget_are_counted_and_strangers_are_not() -> None:
    budgets = Budgets({"free": None, "lab": 60})
    for caller in ("free", "lab", "10.0.0.1", None, ("a", 1)):
        budgets.charge(caller, 1_000_000)
    budgets.refuse_if_spent("free")
    budgets.refuse_if_spent("10.0.0.1")
    budgets.refuse_if_spent(None)
    assert budgets.charged == {"free": 1_000_000, "lab": 1_000_000}
