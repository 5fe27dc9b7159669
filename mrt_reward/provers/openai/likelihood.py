"""Log-probabilities of spellings from a server of the completions protocol that returns those of tokens.

Dimension key: P probes of a trace · S spellings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, Proof, Tokenizer
from mrt_reward.provers.likelihood import ROOT, SpellingTree, spelling_logprobs, spelling_tree
from mrt_reward.provers.openai.dialect import TOKENS_AS_IDS, token_id
from mrt_reward.provers.openai.replies import Choice
from mrt_reward.provers.openai.requests import Completer, CompletionQuery
from mrt_reward.provers.openai.speaking import Found, FoundLookup, LikelihoodWay, terminated_prefixes
from mrt_reward.provers.together import together

MAX_TOKEN_IDS = 128
"""Tokens whose probabilities vLLM returns in one request."""


async def likelihoods(
    completer: Completer, proof: Proof, query: LikelihoodQuery, tokenizer: Tokenizer, session: str
) -> tuple[NDArray[np.float64], int]:
    """Log-probabilities, shape (P, S), of each spelling and its close, and the number of tokens computed.

    Raises:
        ProverError: the server cannot tell, or did not.

    """
    tree = spelling_tree(query.spellings)
    if completer.dialect.likelihood is LikelihoodWay.TOKEN_IDS:
        found, num_tokens = await _by_token_ids(completer, proof, tree, session)
    elif completer.dialect.likelihood is LikelihoodWay.ECHO:
        tree = replace(tree, closes=tuple((_plainest(close, tokenizer),) for close in tree.closes))
        found, num_tokens = await _by_echo(completer, proof, tree, session)
    else:
        raise ProverError(
            "this endpoint returns no probabilities of given tokens (neither vLLM's logprob_token_ids nor echo with "
            "logprobs works), which estimator 'likelihood' needs: use estimator 'rollouts', or engine 'vllm' or "
            "'transformers'",
            code="unsupported_query",
        )
    return spelling_logprobs(tree, FoundLookup(found, len(proof.probes))), num_tokens


@dataclass(frozen=True, slots=True)
class _Part:
    """Some nodes of the spellings' tree to ask at, and the tokens to ask for at each of them.

    Attributes:
        nodes: `ROOT` is the suffix's end.
        tokens: at most `MAX_TOKEN_IDS`.

    """

    nodes: tuple[int, ...]
    tokens: tuple[int, ...]


def _parts(tree: SpellingTree) -> Iterator[_Part]:
    """What to ask: every node for its children, and where a spelling ends for its closes.

    All prompts of a request share one list of tokens. The closes are many, so the nodes where nothing ends go alone.
    """
    wanted = tree.wanted()
    ends = {path[-1] for path in tree.paths}
    for nodes in (set(wanted) - ends, ends):
        tokens = sorted(set[int]().union(*(wanted[node] for node in nodes)))
        for start in range(0, len(tokens), MAX_TOKEN_IDS):
            part = tokens[start : start + MAX_TOKEN_IDS]
            yield _Part(tuple(sorted(node for node in nodes if not set(part).isdisjoint(wanted[node]))), tuple(part))


async def _by_token_ids(completer: Completer, proof: Proof, tree: SpellingTree, session: str) -> tuple[Found, int]:
    """One prompt for each probe and node: the server returns the probabilities of what may come next."""
    beginnings = {node: tree.beginning(node) for node in range(ROOT, len(tree.tokens))}
    prefixes, longest_first = terminated_prefixes(proof)
    found: Found = {}

    async def look_up(part: _Part) -> int:
        asked = [(probe, node) for probe in longest_first for node in part.nodes]
        fields = {
            "max_tokens": 1,
            "temperature": 1.0,
            "top_p": 1.0,
            "logprobs": len(part.tokens),
            "logprob_token_ids": list(part.tokens),
            **TOKENS_AS_IDS,
        }
        prompts = [[*prefixes[probe], *beginnings[node]] for probe, node in asked]
        rows, num_tokens = await completer.complete(CompletionQuery(prompts, None, 1, fields), session)
        for (probe, node), [choice] in zip(asked, rows, strict=True):
            returned = _by_id(choice)
            found.update({(probe, node, token): returned[token] for token in part.tokens if token in returned})
        return num_tokens

    return found, sum(await together([look_up(part) for part in _parts(tree)]))


def _by_id(choice: Choice) -> Mapping[int, float]:
    """Log-probabilities by token id."""
    top = choice.logprobs.top_logprobs if choice.logprobs else None
    pairs = [(token_id(name), logprob) for name, logprob in ((top or [None])[0] or {}).items()]
    return {token: logprob for token, logprob in pairs if token is not None}


async def _by_echo(completer: Completer, proof: Proof, tree: SpellingTree, session: str) -> tuple[Found, int]:
    """One prompt for each probe and spelling, whose own tokens the server rates.

    Of the tokens that may close a spelling only the plainest is asked for, so the lower bound is a little lower.
    """
    tails = {(path, close): None for path, [close] in zip(tree.paths, tree.closes, strict=True)}
    prefixes, longest_first = terminated_prefixes(proof)
    asked = [(probe, path, close) for probe in longest_first for path, close in tails]
    prompts = [[*prefixes[probe], *tree.beginning(path[-1]), close] for probe, path, close in asked]
    fields = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "echo": True, "logprobs": 1}
    rows, num_tokens = await completer.complete(CompletionQuery(prompts, None, 1, fields), session)
    found: Found = {}
    for (probe, path, close), prompt, [choice] in zip(asked, prompts, rows, strict=True):
        logprobs = choice.logprobs.token_logprobs if choice.logprobs else []
        if len(logprobs) not in {len(prompt), len(prompt) + 1}:
            raise ProverError(
                f"the endpoint was asked to rate {len(prompt)} tokens and rated {len(logprobs)}: it may have added or "
                "dropped some"
            )
        tokens = [*tree.beginning(path[-1]), close]
        rated = logprobs[len(prefixes[probe]) : len(prompt)]
        for node, token, logprob in zip((ROOT, *path), tokens, rated, strict=True):
            if logprob is None:
                raise ProverError(f"the endpoint was asked to rate token {token} of a prompt, and gave None for it")
            found[probe, node, token] = logprob
    return found, num_tokens


def _plainest(close: Sequence[int], tokenizer: Tokenizer) -> int:
    return min(close, key=lambda token: (len(tokenizer.decode([token])), token))
