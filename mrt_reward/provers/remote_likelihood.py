"""Log-probabilities of spellings from a server that tells those of tokens.

Dimension key: P probes of a trace · S spellings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, Proof, SpellingIds, Tokenizer
from mrt_reward.provers.asking import Asker, Question, together
from mrt_reward.provers.dialect import TOKENS_AS_IDS, LikelihoodWay, token_id
from mrt_reward.provers.endpoint import Choice
from mrt_reward.provers.packing import SpellingTree, spelling_tree

MAX_TOKEN_IDS = 128
"""Tokens that vLLM tells the probabilities of in one request."""

_ROUNDING = 1e-3

Logprobs = list[tuple[float, ...]]
"""P rows of S numbers."""


async def spelling_logprobs(
    asker: Asker, proof: Proof, query: LikelihoodQuery, tokenizer: Tokenizer, session: str
) -> tuple[Logprobs, int]:
    """For each probe the log-probability of each spelling and its close, and the number of tokens computed.

    Raises:
        ProverError: the server cannot tell, or did not.

    """
    if asker.dialect.likelihood is LikelihoodWay.TOKEN_IDS:
        return await _by_token_ids(asker, proof, query, session)
    if asker.dialect.likelihood is LikelihoodWay.ECHO:
        return await _by_echo(asker, proof, query, tokenizer, session)
    raise ProverError(
        "this endpoint tells no probabilities of given tokens (neither vLLM's logprob_token_ids nor echo with logprobs "
        "works), which estimator 'likelihood' needs: use estimator 'rollouts', or engine 'vllm' or 'transformers'",
        code="unsupported_query",
    )


def _prefix(proof: Proof, probe: int) -> list[int]:
    return [*proof.token_ids[: proof.probes[probe].cut].tolist(), *proof.probes[probe].suffix]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where in the spellings' tree to ask, and for which tokens.

    Attributes:
        nodes: -1 is the suffix's end.
        tokens: at most `MAX_TOKEN_IDS`.

    """

    nodes: tuple[int, ...]
    tokens: tuple[int, ...]


def _places(tree: SpellingTree, spellings: Sequence[SpellingIds]) -> Iterator[_Places]:
    """What to ask: every node for its children, and where a spelling ends for its closes.

    All prompts of a request share one list of tokens. The closes are many, so the nodes where nothing ends go alone.
    """
    wanted: dict[int, set[int]] = {node: set() for node in range(-1, len(tree.tokens))}
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        wanted[parent].add(token)
    ends = {path[-1] for path in tree.paths}
    for path, spelling in zip(tree.paths, spellings, strict=True):
        wanted[path[-1]].update(spelling.close)
    for nodes in (set(wanted) - ends, ends):
        tokens = sorted(set[int]().union(*(wanted[node] for node in nodes)))
        for start in range(0, len(tokens), MAX_TOKEN_IDS):
            part = tokens[start : start + MAX_TOKEN_IDS]
            yield _Places(tuple(sorted(node for node in nodes if wanted[node].intersection(part))), tuple(part))


