"""Who is served next where workers are short: callers take turns, however much each of them asks."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from mrt_reward.protocols import Party

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Items that wait: callers take turns, a caller's requests take turns within its own, in order of arrival.

    Args:
        wanted: whether an item is still to be served; others are passed over when their turn comes.

    """

    def __init__(self, wanted: Callable[[Item], bool]) -> None:
        self._wanted = wanted
        self._callers: OrderedDict[Hashable, OrderedDict[Hashable, deque[Item]]] = OrderedDict()

    def put(self, party: Party, item: Item) -> None:
        """Let an item wait on behalf of a party."""
        requests = self._callers.setdefault(party.caller, OrderedDict())
        requests.setdefault(party.request, deque()).append(item)

    def take(self) -> Item | None:
        """The next item of the caller whose turn it is, who then waits until all others had theirs."""
        while self._callers:
            caller, requests = self._callers.popitem(last=False)
            item = self._take_from(requests)
            if requests:
                self._callers[caller] = requests
            if item is not None:
                return item
        return None

    def _take_from(self, requests: OrderedDict[Hashable, deque[Item]]) -> Item | None:
        while requests:
            request, line = requests.popitem(last=False)
            while line:
                item = line.popleft()
                if self._wanted(item):
                    if line:
                        requests[request] = line
                    return item
        return None
