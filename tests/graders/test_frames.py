from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders import frames


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


@given(st.dictionaries(st.text(), st.text(alphabet=st.characters(categories=("L", "Cs", "Cc")))))
def test_any_text_survives_a_frame_even_lone_surrogates(payload: dict[str, str]) -> None:
    assert frames.decode(frames.encode(payload)[frames.HEADER.size :]) == payload


def test_frames_arrive_one_by_one(pipe: tuple[int, int]) -> None:
    frames.write(pipe[1], frames.encode({"n": 1}) + frames.encode({"n": 2}))
    os.close(pipe[1])
    assert frames.read(pipe[0], deadline=lambda: time.monotonic() + 5) == b'{"n": 1}'
    assert frames.read(pipe[0]) == b'{"n": 2}'
    assert frames.read(pipe[0]) is None


def test_a_frame_cut_short_and_one_too_long_are_the_end(pipe: tuple[int, int]) -> None:
    frames.write(pipe[1], frames.HEADER.pack(frames.MAX_FRAME_BYTES + 1))
    assert frames.read(pipe[0]) is None
    frames.write(pipe[1], frames.encode({"n": 1})[:-1])
    os.close(pipe[1])
    assert frames.read(pipe[0]) is None


def test_a_wait_ends_at_its_deadline_and_when_the_third_party_hangs_up(pipe: tuple[int, int]) -> None:
    with pytest.raises(frames.FrameTimeout):
        frames.read(pipe[0], deadline=time.monotonic)
    other, writer = os.pipe()
    os.close(writer)
    with pytest.raises(frames.FrameTimeout):
        frames.read(pipe[0], deadline=lambda: time.monotonic() + 60, hangup_fd=other)
    os.close(other)


def test_frames_hold_bounded_objects_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="JSON object"):
        frames.decode(b"[1]")
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 10)
    with pytest.raises(ValueError, match="at most 10 bytes"):
        frames.encode({"long": "x" * 10})
