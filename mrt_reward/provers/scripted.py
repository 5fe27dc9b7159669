"""A prover that answers by a script: public, deterministic and instant, for tests and documentation.

Its tokenizer has one token for each UTF-8 byte and one for each control word, so ids can be read in a debugger and any
text fits. Its values come from a list or from a function of the prefix's text.

Dimension key: M sampled answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import (
    LikelihoodQuery,
    ProbeAnswer,
    Proof,
    Proven,
    ProverInfo,
    RolloutQuery,
    TokenizedText,
    Tokenizer,
)
from mrt_reward.text.byte_text import locate_bytes, refuse_surrogates
from mrt_reward.types import Message, TokenIds

CONTROL_WORDS = ("<think>", "</think>", "<|im_start|>", "<|im_end|>")
_NUM_BYTES = 256
_CONTROL_ID = {word: _NUM_BYTES + index for index, word in enumerate(CONTROL_WORDS)}
_PIECES = re.compile("(" + "|".join(re.escape(word) for word in CONTROL_WORDS) + ")")

Values = Sequence[float] | Callable[[str, int], float]
"""Success rates by the probe's index, or from the prefix's text and the probe's index."""


class ScriptedTokenizer:
    """Bytes 0 … 255 are their own ids; the control words follow, in the order of `CONTROL_WORDS`."""

    bos_id: int | None = None

    @property
    def sha256(self) -> str:
        """Of the list of control words, since there is no file."""
        return hashlib.sha256("\n".join(CONTROL_WORDS).encode()).hexdigest()

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids of the control words."""
        return frozenset(_CONTROL_ID.values())

    @property
    def turn_words(self) -> Mapping[int, str]:
        """The two of ChatML."""
        return {_CONTROL_ID[word]: word for word in CONTROL_WORDS if "|" in word}

    @property
    def close_ids(self) -> tuple[int, ...]:
        """The one byte that is `}`."""
        return (ord("}"),)

    def encode_trusted(self, text: str) -> TokenIds:
        """Bytes, and control words as one id each."""
        refuse_surrogates(text, "prompt")
        ids: list[int] = []
        for piece in _PIECES.split(text):
            ids.extend([_CONTROL_ID[piece]] if piece in _CONTROL_ID else piece.encode())
        return np.array(ids, np.int32)

    def encode_untrusted(self, text: str) -> TokenizedText:
        """Bytes only. A character is complete at its last byte."""
        refuse_surrogates(text, "completion")
        data = np.frombuffer(text.encode(), np.uint8)
        starts = np.append((data & 0xC0) != 0x80, True)
        return TokenizedText(data.astype(np.int32), np.cumsum(starts[1:], dtype=np.int32))

    def locate(self, ids: TokenIds) -> tuple[str, TokenIds]:
        """Text with control words written out. Bytes that are not UTF-8 are shown as U+FFFD."""
        return locate_bytes([_written(token) for token in ids.tolist()])

    def render_chat(self, messages: Sequence[Message]) -> str:
        """ChatML, with thinking opened."""
        turns = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in messages)
        return turns + "<|im_start|>assistant\n<think>\n"

    def encode_chat(self, messages: Sequence[Message]) -> TokenIds:
        """ChatML with the contents as bytes."""
        parts: list[TokenIds] = []
        for turn in messages:
            parts += [self.encode_trusted("<|im_start|>"), self.encode_untrusted(f"{turn.role}\n{turn.content}").ids]
            parts += [self.encode_trusted("<|im_end|>\n")]
        return np.concatenate([*parts, self.encode_trusted("<|im_start|>assistant\n<think>\n")])

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes as UTF-8, U+FFFD where they are not; control ids are left out."""
        return bytes(token for token in ids if token < _NUM_BYTES).decode(errors="replace")


def _written(token: int) -> bytes:
    if token < _NUM_BYTES:
        return bytes([token])
    index = token - _NUM_BYTES
    return CONTROL_WORDS[index].encode() if index < len(CONTROL_WORDS) else "\N{REPLACEMENT CHARACTER}".encode()


@dataclass(frozen=True, slots=True)
class Script:
    """How a scripted prover behaves beyond its values.

    Attributes:
        answer: what a right sampled answer says.
        wrong: what a wrong one says.
        delay_s: time that each proof takes.
        num_slots: proofs that may be asked at once.
        logprobs: mean log-probability of a right and of a wrong sampled answer; None tells none.
        fail_on: traces whose tokens spell this fail alone.
        fail_with: the error they fail with.

    """

    answer: str = "42"
    wrong: str = "0"
    delay_s: float = 0.0
    num_slots: int = 1
    logprobs: tuple[float, float] | None = None
    fail_on: str = ""
    fail_with: type[ProverError] = ProverError


