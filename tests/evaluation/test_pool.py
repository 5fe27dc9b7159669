from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.evaluation.datasets.prompts import Prompts, messages_of, thinking_opened
from mrt_reward.evaluation.pool import ReadOptions, Unusable, read_pool, why_unusable
from mrt_reward.evaluation.result import Result
from mrt_reward.options import Delimiters
from mrt_reward.provers.scripted import ScriptedTokenizer
from mrt_reward.types import ErrorInfo, Message, ScoredTrace, Status, Trace
from tests.evaluation.datasets.made import ENDING, line, scored, write

A, B = "First.\n\n", "Wait, second.\n\n"
TAGS = Delimiters()


def test_a_trace_tells_its_parts_whatever_opens_it() -> None:
    trace = scored("t", [A, B], [0.2, None, 1.0], opener="<think>\n")
    assert (trace.prefix(0), trace.prefix(1), trace.episode(1), trace.ending) == ("", A, B, ENDING)
    assert (trace.tokens_at(0), trace.tokens_at(2)) == (0, len(A + B))
    assert np.isnan(trace.values).tolist() == [False, True, False]
    assert not trace.is_complete


def test_prefixes_are_shared_to_the_letter_and_within_a_problem() -> None:
    one, two = scored("1", [A, B], [0.2, 0.5, 1.0]), scored("2", [A, "Wait, else.\n\n"], [0.2, 0.5, 1.0])
    other = scored("3", [A, B], [0.2, 0.5, 1.0], problem="2 + 40?")
    keys = [list(each.prefix_keys()) for each in (one, two, other)]
    assert keys[0][:2] == keys[1][:2]
    assert keys[0][2] != keys[1][2]
    assert not set(keys[0]) & set(keys[2])
    # Cut elsewhere, the same text is the same prefix.
    whole = scored("4", [A + B], [0.2, 1.0])
    assert list(whole.prefix_keys()) == [keys[0][0], keys[0][2]]
    # Where the problem ends is not guessed.
    longer = scored("5", [B], [0.2, 1.0], problem=f"6 times 7?{A}")
    assert not set(longer.prefix_keys()) & set(keys[0])
    chat = scored("6", [A], [0.2, 1.0], problem=None, messages=(Message("user", "6 times 7?"),))
    assert "6 times 7?" in chat.asked


def test_what_cannot_be_used_says_why() -> None:
    good = scored("t", [A], [0.2, 1.0])
    silent = ScoredTrace("t", Status.OK, values=good.scored.values[:1])
    failed = ScoredTrace("t", Status.ERROR, error=ErrorInfo("no", "TraceError", "no_thinking"))
    assert why_unusable(good) is None
    assert why_unusable(Result((good.trace, failed))) is Unusable.NO_THINKING
    assert why_unusable(Result((good.trace, replace(failed, error=None)))) is Unusable.FAILED
    assert why_unusable(Result((None, good.scored))) is Unusable.NO_TRACE
    assert why_unusable(Result((good.trace, silent))) is Unusable.NO_THINKING
    assert why_unusable(Result((replace(good.trace, completion=None), good.scored))) is Unusable.NO_TEXT
    assert why_unusable(Result((replace(good.trace, problem=None), good.scored))) is Unusable.NO_PROMPT
    reading = ReadOptions(holds_control=Prompts(ScriptedTokenizer(), TAGS).holds_control)
    assert why_unusable(good, reading) is None
    hostile = scored("h", ["First.<|im_end|>\n\n"], [0.2, 1.0])
    assert why_unusable(Result((hostile.trace, hostile.scored)), reading) is Unusable.CONTROL


def test_a_file_is_read_with_what_was_wrong_counted(tmp_path: Path) -> None:
    good, short = scored("a", [A], [0.2, 1.0]), scored("b", [A], [0.2, 1.0])
    failed = {
        **line(short),
        "id": "c",
        "status": "error",
        "error": {"message": "m", "type": "t", "code": "no_thinking"},
    }
    file = write(tmp_path / "s.jsonl", line(good), line(good), failed, {**line(short), "trace": None})
    file.write_text(file.read_text() + '{"id": "cut sho')
    pool = read_pool([file])
    assert [trace.trace.id for trace in pool.traces] == ["a"]
    assert pool.unusable == {Unusable.NO_TRACE: 1, Unusable.NO_THINKING: 1}
    assert (pool.notes.cut, pool.notes.duplicates, pool.prover) == (1, 1, "m@1")


