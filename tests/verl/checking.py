"""Checks a dumped batch against the server and `core/credit.py`, by another road than the adapter's.

Responses are scored again, without a server; episodes are found in tokens by decoding ever longer prefixes; advantages
come straight from `credit` on these values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrt_reward import score
from mrt_reward.core.credit import credit
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import values_of
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import ScoreOptions
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.types import ScoredTrace, Trace
from tests.verl.faults import Asked

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One trajectory as the trainer had it."""

    group: str
    prompt: list[int]
    response: list[int]
    mask: list[int]
    reward: Floats
    advantage: Floats

    @property
    def asked(self) -> Asked:
        """What the prover was asked about."""
        return tuple(self.prompt), tuple(self.response)


def read_batch(path: Path) -> list[Row]:
    """Rows of a dump, padding left out; a V1 key is uid_session_output."""
    file = np.load(path)
    rows: list[Row] = []
    for row, key in enumerate(file["uids"].tolist()):

        def column(name: str, row: int = row) -> Any:
            return file[f"{name}/{row}"]

        if column("response_mask").any():
            rows.append(
                Row(
                    key.rsplit("_", 2)[0],
                    column("prompts").astype(int).tolist(),
                    column("responses").astype(int).tolist(),
                    column("response_mask").astype(int).tolist(),
                    column("rm_scores").astype(float),
                    column("advantages").astype(float),
                )
            )
    return rows


def score_again(
    rows: Sequence[Row], answers: Mapping[str, str], options: ScoreOptions, weights: Path = MODEL_DIR
) -> Sequence[ScoredTrace]:
    """The same responses, scored by the bundled model in this process, or by it with other weights."""
    tokenizer = HFTokenizer(MODEL_DIR)
    traces = [
        Trace(
            str(index),
            prompt_ids=np.array(row.prompt, np.int32),
            completion_ids=np.array(row.response, np.int32),
            tokenizer=tokenizer.sha256,
            answer=(answer_of(tokenizer.decode(row.prompt), answers),),
        )
        for index, row in enumerate(rows)
    ]
    return score(traces, options, model=str(weights))


def answer_of(prompt: str, answers: Mapping[str, str]) -> str:
    """The answer of the problem that a prompt holds."""
    [answer] = [answer for problem, answer in answers.items() if problem in prompt]
    return answer


def expected(rows: Sequence[Row], scored: Sequence[ScoredTrace | None], config: CreditConfig) -> list[Floats]:
    """Advantage of each token of each row; a row whose score was lost is None."""
    tokenizer = HFTokenizer(MODEL_DIR)
    advantages: list[Floats] = [np.zeros(0)] * len(rows)
    for group in {row.group for row in rows}:
        indices = [index for index, row in enumerate(rows) if row.group == group]
        values = [None if (trace := scored[index]) is None else values_of(trace) for index in indices]
        outcomes = [float(rows[index].reward[-1]) for index in indices]
        for index, paid in zip(indices, credit(outcomes, values, config), strict=True):
            response = rows[index].response
            assert paid.outcome_advantage is not None
            trace = scored[index]
            episodes = () if trace is None else trace.episodes
            lengths = [len(tokenizer.locate(np.array(response[: t + 1], np.int32))[0]) for t in range(len(response))]
            paid_T = np.full(len(response), paid.outcome_advantage)
            for t, length in enumerate(lengths):
                begun = lengths[t - 1] if t else 0
                for episode, advantage in zip(episodes, paid.episode_advantage_K.tolist(), strict=True):
                    if episode.char_start <= begun < episode.char_end and length:
                        paid_T[t] = advantage
                if episodes and begun >= episodes[-1].char_end:
                    paid_T[t] = paid.answer_advantage
            if len(episodes) > 1 and lengths[-2] >= episodes[-1].char_start:
                # Of one token, the outcome's own, which has no room for its mark: it is one with the episode before.
                joined = float(paid.episode_advantage_K[-2:].sum()) - paid.outcome_advantage
                starts_T = np.array([0, *lengths[:-1]])
                paid_T[(starts_T >= episodes[-2].char_start) & (starts_T < episodes[-1].char_end)] = joined
            advantages[index] = paid_T
    return advantages
