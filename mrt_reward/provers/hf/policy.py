"""A policy that proves in the process that trains it: the module itself, and no copy of its weights.

It proves between two updates only, while the trainer waits, because a module can be in one mode at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverUnavailable
from mrt_reward.protocols import Proof, Proven, ProverInfo, Tokenizer
from mrt_reward.provers.hf.lending import attention_of, lent, set_attention, whole
from mrt_reward.provers.hf.loading import checked_context
from mrt_reward.provers.hf.prover import NUM_SLOTS, generate_one
from mrt_reward.provers.hf.pulse import Pulse
from mrt_reward.provers.hf.selfcheck import proved
from mrt_reward.provers.hf.worker import ProverWorker, Weights
from mrt_reward.provers.stops import Stops
from mrt_reward.provers.tokenizer import HFTokenizer

NAME = "policy"
"""What values say of who gave them, beside the step: `policy@12`."""


class PolicyProver:
    """A `Prover` over a module in training. Its weights are right or refused when it is made, as those of any model.

    Args:
        policy: a causal language model of transformers, with or without an adapter (PEFT), all of it in this process.
        tokenizer: folder of the policy's.
        settings: for the longest context, CPU threads, and the room of sampled answers' keys and values.

    Raises:
        ConfigError: the policy or its tokenizer cannot prove; says what to use instead.

    """

    def __init__(self, policy: Any, tokenizer: Path, settings: EngineSettings) -> None:  # noqa: ANN401 - a trainer's
        self._model = whole(policy)
        self._settings = settings
        self._tokenizer = HFTokenizer(tokenizer)
        self._worker: ProverWorker | None = None
        self._threads = torch.get_num_threads()
        max_tokens = checked_context(self._model.config, settings.max_model_len)
        stops = Stops(_end_ids(self._model, self._tokenizer.end_id), self._tokenizer.braces)
        with lent(self._model):
            self._proved = proved(self._model, max_tokens, stops, self._tokenizer)
            self._attention = attention_of(self._model)
        self._info = ProverInfo(
            NAME,
            "",
            "transformers",
            max_tokens,
            dtype=str(self._model.dtype).removeprefix("torch."),
            coupled="exact",
            num_threads=settings.threads or self._threads,
            computed_per_needed=self._proved.overhead,
        )

    @property
    def info(self) -> ProverInfo:
        """Identity at the step of the last `proving`."""
        return self._info

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the policy."""
        return self._tokenizer

    @property
    def num_slots(self) -> int:
        """As many as of any model in this process."""
        return NUM_SLOTS

    @contextmanager
    def proving(self, step: int) -> Generator[None]:
        """Let the policy prove, as it is at a step of the trainer; nobody else may use it meanwhile.

        Afterwards its modes, attention, forward and head are what they were, and what was still asked for has failed.

        Raises:
            RuntimeError: it proves already.

        """
        if self._worker is not None:
            raise RuntimeError("expected the policy to prove for one caller at a time: wait for the batch before")
        self._info = replace(self._info, version=str(step))
        with ExitStack() as undo:
            # torch hands a count on to libraries that have one for all threads.
            undo.callback(torch.set_num_threads, self._threads)
            undo.enter_context(lent(self._model))
            set_attention(self._attention)
            worker = self._worker = self._new_worker()
            undo.callback(self._end, worker)
            yield

    def _new_worker(self) -> ProverWorker:
        threads, room = self._settings.threads or self._threads, self._settings.max_kv_tokens
        return ProverWorker(Weights(self._proved, self._info.version), Pulse(), num_threads=threads, max_columns=room)

    def _end(self, worker: ProverWorker) -> None:
        self._worker = None
        worker.close()

    async def prove(self, proof: Proof) -> Proven:
        """Answer a proof.

        Raises:
            ProverError: it failed; `ProverUnavailable` outside of `proving`.

        """
        if self._worker is None:
            raise ProverUnavailable("the policy proves while its trainer waits for values, and at no other time")
        return await asyncio.wrap_future(self._worker.prove(proof))

    async def check(self) -> None:
        """Generate one token; raises as `prove` does, or `ProverUnavailable` where it cannot."""
        await generate_one(self)

    async def close(self) -> None:
        """Nothing is held outside of `proving`, so that a policy may prove for one service after another."""


def _end_ids(model: Any, own: int | None) -> frozenset[int]:  # noqa: ANN401 - of transformers
    """Ends of turn, found as in a folder: of the generation settings, else the configuration, and the tokenizer's."""
    declared = [
        getattr(part, "eos_token_id", None) for part in (getattr(model, "generation_config", None), model.config)
    ]
    listed: Any = next((ends for ends in declared if ends is not None), ())
    ids: set[int] = {listed} if isinstance(listed, int) else set(listed)
    return frozenset(ids if own is None else {*ids, own})
