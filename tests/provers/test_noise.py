"""Noise that is found by its address: what it depends on, and how it is distributed."""

from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.provers.noise import REST, Address, exponentials, keys


def noise(address: Address, *tokens: int) -> list[float]:
    return exponentials(keys([address]), np.array([tokens]))[0].tolist()


def test_noise_is_that_of_its_address_and_token_and_of_nothing_else() -> None:
    here = Address(1, 2, 3)
    assert noise(here, 7, 8, 9) == [*noise(here, 7), *noise(here, 8), *noise(here, 9)]
    beside = exponentials(keys([Address(5, 0, 0), here]), np.array([[1, 2, 3], [9, 7, 8]]))
    assert beside[1].tolist() == noise(here, 9, 7, 8)
    others = (Address(2, 2, 3), Address(1, 3, 3), Address(1, 2, 4), Address(3, 2, 1))
    assert len({noise(address, token)[0] for address in (here, *others) for token in (0, 7, 8, REST)}) == 20


def test_noise_is_that_of_every_release() -> None:
    # Stored coupled values are compared with new ones, so it must not change; the first was worked out by hand with
    # Python's whole numbers: key of (0, 0, 0), then the hash of token 0, then -log of its upper 53 bits.
    assert noise(Address(0, 0, 0), 0) == pytest.approx([by_hand(0, 0, 0, token=0)], rel=1e-12)
    assert noise(Address(2**32 - 1, 127, 31_999), 151_000) == pytest.approx(
        [by_hand(2**32 - 1, 127, 31_999, token=151_000)], rel=1e-12
    )


def by_hand(*address: int, token: int) -> float:
    """SplitMix64 in whole numbers modulo 2^64."""

    def mixed(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    key = 0
    for part in address:
        key = mixed(((key ^ part) + 0x9E3779B97F4A7C15) % 2**64)
    word = mixed((key + (token + 1) * 0x9E3779B97F4A7C15) % 2**64)
    return -float(np.log(((word >> 11) + 0.5) / 2**53))


@pytest.mark.parametrize("axis", ["seed", "sample", "position", "token"])
def test_noise_is_standard_exponential_and_neighbours_are_independent(axis: str) -> None:
    numbers = range(100_000)
    if axis == "token":
        found = exponentials(keys([Address(3, 1, 4)]), np.array([numbers]))[0]
    else:
        fixed = {"seed": 3, "sample": 1, "position": 4}
        addresses = [Address(**{**fixed, axis: number}) for number in numbers]
        found = exponentials(keys(addresses), np.full((len(addresses), 1), 5))[:, 0]
    assert ((found > 0) & np.isfinite(found)).all()
    # Twenty equally likely bins: chi-square with 19 degrees of freedom, of which 43.8 leaves 0.1 %.
    counts = np.bincount((np.exp(-found) * 20).astype(int), minlength=20)
    assert float(((counts - 5000) ** 2 / 5000).sum()) < 43.8
    # A correlation of independent ones has standard deviation 1/√n: five of them.
    for distance in (1, 2, 64):
        correlation = np.corrcoef(found[:-distance], found[distance:])[0, 1]
        assert abs(float(correlation)) < 5 / len(found) ** 0.5
