r"""Choice letters: `C`, `(C)`, `\textbf{(C)}\ 12`, `Option C`, `the answer is (C)`, and sets of them.

Text is looked at with its wrapping taken off and its white space collapsed, so that every pattern is linear.
"""

from __future__ import annotations

import re
from operator import itemgetter

from mrt_reward.graders.answers import clean
from mrt_reward.graders.characters import in_latex

_WRAPPING = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|sc|sl|up|normal)?|math(?:rm|bf|sf|it|tt|cal)|mbox|hbox|emph|boldsymbol|bm|underline"
    r"|boxed|fbox|operatorname)(?= ?[{A-Z(])|\\(?:bf|rm|it|sf|displaystyle|left|right)(?![A-Za-z])|\\?[{}]|[$`]|\*\*|__"
    r"|(?<!\\)\\[()\[\]]"
)
_SPACES = re.compile(r"\\(?:[,;:! \\]|q?quad(?![A-Za-z]))|~")

_GOLD = re.compile(r"(?P<bare>[A-Z])[.):]?|[(\[](?P<wrapped>[A-Za-z])[)\]][.:]?|[(\[]?(?P<headed>[A-Z])[.):\]]{1,2} .+")
_CALLED = r"(?:(?:the )?(?:(?:correct|right|best|final) )?(?:answer|option|choice|letter)(?: is|:)? ?:? ?){0,2}"
_CHOICE = re.compile(
    rf"(?i:{_CALLED})(?:[(\[] ?(?P<wrapped>[A-Za-z]) ?[)\]]|(?P<bare>[A-Za-z])(?=$|[.):]| [0-9$\\(]))[.):]?(?P<rest>.*)"
)
_ANOTHER = re.compile(
    r"[(\[] ?[A-Za-z] ?[)\]]|(?<![A-Za-z])[A-Z](?:[.):]|$)|^ ?(?:(?:or|and|,|/|&) ?)?[(\[]?[A-Z](?![A-Za-z])[)\]]? ?$"
    r"|(?<![A-Za-z])[B-HJ-Z] is (?:the )?(?:correct|right|best|answer)(?![a-z])"
)
_ITEM = r"[(\[]?[A-Z][)\]]?"
_SEVERAL = re.compile(rf"(?i:{_CALLED}s? ?){_ITEM}(?:(?: ?, ?and | ?and | ?[,;/&] ?){_ITEM}){{1,25}}")
_MULTIPLE = re.compile(r"A?B?C?D?E?F?G?H?I?J?")

