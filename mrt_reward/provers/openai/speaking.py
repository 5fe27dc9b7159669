"""What an endpoint is asked for and what it returns, whatever protocol it speaks.

Dimension key: P probes of a trace · S spellings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import LikelihoodQuery, Proof


class LikelihoodWay(Enum):
    """How a server returns the probability of a given token."""

    TOKEN_IDS = auto()
    """vLLM's `logprob_token_ids`: of any token, after a prompt."""
    TAIL = auto()
    """SGLang's `logprob_start_len` and `token_ids_logprob`: of a prompt's last tokens, and of any token after it."""
    ECHO = auto()
    """`echo` with `logprobs`: of the prompt's own tokens."""
    NONE = auto()
    """The server returns no likelihoods."""


NOTES = {
    LikelihoodWay.TOKEN_IDS: "",
    LikelihoodWay.TAIL: "",
    LikelihoodWay.ECHO: "likelihood counts one closing token only, which makes its lower bound a little lower",
    LikelihoodWay.NONE: "no likelihood: this endpoint returns no probabilities of given tokens, so ask for rollouts",
}
"""What a reader of the values should know, by the endpoint's way."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Answers to sample after each of some prompts.

    Attributes:
        prompts: token ids; the one that shares most with the others first, so that its beginning is cached for them.
        seeds: one for each prompt; none where nothing is drawn.
        num_samples: answers to each.
        max_tokens: longest answer, in tokens.
        temperature: 0 is greedy.
        top_p: probability mass of the nucleus.

    """

    prompts: Sequence[Sequence[int]]
    seeds: Sequence[int] | None
    num_samples: int
    max_tokens: int
    temperature: float
    top_p: float


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """One sampled answer, as an endpoint returns it.

    Attributes:
        ids: of its tokens, without the end of turn; None where the server returns text alone.
        text: empty where the server returns ids.
        logprobs: of its tokens at temperature 1, the end of turn included where it was drawn; none where the server
            tells none.

    """

    ids: tuple[int, ...] | None
    text: str = ""
    logprobs: tuple[float, ...] = ()


class WeightsMoved(ProverUnavailable):
    """The endpoint answered with other weights than those it had when it was last asked who it is."""


class Speaker(Protocol):
    """Asks one endpoint in its own protocol."""

    @property
    def way(self) -> LikelihoodWay:
        """How it returns likelihoods."""
        ...

    async def draw(self, draw: Draw, session: str) -> tuple[list[list[EndpointAnswer]], int]:
        """For each prompt its answers, and the number of tokens computed.

        Raises:
            ProverUnavailable: no reply; `WeightsMoved` where it is of other weights.
            ProverError: the server refused, or its reply is not what was asked for.

        """
        ...

    async def likelihoods(self, proof: Proof, query: LikelihoodQuery, session: str) -> tuple[NDArray[np.float64], int]:
        """Log-probabilities, shape (P, S), of each spelling and its close, and the number of tokens computed.

        Raises:
            ProverUnavailable: no reply; `WeightsMoved` where it is of other weights.
            ProverError: the server cannot tell, or did not.

        """
        ...


Found = dict[tuple[int, int, int], float]
"""Log-probabilities by probe, node of the spellings' tree and token."""


@dataclass(frozen=True, slots=True)
class FoundLookup:
    """Looks tokens up for all probes at once; the `Lookup` of `spelling_logprobs`.

    Attributes:
        found: what the server returned.
        num_probes: P, the number of probes.

    """

    found: Found
    num_probes: int

    def __call__(self, node: int, tokens: Sequence[int]) -> NDArray[np.float64]:
        """Log-probabilities after a node, shape (P, tokens)."""
        try:
            rows = [[self.found[probe, node, token] for token in tokens] for probe in range(self.num_probes)]
        except KeyError as error:
            token = error.args[0][-1]
            raise ProverError(
                f"the endpoint was asked for the probability of token {token} and did not return it"
            ) from None
        return np.array(rows)


def terminated_prefixes(proof: Proof) -> tuple[list[list[int]], list[int]]:
    """Tokens of each, and their indices longest first, so that the others find their beginnings cached."""
    prefixes = [[*proof.token_ids[: probe.cut].tolist(), *probe.suffix] for probe in proof.probes]
    return prefixes, sorted(range(len(prefixes)), key=lambda probe: -len(prefixes[probe]))
