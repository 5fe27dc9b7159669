"""What trainers and files send around a trace: bad neighbours, rewards, advantages, columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mrt_reward.cli.app import app
from mrt_reward.fields import encode_ids
from tests.cases.conftest import Api
from tests.cases.public import Case, cases, settle
from tests.cases.test_traces import GOLD, PROMPT

GOOD: dict[str, object] = {"problem": "6*7?", "completion": "A\n</think>\\boxed{42}", "answer": "42"}
WRONG = "Let me start with 19.</think>\\boxed{19}"
RIGHT = "Let me start with 19.\n\nWait, take 51.</think>\\boxed{51}"


@cases("contract")
def test_one_bad_trace_never_fails_its_neighbour(api: Api, case: Case) -> None:
    bad: dict[str, object] = {**GOOD, "id": "bad", **case.asked["second trace"]}
    reply = api.post("/v1/score", {"traces": [{**GOOD, "id": "good"}, bad]})["traces"]
    assert [trace["status"] for trace in reply] in (["ok", "error"], ["ok", "ok"])
    assert reply[0]["outcome"] == 1.0
    if reply[1]["status"] == "error":
        field = next(iter(case.asked["second trace"]))
        assert reply[1]["outcome"] is None
        assert reply[1]["error"]["param"].split(".")[0] == field


@cases("get_reward")
def test_get_reward_reads_queries_and_labels_as_trainers_send_them(api: Api, case: Case) -> None:
    def reward(query: str, label: object) -> dict[str, Any]:
        return api.post("/get_reward", {"query": [query], "prompts": [PROMPT], "labels": [label]})

    if "what" in case.asked:
        assert len({tuple(reward(PROMPT + RIGHT, GOLD)["rewards"]) for _ in range(3)}) == 1
        return
    query, label = case.asked["query"], case.asked["label"]
    if query.replace("<|im_end|>", "") == "":  # the case shows the end of its query alone
        query = PROMPT + RIGHT + query
    if case.expected == "refused, no number":
        with pytest.raises(AssertionError, match="labels"):
            reward(query, label)
        return
    response = query[query.index(PROMPT) + len(PROMPT) :]
    plain = response.replace("<|im_end|>", "").replace("<|end_of_text|>", "")
    found, reference = reward(query, label), reward(PROMPT + plain, GOLD)

    def right() -> None:
        for name in ("rewards", "scores"):
            assert found[name] == pytest.approx(reference[name], abs=2e-2 if label != GOLD else 1e-6)
        assert found["scores"] == [1.0 if "boxed{51}" in response else 0.0]

    settle(case, right)


@cases("advantages")
def test_groups_are_paid_as_their_reporter_expects(api: Api, case: Case) -> None:
    if isinstance(case.asked["group"], str):
        _check_foreign_trace_is_masked(api)
        return
    body = {"groups": [{"traces": case.asked["group"]}], "credit": case.asked["credit"]}
    [paid] = api.post("/v1/advantages", body)["groups"]
    known = [each["outcome_advantage"] for each in paid if each["outcome_advantage"] is not None]
    for each, trace in zip(paid, case.asked["group"], strict=True):
        assert (each["outcome_advantage"] is None) == (trace["outcome"] is None)
    assert sum(known) == pytest.approx(0)
    if case.expected == "equal outcomes: 0":
        assert known == [0.0] * len(known)


def _check_foreign_trace_is_masked(api: Api) -> None:
    foreign = {"id": "c", "prompt": PROMPT, "completion_ids": encode_ids([5, 6, 7]), "tokenizer": "0" * 64}  # type: ignore[arg-type]
    traces = [{"id": "a", "prompt": PROMPT, "completion": RIGHT}, {"id": "b", "prompt": PROMPT, "completion": WRONG}]

    def paid(*asked: Mapping[str, object]) -> list[dict[str, Any]]:
        group = {"traces": [{**trace, "answer": GOLD} for trace in asked]}
        [advantages] = api.post("/v1/advantages", {"groups": [group]})["groups"]
        return advantages

    *others, third = paid(*traces, foreign)
    assert (third["outcome_advantage"], third["scored"]) == (None, False)
    for mine, without in zip(others, paid(*traces), strict=True):
        assert mine["outcome_advantage"] == pytest.approx(without["outcome_advantage"])
        assert mine["episode_advantages"] == pytest.approx(without["episode_advantages"])


@cases("cli")
def test_a_file_is_read_line_by_line(case: Case, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = "\n".join(case.asked["lines"]) + "\n"
    source.write_bytes(lines.encode("latin-1" if case.expected.startswith("not UTF-8") else "utf-8"))
    done = CliRunner().invoke(app, ["score", str(source)])
    written = source.with_suffix(".scored.jsonl")
    rows: list[dict[str, Any]] = (
        [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []
    )

    def right() -> None:
        if case.expected in ("as text 42", "right", "right: the model wrote the very number"):
            assert [(row["status"], row["outcome"]) for row in rows] == [("ok", 1.0)]
        elif len(case.asked["lines"]) > 1:
            assert sorted(row["status"] for row in rows) == ["error", "ok"]
        elif rows:
            assert [(row["status"], row["outcome"]) for row in rows] == [("error", None)]
        else:
            assert done.exit_code != 0
            output = done.output.replace("\n", "") + str(done.exception)
            assert str(source) in output or "UTF-8" in output

    settle(case, right)
