"""Whether an endpoint's `seed` couples answers: does the m-th answer after two prefixes come from the same noise?

Servers differ, and say nothing of it. vLLM's V1 runner gives each answer a generator of its own, which the answer's
tokens use one after the other: prefixes of any length are aligned. Its V2 runner, and SGLang, seed each token by its
place in the whole text: only prefixes of equal length are. Others ignore the field, give all answers of a request one
seed, or let the batch change them. So it is tried, in the way in which proofs are asked: two prefixes of different
length, in one request where the server takes lists. One repeats a text four times and the other five times, so that any
model expects nearly the same after both, and many tokens are about as probable at the highest temperature that servers
take: answers agree where they are drawn from the same noise, and next to never by chance.

Dimension key: M answers of a prefix.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import Tokenizer
from mrt_reward.provers.openai.speaking import Draw, Speaker

NUM_ANSWERS = 32
"""M. Every one of them is a request where the server takes one at a time."""

ANSWERS = Draw((), None, NUM_ANSWERS, max_tokens=2, temperature=2.0, top_p=0.95)
"""What is asked, without the prompts."""

REPEATED = "1 + 1 = 2. 2 + 2 = 4. "
SHORT = 4 * REPEATED + "3 + 3 ="
SEED, OTHER_SEED = 1, 1_000_001
"""Far apart, because servers may add m to a seed."""

MIN_REPRODUCED = 0.9
"""Of answers that are asked for again; half precision may settle a tie the other way."""

MIN_AGREEMENT = 0.5
MIN_DEVIATIONS = 4.5
"""Of agreement by chance: three in a million."""

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the m-th answers of two prefixes are the same.

    Attributes:
        share: of all m.
        chance: of all pairs of an m-th and another answer, which is what independent answers would have.
        num_answers: M, answers of each prompt.

    """

    share: float
    chance: float
    num_answers: int

    @property
    def beyond_chance(self) -> float:
        """Cohen's kappa, 1 for equal and about 0 for independent answers; 0 where all answers are the same anyway."""
        return (self.share - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0

    @property
    def coupled(self) -> bool:
        """Whether it is more than chance, by far."""
        deviation = math.sqrt(self.chance * (1 - self.chance) / self.num_answers)
        surprising = self.share - self.chance > MIN_DEVIATIONS * max(deviation, 1 / self.num_answers)
        return surprising and self.beyond_chance >= MIN_AGREEMENT


def agreement(one: Sequence[str], other: Sequence[str]) -> Agreement:
    """Of two prefixes' answers, m by m; at least two of each."""
    size = len(one)
    same = sum(a == b for a, b in zip(one, other, strict=True))
    pairs = sum(count * Counter(other)[text] for text, count in Counter(one).items())
    return Agreement(same / size, (pairs - same) / (size * (size - 1)), size)


async def seed_couples(speaker: Speaker, tokenizer: Tokenizer) -> bool:
    """Ask, and see whether answers are reproduced, fresh under another seed, and shared by a longer prefix.

    Raises:
        ProverUnavailable: the server does not answer.

    """
    short, before = (tokenizer.encode_trusted(text).tolist() for text in (SHORT, REPEATED))
    long = [*before, *short]
    try:
        after_long, after_short = await _answers(speaker, [long, short], SEED)
        [again] = await _answers(speaker, [short], SEED)
        [fresh] = await _answers(speaker, [short], OTHER_SEED)
    except ProverUnavailable:
        raise
    except ProverError as error:
        logger.warning("endpoint_seed_unknown", problem=str(error))
        return False
    repeated, renewed, shared = (agreement(after_short, other) for other in (again, fresh, after_long))
    couples = repeated.share >= MIN_REPRODUCED and not renewed.coupled and shared.coupled
    logger.info(
        "endpoint_seed",
        couples=couples,
        answers_reproduced=round(repeated.share, 3),
        beyond_chance_with_another_seed=round(renewed.beyond_chance, 3),
        beyond_chance_after_a_longer_prefix=round(shared.beyond_chance, 3),
        by_chance=round(shared.chance, 3),
    )
    return couples


async def _answers(speaker: Speaker, prompts: Sequence[Sequence[int]], seed: int) -> list[list[str]]:
    """M texts for each prompt, or the ids where the server returns no text; asked for as those of a proof are."""
    rows, _ = await speaker.draw(replace(ANSWERS, prompts=prompts, seeds=[seed] * len(prompts)), "check")
    return [[answer.text or str(answer.ids) for answer in row] for row in rows]
