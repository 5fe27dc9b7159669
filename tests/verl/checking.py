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
        carried = [_carried(scored[index], _ends(rows[index].response, tokenizer)) for index in indices]
        outcomes = [float(rows[index].reward[-1]) for index in indices]
        paid_N = credit(outcomes, [each.value_P for each in carried], config)
        for index, trace, paid in zip(indices, carried, paid_N, strict=True):
            assert paid.outcome_advantage is not None
            paid_T = np.full(len(trace.ends), paid.outcome_advantage)
            for t, length in enumerate(trace.ends):
                begun = trace.ends[t - 1] if t else 0
                for (start, end), advantage in zip(trace.episodes, paid.episode_advantage_K.tolist(), strict=True):
                    if start <= begun < end and length:
                        paid_T[t] = advantage
                if trace.episodes and begun >= trace.episodes[-1][1]:
                    paid_T[t] = paid.answer_advantage
            advantages[index] = paid_T
    return advantages


@dataclass(frozen=True)
class _Carried:
    """What of a trace reaches the trainer.

    Attributes:
        ends: characters up to the end of each of its tokens.
        episodes: first character of each, and the one behind it.
        value_P: of its prefixes; None where it was not scored.

    """

    ends: list[int]
    episodes: list[tuple[int, int]]
    value_P: Floats | None


def _ends(response: Sequence[int], tokenizer: HFTokenizer) -> list[int]:
    return [len(tokenizer.locate(np.array(response[: t + 1], np.int32))[0]) for t in range(len(response))]


def _carried(trace: ScoredTrace | None, ends: list[int]) -> _Carried:
    """All of it; but a last episode of one token has no room for a mark, and is one with the episode before."""
    if trace is None:
        return _Carried(ends, [], None)
    episodes, value_P = [(each.char_start, each.char_end) for each in trace.episodes], values_of(trace)
    if len(episodes) > 1 and value_P is not None and ends[-3] < episodes[-1][0] <= ends[-2] < episodes[-1][1]:
        episodes[-2:] = [(episodes[-2][0], episodes[-1][1])]
        value_P = np.delete(value_P, -2)
    return _Carried(ends, episodes, value_P)
