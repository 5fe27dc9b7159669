"""What a gold answer may be, wherever it comes from: a file, a request, a trainer's column.

A gold answer is text or a number. Anything else is refused by name: its text (`None`, `True`, `{'value': 42}`) is no
answer that a model could give.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from numbers import Rational
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mrt_reward.errors import TraceError

MAX_GOLDS = 64
MAX_GOLD_CHARS = 10_000
MAX_PLAIN_CHARS = 60
"""A gold whose shortest spelling is longer is an odd one."""
MAX_PROSE_WORDS = 3
_MAX_ADJUSTED = 100

_PROSE_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")


def golds_of(value: object, *, param: str = "answer") -> tuple[str, ...]:
    r"""Gold answers as text; none where there is none: `None`, NaN (so pandas writes what is missing), blank text.

    Numbers keep their digits: the double 1e-05 is `0.00001`, float32 0.1 is `0.1`, and a `Decimal` has its own. Text
    that is a JSON list of texts means what the list would mean. In a list, what is missing is left out as long as there
    is another gold beside it.

    Args:
        value: text, a number, or a list, tuple or array of these, of Python, numpy or a tensor library.
        param: the input field, for the error.

    Raises:
        TraceError: it is something else, or holds something else, or there are too many or too long ones.

    """
    if _is_missing(value):
        return ()
    items = _items(value)
    present = [item for item in items if not _is_missing(item)]
    golds = tuple(text for item in present or items if (text := _text(item, param)).strip())
    if len(golds) > MAX_GOLDS:
        raise TraceError(f"{param}: expected at most {MAX_GOLDS} gold answers, got {len(golds)}", param=param)
    return golds


def is_odd(spellings: Sequence[str]) -> bool:
    """Whether no model is likely to write a gold answer as any of its spellings: even the shortest is long or prose.

    Long is more than `MAX_PLAIN_CHARS` characters, prose more than `MAX_PROSE_WORDS` words of two letters or more that
    are no LaTeX commands.
    """
    if not spellings:
        return False
    shortest = min(spellings, key=len)
    return len(shortest) > MAX_PLAIN_CHARS or len(_PROSE_WORD.findall(shortest)) > MAX_PROSE_WORDS


def _is_missing(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_nan()
    return value is None or (isinstance(value, float | np.floating) and math.isnan(float(cast("float", value))))


def _items(value: object) -> Sequence[object]:
    if isinstance(value, str):
        return _listed(value) or [value]
    if isinstance(value, list | tuple):
        return cast("Sequence[object]", value)
    if isinstance(value, np.generic):
        return [cast("object", value)]
    if isinstance(value, np.ndarray):
        array = cast("NDArray[Any]", value)
        # Its items know their digits; `tolist` would widen float32.
        return list(array) if array.ndim else [array[()]]
    if hasattr(value, "tolist"):  # of a tensor library
        items: object = cast("Any", value).tolist()
        return cast("list[object]", items) if isinstance(items, list) else [items]
    return [value]


def _digits(number: Decimal) -> str:
    """Without an exponent, where that is not absurdly long."""
    return format(number, "f") if abs(number.adjusted()) < _MAX_ADJUSTED else str(number)


def _listed(text: str) -> list[object] | None:
    """The texts of a JSON list of texts, written as text; None for any other text, such as `[1, 2]`."""
    if not (text.lstrip().startswith("[") and text.rstrip().endswith("]")):
        return None
    try:
        items: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in cast("list[object]", items)):
        return None
    texts = cast("list[str]", items)
    # `["\frac12"]` is JSON for a form feed and `rac12`: whoever wrote it meant LaTeX, which `read_gold` takes as it is.
    return None if any(ord(char) < 0x20 for item in texts for char in item) else list(texts)


def _text(item: object, param: str) -> str:
    """One gold as text.

    Raises:
        TraceError: it is neither text nor a finite number, or too long.

    """
    number, text = cast("Any", item), None
    if isinstance(item, str):
        text = str(item)
    elif isinstance(item, float | np.floating):
        text = np.format_float_positional(number, trim="0") if math.isfinite(number) else None
    elif isinstance(item, Decimal):
        text = _digits(item) if item.is_finite() else None
    elif isinstance(item, int | np.integer | Rational) and not isinstance(item, bool):
        text = str(number)
    if text is None:
        what = "null" if item is None else type(number).__name__
        raise TraceError(
            f"{param}: expected a gold answer as text or a finite number, or a list of these, got {what} "
            f"({item!r:.60}): send its text",
            param=param,
        )
    if len(text) > MAX_GOLD_CHARS:
        raise TraceError(
            f"{param}: expected at most {MAX_GOLD_CHARS} characters a gold answer, got {len(text)}", param=param
        )
    return text
