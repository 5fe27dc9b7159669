"""Real traces of Qwen3-32B through every kind of data; the values are scripted, the text is theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mrt_reward.evaluation.datasets.prefixes import PrefixSettings, draw_cuts, prefix_rows
from mrt_reward.evaluation.datasets.star import StarSettings, judge, response
from mrt_reward.evaluation.pool import why_unusable
from mrt_reward.evaluation.result import Result
from mrt_reward.options import TERMINATORS, Delimiters, ScoreOptions
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Trace
from tests.service.conftest import WordGrader, speller


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    folder = os.environ.get("MRT_REWARD_TEST_DATA")
    if not folder:
        pytest.skip("MRT_REWARD_TEST_DATA names no folder of real traces")
    lines = (Path(folder) / "traces_qwen3_32b.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


async def test_real_traces_are_cut_where_their_values_say_and_nothing_is_lost_or_made_up(
    rows: list[dict[str, Any]],
) -> None:
    # The value reaches its top after the second episode, and stays there.
    prover = ScriptedProver(lambda _, index: min(0.25 + 0.5 * index, 1.0))
    traces = [
        Trace(
            row["id"],
            problem=row["problem"],
            completion=row["completion"],
            answer=(row["answer"],),
            outcome=float(row["outcome_correct"]),
        )
        for row in rows
    ]
    scored = await Scorer(prover, {"word": WordGrader()}, speller).score(traces, ScoreOptions())
    pool = [found for each in zip(traces, scored, strict=True) if why_unusable(found := Result(each)) is None]
    assert len(pool) == len(rows) == 35
    for trace in pool:
        opening = trace.completion[: trace.char_at(0)]
        assert opening + trace.prefix(trace.num_episodes) + trace.ending == trace.completion
        assert opening.strip() == "<think>"
    judged = judge(pool, StarSettings(per_problem=100))
    assert {min(2, each.trace.num_episodes) for each in judged} == {each.cut for each in judged}
    for each in judged:
        said = response(each, StarSettings())
        assert said.startswith("<think>\n")
        assert each.trace.prefix(each.cut).strip() in said
        assert said.count("</think>") == 1
        if each.trace.is_right:
            assert said.endswith(each.trace.ending)
        else:
            assert said.endswith(f"\\boxed{{{each.trace.trace.answer[0]}}}")
    cuts = draw_cuts(pool, PrefixSettings(min_episodes=1))
    assert len(cuts) == sum(trace.num_episodes > 1 for trace in pool)
    for cut in cuts:
        stop, go = prefix_rows(cut, "Q <think>\n", TERMINATORS["boxed"], Delimiters())
        assert stop.prompt.startswith(go.prompt)
        assert stop.prompt[len(go.prompt) :].strip() == "</think>"
