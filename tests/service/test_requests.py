"""What a request as a whole is taken for, and when it is not taken."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mrt_reward.errors import Draining, Overloaded
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import GradeItem, Party, asking_party
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.preparing import Segmented
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Grade
from tests.service.conftest import WordGrader, make_trace, speller


class PartyGrader(WordGrader):
    """Notes on whose behalf it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.parties: list[Party] = []

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        self.parties.append(asking_party())
        return await super().grade(items)


async def test_all_answers_of_a_request_are_graded_on_behalf_of_one_party() -> None:
    grader = PartyGrader()
    scorer = Scorer(ScriptedProver([0.25, 0.5, 0.5, 1.0]), {"word": grader}, speller)
    for _ in range(2):
        await scorer.score([make_trace(str(number)) for number in range(3)])
    await scorer.close()
    first, second = grader.parties[:3], grader.parties[3:]
    assert (len(set(first)), len(set(second)), len(set(grader.parties))) == (1, 1, 2)


async def test_a_service_that_takes_no_work_cuts_no_episodes() -> None:
    scorer = Scorer(ScriptedProver([0.5]), {"word": WordGrader()}, speller, limits=QueueLimits(10))
    [cut] = await scorer.segment_all([make_trace()], ScoreOptions())
    assert isinstance(cut, Segmented)
    with scorer.queue.admitted(10), pytest.raises(Overloaded):
        await scorer.segment_all([make_trace()], ScoreOptions())
    scorer.activity.end()
    with pytest.raises(Draining):
        await scorer.segment_all([make_trace()], ScoreOptions())
    await scorer.close()
