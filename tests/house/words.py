"""Words that the project does not use in names, in help texts and in docstrings, and names that mean one thing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator

from tests.house.shape import Module, modules

OLD_WORDS = {
    "told": "reported, described, message: what it is",
    "place": "index, row, offset: what it is",
    "places": "indices, rows, offsets: what they are",
    "nursery": "fork server",
    "turnstile": "lock",
}
"""A part of a name, and what to say instead."""

ALLOWED = {
    "mrt_reward/mini/": frozenset({"place", "places"}),
    "mrt_reward/benchmark/": frozenset({"place", "places"}),
    "tests/bench/": frozenset({"place", "places"}),
    "tests/mini/": frozenset({"place", "places"}),
    "tests/attacks/": frozenset({"place", "places"}),
    "tests/study/": frozenset({"place", "places"}),
    "tests/evaluation/test_truth.py": frozenset({"place", "places"}),
    "tests/vllm/evaluating.py": frozenset({"place"}),
    "tests/graders/test_spellings.py": frozenset({"places"}),
}
"""A place is a node of the island map in `mini`, and in the benchmark's rows the process that proves."""

OLD_PHRASES = (
    r"\b(is|are|was|were|be) told\b(?! (to|otherwise)\b)",
    r"\bcannot be had\b",
    r"\bso many steps\b",
    r"\bnone never\b",
    r"\btold apart\b",
)

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def old_words_in(module: Module) -> set[str]:
    """Names in a module with a part that is an old word."""
    allowed = next((words for path, words in ALLOWED.items() if module.name.startswith(path)), frozenset[str]())
    old = set(OLD_WORDS) - allowed
    if not old & _parts_of(module.text):
        return set()
    names = {
        token.string
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline)
        if token.type == tokenize.NAME
    }
    return {name for name in names if _parts_of(name) & old}


def _parts_of(text: str) -> set[str]:
    return {part.lower() for part in _PART.findall(text)}


def old_phrases_in(text: str) -> list[str]:
    """Phrases that a reader stumbles over."""
    joined = " ".join(text.split())
    return [found[0] for phrase in OLD_PHRASES for found in re.finditer(phrase, joined)]


_FRAGMENT = re.compile(r"(it|its|which|\(?[a-zA-Z]\)?)\.")
"""A docstring, or what is said of one field, that is a letter or a pronoun."""


def fragments_in(module: Module) -> Iterator[str]:
    """Docstrings, and lines of them about one argument, that say nothing."""
    for node in ast.walk(module.tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            if isinstance(text := statement.value.value, str):
                lines = [text, *(found[1] for found in re.finditer(r"(?m)^\s+\w+: (.*)$", text))]
                yield from (f"{module.name}:{statement.lineno} {line}" for line in lines if _FRAGMENT.fullmatch(line))


def classes_of_several_meanings() -> set[str]:
    """Names of classes that more than one module defines."""
    found = Counter(node.name for module in modules() for node in module.tree.body if isinstance(node, ast.ClassDef))
    return {name for name, count in found.items() if count > 1 and not name.startswith("_")}
