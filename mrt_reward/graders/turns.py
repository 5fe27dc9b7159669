"""Who is served next where workers are short: parties take turns, however much each of them asks."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Items that wait, in one line for each party; in order of arrival within it.

    Args:
        wanted: whether an item is still to be served; others are passed over when their turn comes.

    """

    def __init__(self, wanted: Callable[[Item], bool]) -> None:
        self._wanted = wanted
        self._lines: OrderedDict[object, deque[Item]] = OrderedDict()

    def put(self, party: object, item: Item) -> None:
        """Let an item wait on behalf of a party."""
        self._lines.setdefault(party, deque()).append(item)

    def take(self) -> Item | None:
        """The next item of the party whose turn it is, who then waits until all others had theirs."""
        while self._lines:
            party, line = self._lines.popitem(last=False)
            while line:
                item = line.popleft()
                if self._wanted(item):
                    if line:
                        self._lines[party] = line
                    return item
        return None
