"""Filler in a rising episode of the bundled mini: what pays it, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from mrt_reward.mini.bundled import BUNDLED
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids
from tests.attacks.__main__ import ESTIMATORS
from tests.attacks.filler import SENTENCE, SENTENCE_TOKENS, Paid, paid_for_filler
from tests.attacks.measuring import Range


@pytest.fixture(scope="module")
def paid() -> Mapping[str, Paid]:
    async def run() -> Mapping[str, Paid]:
        where = Range(BUNDLED["mini"], ESTIMATORS["likelihood"], 12)
        try:
            return await paid_for_filler(where)
        finally:
            await where.close()

    return asyncio.run(run())


def test_the_sentence_is_as_long_as_reported() -> None:
    tokenizer = load_tokenizer(BUNDLED["mini"].folder)
    assert len(token_ids(tokenizer, SENTENCE * 4)) in range(4 * SENTENCE_TOKENS, 4 * SENTENCE_TOKENS + 2)


def test_the_papers_credit_pays_filler_more_than_ending_unless_the_ending_is_paid(paid: Mapping[str, Paid]) -> None:
    plain, ending = paid["`baseline=none`, the paper's"], paid["`baseline=none pay_ending=true`"]
    assert plain.total[2] > 1.2 * plain.total[0]
    assert plain.going_on > 0.2 > plain.ending
    # The bonus is the episode's own, so that ending is paid what going on is.
    assert ending.going_on == pytest.approx(plain.going_on)
    assert ending.ending == pytest.approx(plain.ending + plain.going_on)


def test_a_price_of_time_takes_back_what_filler_earned(paid: Mapping[str, Paid]) -> None:
    rate = paid["`baseline=rate`"]
    assert rate.total[2] < rate.total[0]
    assert paid["`baseline=rate pay_ending=true`"].total[2] < paid["`baseline=rate pay_ending=true`"].total[0]


def test_a_weight_by_length_leaves_filler_next_to_nothing(paid: Mapping[str, Paid]) -> None:
    plain, weighed = paid["`baseline=none`, the paper's"], paid["`baseline=none length_norm=episode`"]
    assert weighed.total[2] - weighed.total[0] < 0.25 * (plain.total[2] - plain.total[0])