async def _by_token_ids(asker: Asker, proof: Proof, query: LikelihoodQuery, session: str) -> tuple[Logprobs, int]:
    """One prompt for each probe and node: the server tells the probabilities of what may come next."""
    tree = spelling_tree(query.spellings)
    beginnings: dict[int, tuple[int, ...]] = {-1: ()}
    for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
        beginnings[node] = (*beginnings[parent], token)
    prefixes = [_prefix(proof, probe) for probe in range(len(proof.probes))]
    longest_first = sorted(range(len(prefixes)), key=lambda probe: -len(prefixes[probe]))
    found: dict[tuple[int, int, int], float] = {}

    async def look_up(places: _Places) -> int:
        asked = [(probe, node) for probe in longest_first for node in places.nodes]
        fields = {
            "max_tokens": 1,
            "temperature": 1.0,
            "top_p": 1.0,
            "logprobs": len(places.tokens),
            "logprob_token_ids": list(places.tokens),
            **TOKENS_AS_IDS,
        }
        prompts = [[*prefixes[probe], *beginnings[node]] for probe, node in asked]
        rows, num_tokens = await asker.ask(Question(prompts, None, 1, fields), session)
        for (probe, node), [choice] in zip(asked, rows, strict=True):
            told = _told(choice)
            found.update({(probe, node, token): told[token] for token in places.tokens if token in told})
        return num_tokens

    num_tokens = sum(await together([look_up(places) for places in _places(tree, query.spellings)]))

    def logprob(probe: int, node: int, token: int) -> float:
        if (probe, node, token) not in found:
            raise ProverError(f"the endpoint was asked for the probability of token {token} and did not tell it")
        return _checked(found[probe, node, token])

    def spelling_logprob(probe: int, spelling: SpellingIds, path: Sequence[int]) -> float:
        total = sum(logprob(probe, tree.parents[node], tree.tokens[node]) for node in path)
        return min(0.0, total + _log_sum([logprob(probe, path[-1], token) for token in spelling.close]))

    return [
        tuple(
            spelling_logprob(probe, spelling, path) for spelling, path in zip(query.spellings, tree.paths, strict=True)
        )
        for probe in range(len(prefixes))
    ], num_tokens


def _told(choice: Choice) -> dict[int, float]:
    """Log-probabilities by token id."""
    top = choice.logprobs.top_logprobs if choice.logprobs else None
    pairs = [(token_id(name), logprob) for name, logprob in ((top or [None])[0] or {}).items()]
    return {token: logprob for token, logprob in pairs if token is not None}


async def _by_echo(
    asker: Asker, proof: Proof, query: LikelihoodQuery, tokenizer: Tokenizer, session: str
) -> tuple[Logprobs, int]:
    """One prompt for each probe and spelling, whose own tokens the server rates.

    Of the tokens that may close a spelling only the plainest is asked for, so the lower bound is a little lower.
    """
    tails = [(*spelling.ids, _plainest(spelling.close, tokenizer)) for spelling in query.spellings]
    prefixes = [_prefix(proof, probe) for probe in range(len(proof.probes))]
    longest_first = sorted(range(len(prefixes)), key=lambda probe: -len(prefixes[probe]))
    asked = [(probe, tail) for probe in longest_first for tail in dict.fromkeys(tails)]
    prompts = [[*prefixes[probe], *tail] for probe, tail in asked]
    fields = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "echo": True, "logprobs": 1}
    rows, num_tokens = await asker.ask(Question(prompts, None, 1, fields), session)
    found: dict[tuple[int, tuple[int, ...]], float] = {}
    for (probe, tail), prompt, [choice] in zip(asked, prompts, rows, strict=True):
        logprobs = choice.logprobs.token_logprobs if choice.logprobs else []
        if len(logprobs) not in {len(prompt), len(prompt) + 1}:
            raise ProverError(
                f"the endpoint was asked to rate {len(prompt)} tokens and rated {len(logprobs)}: it may have added or "
                "dropped some"
            )
        found[probe, tail] = min(
            0.0, sum(_checked(logprob) for logprob in logprobs[len(prefixes[probe]) : len(prompt)])
        )
    return [tuple(found[probe, tail] for tail in tails) for probe in range(len(prefixes))], num_tokens


def _plainest(close: Sequence[int], tokenizer: Tokenizer) -> int:
    return min(close, key=lambda token: (len(tokenizer.decode([token])), token))


def _checked(logprob: float | None) -> float:
    if logprob is None or not logprob <= _ROUNDING:
        raise ProverError(f"a log-probability must be a number that is at most 0, the endpoint gave {logprob}")
    return logprob


def _log_sum(logprobs: Sequence[float]) -> float:
    highest = max(logprobs)
    return highest + math.log(sum(math.exp(logprob - highest) for logprob in logprobs))
