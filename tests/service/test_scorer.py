from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mrt_reward.errors import ConfigError, Draining, Overloaded, ProverUnavailable, TraceError
from mrt_reward.options import Delimiters, ExplicitSegmenter, Rollouts, ScoreOptions, Terminator
from mrt_reward.protocols import Coupling, Proof, Proven, ProverInfo, RolloutQuery
from mrt_reward.provers.scripted import ScriptedProver, ScriptedTokenizer
from mrt_reward.service.outcomes import UNCLOSED
from mrt_reward.service.prompting import BARE_CLOSE
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Status
from tests.service.conftest import THINKING, MakeScorer, WordGrader, make_trace, speller

OPTIONS = ScoreOptions()
IDS, SHA = ScriptedTokenizer().encode_trusted, ScriptedTokenizer().sha256


async def score_one(scorer: Scorer, options: ScoreOptions = OPTIONS, **changes: object) -> ScoredTrace:
    [scored] = await scorer.score([make_trace("t", **changes)], options)
    await scorer.close()
    return scored


async def test_a_trace_earns_the_rise_of_the_provers_success_rate(make_scorer: MakeScorer) -> None:
    # J = 1/4 with no thinking, 1/2 after one episode, 1/2 after the second, 1 at the end.
    scored = await score_one(make_scorer(ScriptedProver([0.25, 0.5, 0.5, 1.0])))
    assert scored.status is Status.OK
    assert scored.outcome == 1.0
    assert [value.value for value in scored.values] == pytest.approx([0.25, 0.5, 0.5, 1.0])
    assert [episode.progress for episode in scored.episodes] == pytest.approx([0.25, 0.0, 0.5])
    starts = [THINKING[episode.char_start : episode.char_end].split(",")[0] for episode in scored.episodes]
    assert starts == ["First.\n\na.\n\nb.\n\n", "Wait", "Alternatively"]
    assert scored.spellings == ("42",)


async def test_rollouts_count_what_the_grader_says(make_scorer: MakeScorer) -> None:
    options = ScoreOptions(estimator=Rollouts(kind="rollouts", num_samples=8))
    scored = await score_one(make_scorer(ScriptedProver([0.25, 0.5, 0.5, 1.0], answer="42")), options)
    assert [value.correct for value in scored.values] == [2, 4, 4, 8]
    assert [value.value for value in scored.values] == pytest.approx([0.25, 0.5, 0.5, 1.0])


async def test_a_prefix_without_verdicts_leaves_its_trace_partial(make_scorer: MakeScorer) -> None:
    options = ScoreOptions(estimator=Rollouts(kind="rollouts", num_samples=2))
    prover = ScriptedProver([0.0, 1.0, 1.0, 1.0], answer="42", wrong="ungraded")
    scored = await score_one(make_scorer(prover), options)
    assert scored.status is Status.PARTIAL
    assert scored.values[0].value is None
    assert [episode.progress for episode in scored.episodes] == [None, 0.0, 0.0]


async def test_graders_of_scores_give_a_mean(grader: WordGrader) -> None:
    grader.binary = False
    scorer = Scorer(ScriptedProver([1.0] * 4, answer="42"), {"word": grader}, speller)
    options = ScoreOptions(estimator=Rollouts(kind="rollouts", num_samples=4))
    scored = await score_one(scorer, options)
    assert scored.values[0].value == pytest.approx(0.75)
    assert scored.outcome == 0.75


async def test_scores_do_not_depend_on_order_or_batching() -> None:
    traces = [make_trace(str(index), completion=f"Try {index}.\n\n" + THINKING) for index in range(6)]

    async def run(order: Sequence[int], size: int) -> dict[str, ScoredTrace]:
        scorer = Scorer(ScriptedProver(lambda text, _: (len(text) % 10) / 10), {"word": WordGrader()}, speller)
        scored: list[ScoredTrace] = []
        for start in range(0, len(order), size):
            scored.extend(await scorer.score([traces[index] for index in order[start : start + size]], OPTIONS))
        await scorer.close()
        return {trace.id: replace(trace, usage=scored[0].usage) for trace in scored}

    assert await run(range(6), 6) == await run([3, 1, 5, 0, 2, 4], 2)


