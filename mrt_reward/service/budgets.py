"""How many tokens each caller with a key may have proved, and has had."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping

from mrt_reward.errors import BudgetSpent


class Budgets:
    """A token bucket for each named caller: it fills by the caller's rate, and holds a minute of it.

    Work is charged when it is begun, at its whole cost, and new requests are taken while anything is left. One request
    may therefore cost more than is left; the debt is paid off before the next one is taken, so that the rate holds in
    the mean.

    Args:
        tokens_per_minute: of each caller by name; None is without limit.
        clock: seconds, never going back.

    """

    def __init__(
        self, tokens_per_minute: Mapping[str, int | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._rates = {name: rate / 60 for name, rate in tokens_per_minute.items() if rate is not None}
        self._left = {name: rate * 60 for name, rate in self._rates.items()}
        self._looked_at = dict.fromkeys(self._rates, clock())
        self._charged = dict.fromkeys(tokens_per_minute, 0)

    @property
    def charged(self) -> Mapping[str, int]:
        """Tokens of each named caller since the start."""
        return self._charged

    def refuse_if_spent(self, caller: Hashable) -> None:
        """Raise where a caller has nothing left.

        Raises:
            BudgetSpent: it says when there will be something again.

        """
        if not isinstance(caller, str) or caller not in self._rates:
            return
        left = self._filled(caller)
        if left <= 0:
            rate = self._rates[caller]
            raise BudgetSpent(
                f"key {caller!r} may have {rate * 60:.0f} tokens a minute proved, and is {-left:.0f} over: send the "
                "request again later, or ask the operator for a larger tokens_per_minute",
                retry_after_s=1.0 - left / rate,
            )

    def charge(self, caller: Hashable, num_tokens: int) -> None:
        """Count work that is begun; callers without a name are not counted."""
        if not isinstance(caller, str) or caller not in self._charged:
            return
        self._charged[caller] += num_tokens
        if caller in self._rates:
            self._left[caller] = self._filled(caller) - num_tokens

    def _filled(self, caller: str) -> float:
        """What is left now."""
        now, rate = self._clock(), self._rates[caller]
        left = min(rate * 60, self._left[caller] + rate * (now - self._looked_at[caller]))
        self._left[caller], self._looked_at[caller] = left, now
        return left
