"""The bundled prover's own success rate, by enumerating its answers.

`J_exact` is the probability, at temperature 1, that the model forced to answer after a prefix writes the right place in
the box. Nothing is shared between the forward passes and nothing is cached: this is the reference that estimators are
tested against.

Dimension key: P prefixes, A places, R = P·A rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from mrt_reward.mini import template
from mrt_reward.mini.island import Problem
from mrt_reward.mini.tokenizer import token_ids

_MAX_ROW_TOKENS = 16_384


class _Output(Protocol):
    """What a causal language model of transformers returns, as far as it is used here."""

    @property
    def logits(self) -> Tensor: ...


class CausalLM(Protocol):
    """A causal language model of transformers, as far as it is used here."""

    def __call__(self, *, input_ids: Tensor, attention_mask: Tensor) -> _Output:
        """Logits of every position."""
        ...


@lru_cache(maxsize=8)
def _closing_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens that begin with a closing brace; any of them ends the answer."""
    return tuple(index for token, index in sorted(tokenizer.get_vocab().items()) if token.startswith("}"))


def answer_probabilities(
    model: CausalLM, tokenizer: Tokenizer, problem: Problem, prefixes: Sequence[str], places: Sequence[int]
) -> NDArray[np.float64]:
    """Probability that the model, forced to answer after each prefix, answers each place.

        p[i, a] = μ(`{a` and a token that begins with `}` | x, z[:i], terminator)

    Args:
        model: the prover, computing in float32.
        tokenizer: its tokenizer.
        problem: the question.
        prefixes: texts of z[:j].
        places: answers to enumerate.

    Returns:
        `probability_PA`. A row over all candidates sums to at most 1; the rest is the chance of any other answer.

    """
    prompt = token_ids(tokenizer, template.prompt_text(problem.text))
    rows: list[tuple[list[int], int]] = []
    for prefix in prefixes:
        context = prompt + token_ids(tokenizer, prefix) + token_ids(tokenizer, template.terminator(prefix))
        rows += [(context + token_ids(tokenizer, template.answer_text(place)), len(context)) for place in places]
    closing = list(_closing_tokens(tokenizer))
    width = max(len(ids) for ids, _ in rows)
    chunk = max(1, _MAX_ROW_TOKENS // width)
    values: list[float] = []
    for start in range(0, len(rows), chunk):
        values += _chunk_probabilities(model, rows[start : start + chunk], closing)
    return np.array(values).reshape(len(prefixes), len(places))


@torch.no_grad()
def _chunk_probabilities(model: CausalLM, rows: list[tuple[list[int], int]], closing: list[int]) -> list[float]:
    """Probability of each row's answer, from its opening brace to its close, given what comes before."""
    width = max(len(ids) for ids, _ in rows)
    id_RT = torch.zeros(len(rows), width, dtype=torch.long)
    mask_RT = torch.zeros(len(rows), width, dtype=torch.long)
    for index, (ids, _) in enumerate(rows):
        id_RT[index, : len(ids)] = torch.tensor(ids)
        mask_RT[index, : len(ids)] = 1
    logits_RTV = model(input_ids=id_RT, attention_mask=mask_RT).logits
    values: list[float] = []
    for index, (ids, start) in enumerate(rows):
        # The last answer token is the canonical `}`; the close counts every token that begins with one.
        log_prob_TV = logits_RTV[index, start - 1 : len(ids) - 1].double().log_softmax(-1)
        spelled = sum(log_prob_TV[offset, token].item() for offset, token in enumerate(ids[start:-1]))
        values.append(float(np.exp(spelled + log_prob_TV[-1, closing].logsumexp(0).item())))
    return values


def exact_values(
    model: CausalLM, tokenizer: Tokenizer, problem: Problem, prefixes: Sequence[str]
) -> NDArray[np.float64]:
    """`J_exact` of each prefix: the share of the prover's answers that are right.

    All candidates are enumerated, so that a caller may compare the whole distribution; the right one is returned.

    Returns:
        `value_P` in [0, 1].

    """
    probability_PA = answer_probabilities(model, tokenizer, problem, prefixes, problem.candidates)
    return probability_PA[:, problem.candidates.index(problem.answer)]
