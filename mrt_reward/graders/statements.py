r"""The answer that free text states, for completions without a box: `The answer is 3/7.`, `So $x=5$.`, `#### 42`.

    last `<answer>…</answer>`, else last "the answer is …", else the last formula or arithmetic of the text

What is found is an expression from its first to its last character, or nothing: never the beginning of one. Each
character is looked at a bounded number of times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mrt_reward.graders.characters import in_latex
from mrt_reward.graders.words import in_digits

MAX_WORDS_CHARS = 200
_MAX_FORMULA_CHARS = 2_000

_TAG = re.compile(r"<answer>(?P<inner>[^<>]{1,2000})</answer>", re.IGNORECASE)
_CONTROL = re.compile(r"<\|[^<>|]{0,40}\|>|</?(?:s|answer)>", re.IGNORECASE)
_SAID = re.compile(
    r"(?<![A-Za-z])(?:answers?|ans)(?![A-Za-z])(?: to (?:this|the|your) (?:question|problem))?"
    r"(?: (?:is|are|would be|should be|must be|will be|equals))?[*_ ]{0,4}:?[*_]{0,3}"
    r"|(?<![A-Za-z])(?:roots|solutions|options|choices|letters) are(?![A-Za-z])|####"
    r"|(?<!\\)\\(?:boxed|fbox)(?![A-Za-z])"
    r"|(?:答案|答)(?:是|为)? ?:?",
    re.IGNORECASE,
)
_REASON = re.compile(r"\. |,? (?:because|since|as|so|which|for)(?![A-Za-z])")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{(?:align|aligned|equation|gather|gathered|split)\*?\}")
_NOT = re.compile(r" ?(?:not|never|neither)(?![a-z])", re.IGNORECASE)
_FORMULA_ENDS = {"$$": "$$", "$": "$", r"\(": r"\)", r"\[": r"\]"}
_FORMULA_STARTS = re.compile(r"(?<!\\)(?:\$\$|\$|\\\(|\\\[)")
_LIFTED = re.compile("\ue000([0-9]{1,6})\ue001")
_PRIVATE = {0xE000: None, 0xE001: None}

_OPERATORS = ("+", "-", "*", "/", "^", "=", "<", ">", ":", "<=", ">=")
_COMMANDS = tuple(
    rf"\{name}" for name in ["cdot", "times", "div", "pm", "le", "ge", "ne", "approx", "in", "cup", "cap"]
)
_STARTS = re.compile(r"\\(?:cdot|times|div|pm|le|ge|ne|approx|in|cup|cap)(?![A-Za-z])")
_DROPPED = ("=", ":", "-", "\\approx")
"""Where one of these stands before or after an expression, it is prose; other operators miss their operand."""
_NAMES = frozenset(["sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt"])
_SCALES = frozenset(["percent", "million", "billion", "thousand", "trillion", "degrees"])
_CONSTANTS = ("pi", "infinity", "inf")
_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,40}")
_MARKS = "*_~\"'`"
_STOPS = ".,;:!?"
_SEPARATORS = (",", ";")
_GROUP = re.compile(r"[0-9]{3}(?:\.[0-9]{1,40})?")
_RATIO = re.compile(r"[0-9]{1,9}/[0-9]{1,9}")
_JOINTS = (",", "and", "or")


@dataclass(frozen=True, slots=True)
class _Token:
    """Text between two spaces, without the punctuation behind it; `part` where it may belong to an expression."""

    text: str
    stop: str
    part: bool

    @property
    def operates(self) -> bool:
        """Whether it is an operator, as opposed to an operand."""
        return self.text in _OPERATORS or self.text in _COMMANDS

    @property
    def opens(self) -> bool:
        """Whether an operand must follow."""
        return self.operates or self.text in _NAMES or self.text.endswith((*_OPERATORS, *_SEPARATORS, "(", *_COMMANDS))

    @property
    def continues(self) -> bool:
        """Whether an operand must precede."""
        operated = self.text.startswith(("+", "*", "/", "^", "=", "<", ">", ":"))
        return operated or _STARTS.match(self.text) is not None or self.text in ("-", *_SCALES)


def stated_answer(text: str, *, words: bool = False) -> str | None:
    """The answer that a text without a box states; None where it states none.

    Args:
        text: what stands after the thinking.
        words: the answer is words rather than mathematics.

    """
    tags = _TAG.findall(text)
    if tags and tags[-1].strip():
        return tags[-1].strip()
    text = _CONTROL.sub(" ", text.translate(_PRIVATE))
    if _ENVIRONMENT.search(text):
        text = _ENVIRONMENT.sub("\n", text).replace("\\\\", "\n").replace("&", " ")
    prose, formulas = _lift(text)
    lines = [in_latex(line) for line in prose.splitlines() if line.strip()]
    for index in range(len(lines) - 1, -1, -1):
        said = list(_SAID.finditer(lines[index]))
        if not said:
            continue
        rest = lines[index][said[-1].end() :]
        if not rest.strip(" :*_") and index + 1 < len(lines):
            rest = lines[index + 1]
        if _NOT.match(rest):
            return None
        found = _sentence(rest, formulas) if words else _first(rest, formulas)
        if found is not None:
            return found
    if words:
        return _restored(lines[-1], formulas) if len(lines) == 1 and len(lines[0]) <= MAX_WORDS_CHARS else None
    return _last(lines, formulas)


def _lift(text: str) -> tuple[str, list[str]]:
    """The text with each formula replaced by its index between two private characters, and the formulas."""
    pieces, formulas, at = list[str](), list[str](), 0
    last = {closing: text.rfind(closing) for closing in _FORMULA_ENDS.values()}
    for match in _FORMULA_STARTS.finditer(text):
        closing = _FORMULA_ENDS[match[0]]
        if match.start() < at or last[closing] < match.end():
            continue
        end = text.find(closing, match.end(), match.end() + _MAX_FORMULA_CHARS)
        if end < 0:
            continue
        inner = text[match.end() : end]
        # `$5 and $7` are prices.
        prices = match[0] == "$" and ("\n\n" in inner or text[end + 1 : end + 2].isdigit())
        if not inner.strip() or prices:
            continue
        pieces += [text[at : match.start()], f" \ue000{len(formulas)}\ue001"]
        formulas.append(" ".join(inner.split()))
        at = end + len(closing)
    return "".join([*pieces, text[at:]]), formulas


def _restored(text: str, formulas: list[str]) -> str:
    return _LIFTED.sub(lambda match: formulas[int(match[1])], text).strip()


def _sentence(text: str, formulas: list[str]) -> str | None:
    """Words up to the end of the sentence."""
    sentence = _REASON.split(text.strip(" :*_"), maxsplit=1)[0].strip(" .!*_\"'`")
    return _restored(sentence, formulas) if 0 < len(sentence) <= MAX_WORDS_CHARS else None


def _first(text: str, formulas: list[str]) -> str | None:
    """The first expression of a statement, or the list that it begins: `3, 5`, `3 and 5`."""
    pieces = list(_pieces(text.lstrip(" =:*_~{")))
    at = next((index for index, (_, run) in enumerate(pieces) if run), len(pieces))
    listed = list[str]()
    while at < len(pieces) and pieces[at][1]:
        ended = at + 1 == len(pieces) or pieces[at + 1][0] in (*_STOPS, *_JOINTS)
        if listed and not ended:
            break  # `5, 3 more than 2`
        listed.append(_restored(pieces[at][0], formulas))
        at += 1
        while at < len(pieces) and pieces[at][0] in _JOINTS:
            at += 1
    alone = text.strip(" .,:;!*_=")
    is_symbol = len(alone) == 1 and alone.isalpha()
    return ", ".join(listed) or (alone if is_symbol or in_digits(alone) != alone else None)


def _last(lines: list[str], formulas: list[str]) -> str | None:
    """The last expression of a text, joined by `and` and `or` to those before it; a lone symbol only if all are."""
    symbol: str | None = None
    for line in reversed(lines):
        pieces = list(_pieces(line))
        if len(lines) == 1 and all(run or piece in (*_JOINTS, ".") for piece, run in pieces):
            return ", ".join(_restored(piece, formulas) for piece, run in pieces if run) or None
        for at in range(len(pieces) - 1, -1, -1):
            if not pieces[at][1]:
                continue
            found = _restored(pieces[at][0], formulas)
            if len(found) == 1 and found.isalpha():
                symbol = symbol or found
                continue
            before = at
            while before > 1 and pieces[before - 1][0] in ("and", "or") and pieces[before - 2][1]:
                before -= 2
            return ", ".join(_restored(text, formulas) for text, run in pieces[before : at + 1] if run)
    return symbol


def _pieces(line: str) -> Iterator[tuple[str, bool]]:
    """Words, stops and expressions of a line of prose, in order; the flag marks expressions, each the longest."""
    run, depth = list[_Token](), 0
    for token in map(_token, line.split(" ")):
        if run and not (token.part and _joins(run[-1], token)):
            yield from _expression(run)
            run, depth = [], 0
        if token.part:
            depth += sum((character in "([{") - (character in ")]}") for character in token.text)
            if token.stop in _SEPARATORS and depth > 0:  # `(3, 4)`
                run.append(_Token(token.text + token.stop, "", part=True))
                continue
            run.append(token)
        elif token.text:
            yield token.text.lower(), False
        if token.stop:
            yield from _expression(run)
            yield token.stop, False
            run, depth = [], 0
    yield from _expression(run)


def _token(raw: str) -> _Token:
    if raw in _OPERATORS or raw in _COMMANDS:
        return _Token(raw, "", part=True)
    bare = raw.lstrip(_MARKS).rstrip(_MARKS + _STOPS)
    # In `10!.` the sentence ends with the full stop.
    bare += "!" if raw.endswith("!.") and raw[: len(bare) + 1].endswith("!") else ""
    stop = next((mark for mark in raw[len(raw.rstrip(_MARKS + _STOPS)) :] if mark in _STOPS), "")
    strange = any(word not in (*_NAMES, *_CONSTANTS) for word in _WORDS.findall(bare)) and not bare[:1].isdigit()
    numeric = any(map(str.isdigit, bare)) or "\\" in bare or any(name in bare for name in _CONSTANTS)
    symbol = len(bare) == 1 and bare.isalpha()
    return _Token(bare, stop, part=(numeric and not strange) or symbol or bare in (*_NAMES, *_SCALES, *_CONSTANTS))


def _joins(last: _Token, token: _Token) -> bool:
    """Whether two tokens that follow each other are of one expression."""
    if token.continues:
        return not last.opens
    if last.opens:
        return True
    # `1 000`, `3 1/2` and `2 sqrt 3` are numbers.
    numeral = last.text.isdigit()
    return numeral and bool(
        token.text in (*_NAMES, *_CONSTANTS) or _GROUP.fullmatch(token.text) or _RATIO.fullmatch(token.text)
    )


def _expression(run: list[_Token]) -> Iterator[tuple[str, bool]]:
    """The run as a piece: an expression where it has a numeral or a formula and misses no operand, else nothing."""
    tokens = [token.text for token in run]
    signed = bool(tokens) and (tokens[0] == r"\pm" or (tokens[0][:1] == "+" and tokens[0][1:2].isdigit()))
    while tokens and tokens[0] in _DROPPED:
        del tokens[0]
    while tokens and tokens[-1] in _DROPPED:
        del tokens[-1]
    text = " ".join(tokens)
    opened, closed = (sum(map(text.count, brackets)) for brackets in ("([{", ")]}"))
    text = text[1:] if opened > closed and text[0] in "([{" else text
    text = text[:-1] if closed > opened and text[-1] in ")]}" else text
    starts = bool(tokens) and (signed or not _Token(tokens[0], "", part=True).continues)
    whole = starts and not _Token(tokens[-1], "", part=True).opens
    if not whole or not (any(map(str.isdigit, text)) or "\\" in text or any(name in text for name in _CONSTANTS)):
        yield from ((token.text.lower(), False) for token in run)
        return
    yield text, True
