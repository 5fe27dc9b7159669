r"""One notation for what models write in many: spacing, fonts, lead-ins, digit groups, mixed and repeating numbers.

    `1\,000\,000` → `1000000`    `\bf 5` → `5`    `\text{Answer: }5` → `5`    `0.1\overline{6}` → `\frac{15}{90}`

It rewrites and never evaluates. Golds and answers pass through it alike, so a rewriting that is odd is odd on both
sides. Every pattern is linear in the text: white space is collapsed first, and repetitions are bounded.
"""

from __future__ import annotations

import re

from mrt_reward.graders.answers import clean
from mrt_reward.graders.characters import in_latex
from mrt_reward.graders.quantities import bare_number

_END = r"(?![A-Za-z])"
_THIN = re.compile(r"(?<!\\)\\!")
_SPACING = re.compile(
    rf"(?<!\\)\\(?:[,;: ]|(?:quad|qquad|enspace|thinspace|hfill|displaystyle|textstyle|limits|null|newline){_END}"
    r"|hspace\*? ?\{[^{}]{0,20}\}|hskip ?[0-9.]{1,6}[a-z]{2})|(?<!\\)~"
)
_SWITCHES = re.compile(
    r"\\(?:bf|rm|it|sf|tt|sl|em|bfseries|itshape|cal|tiny|small|normalsize|large|Large|LARGE|huge|Huge"
    rf"|(?:big|Big|bigg|Bigg)[lr]?){_END} ?"
)
_FONTS = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|sc|sl|up|md|normal)|mbox|hbox|emph|mathsf|mathtt)(?= ?\{)")
_DECORATIONS = re.compile(
    r"\\(?:boldsymbol|bm|pmb|underline|ensuremath)(?= ?\{)|\\(?:textcolor|colorbox|color) ?\{[^{}]{0,30}\}"
)
_CONSTANT = re.compile(r"(?P<letter>(?<=[A-Za-z]))?\\(?:text|math(?:rm|bf|it)|operatorname) ?\{ ?(?P<name>[ei]) ?\}")
_BARE_SET = re.compile(r"\\mathbb ?([A-Z])")
_ALL_REALS = re.compile(r"(?:\\text ?\{ ?)?(?:all|any|every) reals?(?: numbers?)? ?\}?|\\(?:Reals|reals|R)(?![A-Za-z])")
_TEXT = re.compile(r"\\(?:text|math(?:rm|bf|it)) ?\{(?P<inner>[^{}]*)\}")

_VERBS = (
    r"(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:(?:final|correct|right|exact|approximate|numerical) )?"
    r"(?:answer|value|result|solution|ans)(?: (?:is|are|equals|=)|:)+|about|approximately|approx\.?|roughly"
)
_LEAD_IN = re.compile(
    rf"(?:\\text ?\{{ ?(?:{_VERBS}) ?\}}|(?:{_VERBS}|\\(?:approx|simeq|sim|therefore|Rightarrow|implies)|=){_END}) ?",
    re.IGNORECASE,
)
_MAX_LEAD_INS = 4
_MAX_LAYERS = 8
_LABEL = re.compile(r"(?:最终)?(?:答案|结果|答)(?:是|为|:)? ?")

_DIGITS = r"[0-9]{1,40}"
_GROUPED = re.compile(r"(?<![0-9.,_^'])[1-9][0-9]{0,2}(?:[ '][0-9]{3}){1,12}(?![0-9'])(?! [0-9])")
_BRACED_COMMA = re.compile(r" ?\{ ?, ?\} ?")
_MIXED = re.compile(rf"(?<![0-9./^_}}] )(?<![0-9./^_}}])(?P<whole>{_DIGITS}) (?P<top>{_DIGITS})/(?P<bottom>{_DIGITS})(?![0-9./^])")  # fmt: skip # noqa: E501
_EXPONENT = re.compile(
    rf"(?<![0-9A-Za-z.\\])(?P<mantissa>{_DIGITS}(?:\.[0-9]{{0,40}})?|\.{_DIGITS})[eE](?P<exponent>[+-]?[0-9]{{1,3}})"
    r"(?![0-9A-Za-z.])"
)
_DOTS = r" ?(?:\\[lc]?dots|\.\.\.)"
_REPEATING = re.compile(
    r"(?<![0-9.])(?P<whole>[0-9]{0,20})\.(?P<once>[0-9]{0,20}) ?(?:\\(?:overline|bar|dot) ?"
    rf"(?:\{{ ?(?P<braced>[0-9]{{1,20}}) ?\}}|(?P<digit>[0-9]))|\((?P<round>[0-9]{{1,20}})\))(?:{_DOTS})?(?![0-9^])"
)
_TRAILING_DOTS = re.compile(rf"(?<![0-9.])(?P<whole>[0-9]{{0,20}})\.(?P<part>[0-9]{{2,40}}){_DOTS}")
_ENDS_IN_DOTS = re.compile(r"\.[0-9]{2,40} ?\.\.\.$")
_MIN_REPEATS = 3

_NAMES = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "log", "ln",
          "exp", "pi", "gcd", "max", "min")  # fmt: skip
