"""A causal language model, asked about traces: one causal pass over the trace, then packed passes over its suffixes.

Dimension key: P probes of a chunk · S spellings · Q packed tokens · N shared tokens · R live rows · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, ProbeAnswer, Proof, RolloutQuery
from mrt_reward.provers.hf.decoding import Sampling, step
from mrt_reward.provers.hf.kv_cache import PackedCache, PrefillDone, PrefixCache, StepCache, cache_name, stepping
from mrt_reward.provers.hf.logits import finite
from mrt_reward.provers.hf.packing import PackedRow, pack
from mrt_reward.provers.hf.windows import FULL, Windows, within
from mrt_reward.provers.likelihood import SpellingTree, spelling_logprobs, spelling_tree
from mrt_reward.provers.stops import Stops

PREFILL_CHUNK = 2048
"""Tokens of a pass over the trace."""

FIRST_CHUNKS = {"cuda": 16_384}
"""By the kind of device: tokens of the first pass, where it may be longer. A causal pass from the beginning needs no
mask, so that a GPU runs it by its fused kernels; later ones are masked, and those kernels take none."""


@dataclass(slots=True)
class PackedModel:
    """Answers proofs: likelihoods one trace at a time, sampled answers of several traces side by side.

    Attributes:
        model: a decoder-only transformers model that uses `shared_prefix_attention`.
        max_tokens: longest context, in tokens.
        stops: what ends a sampled answer.
        windows: what its layers see of the past. Answers are sampled only where all of them see all of it.

    """

    model: torch.nn.Module
    max_tokens: int
    stops: Stops
    windows: Windows = field(default_factory=lambda: FULL)

    @property
    def config(self) -> Any:  # noqa: ANN401 - transformers' own
        """The configuration of the model that reads text."""
        return cast("Any", self.model).config.get_text_config()

    @property
    def vocab_size(self) -> int:
        """Its ids are below it."""
        return int(self.config.vocab_size)

    @torch.inference_mode()
    def prove(self, proof: Proof, pause: Callable[[], None]) -> tuple[tuple[ProbeAnswer, ...], int]:
        """Answers of all probes, and the number of tokens run through the network.

        `pause` is called between passes and may raise to end the work.

        Raises:
            ProverError: the trace does not fit, its ids are not the model's, or the network gave no finite numbers.

        """
        if isinstance(proof.query, LikelihoodQuery):
            proof.check_fits(self.max_tokens, self.vocab_size)
            return self._likelihood(proof, proof.query, pause)
        sampling = self.sample(proof, proof.query, pause)
        while sampling.growing is not None:
            pause()
            self.grow([sampling])
        return tuple(sampling.answers), sampling.num_tokens

    @torch.inference_mode()
    def sample(self, proof: Proof, query: RolloutQuery, pause: Callable[[], None]) -> Sampling:
        """Read a trace whose answers are then sampled by `grow`, beside those of others.

        Raises:
            ProverError: see `prove`; or the model has windows.

        """
        if any(self.windows.values()):
            # Answers behind a window see another part of the trace at every step, which `Branches` does not know.
            raise ProverError("answers behind windows are not packed: ask cut by cut", code="unsupported_query")
        proof.check_fits(self.max_tokens, self.vocab_size)
        return Sampling(self, proof, query, pause)

    @torch.inference_mode()
    def grow(self, samplings: Sequence[Sampling]) -> None:
        """One token for every unfinished answer of all; see `step`."""
        step(self, samplings)

    def prefill(self, ids: NDArray[np.int32], pause: Callable[[], None]) -> PrefixCache:
        """Keys and values of the trace. The last layer's own output is never needed, so it is not computed."""
        cache = PrefixCache(int(self.config.num_hidden_layers), len(ids))
        shortest = min((window for window in self.windows.values() if window is not None), default=len(ids))
        for chunk in self._chunks(len(ids)):
            pause()
            visible = self._causal(chunk) if chunk[0] or len(chunk) > shortest else None
            try:
                self._forward(ids[chunk], chunk, visible, cache, np.zeros(1, np.int64))
            except PrefillDone:
                continue
            raise ProverError("this model does not fill its key-value cache layer by layer", code="unsupported_model")
        return cache

    def _chunks(self, num_tokens: int) -> Iterator[NDArray[np.int64]]:
        """Positions of each pass over a trace."""
        masked_at_once = any(self.windows.values())
        first = PREFILL_CHUNK if masked_at_once else FIRST_CHUNKS.get(self._device.type, PREFILL_CHUNK)
        edges = [0, *range(first, num_tokens, PREFILL_CHUNK), num_tokens]
        return (np.arange(start, end) for start, end in pairwise(edges))

    def _causal(self, chunk: NDArray[np.int64]) -> Tensor:
        """What each token of a chunk sees of the trace."""
        columns = torch.arange(int(chunk[-1]) + 1, device=self._device)
        return columns <= _tensor(chunk, self._device)[:, None]

    def _likelihood(
        self, proof: Proof, query: LikelihoodQuery, pause: Callable[[], None]
    ) -> tuple[tuple[ProbeAnswer, ...], int]:
        tree = spelling_tree(query.spellings)
        prefix = self.prefill(proof.token_ids[: max(probe.cut for probe in proof.probes)], pause)
        answers: list[ProbeAnswer] = []
        num_tokens = prefix.get_seq_length()
        for row in pack(proof.probes, tree, self.vocab_size):
            pause()
            logits = self.packed(row, PackedCache(prefix, row.num_shared, keep=False))
            logprob_PS = _spelling_logprobs(logits.reshape(len(row.probes), -1, logits.shape[-1]), tree)
            answers += [ProbeAnswer(spelling_logprobs=tuple(logprobs)) for logprobs in logprob_PS.tolist()]
            num_tokens += len(row.ids)
        return tuple(answers), num_tokens

    def packed(self, row: PackedRow, cache: PackedCache) -> Tensor:
        """Logits (rows, V) of a packed row's `logit_rows`."""
        return self._forward(row.ids, row.positions, _seen(row.visible, self._device), cache, row.logit_rows)

    def step(self, ids_R: NDArray[np.int64], position_R: NDArray[np.int64], cache: StepCache) -> Tensor:
        """Logits (R, V) after one token of each row of a decoding step."""
        # The rows attend by themselves; a mask that is made already keeps transformers from making one.
        mask = torch.ones(len(ids_R), 1, dtype=torch.bool, device=self._device)
        with stepping(cache):
            return self._forward(ids_R, position_R, mask, cache, np.arange(len(ids_R)))

    @property
    def _device(self) -> torch.device:
        return cast("torch.device", self.model.device)

    def _forward(
        self,
        ids: NDArray[np.int32] | NDArray[np.int64],
        positions: NDArray[np.int64],
        visible: Tensor | None,
        cache: PrefixCache | PackedCache | StepCache,
        logit_rows: NDArray[np.int64],
    ) -> Tensor:
        """Logits (rows, V) in float32."""
        position_Q = _tensor(positions, self._device)
        output = self.model(
            input_ids=_tensor(ids, self._device)[None],
            position_ids=position_Q[None],
            attention_mask=None if visible is None else self._masks(visible, position_Q),
            use_cache=True,
            logits_to_keep=_tensor(logit_rows, self._device),
            **{cache_name(type(self.model)): cache},
        )
        return finite(cast("Tensor", output.logits)[0].float())

    def _masks(self, visible: Tensor, position_Q: Tensor) -> Tensor | dict[str, Tensor]:
        """The mask of all layers, or one for each kind of layer."""
        masks = {
            kind: self._mask(visible if window is None else visible & _within(window, visible.shape[1], position_Q))
            for kind, window in self.windows.items()
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, visible: Tensor) -> Tensor:
        """Additive, (1, 1, Q, N + Q), in the model's dtype: made once, while each layer would convert a boolean one."""
        dtype = cast("torch.dtype", self.model.dtype)
        mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return mask.masked_fill_(~visible, -torch.inf)[None, None]


