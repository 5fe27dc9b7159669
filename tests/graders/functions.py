"""User functions for the tests, good and bad."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

NOT_A_FUNCTION = 1


class Holder:
    @staticmethod
    def half(completion: str, answers: list[str], problem: str) -> float:
        return 0.5


def equal(completion: str, answers: list[str], problem: str) -> bool:
    """Right when equal; does as it is told otherwise."""
    started_s = time.process_time()
    print("printing is no reply")
    if completion == "raise":
        raise ValueError("told to")
    if completion == "exit":
        sys.exit(3)
    if completion == "die":
        os._exit(3)
    while completion == "hang" or (completion == "slow" and time.process_time() < started_s + 0.3):
        pass
    if completion == "memory":
        return len([0] * 10**9) > 0
    return completion in answers


def counted(completion: str, answers: list[str], problem: str) -> bool:
    """As `equal`, leaving a mark for each call in the file that `problem` names."""
    with Path(problem).open("a", encoding="ascii") as file:
        file.write(".")
    return equal(completion, answers, problem)


def length(completion: str, answers: list[str], problem: str) -> float | None:
    return None if completion == "none" else len(completion) / 10


def hang(completion: str, answers: list[str], problem: str) -> bool:
    while True:
        pass
