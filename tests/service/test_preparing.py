from __future__ import annotations

import asyncio
import threading

import pytest

from mrt_reward.errors import TraceError
from mrt_reward.options import ParagraphSegmenter, ScoreOptions, TokenSegmenter
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service import preparing
from mrt_reward.service.jobs import MAX_EPISODES, prepare
from mrt_reward.service.preparing import Segmented, each_prepared
from mrt_reward.types import Episode, Trace
from tests.linear import cpu_s
from tests.service.conftest import WordGrader, make_trace, speller

EVERY_TOKEN = ScoreOptions(segmenter=TokenSegmenter("tokens", num_tokens=1, max_episodes=None))


def cut(trace: Trace) -> Segmented:
    return Segmented(trace.id, tuple(Episode(0, 1, 0, 1) for _ in range(100)), ())


async def test_traces_keep_their_order_and_one_that_is_wrong_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "PIECE_CHARS", 300)

    def work(trace: Trace) -> Segmented:
        if trace.id == "3":
            raise TraceError("no")
        return cut(trace)

    traces = [make_trace(str(number)) for number in range(8)]
    done = await each_prepared(traces, work)
    assert [each.id if isinstance(each, Segmented) else str(each) for each in done] == [*"012", "no", *"4567"]
    assert await each_prepared([], work) == []


async def test_whoever_leaves_ends_the_work_with_the_piece_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "PIECE_CHARS", 1)
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[str] = []

    def work(trace: Trace) -> Segmented:
        seen.append(trace.id)
        begun.set()
        assert go_on.wait(20)
        ended.set()
        return cut(trace)

    task = asyncio.create_task(each_prepared([make_trace(str(number)) for number in range(100)], work))
    assert await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 20)
    await asyncio.to_thread(lambda: None)  # whatever was handed to threads before has begun by now
    assert seen == ["0"]


async def test_episodes_of_a_request_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "MAX_EPISODES_AT_ONCE", 250)
    assert len(await each_prepared([make_trace("a"), make_trace("b")], cut)) == 2
    with pytest.raises(TraceError, match="more than 250 episodes: send fewer traces") as refused:
        await each_prepared([make_trace(name) for name in "abc"], cut)
    assert refused.value.code == "too_many_episodes"


def words(count: int) -> Trace:
    return make_trace(completion="word\n\n" * count + "</think>\n\n\\boxed{42}")


def test_episodes_of_a_trace_are_bounded() -> None:
    tokenizer = ScriptedProver([0.5]).tokenizer
    options = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs", max_episodes=None))
    most = prepare(words(MAX_EPISODES), options, tokenizer, WordGrader(), speller)
    assert len(most.episodes) == MAX_EPISODES
    with pytest.raises(TraceError, match=r"10001 episodes.*set max_episodes") as refused:
        prepare(words(MAX_EPISODES + 1), options, tokenizer, WordGrader(), speller)
    assert (refused.value.code, refused.value.param) == ("too_many_episodes", "options.segmenter")


def test_preparing_is_linear_in_episodes() -> None:
    tokenizer = ScriptedProver([0.5]).tokenizer

    def seconds(num_words: int) -> float:
        trace = make_trace(completion="w" * num_words + "</think>\n\n\\boxed{42}")
        job = prepare(trace, EVERY_TOKEN, tokenizer, WordGrader(), speller)
        assert len(job.episodes) > num_words / 20
        return cpu_s(lambda: prepare(trace, EVERY_TOKEN, tokenizer, WordGrader(), speller))

    assert seconds(9_000) < 40 * seconds(900)
