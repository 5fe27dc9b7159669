"""Batches as OpenRLHF's rollouts make them, and its own experience maker without Ray around it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mrt_openrlhf.payload import KEY, pack
from openrlhf.trainer.ppo_utils import experience_maker
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

from mrt_reward.training.records import Lapse, Prefixed, Record, Scored

MAX_LEN = 64
SAMPLES = 3
PROMPT = (5, 3)
"""Tokens of the prompts, so that rows are padded by different amounts."""

WHATS: list[Scored | Lapse | Prefixed] = [
    Scored(1, (3, 6), np.array([0.25, 0.5, 0.5]), cut_off=False),
    Scored(0, (4,), np.array([0.5, 0.125]), cut_off=False),
    Lapse.NO_THINKING,
    Scored(0, (3, 10), np.array([0.5, 0.25, 1.0]), cut_off=True),
    Lapse.TIMEOUT,
    Scored(2, (5,), np.array([0.0, 1.0]), cut_off=False),
]
LENGTHS = [9, 7, 5, 10, 12, 8]
OUTCOMES = [1.0, 0.0, 0.5, 0.0, 1.0, 1.0]

METHOD = experience_maker.RemoteExperienceMaker.compute_advantages_and_returns
"""OpenRLHF's own, before anything extends it."""


def arguments(estimator: str = "group_norm", **more: Any) -> Any:
    """Of OpenRLHF, as far as advantages are concerned."""
    advantage = {"estimator": estimator, "gamma": 1.0, "lambd": 1.0, "no_std_norm": False, "is_correction_level": "off"}
    reward: dict[str, Any] = {
        "clip_range": (-10, 10),
        "overlong_buffer_len": None,
        "stop_properly_penalty_coef": None,
        "overlong_penalty_factor": 1.0,
    }
    algo = SimpleNamespace(advantage=SimpleNamespace(**{**advantage, **more}), kl=SimpleNamespace(use_loss=False))
    rollout = SimpleNamespace(n_samples_per_prompt=SAMPLES, micro_batch_size=4, max_new_tokens=16)
    train = SimpleNamespace(dynamic_batch_enable=False)
    return SimpleNamespace(algo=algo, reward=SimpleNamespace(**reward), rollout=rollout, train=train)


def responses(
    whats: Sequence[Any] = WHATS, lengths: Sequence[int] = LENGTHS, outcomes: Sequence[float] = OUTCOMES
) -> list[dict[str, Any]]:
    """What agents returned, one per sample."""
    made: list[dict[str, Any]] = []
    for index, (what, length, outcome) in enumerate(zip(whats, lengths, outcomes, strict=True)):
        start = PROMPT[index // SAMPLES % 2]
        made.append(
            {
                "prompt": f"p{index // SAMPLES}",
                "label": "1",
                "observation_tokens": [7] * start + [9] * length,
                "action_ranges": [(start, start + length)],
                "rollout_log_probs": None,
                "truncated": False,
                "reward": outcome,
                "scores": outcome,
                "extra_logs": {"theirs": 1.0, KEY: pack(_record(what, index), length)},
            }
        )
    return made


def _record(what: Any, index: int) -> Record:
    """Rewards come a second apart, and each waits three quarters of one for its values."""
    return Record(what, prover="m@1", probes=3, waited_s=0.75, rewarded_at=1_795_838_400.0 + index)


def maker(args: Any) -> Any:
    """OpenRLHF's experience maker, without its models."""
    made = experience_maker.RemoteExperienceMaker.__new__(experience_maker.RemoteExperienceMaker)
    made.strategy, made.args = SimpleNamespace(args=args), args
    made.advantage_estimator = args.algo.advantage.estimator
    made.kl_ctl = SimpleNamespace(value=0.1)
    made.tokenizer = SimpleNamespace(pad_token_id=0)
    return made


def experiences(args: Any, answered: Sequence[dict[str, Any]] | None = None, seed: int = 0) -> list[Experience]:
    """A batch on its way to advantages: OpenRLHF's own generator and split, with values and KL as models would give."""
    generator = SamplesGenerator.__new__(SamplesGenerator)
    samples = [generator._process_response_into_experience(each, max_len=MAX_LEN) for each in answered or responses()]
    batch = maker(args).split_rollout_samples(samples)
    random = torch.Generator().manual_seed(seed)
    for experience in batch:
        shape = experience.action_mask.shape
        experience.values = torch.randn(shape, generator=random) if args.algo.advantage.estimator == "gae" else None
        experience.kl = 0.1 * torch.randn(shape, generator=random)
    return batch


def tokens_of(batch: Sequence[Experience], name: str) -> list[np.ndarray[Any, Any]]:
    """A field's values on the tokens that the policy wrote, one array per sample."""
    rows: list[np.ndarray[Any, Any]] = []
    for each in batch:
        field, mask = getattr(each, name), each.action_mask
        rows += [field[row][mask[row].bool()].double().numpy() for row in range(len(mask))]
    return rows
