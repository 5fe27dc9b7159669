"""The boundary to code that is not ours."""

from __future__ import annotations

import asyncio

import pytest

from mrt_reward.errors import ConfigError, GraderError, MRTRewardError, TraceError, translated


def blamed(error: Exception) -> GraderError:
    return GraderError(f"the model failed: {error!r}")


@pytest.mark.parametrize("raised", [KeyError("x"), RuntimeError("CUDA"), StopIteration(3)])
def test_what_foreign_code_raises_becomes_our_error_and_stays_its_cause(raised: Exception) -> None:
    with pytest.raises(GraderError) as caught, translated(blamed):
        raise raised
    assert str(caught.value) == f"the model failed: {raised!r}"
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("ours", [ConfigError("dtype"), TraceError("too long", param="completion")])
def test_our_own_errors_pass_as_they_are(ours: MRTRewardError) -> None:
    with pytest.raises(MRTRewardError) as caught, translated(blamed):
        raise ours
    assert caught.value is ours


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_ends_a_task_or_the_process_is_never_translated(kind: type[BaseException]) -> None:
    with pytest.raises(kind), translated(blamed):
        raise kind


def test_nothing_happens_where_nothing_is_raised() -> None:
    with translated(blamed):
        given = 3
    assert given == 3
