from __future__ import annotations

from dataclasses import replace

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.line_up import Contender, family, line_up, reference_of
from mrt_reward.options import Likelihood, Rollouts, ScoreOptions

BOXED = ScoreOptions()
FREE = ScoreOptions(terminator="official")
COOLER = ScoreOptions(estimator=Rollouts("rollouts", temperature=0.6, top_p=0.95, max_tokens=9))


def drawn(contender: Contender) -> Rollouts:
    assert isinstance(contender.estimator, Rollouts)
    return contender.estimator


def test_plain_and_coupled_answers_are_set_against_likelihood() -> None:
    names = ["likelihood", "plain 2", "coupled 2", "plain 8", "coupled 8"]
    found = line_up(BOXED, [8, 2])
    assert [each.name for each in found] == names
    assert found[0].estimator == Likelihood()
    assert [(drawn(each).num_samples, drawn(each).coupled) for each in found[1:]] == [
        (2, False), (2, True), (8, False), (8, True),
    ]  # fmt: skip
    assert {(drawn(each).temperature, drawn(each).top_p, drawn(each).seed) for each in found[1:]} == {(1.0, 1.0, 0)}


def test_likelihood_is_left_out_where_it_values_another_prover() -> None:
    for options in (FREE, COOLER):
        assert "likelihood" not in [each.name for each in line_up(options, [4])]
        assert reference_of(None, options).name == "coupled 128"
        with pytest.raises(ConfigError, match="use --reference 'coupled 128'"):
            reference_of("likelihood", options)
    assert reference_of(None, BOXED) == Contender("likelihood", Likelihood())
    # How answers are drawn follows the options.
    assert [drawn(each).max_tokens for each in line_up(COOLER, [4])] == [9, 9]


def test_a_sampled_reference_shares_no_noise_with_what_is_measured() -> None:
    plain, coupled = line_up(COOLER, [4])
    reference = reference_of("coupled 4", COOLER)
    assert reference != coupled
    assert drawn(reference) == replace(drawn(coupled), seed=1)
    last = replace(COOLER, estimator=replace(drawn(plain), seed=2**32 - 1))
    assert drawn(reference_of("plain 64", last)).seed == 0


@pytest.mark.parametrize("name", ["rollouts", "plain", "plain 0", "coupled 129", "coupled 9999999", "plain 4 "])
def test_what_names_no_estimator_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected likelihood, or plain or coupled and a number"):
        reference_of(name, BOXED)


@pytest.mark.parametrize("nums", [[], [4, 4], [0], [129]])
def test_numbers_of_answers_are_checked(nums: list[int]) -> None:
    with pytest.raises(ConfigError, match="expected numbers from 1 to 128, each once"):
        line_up(BOXED, nums)


def test_what_differs_in_the_number_of_answers_alone_is_one_family() -> None:
    assert family("plain 16") == family("plain 2") == "plain"
    assert family("coupled 4, posterior") == "coupled, posterior"
    assert family("likelihood") == "likelihood"
