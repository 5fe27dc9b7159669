"""Groups to advantages: the reply of /v1/score as it is, numbers of a loop of one's own, lists beside base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from mrt_reward.fields import encode_ids
from tests.server.conftest import TRACE, Live, post

RIGHT = {**TRACE, "id": "right"}
WRONG = {**TRACE, "id": "wrong", "completion": str(TRACE["completion"]).replace("boxed{42}", "boxed{41}")}
BROKEN = {**TRACE, "id": "broken", "problem": 7}


async def _paid(live: Live, *groups: object, **more: object) -> list[list[dict[str, Any]]]:
    reply = await post(live, "/v1/advantages", {"groups": groups, **more})
    assert reply.status_code == 200, reply.text
    return reply.json()["groups"]


def _without_trace(group: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "trace": None} for each in group]


async def _scored(live: Live, *traces: object) -> dict[str, Any]:
    return (await post(live, "/v1/score", {"traces": traces})).json()


async def test_the_reply_of_score_is_a_group_as_it_is(live: Live) -> None:
    reply = await _scored(live, RIGHT, WRONG)
    scored_before, scored_here = await _paid(live, reply, {"traces": [RIGHT, WRONG]})
    assert _without_trace(scored_before) == _without_trace(scored_here)
    assert [each["trace"] for each in scored_before] == [None, None]
    # Progress 1/4, 0, 1/2 on the outcome advantage of the right one among 1 and 0, ±1/√2.
    assert scored_before[0]["episode_advantages"] == pytest.approx(np.array([0.25, 0, 0.5]) + 0.70711, abs=1e-5)


async def test_what_failed_in_a_reply_of_score_is_masked_with_its_error_and_moves_nobody(live: Live) -> None:
    alone, beside = await _paid(live, await _scored(live, RIGHT, WRONG), await _scored(live, RIGHT, BROKEN, WRONG))
    right, broken, wrong = beside
    assert [right, wrong] == alone
    assert (broken["outcome_advantage"], broken["episode_advantages"], broken["scored"]) == (None, [], False)
    assert [broken[name] for name in ("answer_advantage", "closing_advantage", "ending_bonuses")] == [None] * 3
    assert (broken["error"]["code"], broken["error"]["param"]) == ("invalid_trace", "problem")


async def test_without_a_reward_nothing_is_a_number_and_without_values_the_reward_alone_pays(live: Live) -> None:
    spans = [{"char_start": 0, "char_end": 4}]
    unknown = {"id": "a", "outcome": None, "values": [0.5, 0.75], "episodes": spans}
    unscored = {"id": "b", "outcome": 1, "values": []}
    group = {"traces": [unknown, unscored], "token_ends": [[4, 9], [4, 9]]}
    [[first, second]] = await _paid(live, group, per_token="list")
    numbers = ("outcome_advantage", "answer_advantage", "closing_advantage", "ending_bonuses", "token_advantages")
    assert [first[name] for name in numbers] == [None] * 5
    assert (first["episode_advantages"], first["scored"]) == ([None], False)
    assert first["error"]["param"] == "outcome"
    # Alone among known outcomes, it keeps its reward.
    assert [second[name] for name in numbers] == [1.0, 1.0, 1.0, [], [1.0, 1.0]]
    assert (second["episode_advantages"], second["error"]) == ([], None)


async def test_a_value_that_is_missing_in_a_reply_leaves_its_trace_out_of_baselines(live: Live) -> None:
    reply = await _scored(live, RIGHT, WRONG)
    partial = reply["traces"][1]
    partial["status"], partial["values"][1]["value"] = "partial", None
    [[right, wrong]] = await _paid(live, reply, credit={"baseline": "group", "scale_by_std": False})
    # Outcomes 1 and 0: ±1/2. The baseline is of the whole trace alone, the mean of 1/4, 0, 1/2; missing progress is 0.
    assert right["episode_advantages"] == pytest.approx([0.5, 0.25, 0.75])
    assert wrong["episode_advantages"] == pytest.approx([-0.5, -0.5, -0.5 + 0.5 - 0.25])
    assert (right["scored"], wrong["scored"]) == (True, False)


async def test_progress_may_be_that_of_log_j_where_values_have_no_sampling_error(live: Live) -> None:
    spans = [{"char_start": j, "char_end": j + 1} for j in range(2)]
    short = {"id": "a", "outcome": 1, "values": [1e-40, 1e-30, 1e-200], "episodes": spans}
    log = {"progress": "log", "alpha": 0.01, "singleton": "zero"}
    [[paid]] = await _paid(live, {"traces": [short]}, credit=log)
    # Ten decades up, and from there 70 down to the floor of 1e-100; log 10 = 2.302585 nats a decade.
    assert paid["episode_advantages"] == pytest.approx([0.23026, -1.61181], abs=1e-5)
    [[paid]] = await _paid(live, {"traces": [short]}, credit={**log, "log_floor": 1e-35})
    assert paid["episode_advantages"] == pytest.approx([0.11513, -0.11513], abs=1e-5)
    [[paid]] = await _paid(live, {"traces": [short]}, credit={**log, "alpha": 0})
    assert paid["episode_advantages"] == [0, 0]
    rollouts = {"estimator": {"kind": "rollouts", "num_samples": 2}}
    body = {"groups": [{"traces": [RIGHT]}], "options": rollouts, "credit": log}
    refused = await post(live, "/v1/advantages", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "credit")
    assert "progress log needs values without sampling error" in refused.json()["error"]["message"]
    refused = await post(live, "/v1/advantages", {"groups": [{"traces": [short]}], "credit": {"log_floor": 0}})
    assert refused.status_code == 422


CUT = {**TRACE, "id": "cut", "completion": str(TRACE["completion"]).partition("</think>")[0]}


async def test_a_trace_that_was_cut_off_is_paid_as_the_caller_says(live: Live) -> None:
    reply = await _scored(live, RIGHT, WRONG, CUT)
    assert [trace["truncated"] for trace in reply["traces"]] == [False, False, True]
    last = reply["traces"][2]["values"][-1]["value"]
    assert 0 < last <= 1
    for truncated, rewards in (("zero", [1, 0, 0]), ("masked", [1, 0]), ("forced", [1, 0, last])):
        [group] = await _paid(live, reply, credit={"truncated": truncated, "scale_by_std": False, "alpha": 0})
        reported = [each["outcome_advantage"] for each in group if each["outcome_advantage"] is not None]
        assert reported == pytest.approx(np.array(rewards) - np.mean(rewards))
        assert (group[2]["outcome_advantage"] is None) == (truncated == "masked")


async def test_tokens_and_endings_are_asked_for_where_credit_needs_them(live: Live) -> None:
    numbers = {"id": "a", "outcome": 0, "values": [0.5, 1.0]}
    for credit, said in (
        ({"baseline": "rate"}, "needs the tokens of every episode"),
        ({"truncated": "forced"}, "whether it was cut off"),
    ):
        reply = await post(live, "/v1/advantages", {"groups": [{"traces": [numbers]}], "credit": credit})
        assert reply.status_code == 422
        assert said in reply.json()["error"]["message"]
    spans = [{"char_start": 0, "char_end": 9, "token_start": 0, "token_end": 20}]
    whole = {**numbers, "episodes": spans, "truncated": True}
    other = {**whole, "id": "b", "values": [0.5, 0.7]}
    credit = {"baseline": "rate", "truncated": "forced", "scale_by_std": False}
    [[first, second]] = await _paid(live, {"traces": [whole, other]}, credit=credit)
    # Last values 1 and 0.7: ±0.15. Progress 0.5 and 0.2 in 20 tokens each, less what the other's 20 tokens made.
    assert (first["outcome_advantage"], second["outcome_advantage"]) == pytest.approx((0.15, -0.15))
    assert first["episode_advantages"] == pytest.approx([0.15 + 0.5 - 0.2])
    assert second["episode_advantages"] == pytest.approx([-0.15 + 0.2 - 0.5])
    # Closing is its own decision, charged where it is asked for.
    [[first, _]] = await _paid(live, {"traces": [whole, other]}, credit={**credit, "charge_closing": True})
    assert first["closing_advantage"] == pytest.approx(0.15 - 0.2)
    assert first["ending_bonuses"] == [0.0]
    [[first, _]] = await _paid(live, {"traces": [whole, other]}, credit={**credit, "pay_ending": True})
    assert first["ending_bonuses"] == pytest.approx([0.5 - 0.2])


async def test_scored_traces_stand_beside_unscored_ones_and_beside_numbers(live: Live) -> None:
    [scored] = (await _scored(live, RIGHT))["traces"]
    numbers = {"id": 7, "outcome": 0, "values": [0.5, None, 0.25]}
    [group] = await _paid(live, {"traces": [scored, WRONG, numbers]})
    assert [(each["id"], each["scored"]) for each in group] == [("right", True), ("wrong", True), ("7", False)]
    assert [each["trace"] is not None for each in group] == [False, True, False]
    assert group[2]["episode_advantages"] == [group[2]["outcome_advantage"]] * 2


async def test_the_old_name_of_a_scored_group_is_refused_with_the_new_one(live: Live) -> None:
    reply = await post(live, "/v1/advantages", {"groups": [{"scored": [{"id": "a", "outcome": 1, "values": []}]}]})
    assert reply.status_code == 422
    assert "scored is traces now" in reply.json()["error"]["message"]


@pytest.mark.parametrize("as_list", [True, False])
async def test_ids_are_lists_or_base64_and_so_are_advantages_of_tokens(live: Live, as_list: bool) -> None:
    reply = await _scored(live, RIGHT)
    ends = list(range(1, len(str(TRACE["completion"])) + 1))
    group = {**reply, "token_ends": [ends if as_list else encode_ids(np.array(ends, np.int32))]}
    [[listed]] = await _paid(live, group, per_token="list")
    [[packed]] = await _paid(live, group, per_token=True)
    [[named]] = await _paid(live, group, per_token="base64")
    assert packed == named
    advantage_T = np.frombuffer(base64.b64decode(packed["token_advantages"]), "<f4")
    assert listed["token_advantages"] == pytest.approx(advantage_T.tolist())
    for episode, advantage in zip(reply["traces"][0]["episodes"], listed["episode_advantages"], strict=True):
        here = listed["token_advantages"][episode["char_start"] : episode["char_end"]]
        assert here == [advantage] * (episode["char_end"] - episode["char_start"])


async def test_a_trace_may_be_sent_as_lists_of_ids(live: Live) -> None:
    sent = {"id": "t", "prompt": "Q", "answer": "42", "tokenizer": live.scorer.tokenizer_sha256}
    ids = live.prover.tokenizer.encode_trusted(str(TRACE["completion"]))
    lists = {**sent, "id": "lists", "completion_ids": np.asarray(ids).tolist()}
    packed = {**sent, "id": "packed", "completion_ids": encode_ids(np.array(ids, np.int32))}
    one, two = (await _scored(live, lists, packed))["traces"]
    assert (one["status"], one["error"]) == ("ok", None)
    assert (one["values"], one["episodes"]) == (two["values"], two["episodes"])


async def test_a_list_of_more_ids_than_a_body_may_have_values_is_refused_whole(live: Live) -> None:
    reply = await post(live, "/v1/score", {"traces": [{**TRACE, "completion_ids": [1] * 600_000}]})
    assert reply.status_code == 413
    assert set(reply.json()["error"]) == {"message", "type", "code", "param"}


async def test_the_document_says_that_numbers_and_lists_are_taken(live: Live) -> None:
    schemas = (await live.http.get("/openapi.json")).json()["components"]["schemas"]
    whole, short = schemas["Group"]["properties"]["traces"]["items"]["oneOf"][1]["anyOf"]
    assert whole == {"$ref": "#/components/schemas/ScoredTrace-Input"}
    assert short["properties"]["values"]["items"]["anyOf"][1] == {"type": "null"}
    kinds = [each.get("type") for each in schemas["Trace"]["properties"]["completion_ids"]["anyOf"]]
    assert kinds == ["array", "string", "null"]


SAMPLED = {"estimator": {"kind": "rollouts", "num_samples": 4}}


async def test_values_or_their_posterior_are_paid_by_name(live: Live) -> None:
    reply = (await post(live, "/v1/score", {"traces": [RIGHT, WRONG], "options": SAMPLED})).json()
    means = np.array(reply["traces"][0]["posterior"]["means"])
    alone = {"scale_by_std": False}
    [[raw, _]] = await _paid(live, reply, credit=alone)
    [[smooth, _]] = await _paid(live, reply, credit={**alone, "paid_values": "posterior"})
    # ± 1/2 for the outcome, and progress on top.
    assert raw["episode_advantages"] == pytest.approx([0.75, 0.5, 1.0])
    assert smooth["episode_advantages"] == pytest.approx(0.5 + np.diff(means))
    assert np.abs(np.diff(means) - [0.25, 0, 0.5]).max() > 0.01


async def test_a_posterior_that_is_not_there_is_no_number(live: Live) -> None:
    exact = await _scored(live, RIGHT)
    refused = await post(live, "/v1/advantages", {"groups": [exact], "credit": {"paid_values": "posterior"}})
    assert refused.status_code == 422
    assert "has no posterior" in refused.json()["error"]["message"]


async def test_answers_in_rounds_are_paid_by_their_posterior_alone(live: Live) -> None:
    options = {"estimator": {**SAMPLED["estimator"], "num_samples": 16, "mean_samples": 4}}
    body = {"groups": [{"traces": [RIGHT]}], "options": options}
    refused = await post(live, "/v1/advantages", body)
    assert refused.status_code == 422
    assert "set paid_values to posterior" in refused.json()["error"]["message"]
    paid = await post(live, "/v1/advantages", {**body, "credit": {"paid_values": "posterior"}})
    [[right]] = paid.json()["groups"]
    assert any(value["adaptive"] for value in right["trace"]["values"])
    assert right["scored"]
