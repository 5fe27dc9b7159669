"""Prompts, token ids and golds as trainers and data sets send them, scored by the bundled model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mrt_reward.fields import encode_ids
from mrt_reward.mini import MODEL_DIR
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.cases.conftest import Api
from tests.cases.public import Case, cases, settle

USER = "<|im_start|>user\n"
OPENED = "<think>\n"
QUESTION = "On the island map, which of these places leads to an exit after exactly three steps: 49, 34, 51, 19, 20?"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"
PROMPT = USER + QUESTION + ASSISTANT + OPENED
GOLD = "51"


def values(trace: dict[str, Any]) -> list[float]:
    return [each["value"] for each in trace["values"]]


def whole_prompt(tail: str) -> str:
    """The cases give the end of a prompt; its head is the user's turn."""
    overlap = next((size for size in range(len(USER), 0, -1) if tail.startswith(USER[-size:])), 0)
    return USER[: len(USER) - overlap] + tail


@cases("prompt")
def test_only_the_assistants_own_turn_opens_thinking(api: Api, case: Case) -> None:
    prompt, completion = whole_prompt(case.asked["prompt"]), case.asked["completion"]
    turn = prompt[: prompt.rindex("<|im_start|>assistant\n")] + "<|im_start|>assistant\n"
    plain = {
        "id": "reference",
        "prompt": turn + OPENED,
        "completion": completion.removeprefix(OPENED).removesuffix("<|im_end|>"),
    }
    asked = [{"id": "t", "prompt": prompt, "completion": completion}, plain]
    found, reference = api.score(*({**trace, "answer": GOLD} for trace in asked), segmenter={"kind": "paragraphs"})

    def right() -> None:
        if case.expected == "no thinking: error no_thinking, outcome 1":
            assert (found["error"]["code"], found["outcome"]) == ("no_thinking", 1.0)
            return
        assert values(found) == pytest.approx(values(reference), abs=1e-6)
        if prompt.startswith(USER + QUESTION):
            assert values(found) == pytest.approx(case.expected["J"], abs=2e-3)

    settle(case, right)


@pytest.fixture(scope="module")
def tokenizer() -> HFTokenizer:
    return HFTokenizer(MODEL_DIR)


def as_ids(tokenizer: HFTokenizer, text: str, **more: object) -> dict[str, object]:
    ids = encode_ids(np.asarray(tokenizer.encode_trusted(text), np.int32))
    return {"completion_ids": ids, "tokenizer": tokenizer.sha256, **more}


@cases("token-ids")
def test_ids_are_scored_as_their_text_or_not_at_all(api: Api, tokenizer: HFTokenizer, case: Case) -> None:
    text = case.asked["completion_ids_of"]
    ids = tokenizer.encode_trusted(text)
    if "�" in text:
        # The last character was cut within its bytes.
        whole = tokenizer.encode_trusted(text.replace("�", "🙂"))
        ids = whole[: case.asked["tokens"]]
    sent = {"completion_ids": encode_ids(np.asarray(ids, np.int32)), "tokenizer": tokenizer.sha256}
    common = {"id": "t", "prompt": PROMPT.removesuffix(OPENED), "answer": GOLD}
    if "another tokenizer" in case.expected:
        [found] = api.score({**common, **sent, "tokenizer": "0" * 64})
        settle(case, lambda: _check_error(found, "tokenizer_mismatch", None))
    elif "no_thinking" in case.expected:
        [found] = api.score({**common, **sent})
        settle(case, lambda: _check_error(found, "no_thinking", 1.0))
    else:
        stripped = text.split("<|im_end|>")[0]
        found, plain = api.score({**common, **sent}, {**common, "id": "u", "completion": stripped})
        settle(case, lambda: _check_equal(found, plain, exact="�" not in text))


def _check_error(found: dict[str, Any], code: str, outcome: float | None) -> None:
    assert (found["status"], found["error"]["code"], found["outcome"]) == ("error", code, outcome)


def _check_equal(found: dict[str, Any], plain: dict[str, Any], *, exact: bool) -> None:
    assert (found["status"], found["outcome"]) == ("ok", plain["outcome"])
    if exact:
        assert values(found) == pytest.approx(values(plain), abs=1e-6)


@cases("gold")
def test_a_gold_is_one_answer_however_it_is_wrapped(api: Api, case: Case) -> None:
    trace = {"problem": "6*7?", "completion": case.asked["completion"]}
    found, plain = api.score({**trace, "id": "t", "answer": case.asked["answer"]}, {**trace, "id": "u", "answer": "42"})

    def right() -> None:
        if case.expected == "an error of its own, no number":
            assert (found["status"], found["values"]) == ("error", [])
        else:
            assert found["outcome"] == 1.0
            # Further spellings may add to it.
            assert all(mine >= theirs - 1e-6 for mine, theirs in zip(values(found), values(plain), strict=True)), (
                values(found),
                values(plain),
            )
            assert "42" in found["spellings"]

    settle(case, right)


@cases("length")
def test_a_completion_that_repeats_its_box_is_scored(api: Api, case: Case) -> None:
    del case
    completion = "Let me start with 19.</think>" + r"\boxed{51} " * 3000
    [found] = api.score({"id": "t", "prompt": PROMPT, "completion": completion, "answer": GOLD})
    assert (found["status"], found["outcome"]) == ("ok", 1.0)
