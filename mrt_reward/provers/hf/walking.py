"""A causal language model, asked about traces cut by cut: for layers whose past is a state and not a row of keys.

One pass runs the trace on to the next cut. The state is copied there, and the probe's suffix and its answers run from
the copy. These are the tokens of a packed pass, in more calls, and the model keeps its past as it always does.

Dimension key: P probes · S spellings · R live rows · L tokens of a row · V vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from mrt_reward.protocols import LikelihoodQuery, Probe, ProbeAnswer, Proof, RolloutQuery
from mrt_reward.provers.hf.kv_cache import cache_name
from mrt_reward.provers.hf.logits import finite
from mrt_reward.provers.hf.packing import MAX_LOGIT_ELEMENTS
from mrt_reward.provers.hf.sampling import Answers
from mrt_reward.provers.likelihood import ROOT, SpellingTree, spelling_logprobs, spelling_tree
from mrt_reward.provers.stops import Stops

CHUNK = 2048
"""Tokens of one pass over the trace."""


@dataclass(slots=True)
class WalkedModel:
    """Answers proofs, one probe at a time.

    Attributes:
        model: a decoder-only transformers model that keeps its past in a `DynamicCache`.
        max_tokens: longest context, in tokens.
        stops: what ends a sampled answer.

    """

    model: torch.nn.Module
    max_tokens: int
    stops: Stops

    @torch.inference_mode()
    def prove(self, proof: Proof, pause: Callable[[], None]) -> tuple[tuple[ProbeAnswer, ...], int]:
        """Answers of all probes, and the number of tokens run through the network.

        `pause` is called between passes and may raise to end the work.

        Raises:
            ProverError: the trace does not fit, its ids are not the model's, or the network gave no finite numbers.

        """
        config = cast("Any", self.model).config.get_text_config()
        proof.check_fits(self.max_tokens, int(config.vocab_size))
        walk = _Walk(self.model, DynamicCache(config=config), pause)
        answers: dict[int, ProbeAnswer] = {}
        start = 0
        for index in sorted(range(len(proof.probes)), key=lambda index: proof.probes[index].cut):
            probe = proof.probes[index]
            for begin in range(start, probe.cut, CHUNK):
                walk.on(proof.token_ids[begin : min(begin + CHUNK, probe.cut)][None])
            start = probe.cut
            answers[index] = self._answer(probe, proof.query, walk)
        return tuple(answers[index] for index in range(len(proof.probes))), walk.num_tokens

    def _answer(self, probe: Probe, query: LikelihoodQuery | RolloutQuery, walk: _Walk) -> ProbeAnswer:
        branch = walk.branch()
        after_suffix = branch.on(np.array([probe.suffix]))
        try:
            if isinstance(query, LikelihoodQuery):
                return _likelihood(spelling_tree(query.spellings), after_suffix, branch)
            room = self.max_tokens - probe.cut - len(probe.suffix)
            return _rollouts(Answers([probe], query, self.stops, [room]), after_suffix, branch)
        finally:
            walk.num_tokens += branch.num_tokens


class _Walk:
    """A model and what it has read so far, in one row or in several.

    Attributes:
        num_tokens: run through the network.

    """

    def __init__(self, model: torch.nn.Module, past: DynamicCache, pause: Callable[[], None]) -> None:
        self._model = model
        self._past = past
        self._pause = pause
        self.num_tokens = 0

    def branch(self) -> _Walk:
        """The same past, to go on from without changing this one."""
        return _Walk(self._model, copy.deepcopy(self._past), self._pause)

    def follow(self, parents: Sequence[int]) -> None:
        """Rows from now on continue these rows: some end, some branch."""
        rows = torch.tensor(parents, device=cast("torch.device", self._model.device))
        self._past.reorder_cache(cast("torch.LongTensor", rows))

    def on(self, ids_RL: NDArray[np.int32] | NDArray[np.int64], num_last: int = 1) -> Tensor:
        """Read on; logits (R, num_last, V) after the last tokens, in float32."""
        self._pause()
        device = cast("torch.device", self._model.device)
        kept = {"logits_to_keep": num_last} if _keeps_logits(type(self._model)) else {}
        output = self._model(
            input_ids=torch.from_numpy(ids_RL.astype(np.int64)).to(device),  # pyright: ignore[reportUnknownMemberType] - partial
            use_cache=True,
            **kept,
            **{cache_name(type(self._model)): self._past},
        )
        self.num_tokens += ids_RL.size
        return finite(cast("Tensor", output.logits)[:, -num_last:].float())


def _keeps_logits(network: type[torch.nn.Module]) -> bool:
    return "logits_to_keep" in inspect.signature(network.forward).parameters


def _likelihood(tree: SpellingTree, after_suffix: Tensor, branch: _Walk) -> ProbeAnswer:
    """Run the spellings that no other continues, those of one length side by side.

    What two of them begin with alike is run twice; a packed pass would run it once.
    """
    wanted = tree.wanted()
    found = {ROOT: _gathered(after_suffix[0, -1], wanted[ROOT])}
    for paths in _alike(tree, after_suffix.shape[-1]):
        side = branch.branch()
        side.follow([0] * len(paths))
        logits = side.on(np.array([[tree.tokens[node] for node in path] for path in paths]), len(paths[0]))
        branch.num_tokens += side.num_tokens
        for row, path in enumerate(paths):
            found |= {node: _gathered(logits[row, depth], wanted[node]) for depth, node in enumerate(path)}
    logprobs = spelling_logprobs(tree, lambda node, tokens: np.array([found[node][token] for token in tokens]))
    return ProbeAnswer(spelling_logprobs=tuple(logprobs.tolist()))


def _gathered(logits_V: Tensor, tokens: Sequence[int]) -> dict[int, float]:
    logprobs = logits_V[list(tokens)] - logits_V.logsumexp(dim=-1)
    return dict(zip(tokens, cast("list[float]", logprobs.double().tolist()), strict=True))


def _alike(tree: SpellingTree, vocab_size: int) -> Iterator[list[tuple[int, ...]]]:
    """Paths from the root to the leaves, each once; those of one length together, as many as logits may be."""
    leaves = set(range(len(tree.tokens))) - set(tree.parents)
    paths = {path for path in tree.paths if path[-1] in leaves}
    for length, alike in groupby(sorted(paths, key=len), key=len):
        size = max(1, MAX_LOGIT_ELEMENTS // (length * vocab_size))
        left = list(alike)
        yield from (left[start : start + size] for start in range(0, len(left), size))


def _rollouts(answers: Answers, after_suffix: Tensor, branch: _Walk) -> ProbeAnswer:
    logits_RV = after_suffix[:, -1]
    while parents := answers.step(logits_RV):
        branch.follow(parents)
        logits_RV = branch.on(np.array([[row.token] for row in answers.rows]))[:, -1]
    return ProbeAnswer(completions=answers.completions(0), completion_logprobs=answers.mean_logprobs(0))