def _tensor(array: NDArray[np.int32] | NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)  # pyright: ignore[reportUnknownMemberType] - partial


def _seen(visible: NDArray[np.bool_], device: torch.device) -> Tensor:
    return torch.from_numpy(visible).to(device)  # pyright: ignore[reportUnknownMemberType] - partial


def _within(window: int, num_columns: int, position_Q: Tensor) -> Tensor:
    """What a window leaves of the trace's columns and, after them, of the pass's own."""
    shared = torch.arange(num_columns - len(position_Q), device=position_Q.device)
    return within(window, position_Q, torch.cat([shared, position_Q]))


def _spelling_logprobs(logits: Tensor, tree: SpellingTree) -> NDArray[np.float64]:
    """Shape (P, S), from logits (P, 1 + nodes, V): the first row predicts the roots.

    What is wanted of the logits is gathered on their device, and crosses to the CPU once.
    """
    wanted = [(node, token) for node, tokens in tree.wanted().items() for token in tokens]
    column = {pair: index for index, pair in enumerate(wanted)}
    rows = _tensor(np.array([node + 1 for node, _ in wanted], np.int64), logits.device)
    ids = _tensor(np.array([token for _, token in wanted], np.int64), logits.device)
    gathered = logits[:, rows, ids] - logits.logsumexp(dim=-1)[:, rows]
    logprob_PN = cast("NDArray[np.float64]", gathered.double().cpu().numpy())
    return spelling_logprobs(tree, lambda node, tokens: logprob_PN[:, [column[node, token] for token in tokens]])
