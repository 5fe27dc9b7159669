"""Which of several servers a key belongs to: the one whose cache holds what it names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def ranked(key: str, names: Sequence[str]) -> list[int]:
    """Indices of the names in the order in which they are to be tried for a key (rendezvous hashing).

    A key that is one of the names belongs there, whatever it says after a `#`, and goes on to the others as any key.

    Every name has a weight of its own for every key, so that a name that comes or goes moves no other name before
    another: of n names, the one that goes takes the 1/n of the keys that it had, and these are spread over the others.
    Processes agree without talking to each other, because weights are hashes of what stands here.
    """

    def weight(index: int) -> bytes:
        return hashlib.blake2b(f"{key}|{names[index]}".encode(errors="surrogatepass"), digest_size=8).digest()

    own, _, _ = key.partition("#")
    return sorted(range(len(names)), key=lambda index: (names[index] == own, weight(index)), reverse=True)
