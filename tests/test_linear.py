"""No pattern and no reader of model text takes worse than linear time, on texts that are hard to read.

Patterns are found in the modules themselves, and so are the graders' functions of texts: what is new is timed as well.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType

import numpy as np
import pytest

import mrt_reward
from mrt_reward import graders
from mrt_reward.core.episodes import Thinking, episode_spans, find_thinking
from mrt_reward.errors import MRTRewardError
from mrt_reward.evaluation.datasets.prompts import thinking_opened
from mrt_reward.graders.answers import Answer, find_answer
from mrt_reward.graders.math import quick_grade
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.truth import checked_candidates
from mrt_reward.options import (
    Delimiters,
    MarkerSegmenter,
    ParagraphSegmenter,
    ScoreOptions,
    Segmenter,
    TokenSegmenter,
)
from mrt_reward.protocols import GradeItem
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.server.openrlhf import to_traces
from mrt_reward.service.jobs import prepare
from mrt_reward.training.alignment import PolicyTokens, answer_start, opens_thinking
from mrt_reward.training.responses import Response
from mrt_reward.types import Message, Trace
from mrt_reward.wire import GetRewardRequest
from tests.linear import growth, hard_texts
from tests.service.conftest import WordGrader, speller

GOLDS = ("B", "x=1, y=\\frac{1}{2}")
LEFT_OUT = ("vllm",)
"""Modules of engines that are not installed here; they have no patterns."""


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(mrt_reward.__path__, "mrt_reward."):
        if not any(part.startswith(LEFT_OUT) for part in found.name.split(".")) and "__main__" not in found.name:
            yield importlib.import_module(found.name)


def patterns() -> dict[str, tuple[re.Pattern[str], bool]]:
    """Every compiled pattern that a module holds, by where it is, and whether it is ever searched for in a text."""
    everything = list(modules())
    everywhere = "".join(inspect.getsource(module) for module in everything)
    found: dict[re.Pattern[str], tuple[str, bool]] = {}
    for module in everything:
        for name, value in vars(module).items():
            several = isinstance(value, tuple | list | set | frozenset | dict)
            held = [*value, *value.values()] if isinstance(value, dict) else value if several else [value]
            for each in held:
                if isinstance(each, re.Pattern) and isinstance(each.pattern, str) and name not in OF_SETTINGS:
                    sources = inspect.getsource(module) if name.startswith("_") else everywhere
                    anchored = not several and not re.search(
                        rf"\b{name}\.(?!(?:full)?match\b)|[(, ]{name}[,)]", sources
                    )
                    found.setdefault(each, (f"{module.__name__}.{name}", not anchored))
    return {f"{where} {number}": (each, anywhere) for number, (each, (where, anywhere)) in enumerate(found.items())}


def readers(package: ModuleType) -> dict[str, Callable[[str], object]]:
    """Public functions of texts in a package: each is given the hard text for one parameter, golds for the others."""
    found: dict[str, Callable[[str], object]] = {}
    for module in modules():
        if not module.__name__.startswith(f"{package.__name__}."):
            continue
        for name, function in inspect.getmembers(module, inspect.isfunction):
            kinds = [str(each.annotation) for each in inspect.signature(function).parameters.values()]
            here = function.__module__ == module.__name__ and not name.startswith("_")
            if here and kinds and set(kinds) == {"str"} and name not in ACTING:
                for index in range(len(kinds)):
                    found[f"{module.__name__}.{name}[{index}]"] = _given(function, index, len(kinds))
    return found


ACTING = frozenset({"build_grader", "find_source", "loader", "function_judge", "fetch"})
"""Functions of paths and names, which are no model's text; and sympy's, which only a worker calls."""
OF_SETTINGS = frozenset({"FUNCTION_PATH"})
"""Patterns of settings, which come from whoever starts the server."""
KILLABLE = frozenset({"mrt_reward.graders.judges"})


def _given(function: Callable[..., object], j: int, count: int) -> Callable[[str], object]:
    def read(text: str) -> None:
        for gold in GOLDS if count > 1 else GOLDS[:1]:
            with contextlib.suppress(MRTRewardError, ValueError):
                function(*(text if index == j else gold for index in range(count)))

    return read


def scanned(pattern: re.Pattern[str], *, anywhere: bool = True) -> Callable[[str], object]:
    def scan(text: str) -> None:
        pattern.fullmatch(text)
        if anywhere:
            for _ in pattern.finditer(text):
                pass

    return scan


def fault(work: Callable[[str], object], *, few: bool = False) -> str:
    """The first text that takes more than linear time, and how much; empty if there is none."""
    for name, text in hard_texts(few=few):
        if reported := growth(work, text):
            return f"{name}: {reported}"
    return ""


PATTERNS = patterns()
READERS = {name: each for name, each in readers(graders).items() if not name.startswith(tuple(KILLABLE))}


@pytest.mark.parametrize("where", PATTERNS)
def test_a_pattern_takes_linear_time(where: str) -> None:
    pattern, anywhere = PATTERNS[where]
    assert fault(scanned(pattern, anywhere=anywhere)) == ""


@pytest.mark.parametrize("where", READERS)
def test_a_graders_reader_takes_linear_time(where: str) -> None:
    assert fault(READERS[where], few=True) == ""


def test_patterns_and_readers_are_found() -> None:
    assert len(PATTERNS) > 15
    assert {name.rsplit(".", 1)[1] for name in READERS} >= {"clean[0]", "last_boxes[0]", "choices_agree[1]"}


def test_a_quadratic_pattern_is_found_out() -> None:
    bad = re.compile(r"answer\s*:?\s*[A-Z]")
    assert fault(scanned(bad))
    assert not fault(scanned(re.compile(r"answer\s{0,8}:?\s{0,8}[A-Z]")))


@cache
def bundled() -> HFTokenizer:
    return HFTokenizer(MODEL_DIR)


@cache
def policy() -> PolicyTokens:
    return PolicyTokens((MODEL_DIR / "tokenizer.json").read_text(encoding="utf-8"))


def graded(text: str) -> None:
    for boxed in (True, False):
        for gold in (*GOLDS, text[:10_000]):
            item = GradeItem(text, (gold,), boxed_prefix=boxed)
            quick_grade(find_answer(item), (gold,))
            quick_grade(Answer(text[-20_000:], boxed=boxed), (gold,))


def cut(segmenter: Segmenter) -> Callable[[str], object]:
    def read(text: str) -> None:
        find_thinking(text, Delimiters(), opened=True)
        whole = Thinking(0, len(text), closed=False, answer_start=len(text), opened_by_text=False)
        episode_spans(text, whole, segmenter, char_ends=np.arange(1, len(text) + 1, dtype=np.int32))

    return read


def prepared(tokenizer: Callable[[], object]) -> Callable[[str], object]:
    def read(text: str) -> None:
        for completion, prompt in (
            (text, "p"),
            (f"<think>\n{text}</think>\n\n{text}", None),
            ("<think>x</think>", text),
        ):
            trace = Trace("t", completion=completion, prompt=prompt, problem=None if prompt else "p", answer=("B",))
            with contextlib.suppress(MRTRewardError):
                prepare(trace, ScoreOptions(), tokenizer(), WordGrader(), speller)  # type: ignore[arg-type]

    return read


def rewarded(text: str) -> None:
    for query in (f"p{text}", f"<|im_start|>assistant\n{text}", f"{text}<|im_start|>assistant\n\\boxed{{1}}"):
        with contextlib.suppress(MRTRewardError):
            to_traces(GetRewardRequest(query=[query], prompts=["p"], labels=["B"]), needs_answer=True)


def aligned(text: str) -> None:
    ids = bundled().encode_untrusted(text).ids.tolist()
    opens_thinking(ids, policy(), Delimiters())
    answer_start(Response(ids, ids, answer=("B",)), policy(), Delimiters())
    bundled().decode(ids)


def chatted(text: str) -> None:
    bundled().encode_chat([Message("user", text), Message("assistant", "a"), Message("user", f" {text} ")])
    thinking_opened(text, Delimiters(), text[:100])


def many_messages(text: str) -> None:
    bundled().encode_chat([Message("user", "q"), *[Message("assistant", "a")] * (len(text) // 80)])


def truth(text: str) -> None:
    checked_candidates(sample_problems(1, 0)[0], text)


TEXT_WORK: dict[str, Callable[[str], object]] = {
    "grading": graded,
    "markers": cut(MarkerSegmenter(max_episodes=None, min_paragraphs=1)),
    "paragraphs": cut(ParagraphSegmenter("paragraphs", max_episodes=None)),
    "tokens": cut(TokenSegmenter("tokens", num_tokens=1, max_episodes=None)),
    "the default segmenter": cut(ScoreOptions().segmenter),
    "preparing with the bundled tokenizer": prepared(bundled),
    "preparing with bytes": prepared(lambda: ScriptedProver([0.5]).tokenizer),
    "OpenRLHF's queries": rewarded,
    "alignment": aligned,
    "chats": chatted,
    "the bundled task's truth": truth,
}


@pytest.mark.parametrize("what", TEXT_WORK)
def test_reading_a_completion_takes_linear_time(what: str) -> None:
    assert fault(TEXT_WORK[what], few=True) == ""


def test_reading_a_chat_of_many_turns_takes_linear_time() -> None:
    # One text: only its length counts, for the number of turns.
    assert growth(many_messages, lambda size: "a" * size) == ""
