"""One sampled answer, as a server of the completions protocol tells it."""

from __future__ import annotations

from mrt_reward.errors import ProverError
from mrt_reward.protocols import RolloutQuery
from mrt_reward.provers.dialect import token_id
from mrt_reward.provers.endpoint import Choice


def sampled_ids(choice: Choice) -> list[int]:
    """Ids that the server told, without the end of turn.

    Raises:
        ProverError: it does not tell them any more.

    """
    ids = [token_id(name) for name in choice.logprobs.tokens] if choice.logprobs else [None]
    told = [token for token in ids if token is not None]
    if len(told) < len(ids):
        raise ProverError("the endpoint told the ids of sampled tokens when it was asked first, and does not any more")
    # No stop strings are sent, so what stopped is the model's end of turn.
    return told[:-1] if choice.finish_reason == "stop" else told


def mean_logprob(choice: Choice, num_tokens: int, query: RolloutQuery) -> float | None:
    """Of an answer's tokens, and of the end of turn where the server tells it; None where it tells none."""
    told = choice.logprobs.token_logprobs if choice.logprobs and query.logprobs else []
    if query.stop_at_close and num_tokens:
        told = told[:num_tokens]  # what was cut off after the close is no part of the answer
    drawn = [logprob for logprob in told if logprob is not None]
    return min(0.0, sum(drawn) / len(drawn)) if drawn else None
