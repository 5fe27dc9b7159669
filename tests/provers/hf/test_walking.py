"""A trace walked cut by cut: which passes are made, and that nobody's past is changed by another's."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, Proof, SpellingIds
from mrt_reward.provers.hf import walking
from mrt_reward.provers.hf.walking import WalkedModel
from mrt_reward.provers.stops import Stops
from tests.provers.hf.families import save_family
from tests.provers.hf.plain import expected_likelihoods, greedy, make_proof, rollouts

NO_STOPS = Stops(frozenset(), {})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_family(tmp_path_factory.mktemp("qwen"), "qwen3_next")
    return cast("Any", transformers.AutoModelForCausalLM).from_pretrained(folder, dtype=torch.float32).eval()


def passes(model: Any, proof: Proof) -> list[tuple[int, ...]]:
    """Shapes of the ids of each forward call."""
    shapes: list[tuple[int, ...]] = []
    handle = model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    WalkedModel(model, 512, NO_STOPS).prove(proof, lambda: None)
    handle.remove()
    return shapes


def test_the_trace_is_run_once_and_each_suffix_after_its_cut(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "CHUNK", 32)
    # 10, then 30 more; suffixes of 4, 5 and 4; spellings of one token and of three. 7 8 is read off 7 8 9.
    expected = [(1, 10), (1, 4), (1, 1), (1, 3), (1, 5), (1, 1), (1, 3), (1, 30), (1, 4), (1, 1), (1, 3)]
    assert passes(model, make_proof([10, 10, 40])) == expected
    assert passes(model, make_proof([70]))[:3] == [(1, 32), (1, 32), (1, 6)]


def test_spellings_of_one_length_run_side_by_side_as_far_as_logits_allow(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spellings = tuple(SpellingIds((token, 8), (10,)) for token in (7, 9, 11))
    proof = make_proof([20], LikelihoodQuery(spellings))
    assert passes(model, proof) == [(1, 20), (1, 4), (3, 2)]
    monkeypatch.setattr(walking, "MAX_LOGIT_ELEMENTS", 2 * 2 * 404)
    assert passes(model, proof) == [(1, 20), (1, 4), (2, 2), (1, 2)]
    [answer], _ = WalkedModel(model, 512, NO_STOPS).prove(proof, lambda: None)
    np.testing.assert_allclose([answer.spelling_logprobs], expected_likelihoods(model, proof, spellings), atol=1e-4)


def test_probes_are_answered_in_their_order_whatever_their_cuts(model: Any) -> None:
    proof = make_proof([10, 25, 40])
    there, _ = WalkedModel(model, 512, NO_STOPS).prove(proof, lambda: None)
    back, _ = WalkedModel(model, 512, NO_STOPS).prove(
        Proof(proof.token_ids, proof.probes[::-1], proof.query), lambda: None
    )
    assert back[::-1] == there


def test_greedy_answers_run_one_row_and_equal_plain_decoding(model: Any) -> None:
    proof = make_proof([10, 40], rollouts(4))
    answers, num_tokens = WalkedModel(model, 512, Stops(frozenset({347}), {})).prove(proof, lambda: None)
    for probe, answer in zip(proof.probes, answers, strict=True):
        assert answer.completions == (greedy(model, proof, probe),) * 4
    assert num_tokens <= 40 + sum(len(probe.suffix) + 11 for probe in proof.probes)


def test_what_does_not_fit_and_who_leaves_ends_the_work(model: Any) -> None:
    walked = WalkedModel(model, 40, NO_STOPS)
    with pytest.raises(ProverError, match="context holds 40"):
        walked.prove(make_proof([39]), lambda: None)

    def leave() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walked.prove(make_proof([20]), leave)
