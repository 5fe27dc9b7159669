from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from mrt_reward.provers.openai.replies import CompletionUsage, Logprobs, ModelCard


def test_cached_tokens_are_not_computed() -> None:
    usage = CompletionUsage.model_validate(
        {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 90}}
    )
    assert usage.computed_tokens == 17


def test_missing_numbers_are_none_and_broken_ones_are_refused() -> None:
    reported = Logprobs.model_validate({"token_logprobs": [None, -0.5], "text_offset": [0, 1]})
    assert reported.token_logprobs == [None, -0.5]
    for broken in (math.nan, -math.inf):
        with pytest.raises(ValidationError):
            Logprobs.model_validate({"token_logprobs": [broken]})


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"max_model_len": 300}, 300),
        ({"meta": {"n_ctx": 200}}, 200),
        ({"meta": {"n_ctx": "200"}}, None),
        ({"max_model_len": None, "meta": None}, None),
    ],
)
def test_a_context_is_read_where_each_server_tells_it(reported: dict[str, Any], expected: int | None) -> None:
    assert ModelCard.model_validate({"id": "m", **reported}).max_tokens == expected
