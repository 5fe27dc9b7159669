"""How processor time grows with the length of a text: texts that are hard to read, and a bound on the growth."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from functools import partial

SHORT, MIDDLE, LONG = 800, 8_000, 80_000
"""Characters. The last two are compared; the first shows what must not be tried on more."""

MAX_RATIO = 15.0
"""For ten times the text: 10 is linear, 100 quadratic."""

HOPELESS_S = 0.2
"""Whoever needs this for `MIDDLE`, and so much more than for `SHORT`, is not asked about `LONG`."""

FLOOR_S = 0.01
"""Below this, time says nothing."""

NUM_ROUNDS = 16
"""What grows too fast is measured as often again, before it is said to."""

COMMON_RUNS = (
    " ", "\n", "\r\n", "{", "}", "a", "1", "\\", "$", "(", "\\boxed{", "<think>", "</think>", "<|im_end|>",
    "The answer",
)  # fmt: skip
RUNS = (
    *COMMON_RUNS, " \n", "\N{NO-BREAK SPACE}", "{}", "A", "1,", "0.", "-", ")", "[", "\\(", "\\{", "\\text{", "\\frac1",
    "<|im_end|> ", "The answer ", "answer is ", "**", "or ", "(A)", "A.", "Wait, ", "\n\nWait", ". ", "x^", "x=", "^{",
)  # fmt: skip
"""A policy that degenerates repeats such a thing to the end of its budget."""

FRAMES = (("The answer", "?"), ("The answer is (B", "?"))
"""What stands around runs of white space as well: patterns give up at its end."""

NESTED = (("{", "}"), ("\\boxed{", "}"), ("(", ")"), ("$", "$"), ("\\(", "\\)"), ("<think>", "</think>"))


def hard_texts(*, few: bool = False) -> Iterator[tuple[str, Callable[[int], str]]]:
    """Named makers of a text of about so many characters; a few of them, for what takes long on each."""
    for run in COMMON_RUNS if few else RUNS:
        for before, after in [("", ""), *FRAMES] if run.isspace() and not few else [("", "")]:
            yield f"{before}{run!r}…{after}", lambda size, run=run, a=before, b=after: a + run * (size // len(run)) + b
    for left, right in NESTED[:2] if few else NESTED:
        pair = len(left) + len(right)
        yield f"{left}…{right}", lambda size, a=left, b=right, pair=pair: a * (size // pair) + "1" + b * (size // pair)


def cpu_s(work: Callable[[], object], repeats: int = 1) -> float:
    """Processor time of this thread, the least of several; others on the machine, and their garbage, do not count."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(repeats):
            started = time.thread_time()
            work()
            best = min(best, time.thread_time() - started)
    finally:
        gc.enable()
    return best


def growth(work: Callable[[str], object], text: Callable[[int], str]) -> str:
    """What grew faster than the text, in words; empty if nothing did."""
    short, middle, long = (partial(work, text(size)) for size in (SHORT, MIDDLE, LONG))
    short_s, middle_s = cpu_s(short), cpu_s(middle)
    if middle_s > HOPELESS_S and middle_s > MAX_RATIO * short_s:
        return f"{SHORT} characters {1000 * short_s:.1f} ms, {MIDDLE} characters {1000 * middle_s:.1f} ms"
    long_s = cpu_s(long)
    # Again, because a measurement may have met something else, such as others who fill the processor's caches or share
    # its core: as many characters in short pieces as in a long one, one right after the other, so that both meet it.
    for _ in range(NUM_ROUNDS):
        if long_s <= FLOOR_S or long_s <= MAX_RATIO * middle_s:
            return ""
        if long_s > 3 * MAX_RATIO * middle_s:  # Nothing that others do makes so much.
            break
        middle_s, long_s = cpu_s(lambda: [middle() for _ in range(LONG // MIDDLE)]) * MIDDLE / LONG, cpu_s(long)
    if long_s <= MAX_RATIO * middle_s:
        return ""
    return f"{MIDDLE} characters {1000 * middle_s:.1f} ms, {LONG} characters {1000 * long_s:.1f} ms"
