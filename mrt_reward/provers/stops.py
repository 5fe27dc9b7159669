"""Where a sampled answer ends: at the model's end of turn, or at the brace that balances its first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stops:
    """What ends an answer.

    Attributes:
        end_ids: the model's ends of turn.
        braces: the braces in each token that has any, such as `"}{"`.

    """

    end_ids: frozenset[int]
    braces: Mapping[int, str]

    def trimmed(self, ids: Sequence[int], *, at_close: bool) -> tuple[int, ...]:
        """The answer itself: up to an end of turn, and with `at_close` up to the token that balances the braces."""
        end = next((index for index, token in enumerate(ids) if token in self.end_ids), len(ids))
        return until_balanced(ids[:end], self.braces) if at_close else tuple(ids[:end])


def after_braces(depth: int, braces: str) -> tuple[int, bool]:
    """Braces open after a token that holds these, and whether the first opened one was closed in it.

    A close without an open is text.
    """
    closed = False
    for brace in braces:
        if brace == "{":
            depth += 1
        elif depth:
            depth -= 1
            closed = closed or depth == 0
    return depth, closed


def until_balanced(ids: Sequence[int], braces: Mapping[int, str]) -> tuple[int, ...]:
    """The ids up to the token that balances the braces; all of them if none does.

    Args:
        ids: tokens of an answer.
        braces: the braces in each token that has any, such as `"}{"`.

    """
    depth = 0
    for end, token in enumerate(ids, start=1):
        depth, closed = after_braces(depth, braces.get(token, ""))
        if closed:
            return tuple(ids[:end])
    return tuple(ids)
