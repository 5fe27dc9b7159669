"""Turns a written trace into one training row: the trace itself, and a forced answer at every cut.

A row is a *trunk* (prompt, thinking, natural ending) followed by *branches*, one per cut: the terminator and an answer,
which see the trunk up to their cut and nothing of each other. Ids are assembled as they are when the model is used: the
thinking is tokenized once and sliced; terminator and answer are tokenized on their own. A forced answer is trained on
the even distribution over the candidates that may still be right, so policy and prover are one model. The choice of
the next place to walk is likewise trained on its whole distribution, not on the one place that was drawn.

Dimension key: T tokens of a row, L trained positions, C next tokens of a position, as many as the widest has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mrt_reward.mini import template
from mrt_reward.mini.island import Problem
from mrt_reward.mini.tokenizer import token_ids
from mrt_reward.mini.truth import open_candidates, prefixes
from mrt_reward.mini.writer import Writing

SYSTEM_PROMPTS = ("You are a helpful assistant.", "Think before you answer.")
"""One row in ten starts with one, because trainers and servers often add one."""


@dataclass(frozen=True)
class TrainingRow:
    """One packed training row.

    Attributes:
        id_T: token ids.
        position_T: positions in the sequence that the token belongs to; a branch continues at its cut.
        branch_T: 0 for the trunk, b ≥ 1 for branch b.
        cut_T: how many trunk tokens the token may see.
        at_L: indices into T whose next token is trained.
        target_LC: next tokens.
        weight_LC: their weights; those of one position sum to its importance.

    """

    id_T: NDArray[np.int64]
    position_T: NDArray[np.int64]
    branch_T: NDArray[np.int64]
    cut_T: NDArray[np.int64]
    at_L: NDArray[np.int64]
    target_LC: NDArray[np.int64]
    weight_LC: NDArray[np.float32]

    def visible(self) -> NDArray[np.bool_]:
        """`visible_TT`: which token (row) sees which (column): the own branch so far, and the trunk up to the cut."""
        causal = np.tri(self.id_T.size, dtype=np.bool_)
        same = self.branch_T[:, None] == self.branch_T[None, :]
        trunk = (self.branch_T[None, :] == 0) & (np.arange(self.id_T.size)[None, :] < self.cut_T[:, None])
        return causal & (same | trunk)


@dataclass(frozen=True)
class _Ending:
    """Token ids of a terminator, what is said before the answer, the answer, its alternatives, and the turn's close."""

    opening: list[int]
    explanation: list[int]
    answer: list[int]
    candidates: list[int]
    turn_close: int


