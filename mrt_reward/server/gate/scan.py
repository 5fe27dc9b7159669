"""What a JSON body holds, counted while it arrives, so that a hostile one is refused before it is read or parsed."""

from __future__ import annotations

import re

import numpy as np

from mrt_reward.server.gate.replies import RequestRefused
from mrt_reward.wire import MAX_DEPTH

MAX_ITEMS = 500_000
"""Most values of a body: 488 for each of 1,024 traces. Parsing this many takes less than a tenth of a second."""

MAX_KEYS = 100_000
"""Most keys of all its objects together: 97 for each of 1,024 traces. They take longer than values."""

PIECE_BYTES = 65_536
"""How much is looked at in one go, so that the event loop turns in between."""

_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1

_HUGE = re.compile(rb"[0-9][eE]\+?[0-9]{3}|(?<![0-9])[0-9]{300}")


class JSONScan:
    """Counts values and nesting of JSON text, piece by piece; what is between quotes counts as one value.

    It does not say whether the text is JSON; the parser does.

    Attributes:
        num_items: values so far, at least.
        may_overflow: whether a number may be too large for a float.

    """

    def __init__(self) -> None:
        self.num_items = 0
        self._num_keys = 0
        self.may_overflow = False
        self._depth = 0
        self._inside = 0
        """1 within a JSON string, else 0."""
        self._escape = b""
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        """Count a piece of the text.

        Raises:
            RequestRefused: the text holds too many values, or nests too deep.

        """
        # In pairs from the left, so that what is left is a backslash before something that it escapes.
        plain = (self._escape + piece).replace(b"\\\\", b"").replace(b'\\"', b"")
        self._escape = b"\\" if plain.endswith(b"\\") else b""
        parts = plain.split(b'"')
        outside = b"".join(parts[self._inside :: 2])
        self._inside ^= (len(parts) - 1) & 1
        self.num_items += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        self._num_keys += outside.count(b":")
        for count, most, what in ((self.num_items, MAX_ITEMS, "values"), (self._num_keys, MAX_KEYS, "keys")):
            if count > most:
                raise RequestRefused(413, f"the body holds more than {most} {what}: send fewer traces at once")
        if outside:
            depths = self._depth + _STEP[np.frombuffer(outside, np.uint8)].cumsum(dtype=np.int32)
            self._depth = int(depths[-1])
            if depths.max() > MAX_DEPTH:
                raise RequestRefused(400, f"the body is nested deeper than {MAX_DEPTH} levels")
            near = self._tail + outside
            self.may_overflow = self.may_overflow or _HUGE.search(near) is not None
            self._tail = near[-300:]


def scanned(text: bytes) -> JSONScan:
    """The counts of a whole text; raises as `JSONScan.feed` does."""
    scan = JSONScan()
    for start in range(0, len(text), PIECE_BYTES):
        scan.feed(text[start : start + PIECE_BYTES])
    return scan
