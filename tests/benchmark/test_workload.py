from __future__ import annotations

import pytest

from mrt_reward.benchmark.workload import WorkSpec, all_prompts, apart, first_problems, make_work
from mrt_reward.options import Rollouts
from mrt_reward.provers.tokenizer import HFTokenizer

SPEC = WorkSpec(problems=2, traces=3, episodes=4, episode_tokens=30)


def test_work_has_the_size_that_was_asked_for(mini_tokenizer: HFTokenizer) -> None:
    work = make_work(SPEC, mini_tokenizer)
    assert len(work.traces) == 6
    assert {len(job.episodes) for job in work.jobs} == {4}
    assert {job.plan.spellings for job in work.jobs} <= {(str(answer),) for answer in range(10, 100)}
    # 2 problems, 3 traces of 4 episodes each, and one empty prefix a problem.
    assert work.num_prefixes == SPEC.num_prefixes == len(all_prompts(work)) == 2 * (3 * 4 + 1)
    sizes = [episode.token_end - episode.token_start for job in work.jobs for episode in job.episodes]
    assert 24 <= sum(sizes) / len(sizes) <= 42


def test_the_same_seed_makes_the_same_work_and_another_shares_nothing_but_the_template(
    mini_tokenizer: HFTokenizer,
) -> None:
    prompts = {ids.tobytes() for ids in all_prompts(make_work(SPEC, mini_tokenizer))}
    assert prompts == {ids.tobytes() for ids in all_prompts(make_work(SPEC, mini_tokenizer))}
    assert not prompts & {ids.tobytes() for ids in all_prompts(make_work(apart(SPEC, 0), mini_tokenizer))}


def test_the_first_traces_are_the_same_traces(mini_tokenizer: HFTokenizer) -> None:
    work = make_work(SPEC, mini_tokenizer)
    assert work.first(1).traces == work.traces[:1]
    assert work.first(1).num_prefixes == 5


def test_sizes_follow_the_number_of_prefixes() -> None:
    # 49 prefixes a problem: 2, 20 and 204 problems.
    assert [WorkSpec().of_prefixes(size).num_prefixes for size in (1, 100, 1000, 10_000)] == [49, 98, 980, 9996]
    assert first_problems(SPEC, SPEC.problems + 1) == SPEC
    assert first_problems(SPEC, 1).problems == 1
    assert first_problems(SPEC, 9).problems == 2


def test_the_gold_answer_comes_with_its_close_and_only_for_likelihoods(mini_tokenizer: HFTokenizer) -> None:
    work = make_work(SPEC, mini_tokenizer)
    answer = mini_tokenizer.decode(work.answer_ids)
    assert answer == "{" + work.traces[0].answer[0] + "}"
    with pytest.raises(ValueError, match="asks for sampled answers"):
        _ = make_work(SPEC, mini_tokenizer, Rollouts("rollouts"), "official").answer_ids
