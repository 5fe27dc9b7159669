"""Forty sums, each thought about in two ways: one finds the sum, the other talks about it."""

from __future__ import annotations

from dataclasses import dataclass

from mrt_reward.types import Trace

PAIRS = (
    (37, 45), (58, 26), (19, 64), (83, 48), (75, 19), (46, 38), (67, 25), (29, 57), (88, 34), (16, 77),
    (124, 53), (231, 47), (318, 64), (405, 78), (526, 39), (617, 85), (742, 29), (853, 61), (964, 17), (139, 72),
    (125, 348), (267, 415), (382, 109), (451, 276), (534, 187), (619, 243), (708, 156), (276, 598), (345, 467),
    (189, 623), (512, 399), (673, 218), (784, 106), (295, 447), (366, 555), (478, 391), (157, 684), (819, 135),
    (246, 738), (653, 279),
)  # fmt: skip


@dataclass(frozen=True)
class Sum:
    """Two numbers to add."""

    first: int
    second: int

    @property
    def name(self) -> str:
        return f"{self.first}+{self.second}"

    @property
    def total(self) -> int:
        return self.first + self.second

    @property
    def is_nearly_said(self) -> bool:
        """Whether the step before the sum says all of its digits but the last one."""
        return (self.total - self.second % 10) // 10 == self.total // 10

    @property
    def found(self) -> Trace:
        """Adds the ones to the rest, and says the sum."""
        ones = self.second % 10
        rest = self.second - ones
        return self._thought(
            "found",
            f"I need to add {self.first} and {self.second}. I split {self.second} into {rest} and {ones}.",
            f"First, {self.first} + {rest} = {self.first + rest}.",
            f"Then, {self.first + rest} + {ones} = {self.total}. So {self.first} + {self.second} = {self.total}.",
        )

    @property
    def lost(self) -> Trace:
        """About as many tokens, and no nearer to the sum at its end."""
        return self._thought(
            "lost",
            f"I need to add {self.first} and {self.second}. People add numbers like these every day.",
            "A merchant adds what was sold, and a teacher adds the points of a test.",
            "Some add on paper and some in their heads, and it takes a while to learn. I could do it either way.",
        )

    def _thought(self, kind: str, *paragraphs: str) -> Trace:
        thinking = "\n\n".join(paragraphs)
        return Trace(
            f"{self.name} {kind}",
            problem=f"What is {self.first} + {self.second}? Give the final answer within \\boxed{{}}.",
            completion=f"<think>\n{thinking}\n</think>\n\nThe final answer is \\boxed{{{self.total}}}.",
            answer=(str(self.total),),
            group=self.name,
            outcome=1.0,
        )


SUMS = tuple(Sum(*pair) for pair in PAIRS)