_COMMANDS = {name: rf"\{name} " for name in _NAMES} | {
    "inf": r"\infty ",
    "infinity": r"\infty ",
    "infty": r"\infty ",
    "Pi": r"\pi ",
}
_WORD = re.compile(r"\\(?:text|mathrm|operatorname) ?\{[^{}]*\}|\\[A-Za-z]+|[A-Za-z]+")
_ROOT = re.compile(r"\\?sqrt ?\((?P<inner>[^()]{1,200})\)")
_DEGREES = re.compile(
    r"\\(?P<name>sin|cos|tan|cot|sec|csc)(?P<power> ?\^ ?(?:[0-9]|\{[0-9]\}))? ?"
    r"[({]? ?(?P<angle>-?[0-9]{1,10}(?:\.[0-9]{1,10})?) ?\^ ?(?:\{ ?\\circ ?\}|\\circ) ?[)}]?"
)
_BARE_POWER = re.compile(r"\^ ?(-[0-9]{1,40})")
_BARE_BINOMIAL = re.compile(r"(\\[dt]?binom) ?([0-9]) ?([0-9])")
_NAME_LAST = re.compile(r"(?P<value>[^=<>]{0,200}[0-9][^=<>]{0,200}?) ?= ?(?P<name>[A-Za-z])")
_NO_CHAIN = re.compile(r"[<=,{]|\\(?:le|ge|ne|in|to)")
_BASES: dict[str, int] = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "sixteen": 16,
}
_BASE = re.compile(
    r"_ ?(?:\{ ?\\(?:text|mathrm) ?\{ ?(?P<text>[a-z]{3,8}) ?\} ?\}|\\text ?\{"
    r" ?(?P<bare>[a-z]{3,8}) ?\}|\{ ?(?P<braced>[a-z]{3,8}) ?\})"
)
_PERCENT = re.compile(r" ?(?:\\?%|\\text ?\{ ?(?:%|\\%|percent) ?\}|percent(?![A-Za-z]))")


def plain(text: str) -> str:
    """An answer or a gold in the one notation; never blank unless the text is."""
    bare = _bare(in_latex(text))
    # Spaces of LaTeX alone are all that a text may hold.
    bare = _without_lead_in(_without_fonts(bare)) or text.strip()
    bare = _numbers(_functions(_in_order(bare)))
    number = bare_number(bare)
    return bare if number is None else number


def _bare(text: str) -> str:
    """Without markdown, quotes, delimiters and what a sentence ends with."""
    for _ in range(_MAX_LAYERS):
        bare = clean(text)
        bare = bare if _ENDS_IN_DOTS.search(bare[-50:]) else bare.rstrip(" .,;:?\\")
        for mark in ("**", "__", "`", '"', "'"):
            if bare.startswith(mark) and bare.endswith(mark) and len(bare) > 2 * len(mark):
                bare = bare[len(mark) : -len(mark)].strip()
        if bare == text or not bare:
            break
        text = bare
    return text


def _without_fonts(text: str) -> str:
    text = _CONSTANT.sub(_constant, _SPACING.sub(" ", _THIN.sub("", text)))
    text = r"\mathbb{R}" if _ALL_REALS.fullmatch(text) else _BARE_SET.sub(r"\\mathbb{\1}", text)
    text = _FONTS.sub(r"\\text", _DECORATIONS.sub("", _SWITCHES.sub("", text)))
    whole = _TEXT.fullmatch(text)
    if whole and any(map(str.isdigit, whole["inner"])):
        return _bare(whole["inner"])
    return _bare(" ".join(_TEXT.sub(_without_font, text).split()))


def _constant(match: re.Match[str]) -> str:
    return match["name"] if match["letter"] is None else f" {match['name']}"


