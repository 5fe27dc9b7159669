"""Stages are opened for whoever follows the context, and are nothing for others."""

from __future__ import annotations

import contextvars
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from mrt_reward.protocols.stages import Note, followed_by, stage


def test_stages_are_opened_in_the_context_that_is_followed_and_in_no_other() -> None:
    seen: list[tuple[str, dict[str, int]]] = []

    @contextmanager
    def follow(name: str, counts: Mapping[str, int]) -> Generator[Note]:
        noted = dict(counts)
        yield noted.update
        seen.append((name, noted))

    def work() -> None:
        with stage("prove", prefixes=3) as note:
            note({"tokens": 7})

    followed = contextvars.copy_context()
    followed.run(followed_by, follow)
    work()
    assert seen == []
    followed.run(work)
    assert seen == [("prove", {"prefixes": 3, "tokens": 7})]
