"""What is asked about a trace, what is answered, and the engine that does.

Dimension key: P probes of a trace · S spellings of the answer · M sampled answers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal, Protocol

import numpy as np

from mrt_reward.errors import ProverError
from mrt_reward.protocols.tokens import Tokenizer
from mrt_reward.types import TokenIds


@dataclass(frozen=True, slots=True)
class Probe:
    """One terminated prefix: the trace's first `cut` tokens, then `suffix`.

    Attributes:
        cut: number of the proof's tokens that come before the suffix; at least 1.
        suffix: the terminator's tokens; at least 1.
        seed: of this probe's sampling, a function of what is probed only.

    """

    cut: int
    suffix: tuple[int, ...]
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SpellingIds:
    """One spelling of the gold answer in braces.

    Attributes:
        ids: its tokens without the close; at least 1.
        close: tokens any of which may close it; their probabilities are summed.

    """

    ids: tuple[int, ...]
    close: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LikelihoodQuery:
    """Ask, after every probe, for the log-probability at temperature 1 of each spelling and its close."""

    spellings: tuple[SpellingIds, ...]


@dataclass(frozen=True, slots=True)
class RolloutQuery:
    """Ask, after every probe, for sampled answers.

    Attributes:
        num_samples: M, answers of each prefix.
        temperature: 0 is greedy, and then one answer stands for all M.
        top_p: probability mass of the nucleus.
        max_tokens: longest answer; also cut at the end of the context.
        stop_at_close: an answer is over once its braces balance; otherwise at the model's end of turn.
        logprobs: whether to return the log-probability of each answer, where the engine can.
        coupled: whether the m-th answers of all probes with one seed are drawn with the same noise. An engine that
            cannot do so refuses the proof (`ProverInfo.coupled`).

    """

    num_samples: int
    temperature: float
    top_p: float
    max_tokens: int
    stop_at_close: bool
    logprobs: bool = False
    coupled: bool = field(default=False, repr=False)  # seeds and keys are made of what is shown: see `plan_rollouts`


Query = LikelihoodQuery | RolloutQuery


def trace_name(token_ids: TokenIds) -> str:
    """Of a trace, by its tokens: 32 hexadecimal digits."""
    return hashlib.blake2b(token_ids.astype("<i4").tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Proof:
    """All that is asked about one trace.

    Attributes:
        token_ids: the trace's tokens, prompt first, up to the longest cut.
        probes: P of them, shortest cut first.
        query: what is asked at each.
        trace: a name of the whole trace, which all proofs about it have, whatever their longest cut; empty: of no more
            than this one.

    """

    token_ids: TokenIds
    probes: tuple[Probe, ...]
    query: Query
    trace: str = field(default="", compare=False, repr=False)

    @property
    def session(self) -> str:
        """What keeps the proofs about one trace together, where its tokens are cached."""
        return self.trace or trace_name(self.token_ids)

    @property
    def num_tokens(self) -> int:
        """Unique tokens to run through the network if prefixes are shared; what the queue is measured in."""
        suffixes = sum(len(probe.suffix) for probe in self.probes)
        if isinstance(self.query, LikelihoodQuery):
            tail = sum(len(spelling.ids) for spelling in self.query.spellings)
        else:
            tail = self.query.num_samples * self.query.max_tokens
        return len(self.token_ids) + suffixes + tail * len(self.probes)

    def check_fits(self, max_tokens: int, vocab_size: int | None = None, *, runs_close: bool = False) -> None:
        """Check that a model can take this proof, before its network sees any of it.

        Args:
            max_tokens: the model's context.
            vocab_size: its ids are below it; None where that is not known.
            runs_close: the engine runs the token that closes a spelling as well, so the context must hold it too.

        Raises:
            ProverError: the longest terminated prefix and its answer do not fit, or an id is not the model's.

        """
        tail = 1
        if isinstance(self.query, LikelihoodQuery):
            tail = max(len(spelling.ids) for spelling in self.query.spellings) + runs_close
        longest = max(probe.cut + len(probe.suffix) for probe in self.probes) + tail
        if longest > max_tokens:
            raise ProverError(
                f"the longest terminated prefix has {longest} tokens with its answer, the prover's context holds "
                f"{max_tokens}: shorten the trace, raise max_model_len, or serve a model with a longer context",
                code="context_length_exceeded",
            )
        ids = np.concatenate([self.token_ids, *[np.array(probe.suffix) for probe in self.probes]])
        if vocab_size is not None and (ids.min() < 0 or ids.max() >= vocab_size):
            raise ProverError(
                f"token ids must be in [0, {vocab_size}), got {ids.min()} to {ids.max()}", code="invalid_token_ids"
            )


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What the prover said after one probe: the field of the query's kind is filled.

    Attributes:
        spelling_logprobs: S natural logarithms, at most 0; -inf is a probability of 0.
        completions: M answers as token ids, without the end-of-turn token.
        completion_logprobs: M natural logarithms, each the mean over an answer's tokens, the end of turn included where
            it was drawn, at temperature 1; none where they were not asked for or the engine returns none.

    """

    spelling_logprobs: tuple[float, ...] = ()
    completions: tuple[tuple[int, ...], ...] = ()
    completion_logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Proven:
    """A proof answered.

    Attributes:
        answers: P of them, in the order of the probes.
        version: of the weights that gave all of them.
        computed_tokens: run through the network for it.

    """

    answers: tuple[ProbeAnswer, ...]
    version: str
    computed_tokens: int