class _Packer:
    """Collects the tokens and the targets of one row."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.branches: list[int] = []
        self.cuts: list[int] = []
        self.targets: list[tuple[int, Mapping[int, float], float]] = []

    def add(self, ids: list[int], position: int, branch: int, cut: int) -> None:
        self.ids += ids
        self.positions += range(position, position + len(ids))
        self.branches += [branch] * len(ids)
        self.cuts += [cut] * len(ids)

    def aim(self, at: int, probability: Mapping[int, float], weight: float) -> None:
        """Train the token after index `at` on a distribution over tokens."""
        self.targets.append((at, probability, weight))

    def end(self, ending: _Ending, *, branch: int, cut: int, place_weight: float) -> None:
        """Add terminator and answer behind the first `cut` trunk tokens."""
        start = len(self.ids)
        self.add(ending.opening + ending.explanation + ending.answer, cut, branch, cut)
        brace = start + len(ending.opening) + len(ending.explanation)
        # The policy ends its own thinking; a forced ending must not teach it to stop there.
        taught = ending.explanation if branch else ending.opening + ending.explanation
        for index, token in enumerate(taught, start=brace - len(taught)):
            self.aim(index - 1, {token: 1.0}, 1.0)
        self.aim(brace - 1, {ending.answer[0]: 1.0}, 1.0)
        self.aim(brace, dict.fromkeys(ending.candidates, 1 / len(ending.candidates)), place_weight)
        self.aim(brace + 1, {ending.answer[2]: 1.0}, 1.0)
        self.aim(brace + 2, {ending.turn_close: 1.0}, 1.0)

    def row(self) -> TrainingRow:
        width = max(len(probability) for _, probability, _ in self.targets)
        target_LC = np.zeros((len(self.targets), width), np.int64)
        weight_LC = np.zeros((len(self.targets), width), np.float32)
        for index, (_, probability, weight) in enumerate(self.targets):
            target_LC[index, : len(probability)] = list(probability)
            weight_LC[index, : len(probability)] = weight * np.array(list(probability.values()))
        return TrainingRow(
            np.array(self.ids),
            np.array(self.positions),
            np.array(self.branches),
            np.array(self.cuts),
            np.array([at for at, _, _ in self.targets]),
            target_LC,
            weight_LC,
        )


@dataclass(frozen=True)
class PackingRule:
    """How rows are built.

    Attributes:
        max_thinking_tokens: longer thinking is cut there, and then has no natural ending.
        num_random_cuts: forced answers per row at cuts that are not ends of episodes.
        place_weight: importance of a place that is answered, chosen or looked up, relative to any other token: its
            whole distribution is trained, so that it carries no noise.
        free_share: share of the forced answers that are in free form instead of boxed at once.

    """

    max_thinking_tokens: int = 400
    num_random_cuts: int = 2
    place_weight: float = 20.0
    free_share: float = 0.0


def pack_trace(
    tokenizer: Tokenizer, problem: Problem, writing: Writing, rng: Generator, rule: PackingRule = PackingRule()
) -> TrainingRow:
    """Pack one trace and the forced answers at all its cuts into a row."""
    packer = _Packer()
    system = SYSTEM_PROMPTS[int(rng.integers(len(SYSTEM_PROMPTS)))] if rng.random() < 0.1 else None
    prompt = token_ids(tokenizer, template.prompt_text(problem.text, system))
    thinking = writing.text
    encoding = tokenizer.encode(thinking, add_special_tokens=False)
    ids = encoding.ids[: rule.max_thinking_tokens]
    char_ends = [end for _, end in encoding.offsets][: len(ids)]
    is_whole = len(ids) == len(encoding.ids)

    packer.add(prompt + ids, 0, 0, 0)
    # A place joins the space before it, so its token is the first that ends behind where its number starts.
    choices = {bisect_right(char_ends, choice.char_start): choice.probability for choice in writing.choices}
    lookups = {bisect_right(char_ends, char_start) for char_start in writing.lookups}
    for index, token in enumerate(ids):
        at = len(prompt) + index - 1
        if index in choices:
            spelled = {token_ids(tokenizer, f" {place}")[0]: share for place, share in choices[index].items()}
            packer.aim(at, spelled, rule.place_weight)
        else:
            packer.aim(at, {token: 1.0}, rule.place_weight if index in lookups else 1.0)

    token_of = {end: index + 1 for index, end in enumerate(char_ends)} | {0: 0}
    cuts = {token_of[len(prefix)] for prefix in prefixes(thinking) if len(prefix) in token_of}
    cuts |= {int(cut) for cut in rng.integers(1, len(ids) + 1, rule.num_random_cuts)}
    if is_whole:
        ending = _draw_ending(tokenizer, problem, thinking, rng)
        packer.end(ending, branch=0, cut=len(packer.ids), place_weight=rule.place_weight)
        cuts.discard(len(ids))
    for branch, cut in enumerate(sorted(cuts), start=1):
        prefix = thinking[: char_ends[cut - 1]] if cut else ""
        ending = _draw_ending(tokenizer, problem, prefix, rng, rule.free_share)
        packer.end(ending, branch=branch, cut=len(prompt) + cut, place_weight=rule.place_weight)
    return packer.row()


def _draw_ending(
    tokenizer: Tokenizer, problem: Problem, prefix: str, rng: Generator, free_share: float = 0.0
) -> _Ending:
    is_free = free_share > 0 and float(rng.random()) < free_share
    options = open_candidates(problem, prefix)
    chosen = options[int(rng.integers(len(options)))]
    return _Ending(
        token_ids(tokenizer, template.FREE_TERMINATOR if is_free else template.terminator(prefix)),
        token_ids(tokenizer, template.free_explanation(rng)) if is_free else [],
        token_ids(tokenizer, template.answer_text(chosen)),
        [token_ids(tokenizer, str(option))[0] for option in options],
        token_ids(tokenizer, template.TURN_CLOSE)[0],
    )
