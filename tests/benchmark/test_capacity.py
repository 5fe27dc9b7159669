"""What a step needs, by arithmetic that can be done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mrt_reward.benchmark.capacity import COMPUTED_PER_NEEDED, OF_ONE_FORWARD, PUBLISHED_SHARE, Capacity, lines
from mrt_reward.benchmark.workload import WorkSpec
from tests.house.shape import ROOT

STEP = Capacity(WorkSpec(problems=128, traces=8, episodes=12, episode_tokens=1365))


def test_a_step_of_128_times_8_traces_of_16k_tokens() -> None:
    # 1024 traces x 12 x 1365 = 16,773,120; 128 x (8 x 12 + 1) = 12,416 prefixes x 26 = 322,816.
    assert STEP.needed_tokens == 16_773_120 + 322_816
    # 2 x 1.4e9, and 4 x 28 x 2048 x 8190.
    assert STEP.flop_per_token == 2.8e9 + 1_878_589_440
    assert STEP.prefill_per_s == pytest.approx(0.4 * 989e12 / 4_678_589_440)
    assert STEP.gpu_seconds == pytest.approx(17_095_936 / STEP.prefill_per_s / OF_ONE_FORWARD)
    figures_of = {line.what: line.value for line in lines(STEP)}
    assert (figures_of["tokens needed"], figures_of["prefixes"], figures_of["GPUs"]) == ("17,095,936", "12,416", "5")


def test_the_published_share_follows_from_tokens_and_seconds() -> None:
    # 8,273 tokens/s x (2 x 13.2e9, and 4 x 40 x 5120 x 16,000) = 326.8e12, of 989e12.
    theirs = Capacity(WorkSpec(episodes=1, episode_tokens=32_000), params_b=13.2, layers=40, hidden=5120)
    assert 3_200_000 / 386.80 * theirs.flop_per_token / 989e12 == pytest.approx(PUBLISHED_SHARE, abs=0.005)
    figures_of = {line.what: (line.value, line.mark) for line in lines(STEP)}
    # 0.33 x 989e12 / 4,678,589,440 = 69,758.
    assert figures_of["the same, by a published run"] == ("69,758 tokens/s", "published")


def test_a_measured_speed_replaces_what_is_published_and_assumed() -> None:
    measured = replace(STEP, tokens_per_s=100_000.0)
    assert measured.gpu_seconds == pytest.approx(170.95936 / OF_ONE_FORWARD)
    assert {line.mark for line in lines(STEP)} == {"given", "assumed", "measured", "published", "computed"}
    assert {line.mark for line in lines(measured)} == {"given", "measured", "computed"}


def test_twice_the_traces_need_twice_the_time_and_long_ones_more_than_that() -> None:
    def with_work(problems: int, episodes: int) -> Capacity:
        return replace(STEP, spec=replace(STEP.spec, problems=problems, episodes=episodes))

    once = with_work(10, 10).gpu_seconds
    assert with_work(20, 10).gpu_seconds == pytest.approx(2 * once)
    assert with_work(10, 20).gpu_seconds > 2.1 * once, "attention grows with the length"


def test_what_is_measured_stands_on_its_page() -> None:
    page = (ROOT / "mrt_reward/benchmark/README.md").read_text(encoding="utf-8")
    assert f"tokens computed are {COMPUTED_PER_NEEDED} of those needed" in page
    assert f"({OF_ONE_FORWARD})" in page


@pytest.mark.parametrize("wrong", [{"utilisation": 1.5}, {"step_s": 0.0}, {"tokens_per_s": 0.0}, {"params_b": -1.0}])
def test_what_no_step_can_have_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(STEP, **wrong)  # type: ignore[arg-type]
