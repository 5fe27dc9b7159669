"""Whether endpoints serve one model: its name, its tokenizer and what it says of a known trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import LikelihoodQuery, ProbeAnswer, Proof, Tokenizer
from mrt_reward.protocols.canary import canary_proof, rounding, worst_difference
from mrt_reward.provers.openai.connecting import Connection
from mrt_reward.provers.openai.endpoint import Endpoint
from mrt_reward.provers.openai.replies import ReplyObject
from mrt_reward.provers.openai.speaking import LikelihoodWay

NUM_TOKENS = 48
"""Of the known trace."""

TEXT = 'Wait, 17 + 25 = 42: \\frac{1}{2}·x² ≥ 0, naïve café, 日本語 😀\n\n    return {"x": [1.5, -2]}\n'
"""What tokenizers disagree about, if they disagree."""


class Tokenized(ReplyObject):
    """Reply of `/tokenize`: of vLLM, SGLang and llama.cpp."""

    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a model is known by.

    Attributes:
        model: name that it is served under.
        way: how its likelihoods are computed, on which they depend a little.
        token_ids: of `TEXT`, by the server's own tokenizer; None where it does not tell.
        canary: its answers about a known trace; none where it returns no likelihoods.

    """

    model: str
    way: LikelihoodWay
    token_ids: tuple[int, ...] | None
    canary: Sequence[ProbeAnswer]

    def other_kind(self, other: Identity) -> str:
        """In what the other is no version of this model; empty where it may be one."""
        if self.model != other.model:
            return f"model {other.model!r}, not {self.model!r}"
        if self.way is not other.way:
            its, own = other.way.name.lower(), self.way.name.lower()
            return f"likelihoods are read by {its}, not by {own}, which differ a little"
        if None not in (self.token_ids, other.token_ids) and self.token_ids != other.token_ids:
            return "its tokenizer gives other ids for one text"
        return ""

    def difference(self, other: Identity, limit: float) -> str:
        """In what the other has not the same weights; empty where it has, as far as both tell.

        Args:
            other: to compare with.
            limit: how far log-probabilities of the known trace may lie apart, in nats.

        """
        if kind := self.other_kind(other):
            return kind
        # Not `>`, which NaN would pass.
        if self.canary and other.canary and not (apart := worst_difference(self.canary, other.canary)) <= limit:
            return f"log-probabilities of one answer are {apart:.3g} nats away, at most {limit:.2g} is rounding"
        return ""


def known_trace(tokenizer: Tokenizer) -> Proof:
    """What every endpoint is asked about, to be compared."""
    return canary_proof(tokenizer, NUM_TOKENS, 2 * NUM_TOKENS)


def identity_limit(tokenizer: Tokenizer, dtype: str) -> float:
    """How far two endpoints' answers to it may lie apart by rounding, in nats."""
    return rounding(known_trace(tokenizer), dtype)


async def identity_of(connection: Connection, endpoint: Endpoint, tokenizer: Tokenizer) -> Identity:
    """What an endpoint's model is known by.

    Raises:
        ProverError: it cannot be asked; `ProverUnavailable` where it does not answer.

    """
    canary: tuple[ProbeAnswer, ...] = ()
    if connection.speaker.way is not LikelihoodWay.NONE:
        proof = known_trace(tokenizer)
        assert isinstance(proof.query, LikelihoodQuery)  # noqa: S101 - canaries are likelihoods
        logprob_PS, _ = await connection.speaker.likelihoods(proof, proof.query, proof.session)
        canary = tuple(ProbeAnswer(spelling_logprobs=tuple(row)) for row in logprob_PS.tolist())
    ids = await _token_ids(endpoint, connection.info.model)
    return Identity(connection.info.model, connection.speaker.way, ids, canary)


async def _token_ids(endpoint: Endpoint, model: str) -> tuple[int, ...] | None:
    # The second of each pair is llama.cpp's name.
    body = {"model": model, "prompt": TEXT, "content": TEXT, "add_special_tokens": False, "add_special": False}
    try:
        return tuple((await endpoint.asked("/tokenize", body, Tokenized, "check")).tokens)
    except ProverUnavailable:
        raise
    except ProverError:
        return None
