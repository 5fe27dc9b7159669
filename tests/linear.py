"""How processor time grows with the length of a text: texts that are hard to read, and a bound on the growth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

SIZES = (2_000, 20_000, 200_000)
"""Characters. The steps between them are what is compared: a quadratic reader shows at the first."""

MAX_RATIO = 15.0
"""For ten times the text: 10 is linear, 100 quadratic."""

FLOOR_S = 0.004
"""Below this, time says nothing."""

COMMON_RUNS = (
    " ", "\n", "\r\n", "{", "}", "a", "1", "\\", "$", "(", "\\boxed{", "<think>", "</think>", "<|im_end|>",
    "The answer",
)  # fmt: skip
RUNS = (
    *COMMON_RUNS, " \n", "\N{NO-BREAK SPACE}", "{}", "A", "1,", "0.", "-", ")", "[", "\\(", "\\{", "\\text{", "\\frac1",
    "<|im_end|> ", "The answer ", "answer is ", "**", "or ", "(A)", "A.", "Wait, ", "\n\nWait", ". ", "x^", "x=", "^{",
)  # fmt: skip
"""A policy that degenerates repeats such a thing to the end of its budget."""

FRAMES = (("", ""), ("The answer is (B", "?"))
NESTED = (("{", "}"), ("\\boxed{", "}"), ("(", ")"), ("$", "$"), ("\\(", "\\)"), ("<think>", "</think>"))


def hard_texts(*, few: bool = False) -> Iterator[tuple[str, Callable[[int], str]]]:
    """Named makers of a text of about so many characters; a few of them, for what takes long on each."""
    for run in COMMON_RUNS if few else RUNS:
        for before, after in FRAMES[:1] if few else FRAMES:
            yield f"{before}{run!r}…{after}", lambda size, run=run, a=before, b=after: a + run * (size // len(run)) + b
    for left, right in NESTED[:2] if few else NESTED:
        pair = len(left) + len(right)
        yield f"{left}…{right}", lambda size, a=left, b=right, pair=pair: a * (size // pair) + "1" + b * (size // pair)


def cpu_s(work: Callable[[], object], repeats: int = 3) -> float:
    """Processor time of this thread, the least of several: others on the machine do not count."""
    best = float("inf")
    for _ in range(repeats):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return best


def growth(work: Callable[[str], object], text: Callable[[int], str], sizes: tuple[int, ...] = SIZES) -> str:
    """What grew faster than the text, in words; empty if nothing did."""
    before_s = 0.0
    for size in sizes:
        given = text(size)
        now_s = cpu_s(lambda given=given: work(given), repeats=1)
        if size > sizes[0] and now_s > FLOOR_S and now_s > MAX_RATIO * before_s:
            if now_s < 1.0:
                # Once more, because a single measurement may have met a collection of garbage.
                shorter = text(size // 10)
                before_s = cpu_s(lambda shorter=shorter: work(shorter))
                now_s = cpu_s(lambda given=given: work(given))
            if now_s > MAX_RATIO * before_s:
                return f"{size // 10} characters {1000 * before_s:.1f} ms, {size} characters {1000 * now_s:.1f} ms"
        if size > sizes[0] and now_s < FLOOR_S / MAX_RATIO**2:
            return ""  # even what is quadratic stays below the floor at the next size
        before_s = now_s
    return ""
