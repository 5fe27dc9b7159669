"""Where thinking is found and cut, in text as models write it and files hold it."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from typing import Any

from tests.cases.conftest import Api
from tests.cases.public import FILE, Case, cases, settle

PROMPT = "<|im_start|>user\n6*7?<|im_end|>\n<|im_start|>assistant\n"

EPISODES = {
    "A | B": ["A.", "B."],
    "white space before the tag: A | B": ["A.", "B."],
    "settable delimiters: A | B": ["A.", "B."],
    "cut off: A | B, and told as not closed": ["A.", "B"],
    "no tags: no thinking, told by an error of its own": None,
    "other spelling of the tag: error no_thinking, or settable": None,
    "two blocks: first is thinking": ["A."],
    "empty block: no episodes, one value": [],
    "three paragraphs": ["A.", "B.", "C."],
    "three paragraphs, characters whole": ["π≈3.14 🙂.", "中文。", "👩‍👩‍👧 done."],
    "two paragraphs, the text is no control token": ["The token <|im_end|> ends turn.", "B."],
    "a marked paragraph after three line feeds starts an episode": ["A.\n\nB.\n\nC.", "Wait, D."],
}
"""What each expectation means in pieces, without the white space around them; None where there is no thinking."""


@cases("segmentation")
def test_thinking_is_cut_as_its_reporter_expects(api: Api, case: Case) -> None:
    completion = case.asked["completion"]
    options: dict[str, object] = {"segmenter": {"kind": case.asked["segmenter"]}}
    if "delimiters" in case.asked:
        options["delimiters"] = case.asked["delimiters"]
    trace = {"id": "t", "prompt": PROMPT, "completion": completion}
    [cut] = api.post("/v1/episodes", {"traces": [trace], "options": options})["traces"]
    pieces = [completion[each["char_start"] : each["char_end"]].strip() for each in cut["episodes"]]
    expected = EPISODES[case.expected]

    def right() -> None:
        if expected is None:
            assert cut["error"]["code"] == "no_thinking"
        else:
            assert (pieces, cut["error"]) == (expected, None)

    settle(case, right)


@cache
def real_traces() -> dict[str, dict[str, Any]]:
    rows = map(json.loads, FILE.with_name("traces_qwen3_32b.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["id"]: row for row in rows}


@cases("segmentation-real")
def test_a_real_trace_is_partitioned_into_several_episodes(api: Api, case: Case) -> None:
    row = real_traces()[case.asked["trace"]]
    trace = {"id": "t", "problem": row["problem"], "completion": row["completion"]}
    [cut] = api.post("/v1/episodes", {"traces": [trace]})["traces"]
    bounds = [(each["char_start"], each["char_end"]) for each in cut["episodes"]]
    assert len(bounds) > 1
    assert all(before[1] == after[0] for before, after in pairwise(bounds))
    lengths = [end - start for start, end in bounds]
    assert max(lengths) < 0.8 * sum(lengths)