class ScriptedProver:
    """A `Prover` whose success rates are given.

    `likelihood`: the first spelling has log(value), the others -inf. `rollouts`: round(value · M) of the M answers are
    `answer`, and they come first; the rest are `wrong`.

        >>> prover = ScriptedProver([0.25, 1.0], answer="42")

    Args:
        values: success rates in [0, 1].
        version: of the pretended weights; may be assigned later.
        script: the fields of `Script`, by name.

    Attributes:
        proofs: everything that was asked, in order.
        unavailable: while true, `prove` and `check` raise `ProverUnavailable`.

    """

    def __init__(self, values: Values, *, version: str = "1", max_tokens: int = 131_072, **script: object) -> None:
        self.version = version
        self.proofs: list[Proof] = []
        self.unavailable = False
        self._died = asyncio.Event()
        self._values = values
        self._max_tokens = max_tokens
        self._script = Script(**script)  # pyright: ignore[reportArgumentType] - the fields are the record's own
        self._tokenizer = ScriptedTokenizer()

    @property
    def info(self) -> ProverInfo:
        """Name, version and limits of the prover."""
        note = "answers from a script"
        # Its m-th answer is right where m < value · M, so that answers of all prefixes are as alike as they can be.
        return ProverInfo("scripted", self.version, "scripted", self._max_tokens, note, coupled="exact")

    @property
    def tokenizer(self) -> Tokenizer:
        """Bytes and control words."""
        return self._tokenizer

    @property
    def num_calls(self) -> int:
        """Proofs that were asked."""
        return len(self.proofs)

    @property
    def num_slots(self) -> int:
        """As the script says."""
        return self._script.num_slots

    async def prove(self, proof: Proof) -> Proven:
        """Scripted answers, after `delay_s`; raises what the script says."""
        self._refuse_if_unavailable()
        self.proofs.append(proof)
        if self._script.delay_s:
            await asyncio.sleep(self._script.delay_s)
        return self._prove(proof)

    async def check(self) -> None:
        """Nothing to generate; raises only where the script says so."""
        self._refuse_if_unavailable()

    async def wait_dead(self) -> ProverUnavailable:
        """Return once `die` was called."""
        await self._died.wait()
        return ProverUnavailable("the scripted prover was told to die", code="engine_dead")

    def die(self) -> None:
        """Be as an engine whose process ended."""
        self.unavailable = True
        self._died.set()

    async def close(self) -> None:
        """Does nothing: there is nothing to release."""

    def _refuse_if_unavailable(self) -> None:
        if self.unavailable:
            raise ProverUnavailable("the scripted prover was told to be unavailable")

    def _prove(self, proof: Proof) -> Proven:
        if self._script.fail_on and self._script.fail_on in self._tokenizer.locate(proof.token_ids)[0]:
            raise self._script.fail_with(f"told to fail on {self._script.fail_on!r}")
        answers: list[ProbeAnswer] = []
        for index, probe in enumerate(proof.probes):
            if not callable(self._values) and index >= len(self._values):
                raise ProverError(
                    f"the script has {len(self._values)} values, the trace has {len(proof.probes)} probes"
                )
            value = (
                self._values(self._tokenizer.locate(proof.token_ids[: probe.cut])[0], index)
                if callable(self._values)
                else self._values[index]
            )
            answers.append(self._answer(value, proof.query))
        return Proven(tuple(answers), self.version, proof.num_tokens)

    def _answer(self, value: float, query: LikelihoodQuery | RolloutQuery) -> ProbeAnswer:
        if not 0 <= value <= 1:
            raise ValueError(f"scripted values must be in [0, 1], got {value}")
        if isinstance(query, LikelihoodQuery):
            first = math.log(value) if value > 0 else -math.inf
            return ProbeAnswer(spelling_logprobs=(first, *[-math.inf] * (len(query.spellings) - 1)))
        num_right = round(value * query.num_samples)
        texts = [self._script.answer] * num_right + [self._script.wrong] * (query.num_samples - num_right)
        form = "{%s}" if query.stop_at_close else "The answer is \\boxed{%s}"
        completions = tuple(tuple((form % text).encode()[: query.max_tokens]) for text in texts)
        right, wrong = (self._script.logprobs if query.logprobs else None) or (None, None)
        logprobs = () if right is None or wrong is None else (right,) * num_right + (wrong,) * (len(texts) - num_right)
        return ProbeAnswer(completions=completions, completion_logprobs=logprobs)
