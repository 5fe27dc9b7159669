"""SGLang's own protocol against a fake of it, over the bundled model and over a rule. SGLang itself was not used."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverError
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.graders.spellings import spellings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.policy import load_model
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking
from mrt_reward.options import Likelihood, ScoreOptions
from mrt_reward.protocols import LikelihoodQuery, Proof, Proven
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.service.jobs import prepare
from mrt_reward.types import Trace
from tests.provers.openai.fake_endpoint import END_ID, rule
from tests.provers.openai.fake_sglang import FakeSGLang
from tests.provers.openai.kit import LIKELIHOOD, SAMPLED, expected, likelihoods, make_proof, prefix_of, prover_of
from tests.provers.proving import failure_of, prove_all


@pytest.fixture(scope="module")
def mini() -> FakeSGLang:
    network, _ = load_model()

    @functools.lru_cache(maxsize=300)
    @torch.inference_mode()
    def logprobs(ids: tuple[int, ...]) -> NDArray[np.float64]:
        return network(torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()

    tokenizer = HFTokenizer(MODEL_DIR)
    [end_id] = tokenizer.encode_trusted("<|im_end|>").tolist()
    return FakeSGLang(lambda ids: logprobs(tuple(ids)), tokenizer, end_id, max_model_len=2048)


@pytest.fixture
def sglang(tokenizer: HFTokenizer) -> FakeSGLang:
    return ruled(tokenizer)


def ruled(tokenizer: HFTokenizer) -> FakeSGLang:
    """A fake whose model is the rule."""
    return FakeSGLang(
        lambda ids: np.array([rule(ids[: end + 1]) for end in range(len(ids))]), tokenizer, END_ID, max_model_len=2048
    )


def mini_proofs(num_traces: int) -> list[Proof]:
    """Traces of the bundled task, every prefix of each."""
    found: list[Proof] = []
    for index, problem in enumerate(sample_problems(num_traces, seed=5)):
        thinking = write_thinking(problem, BASE_SLOPPINESS, np.random.default_rng(index)).text
        trace = Trace(str(index), problem=problem.text, completion=thinking + "</think>", answer=(str(problem.answer),))
        options = ScoreOptions(estimator=Likelihood())
        job = prepare(trace, options, HFTokenizer(MODEL_DIR), ExactGrader(), spellings)
        found.append(job.proof(range(len(job.cuts)), [0 for _ in job.cuts]))
    return found


def values_of(proven: Sequence[Proven]) -> NDArray[np.float64]:
    return np.exp(np.concatenate([[answer.spelling_logprobs for answer in one.answers] for one in proven]))


async def test_values_are_those_of_the_embedded_engine(mini: FakeSGLang) -> None:
    asked = mini_proofs(3)
    embedded = TransformersProver(EngineSettings(model=str(MODEL_DIR), device="cpu", threads=1))
    own = await prove_all(embedded, asked)
    await embedded.close()
    prover = prover_of(mini, MODEL_DIR)
    reported = await prove_all(prover, asked)
    np.testing.assert_allclose(values_of(reported), values_of(own), atol=1e-4)
    assert values_of(reported).max() > 0.1, "where all values are near 0, nothing was compared"
    assert {one.version for one in reported} == {prover.info.version}
    assert (prover.info.engine, prover.info.note, prover.info.max_tokens) == ("openai", "", 2048)
    assert mini.asked, "it was asked in its own protocol"
    await prover.close()


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


async def test_only_the_tail_is_scored_where_the_trace_is_cached(sglang: FakeSGLang, qwen_dir: Path) -> None:
    prover, proof = prover_of(sglang, qwen_dir), make_proof([5, 20, 33])
    await prover.check()
    # The engine that wrote the trace has it in its radix cache.
    sglang.cached = [proof.token_ids.tolist()]
    sglang.asked.clear()
    proven = await prover.prove(proof)
    np.testing.assert_allclose(likelihoods(proven), expected(proof), atol=1e-9)
    (_, warming), (_, asked) = sglang.asked
    paths = list(dict.fromkeys(spelling.ids for spelling in LIKELIHOOD.spellings))
    longest_first = [prefix_of(proof, probe) for probe in reversed(proof.probes)]
    assert warming["input_ids"] == [[*longest_first[0], *paths[0]]]
    assert asked["input_ids"] == [[*prefix, *path] for prefix in longest_first for path in paths]
    # Each tail begins one token before its spelling; 0 would read the whole prompt again.
    assert asked["logprob_start_len"] == [len(prefix) - 1 for prefix in longest_first for _ in paths]
    assert asked["return_logprob"] is True
    assert {params["max_new_tokens"] for params in asked["sampling_params"]} == {0}
    # Run through the network: what follows the cuts. The warming reads the longest suffix (2) and spelling (3); the
    # others find what they share with it or with the trace, but at most what comes before their start.
    found = [proof.token_ids.tolist(), warming["input_ids"][0]]
    computed = [
        len(ids) - max(min(_shared(known, ids), start) for known in found)
        for ids, start in zip(asked["input_ids"], asked["logprob_start_len"], strict=True)
    ]
    assert proven.computed_tokens == (2 + 3) + sum(computed)
    # Suffix and spelling of each, less the token of the longest suffix that the warming read before their start.
    assert sum(computed) == sum(2 + len(path) for _ in longest_first for path in paths) - len(paths)
    await prover.close()


async def test_a_trace_that_is_not_cached_is_read_once_and_not_once_for_each_prefix(
    sglang: FakeSGLang, qwen_dir: Path
) -> None:
    prover, proof = prover_of(sglang, qwen_dir), make_proof([5, 20, 33])
    await prover.check()
    sglang.cached = [proof.token_ids.tolist()]
    warm = (await prover.prove(proof)).computed_tokens
    sglang.cached = []
    assert (await prover.prove(proof)).computed_tokens - warm == len(proof.token_ids)
    await prover.close()


async def test_every_request_of_a_trace_names_it_for_both_routers(sglang: FakeSGLang, qwen_dir: Path) -> None:
    prover, one, other = prover_of(sglang, qwen_dir), make_proof([5, 20]), make_proof([5], seed=1)
    await prover.check()
    sglang.asked.clear()
    part = Proof(one.token_ids[:5], one.probes[:1], one.query, one.session)
    await prove_all(prover, [one, part, other])
    reported = {(headers["x-session-id"], headers["x-smg-routing-key"]) for headers, _ in sglang.asked}
    assert reported == {(one.session, one.session), (other.session, other.session)}
    await prover.close()


@pytest.mark.parametrize("deterministic", [False, True])
async def test_answers_are_drawn_one_by_one_with_a_seed_each(
    sglang: FakeSGLang, qwen_dir: Path, deterministic: bool
) -> None:
    sglang.deterministic = deterministic
    prover, proof = prover_of(sglang, qwen_dir), make_proof([5, 20], replace(SAMPLED, logprobs=True))
    first, again = [await prover.prove(proof) for _ in range(2)]
    # With one seed all answers of a prompt would be one, where a server is deterministic.
    assert [len(set(answer.completions)) for answer in first.answers] == [3, 3]
    assert (first.answers == again.answers) is deterministic
    assert all("n" not in params for params in sglang.asked[-1][1]["sampling_params"])
    for probe, answer in zip(proof.probes, first.answers, strict=True):
        for ids, message in zip(answer.completions, answer.completion_logprobs, strict=True):
            whole = [*prefix_of(proof, probe), *ids]
            at = range(len(whole) - len(ids), len(whole))
            assert len(ids) < 6 or message == pytest.approx(np.mean([rule(whole[:end])[whole[end]] for end in at]))
    # Of another temperature SGLang tells other numbers than are asked for.
    hot = await prover.prove(make_proof([5], replace(SAMPLED, logprobs=True, temperature=1.5)))
    assert hot.answers[0].completion_logprobs == ()
    await prover.close()


async def test_greedy_answers_are_the_models_own_without_the_end_of_turn(sglang: FakeSGLang, qwen_dir: Path) -> None:
    prover, query = prover_of(sglang, qwen_dir), replace(SAMPLED, temperature=0.0, max_tokens=3, logprobs=True)
    proof = make_proof([5, 20], query)
    ends = [*prefix_of(proof, proof.probes[0]), int(rule(prefix_of(proof, proof.probes[0])).argmax())]
    # The model ends its turn after one token of the first answer.
    plain, sglang.model = sglang.model, lambda ids: _ending(plain(ids), list(ids) == ends)
    proven = await prover.prove(proof)
    assert proven.answers[0].completions == ((ends[-1],),) * 3
    [logprob] = set(proven.answers[0].completion_logprobs)
    assert logprob == pytest.approx((float(rule(ends[:-1]).max()) + 0.0) / 2), "the end of turn counts"
    assert [len(ids) for ids in proven.answers[1].completions] == [3, 3, 3]
    await prover.close()


def _ending(rows: NDArray[np.float64], ends: bool) -> NDArray[np.float64]:
    """These log-probabilities, the last of which may say that nothing but the end of turn comes next."""
    if ends:
        rows[-1], rows[-1, END_ID] = -1e9, 0.0
    return rows


def _null_in_the_tail(replies: list[dict[str, Any]]) -> Any:
    for reply in replies:
        reply["meta_info"]["input_token_logprobs"][-1][0] = None
    return replies


def _a_row_less(replies: list[dict[str, Any]]) -> Any:
    for reply in replies:
        del reply["meta_info"]["input_token_logprobs"][-1]
    return replies


def _no_closes(replies: list[dict[str, Any]]) -> Any:
    for reply in replies:
        reply["meta_info"].pop("output_token_ids_logprobs", None)
    return replies


def _null_closes(replies: list[dict[str, Any]]) -> Any:
    for reply in replies:
        for row in reply["meta_info"].get("output_token_ids_logprobs", []):
            row[:] = [[None, token, None] for _, token, _ in row]
    return replies


def _aborted(replies: list[dict[str, Any]]) -> Any:
    for reply in replies:
        reply["meta_info"]["finish_reason"] = {"type": "abort", "message": "out of memory"}
    return replies


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_null_in_the_tail, "gave null"),
        (_a_row_less, "rated"),
        (_no_closes, "did not return it"),
        (_null_closes, "did not return it"),
        (_aborted, "out of memory"),
        (lambda replies: replies[:-1], "answers"),
        (lambda _: [{}], "is no Generations"),
    ],
)
async def test_a_broken_reply_is_an_error_and_never_a_number(
    sglang: FakeSGLang, qwen_dir: Path, change: Any, message: str
) -> None:
    prover = prover_of(sglang, qwen_dir)
    await prover.check()
    sglang.changed = change
    error = await failure_of(prover, make_proof([5, 20]))
    assert message in str(error)
    assert type(error) is ProverError
    await prover.close()


async def test_a_server_that_shortens_prompts_without_a_word_is_found_out(sglang: FakeSGLang, qwen_dir: Path) -> None:
    prover, proof = prover_of(sglang, qwen_dir), make_proof([33], SAMPLED)
    await prover.check()
    sglang.truncates = 20
    assert "--allow-auto-truncate" in str(await failure_of(prover, proof))
    sglang.truncates, sglang.max_model_len = None, 30
    assert (await failure_of(prover, proof)).code == "context_length_exceeded"
    await prover.close()


async def test_weights_that_move_meanwhile_are_another_version(sglang: FakeSGLang, qwen_dir: Path) -> None:
    sglang.weights = "step-1"
    prover, proof = prover_of(sglang, qwen_dir), make_proof([5, 20])
    first = await prover.prove(proof)
    # Nobody said so here, and no check has run since.
    sglang.weights = "step-2"
    second = await prover.prove(proof)
    assert second.version == prover.info.version != first.version
    await prover.close()


async def test_a_proof_that_all_spellings_of_a_tree_share_asks_each_path_once(
    sglang: FakeSGLang, qwen_dir: Path
) -> None:
    prover = prover_of(sglang, qwen_dir)
    await prover.check()
    sglang.asked.clear()
    twice = LikelihoodQuery((*LIKELIHOOD.spellings, LIKELIHOOD.spellings[0]))
    [answer] = (await prover.prove(make_proof([5], twice))).answers
    assert answer.spelling_logprobs[0] == answer.spelling_logprobs[-1]
    assert len(sglang.asked[-1][1]["input_ids"]) == 3
    await prover.close()
