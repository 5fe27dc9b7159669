"""A causal language model, asked about traces: one causal pass over the trace, then packed passes over its suffixes.

Dimension key: P probes of a chunk · S spellings · Q packed tokens · N shared tokens · R live rows · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, ProbeAnswer, Proof, RolloutQuery
from mrt_reward.provers.hf.kv_cache import PackedCache, PrefillDone, PrefixCache, TreeCache, cache_name
from mrt_reward.provers.hf.logits import finite
from mrt_reward.provers.hf.packing import PackedRow, pack
from mrt_reward.provers.hf.sampling import Answers
from mrt_reward.provers.hf.windows import FULL, Windows, within
from mrt_reward.provers.likelihood import NO_SPELLINGS, SpellingTree, spelling_logprobs, spelling_tree
from mrt_reward.provers.stops import Stops

PREFILL_CHUNK = 2048
MAX_ROWS = 256
"""Answers that are sampled side by side, unless one probe alone asks for more."""


@dataclass(slots=True)
class PackedModel:
    """Answers proofs, one at a time, without any batching between them.

    Attributes:
        model: a decoder-only transformers model that uses `shared_prefix_attention`.
        max_tokens: longest context.
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

    @torch.inference_mode()
    def prove(self, proof: Proof, pause: Callable[[], None]) -> tuple[tuple[ProbeAnswer, ...], int]:
        """Answers of all probes, and the number of tokens run through the network.

        `pause` is called between passes and may raise to end the work.

        Raises:
            ProverError: the trace does not fit, its ids are not the model's, or the network gave no finite numbers.

        """
        proof.check_fits(self.max_tokens, int(self.config.vocab_size))
        prefix, num_tokens = self._prefill(proof.token_ids[: max(probe.cut for probe in proof.probes)], pause)
        if isinstance(proof.query, LikelihoodQuery):
            answers, num_packed = self._likelihood(proof, proof.query, prefix, pause)
        else:
            answers, num_packed = self._rollouts(proof, proof.query, prefix, pause)
        return tuple(answers), num_tokens + num_packed

    def _prefill(self, ids: NDArray[np.int32], pause: Callable[[], None]) -> tuple[PrefixCache, int]:
        """Keys and values of the trace. The last layer's own output is never needed, so it is not computed."""
        cache = PrefixCache(int(self.config.num_hidden_layers))
        shortest = min((window for window in self.windows.values() if window is not None), default=len(ids))
        for start in range(0, len(ids), PREFILL_CHUNK):
            pause()
            chunk = np.arange(start, min(start + PREFILL_CHUNK, len(ids)))
            visible = np.arange(start + len(chunk))[None] <= chunk[:, None]
            try:
                masked = start or len(chunk) > shortest
                self._forward(ids[chunk], chunk, visible if masked else None, cache, np.zeros(1, np.int64))
            except PrefillDone:
                continue
            raise ProverError("this model does not fill its key-value cache layer by layer", code="unsupported_model")
        return cache, len(ids)

    def _likelihood(
        self, proof: Proof, query: LikelihoodQuery, prefix: PrefixCache, pause: Callable[[], None]
    ) -> tuple[list[ProbeAnswer], int]:
        tree = spelling_tree(query.spellings)
        answers: list[ProbeAnswer] = []
        num_packed = 0
        for row in pack(proof.probes, tree, int(self.config.vocab_size)):
            pause()
            logits = self._packed(row, PackedCache(prefix, row.num_shared, keep=False))
            logprob_PS = _spelling_logprobs(logits.reshape(len(row.probes), -1, logits.shape[-1]), tree)
            answers += [ProbeAnswer(spelling_logprobs=tuple(logprobs)) for logprobs in logprob_PS.tolist()]
            num_packed += len(row.ids)
        return answers, num_packed

    def _rollouts(
        self, proof: Proof, query: RolloutQuery, prefix: PrefixCache, pause: Callable[[], None]
    ) -> tuple[list[ProbeAnswer], int]:
        if any(self.windows.values()):
            raise ProverError("answers behind windows are not packed: ask cut by cut", code="unsupported_query")
        completions: list[ProbeAnswer] = []
        num_tokens = 0
        group = max(1, MAX_ROWS // query.num_samples)
        for start in range(0, len(proof.probes), group):
            probes = proof.probes[start : start + group]
            for row in pack(probes, NO_SPELLINGS, int(self.config.vocab_size)):
                pause()
                packed = PackedCache(prefix, row.num_shared, keep=True)
                logits = self._packed(row, packed)
                chunk = probes[row.probes.start : row.probes.stop]
                room = [self.max_tokens - probe.cut - len(probe.suffix) for probe in chunk]
                answers = Answers(chunk, query, self.stops, room)
                num_tokens += len(row.ids) + self._decode(row, packed, logits, answers, pause)
                completions += [
                    ProbeAnswer(
                        completions=answers.completions(index), completion_logprobs=answers.mean_logprobs(index)
                    )
                    for index in range(len(chunk))
                ]
        return completions, num_tokens

    def _decode(
        self, row: PackedRow, packed: PackedCache, logits: Tensor, answers: Answers, pause: Callable[[], None]
    ) -> int:
        """Step until no answer is left; returns the number of tokens run."""
        ends = row.logit_rows
        mask = self._mask(row.visible[ends])
        origin = np.arange(len(ends))
        tree = TreeCache(packed)
        num_tokens = num_steps = 0
        while True:
            num_rows = len(answers.rows)
            parents = np.array(answers.step(logits), np.int64)
            if not len(parents):
                return num_tokens
            pause()
            if not np.array_equal(parents, np.arange(num_rows)):
                tree.follow(_tensor(parents, mask.device), num_rows)
                origin = origin[parents]
                mask = mask[:, :, _tensor(parents, mask.device)]
            num_steps += 1
            ids = np.array([live.token for live in answers.rows])
            positions = row.positions[ends[origin]] + num_steps
            logits = self._forward(ids, positions, mask, tree, np.arange(len(ids)))
            num_tokens += len(ids)

    def _packed(self, row: PackedRow, cache: PackedCache) -> Tensor:
        return self._forward(row.ids, row.positions, row.visible, cache, row.logit_rows)

    def _forward(
        self,
        ids: NDArray[np.int32] | NDArray[np.int64],
        positions: NDArray[np.int64],
        visible: NDArray[np.bool_] | Tensor | None,
        cache: PrefixCache | PackedCache | TreeCache,
        logit_rows: NDArray[np.int64],
    ) -> Tensor:
        """Logits (rows, V) in float32."""
        device = cast("torch.device", self.model.device)
        output = self.model(
            input_ids=_tensor(ids, device)[None],
            position_ids=_tensor(positions, device)[None],
            attention_mask=self._masks(visible, positions) if isinstance(visible, np.ndarray) else visible,
            use_cache=True,
            logits_to_keep=_tensor(logit_rows, device),
            **{cache_name(type(self.model)): cache},
        )
        return finite(cast("Tensor", output.logits)[0].float())

    def _masks(self, visible: NDArray[np.bool_], positions: NDArray[np.int64]) -> Tensor | dict[str, Tensor]:
        """The mask of all layers, or one for each kind of layer."""
        columns = np.concatenate([np.arange(visible.shape[1] - len(positions), dtype=np.int64), positions])
        masks = {
            kind: self._mask(visible if window is None else visible & within(window, positions, columns))
            for kind, window in self.windows.items()
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, visible: NDArray[np.bool_]) -> Tensor:
        """Additive, (1, 1, Q, N + Q), in the model's dtype: made once, while each layer would convert a boolean one."""
        dtype = cast("torch.dtype", self.model.dtype)
        hidden = torch.from_numpy(~visible).to(cast("torch.device", self.model.device))  # pyright: ignore[reportUnknownMemberType] - partial
        return torch.zeros(visible.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)[
            None, None
        ]


def _tensor(array: NDArray[np.int32] | NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)  # pyright: ignore[reportUnknownMemberType] - partial


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
