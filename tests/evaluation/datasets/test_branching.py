from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrt_reward.config import load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.datasets.branching import Brancher, BranchSettings, Point, policy_value
from mrt_reward.evaluation.datasets.pairs import PairSettings, step_pairs
from mrt_reward.evaluation.pool import read_pool, why_unusable
from mrt_reward.evaluation.result import Result
from mrt_reward.mini.island import sample_problem
from mrt_reward.mini.template import TERMINATOR, answer_text
from mrt_reward.mini.writer import GUESS_END, MUSING_ENDS, MUSINGS, walk_paragraphs
from mrt_reward.options import ExplicitSegmenter, ScoreOptions, TokenSegmenter
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Trace, Verdict
from mrt_reward.wiring import build_prover, build_scorer
from tests.evaluation.datasets.made import line, write
from tests.service.conftest import WordGrader, make_trace, speller

OPTIONS = ScoreOptions()
MORE = "}.\n\nb.\n\nc.\n\nWait, again.\n\nd.\n</think>\n\nThe answer is 42 "
"""What the scripted policy says after its `The answer is \\boxed{`: one more episode, another, and the answer."""


def scorer_of(prover: ScriptedProver) -> Scorer:
    return Scorer(prover, {"word": WordGrader()}, speller)


async def pooled(prover: ScriptedProver, **changes: Any) -> Result:
    """The trace of the pipeline's tests: three episodes, scored."""
    trace = make_trace(**changes)
    [scored] = await scorer_of(prover).score([trace], OPTIONS)
    found = Result((trace, scored))
    assert why_unusable(found) is None
    return found


def scripted(said: str) -> ScriptedProver:
    return ScriptedProver(lambda text, _: 0.75 if "boxed" in text else 0.25, answer=said, wrong=said)


async def test_an_alternative_is_one_more_episode_scored_as_the_others_were() -> None:
    prover = scripted(MORE)
    trace = await pooled(prover)
    brancher = Brancher(scorer_of(prover), prover.tokenizer, OPTIONS, BranchSettings(num_samples=3))
    reported: list[tuple[int, int]] = []
    [step] = await brancher.steps([Point(trace, 1)], lambda done, total: reported.append((done, total)))
    # Equal continuations are one alternative, and it ends where the next episode starts.
    assert step.text == "The answer is \\boxed{}.\n\nb.\n\nc.\n\n"
    assert step.trace.prefix(1) == trace.prefix(1)
    assert (step.before.value, step.after.value) == (pytest.approx(0.25), pytest.approx(0.75))
    assert list(step.trace.prefix_keys())[1] == list(trace.prefix_keys())[1]
    assert brancher.counts["alternatives scored"] == 1
    assert reported == [(1, 1)]
    # What the policy was given is the prefix, to the token, and nothing that forces an answer.
    sampled = next(proof for proof in prover.proofs if proof.query.__class__.__name__ == "RolloutQuery")
    seen = prover.tokenizer.locate(sampled.token_ids)[0] + chr(sampled.probes[0].suffix[0])
    assert seen.endswith(f"<think>\n{trace.prefix(1)}")
    # It makes a pair where none was.
    wrong = replace(trace, rescored=replace(trace.scored, outcome=0.0))
    found, report = step_pairs([wrong], PairSettings())
    assert (found, len(report.pits)) == ([], 1)
    pairs, _ = step_pairs([wrong], PairSettings(), [step])
    assert [(pair.rejected.index, pair.margin) for pair in pairs] == [(1, pytest.approx(0.5))]


@pytest.mark.parametrize(
    "thought", ["Then x grows by one more. " * 60, "So far. Wait, is it so? Hmm, I see. Next.\n\n" * 30]
)
async def test_a_prefix_and_its_continuation_are_cut_once_as_a_whole(thought: str) -> None:
    prover = scripted(MORE)
    trace = await pooled(prover, completion=f"{thought}</think>\n\n42")
    brancher = Brancher(scorer_of(prover), prover.tokenizer, OPTIONS)
    assert trace.num_episodes >= 4
    for candidate in range(trace.num_episodes):
        point = Point(trace, candidate)
        own_rest = trace.completion[len(point.head) :]
        assert brancher._first_episode(point, own_rest) == trace.episode(candidate)


async def test_continuations_that_give_no_whole_episode_are_counted() -> None:
    for said, options, what in (
        ("never ends", OPTIONS, "continuations cut off within their first episode"),
        ("x", replace(OPTIONS, delimiters=replace(OPTIONS.delimiters, close="The")), "continuations that stop"),
    ):
        prover = scripted(said)
        trace = await pooled(prover)
        brancher = Brancher(scorer_of(prover), prover.tokenizer, options, BranchSettings(num_samples=2))
        point = Point(trace, 1)
        if what.endswith("stop"):
            assert brancher._first_episode(point, "The end") == ""
        else:
            assert await brancher.steps([point]) == []
        assert any(name.startswith(what) for name, count in brancher.counts.items() if count)