_SEVERAL_NAMED = "several"
MAX_CHOICE_CHARS = 200
_SAID = re.compile(
    r"<answer>|(?<![a-z])(?:answer|ans)(?![a-z])(?: to (?:this|the) (?:question|problem))?"
    r"(?: is| would be| should be| must be)? ?[:=]?"
    r"|(?<![a-z])(?:option|choice|letter) ?:"
    r"|(?<![a-z])(?:option|choice|letter|solution) (?:is|would be|should be|must be)(?![a-z]) ?:?"
    r"|(?<![a-z])(?:choose|chose|pick|select|selected|go with|going with)(?![a-z]) ?:?"
    r"|(?:答案|选项|应选|故选|选择|选)(?:是|为)? ?:?",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?<![A-Za-z])(?<!not )(?<!than )(?:[Oo]ption|OPTION|[Cc]hoice|be(?= \()|is(?= \()) ?(?=[(\[A-Z])"
    r"|(?<![A-Za-z])(?:[Tt]herefore|[Tt]hus|[Hh]ence|[Ss]o|[Ii]t(?: is|'s)|I (?:think|guess|believe|say)|I'd say)"
    r"(?: it(?: is|'s))?,? ?:? ?(?=[(\[A-Z])"
)
_FILLER = re.compile(
    r" ?(?:,? ?(?:(?:I think|I believe|clearly|therefore|thus|then|probably|indeed|definitely|likely|simply|just"
    r"|actually|the|letter|option|choice|answer|correct)(?![a-z]),? ?:? ?)){0,5}",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[(\[] ?(?P<wrapped>[A-Za-z]) ?[)\]]|(?P<bare>[A-Z])(?![A-Za-z0-9'_^=]| ?=)")
_IS_RIGHT = re.compile(
    r"[(\[]?(?<![A-Za-z])(?P<letter>[A-Z])[)\]]? is (?:indeed |therefore |thus |clearly |definitely )?(?:the )?"
    r"(?:correct|right|best|final )?(?:correct|right|best)? ?(?:answer|option|choice|correct|right)?(?<! )(?![a-z])"
)
_GOES_ON = re.compile(r" (?!(?:because|since|as|is|with|from|due|by)(?![a-z]))[a-z]")
_OR_ANOTHER = re.compile(rf" ?(?:,|/|or|and|&|,? or|,? and) ?(?:[Oo]ption |[Cc]hoice )?{_ITEM}(?![A-Za-z])")
_ENDS = re.compile(r" ?(?:$|[.!;:*<\n])| is (?:the )?(?:correct|right|best|answer)")


def unwrapped(text: str) -> str:
    r"""The text without fonts, braces, delimiters and spacing commands: `\textbf{(C)}\ 12` is `(C) 12`."""
    text = _WRAPPING.sub("", _SPACES.sub(" ", in_latex(clean(text))))
    return " ".join(text.split()).strip("*_")


def choice_letter(gold: str) -> str | None:
    r"""The letter of a gold that is a choice: `C`, `(C)`, `(c)`, `\text{C}`, `C. 12`; None for others.

    A bare lower-case letter is a symbol (`e`, `i`, `x`), not a choice.
    """
    match = _GOLD.fullmatch(unwrapped(gold))
    return None if match is None else (match["bare"] or match["wrapped"] or match["headed"])


def choices_agree(answer: str, gold: str) -> bool | None:
    r"""Whether an answer names the gold's choice, or all of its choices; None when the gold is none.

    `I` is named by `I`, `(I)`, `(i)`, `\text{I}` and `I. Something`, and not by a bare `i`, a symbol of its own. An
    answer that names several letters names none.
    """
    letter = choice_letter(gold)
    if letter is None:
        return _sets_agree(unwrapped(answer), unwrapped(gold))
    named = named_choice(answer)
    if named is None:
        return False
    # A bare lower-case letter is a symbol; `(i)` is not.
    return named[1].upper() == letter.upper() if named.startswith("(") else named == letter


def named_choice(text: str) -> str | None:
    """The letter that a whole text names: `C`, or `(C)` where it stands in parentheses; None for any other text."""
    match = _CHOICE.fullmatch(unwrapped(text))
    if match is None or _ANOTHER.search(match["rest"]):
        return None
    return f"({match['wrapped']})" if match["wrapped"] else match["bare"]


def _sets_agree(answer: str, gold: str) -> bool | None:
    """Whether two lists of letters are the same set; None where the gold is no list. A sorted `AC` is one."""
    golds, answers = _letters(gold), _letters(answer)
    if golds is None and len(gold) > 1 and answers is not None and _MULTIPLE.fullmatch(gold):
        golds = frozenset(gold)
    if golds is None:
        return None
    if answers is None and _MULTIPLE.fullmatch(answer.replace(" ", "")):
        answers = frozenset(answer.replace(" ", ""))
    return None if answers is None else answers == golds


def names_several(gold: str) -> bool:
    """Whether a gold is a list of choices: `A,C`, `A and C`, `AC`."""
    bare = unwrapped(gold)
    return _letters(bare) is not None or (len(bare) > 1 and _MULTIPLE.fullmatch(bare) is not None)


def _letters(text: str) -> frozenset[str] | None:
    if _SEVERAL.fullmatch(text) is None:
        return None
    return frozenset(re.findall(r"(?<![A-Za-z])[A-Z](?![A-Za-z])", text))


def stated_choice(text: str) -> str | None:
    """The letter that free text last states as its answer ("the answer is (B)"), as `(B)`; None where it states none.

    A statement that goes on to another letter ("(A) or (B)") states none, and neither do `a circle` and `I think`.
    """
    whole = named_choice(text) if len(text) <= MAX_CHOICE_CHARS else None
    if whole is not None:
        return whole if whole.startswith("(") else f"({whole})" if whole.isupper() else None
    lines = text.strip().rsplit("\n", 1)
    last = named_choice(lines[-1]) if len(lines[-1]) <= MAX_CHOICE_CHARS else None
    if last is not None and (last.startswith("(") or last.isupper()):
        return last if last.startswith("(") else f"({last})"
    flat = unwrapped(text)
    said = [(match.end(), _letter_at(flat, match.end())) for match in _SAID.finditer(flat)]
    said += [(match.end(), match["letter"]) for match in _IS_RIGHT.finditer(flat)]
    found = [letter for _, letter in sorted(said, key=itemgetter(0)) if letter is not None]
    if not found:
        named = ((match.end(), _letter_at(flat, match.end(), final=True)) for match in _NAMED.finditer(flat))
        found = [letter for _, letter in named if letter is not None]
    return f"({found[-1]})" if found and found[-1] != _SEVERAL_NAMED else None


def _letter_at(text: str, start: int, *, final: bool = False) -> str | None:
    """The letter that a statement which begins at `start` names; `final` where nothing but its end may follow."""
    filler = _FILLER.match(text, start)
    match = _LETTER.match(text, filler.end() if filler else start)
    if match is None:
        return None
    if _OR_ANOTHER.match(text, match.end()):
        return _SEVERAL_NAMED
    # An article or a pronoun: `A circle`, `I think`.
    if match["bare"] in ("A", "I") and _GOES_ON.match(text, match.end()):
        return None
    if final and _ENDS.match(text, match.end()) is None:
        return None
    return match["wrapped"] or match["bare"]
