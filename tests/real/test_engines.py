"""A real model, on the embedded engine and on vLLM: both say the same, and what they say makes sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from transformers import AutoTokenizer

from mrt_reward.options import Delimiters
from mrt_reward.protocols.canary import tolerance
from mrt_reward.service.prompting import open_prompt
from mrt_reward.types import ScoredTrace, Status, Trace
from tests.real.conftest import Engine, EngineRun, Measure, Precision
from tests.real.sums import SUMS

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAX_ANSWER_TOKENS = 6
"""Of `{890` and its close, and of any other answer here."""


def log_values(scored: ScoredTrace) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.log([np.nan if each.value is None else each.value for each in scored.values])


def apart(one: EngineRun, other: EngineRun) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Differences of log J in nats, of all prefixes of all traces."""
    return np.abs(
        np.concatenate([log_values(one.scored[name]) - log_values(other.scored[name]) for name in one.scored])
    )


async def compare(measure: Measure, dtype: Precision) -> None:
    """Both engines score all traces alike, and differ in log J by what this precision rounds off.

    The bar is what self-checks allow one token's log-probability, times √tokens, as log J sums those of an answer's
    tokens. Single ones may be unlucky, so half of all have to be within a tenth of it.
    """
    embedded, vllm = await measure("transformers", dtype), await measure("vllm", dtype)
    assert embedded.scored.keys() == vllm.scored.keys()
    for run in (embedded, vllm):
        assert {each.status for each in run.scored.values()} == {Status.OK}
    for name, scored in embedded.scored.items():
        assert scored.prefix_tokens == vllm.scored[name].prefix_tokens
        assert scored.spellings == vllm.scored[name].spellings
    differences = apart(embedded, vllm)
    median, most = float(np.median(differences)), float(differences.max())
    for name, run in (("transformers", embedded), ("vllm", vllm)):
        computed = sum(each.usage.computed_tokens for each in run.scored.values())
        print(f"\n{name} {dtype}: ready {run.start_s:.0f} s, scored {run.score_s:.0f} s, {computed} tokens")
    print(f"{len(embedded.scored)} traces, {differences.size} prefixes: log J apart {median:.2g}, {most:.2g} at most")
    bar = tolerance(dtype) * MAX_ANSWER_TOKENS**0.5
    assert most <= bar
    assert median <= 0.1 * bar


async def test_both_engines_give_the_same_values(measure: Measure, capsys: pytest.CaptureFixture[str]) -> None:
    # float32 rounds to 1e-7, and thirty layers and other orders of summing make some 1e-5 of it.
    with capsys.disabled():
        await compare(measure, "float32")


async def test_greedy_answers_are_the_same_on_both_engines(measure: Measure) -> None:
    texts = [
        [[answer.text for answer in value.answers or ()] for each in run.greedy for value in each.values]
        for run in (await measure("transformers", "float32"), await measure("vllm", "float32"))
    ]
    assert texts[0] == texts[1]
    assert all(len(answers) == 2 for answers in texts[0])


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
async def test_values_rise_where_the_thinking_finds_the_sum_and_nowhere_else(
    measure: Measure, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await measure(engine, "float32")
    found, lost = (
        np.array([log_values(run.scored[trace.id]) for trace in traces])
        for traces in ([each.found for each in SUMS], [each.lost for each in SUMS])
    )
    ends, rises = (np.exp(each) for each in (found[:, -1], found[:, -1] - found[:, 0]))
    with capsys.disabled():
        print(
            f"\n{engine}: J at the end, found {ends.min():.3f} to {ends.max():.3f}, least rise {rises.min():.0f} times"
        )
        print(f"lost, at most {np.exp(lost[:, -1]).max():.4f}")
    # About as many tokens, so that length alone explains nothing.
    lengths = np.array([[run.scored[t.id].prefix_tokens[-1] for t in (each.found, each.lost)] for each in SUMS])
    assert (np.abs(np.diff(lengths)) < 0.15 * lengths[:, :1]).all()
    # The same problem, so the same value before any thinking.
    np.testing.assert_array_equal(found[:, 0], lost[:, 0])
    # Where the sum is said, it becomes ten times likelier at least, in that very episode.
    assert (found[:, -1] - found[:, -2] > np.log(10)).all()
    assert (found[:, -1] - lost[:, -1] > np.log(10)).all()
    # No other episode earns as much, unless it says all but the sum's last digit: 868 on the way to 869.
    most_at_end = np.diff(found, axis=1).argmax(axis=1) == found.shape[1] - 2
    assert most_at_end[[not each.is_nearly_said for each in SUMS]].all()
    assert most_at_end.mean() >= 0.95
    # Talk finds nothing: no episode of it earns what the least of these does.
    assert np.diff(lost, axis=1).max() < np.diff(found, axis=1)[:, -1].min()


async def test_thinking_is_opened_where_the_chat_template_knows_none(measure: Measure, folder: Path) -> None:
    tokenizer = (await measure("transformers", "float32")).tokenizer
    prompt = open_prompt(Trace("t", problem="What is 2 + 3?", completion=""), tokenizer, Delimiters())
    text = cast("Any", AutoTokenizer).from_pretrained(folder).decode(prompt.ids.tolist())  # with its control tokens
    assert not prompt.opened
    assert text.count("<think>") == 1
    assert text.endswith("<|im_start|>assistant\n<think>\n")
    assert "What is 2 + 3?<|im_end|>" in text


async def test_ids_above_32767_are_kept_whole(measure: Measure, shortest: tuple[Trace, ...]) -> None:
    if not shortest:
        pytest.skip("needs MRT_REWARD_TEST_DATA with traces_qwen3_32b.jsonl")
    # 49,152 tokens do not fit 16 bits with a sign, and half-width ids would wrap.
    tokenizer = (await measure("transformers", "float32")).tokenizer
    ids = np.concatenate([tokenizer.encode_untrusted(trace.completion or "").ids for trace in shortest])
    assert 32_767 < ids.max() < 49_152
    assert ids.min() >= 0


async def test_in_bfloat16_they_differ_by_its_rounding(measure: Measure, capsys: pytest.CaptureFixture[str]) -> None:
    # It keeps eight bits, so that a state of 10 is off by 0.03, and a logit by a few of these.
    with capsys.disabled():
        await compare(measure, "bfloat16")