async def test_the_empty_prefix_of_a_group_is_proved_once(make_scorer: MakeScorer) -> None:
    prover = ScriptedProver([0.5] * 4)
    scorer = make_scorer(prover)
    traces = [make_trace(str(index), completion=f"Path {index}.\n\n{THINKING}</think>") for index in range(5)]
    scored = await scorer.score(traces, OPTIONS)
    probes = sum(len(proof.probes) for proof in prover.proofs)
    # 5 traces of 4 prefixes, and z[:0] is the same text for all.
    assert probes == 5 * 3 + 1
    assert sum(trace.usage.cached_probes for trace in scored) == 4
    await scorer.close()


async def test_a_second_request_costs_nothing(make_scorer: MakeScorer) -> None:
    prover = ScriptedProver([0.25, 0.5, 0.5, 1.0])
    scorer = make_scorer(prover)
    first = await scorer.score([make_trace()], OPTIONS)
    second = await scorer.score([make_trace()], OPTIONS)
    assert prover.num_calls == 1
    assert second[0].values == first[0].values
    assert second[0].usage.computed_tokens == 0
    await scorer.close()


async def test_a_bad_trace_does_not_fail_its_neighbours(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(ScriptedProver([0.5] * 9, fail_on="poison"))
    scored = await scorer.score(
        [
            make_trace("good"),
            make_trace("thoughtless", completion="42", prompt="Q:", problem=None),
            make_trace("goldless", answer=()),
            make_trace("poisoned", completion="poison\n\n" + THINKING),
        ],
        OPTIONS,
    )
    assert [trace.status for trace in scored] == [Status.OK, Status.ERROR, Status.ERROR, Status.ERROR]
    errors = [trace.error for trace in scored]
    assert [error and error.code for error in errors] == [None, "no_thinking", "invalid_trace", "prover_failed"]
    assert [error and error.param for error in errors] == [None, "completion", "answer", None]
    # The outcome needs no prover, so it is there all the same.
    assert scored[3].outcome == 0.0
    assert scored[1].outcome == 1.0
    await scorer.close()


async def test_our_own_bug_in_one_trace_is_reported_and_contained(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(ScriptedProver([0.5] * 4))
    scored = await scorer.score([make_trace("a", completion=THINKING + "</think> explode"), make_trace("b")], OPTIONS)
    assert scored[0].outcome is None
    assert scored[0].warnings == ("the outcome was not graded: internal error (RuntimeError)",)
    assert scored[1].outcome == 1.0
    await scorer.close()


async def test_a_truncated_trace_is_forced_to_answer_and_its_outcome_is_a_miss(make_scorer: MakeScorer) -> None:
    prover = ScriptedProver([0.5] * 4)
    scored = await score_one(make_scorer(prover), completion=THINKING + "Unfinished 42")
    assert scored.outcome == 0.0
    assert scored.status is Status.OK
    endings = [prover.tokenizer.locate(np.array(probe.suffix))[0] for probe in prover.proofs[0].probes]
    assert endings[-1].startswith("\n\n</think>")
    assert all(ending.startswith("</think>") for ending in endings[:-1])


async def test_the_callers_outcome_is_kept(make_scorer: MakeScorer) -> None:
    assert (await score_one(make_scorer(ScriptedProver([0.5] * 4)), outcome=0.3)).outcome == 0.3


async def test_empty_thinking_has_one_value_and_no_episode(make_scorer: MakeScorer) -> None:
    scored = await score_one(make_scorer(ScriptedProver([0.5])), completion="<think>\n\n</think> 42")
    assert (len(scored.values), scored.episodes, scored.status) == (1, (), Status.OK)


async def test_a_trace_without_delimiters_is_all_thinking(make_scorer: MakeScorer) -> None:
    options = ScoreOptions(
        delimiters=Delimiters("", ""),
        segmenter=ExplicitSegmenter("explicit"),
        terminator=Terminator(forced="\\boxed", natural="\\boxed", answer="boxed"),
    )
    completion = "Attempt: 41. Backtrack. Attempt: 42"
    scored = await score_one(
        make_scorer(ScriptedProver([0.0, 0.5, 1.0])), options, completion=completion, episode_starts=(0, 13)
    )
    assert [episode.progress for episode in scored.episodes] == pytest.approx([0.5, 0.5])
    assert scored.outcome == 1.0


@pytest.mark.parametrize(
    ("options", "param"),
    [
        (ScoreOptions(terminator="official"), "options.estimator"),
        (ScoreOptions(terminator="qwen3"), "options.estimator"),
    ],
)
async def test_likelihood_refuses_free_answers(make_scorer: MakeScorer, options: ScoreOptions, param: str) -> None:
    scored = await score_one(make_scorer(ScriptedProver([0.5] * 4)), options)
    assert scored.error is not None
    assert scored.error.param == param


async def test_best_of_k_needs_verdicts(grader: WordGrader) -> None:
    grader.binary = False
    scorer = Scorer(ScriptedProver([0.5] * 4), {"word": grader}, speller)
    scored = await score_one(scorer, ScoreOptions(estimator=Rollouts(kind="rollouts", best_of=2)))
    assert scored.error is not None
    assert scored.error.param == "options.estimator.best_of"


@pytest.mark.parametrize(
    ("coupling", "couples"), [("exact", True), ("endpoint", True), ("none", False), ("unknown", False)]
)
async def test_answers_are_coupled_where_the_prover_can_if_that_is_left_to_it(
    make_scorer: MakeScorer, coupling: Coupling, couples: bool
) -> None:
    class Other(ScriptedProver):
        @property
        def info(self) -> ProverInfo:
            return replace(super().info, coupled=coupling)

    prover = Other([0.0, 0.5, 0.5, 1.0])
    scorer = make_scorer(prover)
    scored = await score_one(scorer, ScoreOptions(estimator=Rollouts(kind="rollouts", num_samples=4, coupled=None)))
    assert [value.verdicts is not None for value in scored.values] == [couples] * 4
    asked = [proof.query.coupled for proof in prover.proofs if isinstance(proof.query, RolloutQuery)]
    assert set(asked) == {couples}


async def test_rollouts_say_when_the_gold_answer_is_missing(make_scorer: MakeScorer) -> None:
    options = ScoreOptions(estimator=Rollouts(kind="rollouts"))
    scored = await score_one(make_scorer(ScriptedProver([0.5] * 4)), options, answer=())
    assert scored.error is not None
    assert scored.error.param == "answer"
    assert scored.outcome is None


async def test_an_unknown_grader_is_refused_with_the_known_ones(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(ScriptedProver([0.5]))
    with pytest.raises(TraceError, match="unknown grader 'judge': this server has word"):
        await scorer.score([make_trace()], ScoreOptions(grader="judge"))
    await scorer.close()


def test_a_scorer_needs_a_grader() -> None:
    with pytest.raises(ConfigError):
        Scorer(ScriptedProver([0.5]), {}, speller)


async def test_a_full_queue_refuses_at_the_door(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(ScriptedProver([0.5] * 4, delay_s=0.2), limits=QueueLimits(10))
    first = asyncio.create_task(scorer.score([make_trace()], OPTIONS))
    await asyncio.sleep(0.05)
    assert scorer.queue.queued_tokens > 10
    with pytest.raises(Overloaded) as refused:
        await scorer.score([make_trace("late")], OPTIONS)
    assert refused.value.retry_after_s > 0
    assert (await first)[0].status is Status.OK
    assert scorer.queue.queued_tokens == 0
    await scorer.close()


async def test_draining_finishes_what_is_in_flight_and_refuses_the_rest(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(ScriptedProver([0.5] * 4, delay_s=0.05))
    await scorer.check()
    running = asyncio.create_task(scorer.score([make_trace()], OPTIONS))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(scorer.drain(), timeout=5)
    assert (await running)[0].status is Status.OK
    with pytest.raises(Draining):
        await scorer.score([make_trace()], OPTIONS)
    with pytest.raises(Draining):
        await scorer.check()
    await scorer.close()


class SwappingProver(ScriptedProver):
    """Answers its first proofs with weights that are replaced while it works."""

    def __init__(self, num_swaps: int) -> None:
        super().__init__([0.5] * 4)
        self._swaps = num_swaps

    async def prove(self, proof: Proof) -> Proven:
        proven = await super().prove(proof)
        if self._swaps:
            self._swaps -= 1
            return replace(proven, version="other")
        return proven


async def test_a_score_that_would_mix_versions_is_done_again(make_scorer: MakeScorer) -> None:
    scored = await score_one(make_scorer(SwappingProver(2)))
    assert scored.status is Status.OK
    scored = await score_one(make_scorer(SwappingProver(3)))
    assert scored.error is not None
    assert "weights changed" in scored.error.message


async def test_an_unavailable_prover_is_reported_as_such(make_scorer: MakeScorer) -> None:
    class Gone(ScriptedProver):
        async def prove(self, proof: Proof) -> Proven:
            raise ProverUnavailable("the engine is restarting")

    scored = await score_one(make_scorer(Gone([0.5] * 4)))
    assert scored.error is not None
    assert scored.error.code == "prover_unavailable"


def test_segmentation_needs_no_prover(make_scorer: MakeScorer) -> None:
    prover = ScriptedProver([0.5])
    scorer = make_scorer(prover)
    segmented = scorer.segment(make_trace(), OPTIONS)
    assert len(segmented.episodes) == 3
    assert prover.num_calls == 0
    assert scorer.info == prover.info
    assert scorer.tokenizer_sha256 == prover.tokenizer.sha256
    assert list(scorer.graders) == ["word"]


NO_PROMPT_OPENS = {"problem": None, "prompt": "<|im_start|>assistant\n"}


@pytest.mark.parametrize(
    ("changes", "outcome", "code"),
    [
        # Ids of another tokenizer, and no text: nobody knows what it answered.
        ({"completion": None, "completion_ids": IDS("</think>42"), "tokenizer": "other"}, None, "tokenizer_mismatch"),
        # Whether it thinks cannot be known without its prompt.
        (
            {"problem": None, "prompt_ids": IDS("Q"), "tokenizer": "other", "completion": " 42"},
            None,
            "tokenizer_mismatch",
        ),
        ({"problem": None, "prompt_ids": IDS("Q"), "tokenizer": "other"}, 1.0, "tokenizer_mismatch"),
        ({**NO_PROMPT_OPENS, "completion": "It is 42"}, 1.0, "no_thinking"),
        ({**NO_PROMPT_OPENS, "completion": "It is 41"}, 0.0, "no_thinking"),
        (
            {**NO_PROMPT_OPENS, "completion": None, "completion_ids": IDS("It is 42"), "tokenizer": SHA},
            1.0,
            "no_thinking",
        ),
        ({"completion": None, "completion_ids": IDS("</think>42"), "tokenizer": "other", "outcome": 0.5}, 0.5, None),
    ],
)
async def test_an_outcome_is_graded_by_the_text_and_unknown_without_it(
    make_scorer: MakeScorer, changes: dict[str, Any], outcome: float | None, code: str | None
) -> None:
    scored = await score_one(make_scorer(ScriptedProver([0.5])), **changes)
    assert scored.status is Status.ERROR
    assert scored.outcome == outcome
    if code is not None:
        assert scored.error is not None
        assert scored.error.code == code


@pytest.mark.parametrize(
    ("thinking", "warned"),
    [("So \\boxed{ 42 }", True), ("So \\boxed{ 41 }", False), ("So 42", False), ("\\boxed explode", False)],
)
async def test_a_right_box_in_thinking_that_is_never_closed_is_a_miss_with_a_warning(
    make_scorer: MakeScorer, thinking: str, *, warned: bool
) -> None:
    scored = await score_one(make_scorer(ScriptedProver([0.5, 0.5])), completion=f"<think>{thinking}")
    assert (scored.status, scored.outcome) == (Status.OK, 0.0)
    assert scored.warnings == ((UNCLOSED,) if warned else ())


async def test_what_holds_for_all_traces_is_a_note_and_no_warning(make_scorer: MakeScorer) -> None:
    prover = ScriptedProver([0.5])
    scored = await score_one(make_scorer(prover), problem=None, prompt="<|im_start|>assistant\n</think>")
    assert scored.warnings == ()
    assert scored.notes == (prover.info.note, BARE_CLOSE)
    failed = await score_one(make_scorer(prover), problem=None, prompt="Q", completion="no thinking")
    assert failed.notes == (prover.info.note,)
