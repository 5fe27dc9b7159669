"""What a trainer says of its weights."""

from __future__ import annotations

import math

import pytest

from mrt_reward.mini import MODEL_DIR
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.training.vouching import CanaryTokens, canary_tokens, vouched

ASKED = CanaryTokens((1, 2, 3), (4, 5))


def test_the_known_text_is_asked_about_in_the_policys_own_tokens() -> None:
    tokenizer = HFTokenizer(MODEL_DIR)
    asked = canary_tokens(lambda text: tokenizer.encode_untrusted(text).ids.tolist())
    assert len(asked.prompt_ids) > 20
    assert len(asked.answer_ids) > 2
    assert tokenizer.decode(asked.ids).endswith("42 and then 17")


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [
        ("torch.float32", "float32"),
        ("fp32", "float32"),
        ("fp16", "float16"),
        ("torch.bfloat16", "bfloat16"),
        ("bf16", "bfloat16"),
        ("auto", "bfloat16"),
    ],
)
def test_a_precision_goes_by_any_of_its_names_and_is_the_roughest_where_it_is_not_known(
    dtype: str, precision: str
) -> None:
    canary = vouched(ASKED, -3.5, dtype)
    assert canary is not None
    assert (canary.prompt_ids, canary.answer_ids, canary.logprob) == ((1, 2, 3), (4, 5), -3.5)
    assert canary.precision == precision


def test_rounding_above_zero_is_zero() -> None:
    canary = vouched(ASKED, 5e-4, "float32")
    assert canary is not None
    assert canary.logprob == 0.0


@pytest.mark.parametrize(
    ("asked", "logprob"),
    [
        (ASKED, math.nan),
        (ASKED, -math.inf),
        (ASKED, 0.5),
        (CanaryTokens((1, 2), (3,)), -1.0),
        (CanaryTokens((1,), (2, 3)), -1.0),
    ],
)
def test_what_is_no_probability_of_an_answer_is_reported_and_not_sent(
    asked: CanaryTokens, logprob: float, caplog: pytest.LogCaptureFixture
) -> None:
    assert vouched(asked, logprob, "float32") is None
    assert "weights are handed over without a canary" in caplog.text