def test_mixed_and_empty_files_are_refused(tmp_path: Path) -> None:
    good = scored("a", [A], [0.2, 1.0])
    other = {**line(good), "id": "b", "prover": "n@2"}
    with pytest.raises(ConfigError, match=r"one prover, got m@1 \(1\), n@2 \(1\)"):
        read_pool([write(tmp_path / "p.jsonl", line(good), other)])
    named = [{**line(good), "id": name, "evaluation": {"model": name, "problem": "p"}} for name in "xy"]
    models = write(tmp_path / "m.jsonl", *named)
    with pytest.raises(ConfigError, match=r"x \(1\), y \(1\): choose one with --policy"):
        read_pool([models])
    assert [trace.trace.id for trace in read_pool([models], ReadOptions(model="y")).traces] == ["y"]
    with pytest.raises(ConfigError, match=r"1 lines malformed, first e\.jsonl:1"):
        read_pool([write(tmp_path / "e.jsonl", "[1]")])
    with pytest.raises(ConfigError, match="the file has no lines"):
        read_pool([write(tmp_path / "n.jsonl")])


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        ("U: x A: ", "U: x A: <think>\n"),
        ("U: x A: <think>\n", "U: x A: <think>\n"),
        ("U: x A: <think>\n\n</think>\n\n", "U: x A: <think>\n"),
        ("U: x A: <think>\nno</think>\n\n", "U: x A: <think>\nno</think>\n\n<think>\n"),
    ],
)
def test_exactly_one_block_of_thinking_is_open(prompt: str, opened: str) -> None:
    assert thinking_opened(prompt, TAGS) == opened
    assert thinking_opened(prompt, Delimiters("", "")) == prompt


def test_what_a_question_says_of_tags_opens_nothing() -> None:
    assert thinking_opened("U: use <think> A: ", TAGS, "use <think>") == "U: use <think> A: <think>\n"


class Forgetful(ScriptedTokenizer):
    """A chat template that drops thinking from what the assistant says, and one that spaces it anew."""

    def __init__(self, *, drops: bool) -> None:
        super().__init__()
        self.drops = drops

    def render_chat(self, messages: Sequence[Message]) -> str:
        head, close, answer = messages[-1].content.partition("</think>")
        said = answer if self.drops else f"{head.rstrip()}\n{close}\n\n{answer.lstrip()}"
        return super().render_chat([*messages[:-1], Message("assistant", said)])


def test_a_template_that_drops_thinking_is_known() -> None:
    chat = [Message("user", "6 times 7?"), Message("assistant", f"<think>\n{A}{ENDING}")]
    assert not Prompts(Forgetful(drops=True), TAGS).keeps(chat)
    assert Prompts(Forgetful(drops=False), TAGS).keeps(chat)
    assert Prompts(None, TAGS).keeps(chat)


def test_prompts_are_rendered_by_the_policys_template() -> None:
    trace, prompts = Trace("t", problem="6 times 7?"), Prompts(ScriptedTokenizer(), TAGS)
    assert prompts.opened(trace) == "<|im_start|>user\n6 times 7?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert Prompts(None, TAGS).opened(Trace("t", prompt="Q ")) == "Q <think>\n"
    assert not Prompts(None, TAGS).holds_control("<|im_end|>")
    with pytest.raises(ConfigError, match="--tokenizer"):
        Prompts(None, TAGS).opened(trace)
    with pytest.raises(TraceError, match="no chat"):
        messages_of(Trace("t", prompt="Q "))


def test_a_file_that_is_not_scored_yet_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text('{"id": "a", "problem": "q", "completion": "<think>a</think>b", "answer": "b"}\n')
    with pytest.raises(ConfigError, match="this trace is not scored: run `mrt-reward score` on the file first"):
        read_pool([path])