def _without_font(match: re.Match[str]) -> str:
    r"""`\text{(-3, 4)}` and `\text{Answer: 5}` say nothing by their font; `\text{odd}` does."""
    lead_in = _LEAD_IN.match(match["inner"].lstrip())
    inner = match["inner"].lstrip()[lead_in.end() :] if lead_in else match["inner"]
    return match[0] if not inner.strip() or any(map(str.isalpha, inner)) else f" {inner} "


def _without_lead_in(text: str) -> str:
    for _ in range(_MAX_LEAD_INS):
        match = _LEAD_IN.match(text) or _LABEL.match(text)
        rest = text[match.end() :] if match else ""
        if not rest.strip():
            break
        text = _bare(rest)
    return text.removesuffix("=").strip() or text


def _in_order(text: str) -> str:
    """`5 = x` as `x = 5`, and `C > B > A` as `A < B < C`."""
    if last := _NAME_LAST.fullmatch(text):
        return f"{last['name']} = {last['value']}"
    chain = text.split(">")
    return " < ".join(map(str.strip, reversed(chain))) if len(chain) > 2 and not _NO_CHAIN.search(text) else text


def _functions(text: str) -> str:
    """`exp(16)`, `sqrt(2)` and `2pi` as commands, angles in radians, bases in digits."""
    if not text.isalpha() or text in ("pi", "infinity"):
        text = _WORD.sub(lambda match: _COMMANDS.get(match[0], match[0]), text)
    text = _ROOT.sub(lambda match: rf"\sqrt{{{match['inner']}}}", text)
    text = _DEGREES.sub(
        lambda match: rf"\{match['name']}{match['power'] or ''}(\frac{{{match['angle']}\pi}}{{180}})", text
    )
    text = _BARE_BINOMIAL.sub(r"\1{\2}{\3}", _BARE_POWER.sub(r"^{\1}", _BASE.sub(_base, text)))
    text = text.replace(r"\langle", "(").replace(r"\rangle", ")")
    return " ".join(text.replace("**", "^").replace(r"\varnothing", r"\emptyset").split())


def _base(match: re.Match[str]) -> str:
    number = _BASES.get(match["text"] or match["bare"] or match["braced"])
    return match[0] if number is None else f"_{{{number}}}"


def _numbers(text: str) -> str:
    """Digit groups joined; mixed numbers, repeating decimals and exponents as LaTeX has them; one sign for percent."""
    text = _BRACED_COMMA.sub(",", text)
    text = _GROUPED.sub(lambda match: match[0].replace(" ", "").replace("'", ""), text)
    text = _MIXED.sub(_mixed, text)
    text = _EXPONENT.sub(lambda match: rf"{match['mantissa']} \cdot 10^{{{int(match['exponent'])}}}", text)
    text = _TRAILING_DOTS.sub(_period, _REPEATING.sub(_repeating, text))
    return _PERCENT.sub(r"\%", text)


def _mixed(match: re.Match[str]) -> str:
    whole, top, bottom = match["whole"], match["top"], match["bottom"]
    return rf"{whole}\frac{{{top}}}{{{bottom}}}" if int(top) < int(bottom) else match[0]


def _repeating(match: re.Match[str]) -> str:
    return _fraction(match["whole"], match["once"], match["braced"] or match["digit"] or match["round"])


def _period(match: re.Match[str]) -> str:
    """`0.333…` as the fraction it means; `3.14159…`, where nothing repeats, without its dots."""
    part = match["part"]
    for length in range(1, len(part) // 2 + 1):
        repeats = _tail_repeats(part, length)
        if repeats * length >= max(_MIN_REPEATS, 2 * length) and repeats >= (_MIN_REPEATS if length == 1 else 2):
            return _fraction(match["whole"], part[: len(part) - repeats * length], part[-length:])
    return f"{match['whole']}.{part}"


def _tail_repeats(part: str, length: int) -> int:
    """How often the last `length` digits stand at the end, one after the other."""
    repeats, last = 1, part[-length:]
    while part.endswith(last * (repeats + 1)):
        repeats += 1
    return repeats


def _fraction(whole: str, once: str, again: str) -> str:
    """`whole.once(again)` as a fraction of two integers."""
    bottom = (10 ** len(again) - 1) * 10 ** len(once)
    top = int(whole + once + again or "0") - int(whole + once or "0")
    return rf"\frac{{{top}}}{{{bottom}}}"
