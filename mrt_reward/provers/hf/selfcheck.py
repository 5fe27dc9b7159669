"""Before a model's first proof: the way to ask it that gives what plain forwards give, or the reason why none does.

A mask that lacks a condition, or a state that does not go on as it should, fails without any error. So each way is
asked about one short trace of several cuts, and a plain forward over every terminated prefix, without any cache and
with the model's own attention code, says what is right. Windows are cut short meanwhile, so that the trace outgrows
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog
import torch
import transformers

from mrt_reward.errors import ConfigError, ProverError
from mrt_reward.protocols import LikelihoodQuery, ProbeAnswer, Proof, RolloutQuery, Tokenizer
from mrt_reward.protocols.canary import canary_proof, needed_tokens, rounding, tolerance, worst_difference
from mrt_reward.provers.hf.kv_cache import ATTENTION
from mrt_reward.provers.hf.model import PackedModel
from mrt_reward.provers.hf.plain import PlainModel, is_switchable
from mrt_reward.provers.hf.walking import WalkedModel
from mrt_reward.provers.hf.windows import shortened, windows_of
from mrt_reward.provers.stops import Stops

TRACE = 40
"""Tokens of the trace."""

WINDOW = 12
"""Tokens of its windows: cuts lie before, at and beyond the end of the first."""

ROLLOUTS = RolloutQuery(2, temperature=1.0, top_p=1.0, max_tokens=4, stop_at_close=False, logprobs=True, coupled=True)

Way = PackedModel | WalkedModel
"""Ways of asking a model about a trace."""

WORDS: Mapping[type[Way], str] = {PackedModel: "in packed passes", WalkedModel: "cut by cut"}

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProvedModel:
    """A model, and for each kind of query the way that was found to be right.

    Attributes:
        likelihood: the way to ask for likelihoods.
        rollouts: the way to sample answers.
        overhead: tokens run through the network for likelihoods, per token that has to be.

    """

    likelihood: Way
    rollouts: Way
    overhead: float = 1.0

    @property
    def model(self) -> torch.nn.Module:
        """The network that is checked."""
        return self.likelihood.model

    @property
    def max_tokens(self) -> int:
        """Longest context, in tokens."""
        return self.likelihood.max_tokens

    @property
    def side_by_side(self) -> PackedModel | None:
        """What samples answers of several proofs at once; None where `prove` answers one proof after the other."""
        return self.rollouts if isinstance(self.rollouts, PackedModel) else None

    def prove(self, proof: Proof, pause: Callable[[], None]) -> tuple[tuple[ProbeAnswer, ...], int]:
        """Answers of all probes, and the number of tokens run through the network.

        Raises:
            ProverError: the model cannot answer; as the chosen way raises it.

        """
        way = self.likelihood if isinstance(proof.query, LikelihoodQuery) else self.rollouts
        return way.prove(proof, pause)


def proved(model: Any, max_tokens: int, stops: Stops, tokenizer: Tokenizer) -> ProvedModel:  # noqa: ANN401 - transformers' own
    """The model, asked in the first way that is right.

    Raises:
        ConfigError: no way passes.

    """
    problems: list[str] = []
    for candidate in _candidates(model, max_tokens, stops):
        checked = _checked(candidate, tokenizer)
        if isinstance(checked, float):
            return replace(candidate, overhead=checked)
        ways = dict.fromkeys(WORDS[type(way)] for way in (candidate.likelihood, candidate.rollouts))
        problems.append(f"{' and '.join(ways)}: {checked}")
        logger.info("way_is_not_right", problem=problems[-1])
    config = model.config.get_text_config()
    raise ConfigError(
        f"engine 'transformers' cannot prove with this model ({config.model_type}): what transformers "
        f"{transformers.__version__} computes for it from a kept past differs from a plain forward "
        f"({'; '.join(problems)}). Use --engine vllm, a release of transformers that continues it rightly, or another "
        f"model",
        param="model",
    )


def _candidates(model: Any, max_tokens: int, stops: Stops) -> Iterator[ProvedModel]:  # noqa: ANN401 - transformers' own
    """The way that shares most comes first; the model has the attention for it while it is looked at."""
    walked = WalkedModel(model, max_tokens, stops)
    windows = windows_of(model.config.get_text_config())
    if windows is not None and is_switchable(model):
        own = model.config._attn_implementation  # noqa: SLF001 - transformers has no other name for it
        model.set_attn_implementation(ATTENTION)
        packed = PackedModel(model, max_tokens, stops, windows)
        if not any(windows.values()):
            yield ProvedModel(packed, packed)
        yield ProvedModel(packed, walked)
        model.set_attn_implementation(own)
    yield ProvedModel(walked, walked)


def _checked(candidate: ProvedModel, tokenizer: Tokenizer) -> float | Exception:
    """Tokens computed for likelihoods, per token needed; what is wrong, where something is.

    Raises:
        ConfigError: plain forwards give no numbers.

    """
    try:
        return _overhead(candidate, tokenizer)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - a way may fail in any manner on a model that is not for it
        return error


def _overhead(candidate: ProvedModel, tokenizer: Tokenizer) -> float:
    plain = PlainModel(candidate.model)
    dtype = str(plain.model.dtype).removeprefix("torch.")
    proof = canary_proof(tokenizer, TRACE, candidate.max_tokens)
    drawn = Proof(proof.token_ids, proof.probes[1::2], ROLLOUTS)
    with shortened(plain.model.config.get_text_config(), WINDOW):
        expected = _expected(plain, proof)
        found, num_tokens = _short(candidate.likelihood).prove(proof, _go_on)
        _refuse("likelihoods", worst_difference(found, expected), rounding(proof, dtype))
        answers, _ = _short(candidate.rollouts).prove(drawn, _go_on)
        logprobs = np.array([answer.completion_logprobs for answer in answers])
        apart = float(np.abs(logprobs - plain.mean_logprobs(drawn, answers)).max())
        _refuse("mean log-probabilities of sampled answers", apart, tolerance(dtype))
    return num_tokens / needed_tokens(proof)


def _expected(plain: PlainModel, proof: Proof) -> tuple[ProbeAnswer, ...]:
    try:
        return plain.likelihoods(proof)
    except ProverError as error:
        raise ConfigError(f"this model cannot prove: {error}", param="model") from error


def _short(way: Way) -> Way:
    """The way on the windows of the moment, with answers that nothing but their length ends."""
    ends = Stops(frozenset(), {})
    if isinstance(way, WalkedModel):
        return replace(way, stops=ends)
    return replace(way, stops=ends, windows=windows_of(way.config) or way.windows)


def _refuse(what: str, apart: float, limit: float) -> None:
    # Not `>`, which NaN would pass.
    if not apart <= limit:
        raise ProverError(
            f"{what} are {apart:.3g} nats away, at most {limit:.2g} is rounding", code="self_check_failed"
        )


def _go_on() -> None:
    """Nobody leaves a self-check."""
