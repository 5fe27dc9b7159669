"""Random numbers that are found by their address, and not by the order in which they are asked for.

Each is a hash of (seed, answer, position, token), so that any few of a vocabulary's can be had without the others, and
nobody has to keep a stream. The hash is SplitMix64 (Steele, Lea, Flood 2014): a position of an answer is a generator of
its own, whose v-th number belongs to token v.

Dimension key: N answers · C tokens of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REST = 1 << 32
"""In the place of a token: of all tokens together that are not listed. No vocabulary reaches it."""

Words = NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the noise of one drawn token is found, wherever and whenever that is.

    Attributes:
        seed: shared by what is coupled.
        sample: index m of the answer.
        position: of the token in its answer.

    """

    seed: int
    sample: int
    position: int


def keys(address_N: Sequence[Address]) -> Words:
    """Of each address, what `exponentials` finds its noise by."""
    parts = [(address.seed, address.sample, address.position) for address in address_N]
    part_N3: Words = np.array(parts, np.uint64).reshape(-1, 3)
    key_N = np.zeros(len(parts), np.uint64)
    for which in range(3):
        key_N = _mixed((key_N ^ part_N3[:, which]) + _GAMMA)
    return key_N


def exponentials(key_N: Words, token_NC: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard exponential noise e[n, c], positive and finite, a function of the n-th key and of the token alone.

    -log e is standard Gumbel noise.
    """
    word_NC = _mixed(key_N[:, None] + (token_NC.astype(np.uint64) + np.uint64(1)) * _GAMMA)
    # In the middle of 2^53 equal steps, so that neither 0 nor 1 is among them.
    return -np.log(((word_NC >> np.uint64(11)) + 0.5) * 2.0**-53)


def _mixed(word: Words) -> Words:
    """Each bit of the result hangs on all bits of the word; no two words have the same result."""
    word = (word ^ (word >> _SHIFTS[0])) * _FACTORS[0]
    word = (word ^ (word >> _SHIFTS[1])) * _FACTORS[1]
    return word ^ (word >> _SHIFTS[2])