Coupling = Literal["exact", "endpoint", "none", "unknown"]
"""How an engine couples answers: by noise of its own, addressed by token; by an endpoint's seed, which was seen to do
so; not at all; or not known before the endpoint was asked for the first time."""


@dataclass(frozen=True, slots=True)
class ProverInfo:
    """Who proves.

    Attributes:
        model: name or folder, which is nobody's business outside of this process; see `name`.
        version: of the weights; changes when they do.
        engine: its name in `EngineSettings`, or "scripted".
        max_tokens: longest context, answer included.
        note: a caveat for whoever reads the values, such as that the model is a tiny demonstration.
        dtype: precision that it computes in, which moves values a little; empty where it is not known.
        coupled: whether it can couple answers, and how.
        num_threads: CPU threads of one operation; None where the engine does not say.
        computed_per_needed: tokens that its self-check ran through the network for likelihoods, per token that had to
            be; None where it has none, or did not run yet.

    """

    model: str
    version: str
    engine: str
    max_tokens: int
    note: str = ""
    dtype: str = ""
    coupled: Coupling = "none"
    num_threads: int | None = None
    computed_per_needed: float | None = field(default=None, compare=False)

    @property
    def can_couple(self) -> bool:
        """Whether it is known to draw the answers of several prefixes with the same noise."""
        return self.coupled in ("exact", "endpoint")

    @property
    def name(self) -> str:
        """The name that callers see: a name of the hub as it is, and of a folder its last part."""
        return public_name(self.model)


def public_name(model: str) -> str:
    """A model's name for callers: a name of the hub as it is, and of a folder its last part."""
    is_folder = PurePath(model).is_absolute() or model.startswith((".", "~"))
    return (PurePath(model).name if is_folder else "") or model


class Prover(Protocol):
    """An engine that finishes from prefixes."""

    @property
    def info(self) -> ProverInfo:
        """Current identity; read again after every weight update."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the model."""
        ...

    @property
    def num_slots(self) -> int:
        """How many `prove` calls may run at once; an engine may batch those that it holds."""
        ...

    async def prove(self, proof: Proof) -> Proven:
        """Answer a proof. Cancelling the call stops the engine's work on it soon.

        Raises:
            ProverError: this proof could not be answered; `ProverUnavailable` if none can, and trying again may help.

        """
        ...

    async def check(self) -> None:
        """Generate one token.

        Raises:
            ProverUnavailable: the engine cannot prove at present.

        """
        ...

    async def close(self) -> None:
        """Release the engine; no call may follow."""
        ...