async def test_token_episodes_end_with_the_continuation() -> None:
    prover = scripted("x} </think>\n\n42")
    trace = await pooled(prover)
    options = replace(OPTIONS, segmenter=TokenSegmenter("tokens"))
    brancher = Brancher(scorer_of(prover), prover.tokenizer, options, BranchSettings(num_samples=1))
    [step] = await brancher.steps([Point(trace, 1)])
    assert step.text == "The answer is \\boxed{x} "
    with pytest.raises(ConfigError, match="not `explicit`"):
        Brancher(scorer_of(prover), prover.tokenizer, replace(OPTIONS, segmenter=ExplicitSegmenter("explicit")))


async def test_an_engine_that_fails_on_one_prefix_goes_on_with_the_others() -> None:
    prover = scripted(MORE)
    trace = await pooled(prover)
    poisoned = await pooled(prover, problem="poison?")
    failing = ScriptedProver(lambda *_: 0.5, answer=MORE, wrong=MORE, fail_on="poison")
    brancher = Brancher(scorer_of(failing), failing.tokenizer, OPTIONS, BranchSettings(num_samples=1))
    got = await brancher.texts([Point(poisoned, 0), Point(trace, 0)])
    assert [len(texts) for texts in got] == [0, 1]
    assert brancher.counts["prefixes that the engine could not continue"] == 1


async def test_finished_continuations_are_graded_and_give_the_policys_own_value() -> None:
    prover = ScriptedProver(lambda *_: 0.5, answer="} 1.\n</think>\n\n 42 ", wrong="cut off 42 ")
    trace = await pooled(prover)
    brancher = Brancher(scorer_of(prover), prover.tokenizer, OPTIONS, BranchSettings(num_samples=4))
    [continuations] = await brancher.finished([Point(trace, 2)])
    # The right answer within thinking that never closed is none.
    assert [each.verdict for each in continuations] == [Verdict.CORRECT] * 2 + [Verdict.UNPARSED] * 2
    assert policy_value(continuations).value == 0.5
    without_tags = replace(OPTIONS, delimiters=replace(OPTIONS.delimiters, open="", close=""))
    open_brancher = Brancher(scorer_of(prover), prover.tokenizer, without_tags, BranchSettings(num_samples=4))
    assert [each.verdict for each in (await open_brancher.finished([Point(trace, 2)]))[0]] == [Verdict.CORRECT] * 4


async def test_the_bundled_model_gives_alternatives_to_its_own_wrong_traces(tmp_path: Path) -> None:
    """The real engine: a trace that mused and guessed gets a better step from its own prefix."""
    rng = np.random.default_rng(5)
    problem = next(found for found in iter(lambda: sample_problem(rng), None) if len(found.candidates) == 5)
    wrong = next(candidate for candidate in problem.candidates if candidate != problem.answer)
    musing = [*MUSINGS[0], MUSING_ENDS[0], GUESS_END]
    said = [f"Let me start with {wrong}.", *walk_paragraphs(problem, wrong), *musing]
    completion = "".join(f"{paragraph}\n\n" for paragraph in said) + TERMINATOR + answer_text(wrong)
    trace = Trace("w", completion=completion, problem=problem.text, answer=(str(problem.answer),))
    settings = load_settings()
    prover = build_prover(settings)
    scorer = build_scorer(settings, prover)
    try:
        [scored] = await scorer.score([trace], OPTIONS)
        found = Result((trace, scored))
        assert why_unusable(found) is None
        pool = read_pool([write(tmp_path / "s.jsonl", line(found))])
        _, report = step_pairs(pool.traces, PairSettings())
        # Ruling one of five out is worth 1/20, and the musing nothing.
        assert [pit.index for pit in report.pits] == [1]
        brancher = Brancher(scorer, prover.tokenizer, OPTIONS, BranchSettings(num_samples=24, max_tokens=160))
        steps = await brancher.steps([Point(pit.trace, pit.index) for pit in report.pits])
    finally:
        await scorer.close()
    [pair], _ = step_pairs(pool.traces, PairSettings(), steps)
    # One attempt in six finds the place, which is worth 3/4.
    assert f"works from {problem.answer}" in pair.chosen.text
    assert pair.rejected.text.startswith(MUSINGS[0][0])
    assert pair.margin == pytest.approx(0.75, abs=0.1)
