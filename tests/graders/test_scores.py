from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.graders.scores import HTTPScoreGrader, RewardModelGrader, checked_score, sigmoid
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Grade, Verdict

ITEMS = [GradeItem("{4}", ("4", "\ud800"), "2+2?", boxed_prefix=True), GradeItem("\ud8005", ("4",), "2+2?")]


async def graded(answer: Callable[[httpx.Request], httpx.Response], items: list[GradeItem]) -> list[Grade]:
    grader = HTTPScoreGrader("http://judge/score", transport=httpx.MockTransport(answer))
    try:
        assert (grader.needs_answer, grader.binary, grader.identity) == (False, False, "http:http://judge/score")
        return list(await grader.grade(items))
    finally:
        await grader.close()


async def test_scores_come_from_the_service() -> None:
    seen: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        return httpx.Response(200, json={"scores": [0.75, None]})

    grades = await graded(answer, ITEMS)
    assert grades[0] == Grade(Verdict.CORRECT, score=0.75)
    assert grades[1].verdict is Verdict.UNGRADED
    assert seen == [
        {
            "items": [
                {"completion": r"\boxed{4}", "problem": "2+2?", "answers": ["4", "?"]},
                {"completion": "?5", "problem": "2+2?", "answers": ["4"]},
            ]
        }
    ]


async def test_many_items_are_asked_in_batches() -> None:
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(len(json.loads(request.content)["items"]))
        return httpx.Response(200, json={"scores": [0.0] * sizes[-1]})

    grades = await graded(answer, ITEMS * 50)
    assert sizes == [64, 36]
    assert grades == [Grade(Verdict.INCORRECT, score=0.0)] * 100


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (httpx.Response(500), "HTTP 500"),
        (httpx.Response(200, text="not json"), "JSONDecodeError"),
        (httpx.Response(200, json=[0.1, 0.2]), "expected {'scores'"),
        (httpx.Response(200, json={"scores": [0.1]}), "with 2 entries"),
        (httpx.Response(200, json={"scores": "0.1"}), "with 2 entries"),
    ],
)
async def test_a_failed_request_is_never_a_score(response: httpx.Response, reason: str) -> None:
    for grade in await graded(lambda _: response, ITEMS):
        assert (grade.verdict, grade.score) == (Verdict.UNGRADED, None)
        assert reason in grade.reason


async def test_a_service_that_is_gone_is_never_a_score() -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    assert {grade.verdict for grade in await graded(gone, ITEMS)} == {Verdict.UNGRADED}


@pytest.mark.parametrize("score", [None, True, "1", -0.1, 1.1, float("nan")])
def test_what_is_no_score_is_ungraded(score: object) -> None:
    assert checked_score(score).verdict is Verdict.UNGRADED


def test_sigmoid() -> None:
    assert sigmoid(0.0) == 0.5
    assert sigmoid(1e4) == 1.0
    assert sigmoid(-1e4) == 0.0
    assert sigmoid(2.0) + sigmoid(-2.0) == pytest.approx(1.0)


def tiny_model(folder: Path, *, labels: int, template: str | None) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"<eos>": 0, "<unk>": 1, "2": 2, "+": 3, "4": 4, "?": 5}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=6, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_labels=labels,
        max_position_embeddings=32,
    )  # fmt: skip
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)


@pytest.mark.parametrize("template", [None, "{% for m in messages %}{{ m.content }} {% endfor %}"])
async def test_a_reward_model_scores_problem_and_completion(tmp_path: Path, template: str | None) -> None:
    tiny_model(tmp_path, labels=1, template=template)
    grader = RewardModelGrader(tmp_path, device="cpu")
    items = [GradeItem("4", (), "2 + 2 ?"), GradeItem("+ + +" * 100, (), "2 + 2 ?")] * 10
    grades = await grader.grade(items)
    alone = [(await grader.grade([item]))[0].score for item in items[:2]]
    assert all(grade.score is not None and 0 < grade.score < 1 for grade in grades)
    assert [grade.score for grade in grades[:2]] == pytest.approx(alone)  # batching does not matter
    assert (grader.needs_answer, grader.binary, grader.identity) == (False, False, f"model:{tmp_path}")
    await grader.close()
    (failed,) = await grader.grade(items[:1])
    assert (failed.verdict, failed.score) == (Verdict.UNGRADED, None)


def test_a_reward_model_has_one_output(tmp_path: Path) -> None:
    tiny_model(tmp_path, labels=3, template=None)
    with pytest.raises(ConfigError, match="one output, got 3"):
        RewardModelGrader(tmp_path)


def test_a_reward_model_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"pip install .*\[transformers\]"):
        RewardModelGrader(tmp_path)
