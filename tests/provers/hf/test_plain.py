"""Plain forwards, which say what is right."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers

from mrt_reward.errors import ProverError
from mrt_reward.protocols import ProbeAnswer
from mrt_reward.provers.hf.kv_cache import ATTENTION
from mrt_reward.provers.hf.model import PackedModel
from mrt_reward.provers.hf.plain import PlainModel, is_switchable
from mrt_reward.provers.stops import Stops
from tests.provers.hf.families import WINDOW, save_family
from tests.provers.hf.plain import expected_likelihoods, make_proof, plain_logprobs, rollouts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_family(tmp_path_factory.mktemp("gemma"), "gemma3_text")
    loaded = cast("Any", transformers.AutoModelForCausalLM).from_pretrained(folder, dtype=torch.float32).eval()
    assert is_switchable(loaded)
    loaded.set_attn_implementation(ATTENTION)
    return loaded


def test_plain_forwards_are_the_models_own_and_leave_its_attention_as_it_was(model: Any) -> None:
    proof = make_proof([5, WINDOW, 60])
    reported = [answer.spelling_logprobs for answer in PlainModel(model).likelihoods(proof)]
    assert model.config._attn_implementation == ATTENTION
    model.set_attn_implementation("eager")
    np.testing.assert_allclose(reported, expected_likelihoods(model, proof), atol=1e-6)
    model.set_attn_implementation(ATTENTION)
    # Packed passes see the same, except where their mask forgets the window.
    packed = PackedModel(model, 512, Stops(frozenset(), {}), {"full_attention": None, "sliding_attention": WINDOW})
    found, _ = packed.prove(proof, lambda: None)
    np.testing.assert_allclose([answer.spelling_logprobs for answer in found], reported, atol=1e-4)
    packed.windows = {"full_attention": None, "sliding_attention": 512}
    found, _ = packed.prove(proof, lambda: None)
    assert abs(found[-1].spelling_logprobs[0] - reported[-1][0]) > 0.01
    packed.windows = {"full_attention": None, "sliding_attention": WINDOW}
    with pytest.raises(ProverError, match="behind windows are not packed"):
        packed.prove(make_proof([10], rollouts()), lambda: None)


def test_mean_logprobs_are_those_of_the_answers_tokens(model: Any) -> None:
    proof = make_proof([30], rollouts(2))
    answers = (ProbeAnswer(completions=((7, 8, 9), (12,))),)
    reported = PlainModel(model).mean_logprobs(proof, answers)
    model.set_attn_implementation("eager")
    before = [*proof.token_ids[:30].tolist(), *proof.probes[0].suffix]
    logprobs = plain_logprobs(model, [*before, 7, 8, 9])
    row = [float(logprobs[len(before) - 1 + index, token]) for index, token in enumerate((7, 8, 9))]
    model.set_attn_implementation(ATTENTION)
    np.testing.assert_allclose(reported, [[sum(row) / 3, float(logprobs[len(before) - 1, 12])]], atol=1e-6)


def test_numbers_that_are_not_finite_are_an_error(model: Any) -> None:
    weight = model.model.norm.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[:] = float("inf")
    with pytest.raises(ProverError, match="not finite"):
        PlainModel(model).likelihoods(make_proof([5]))
    with torch.no_grad():
        weight[:] = before
    assert model.config._attn_implementation == ATTENTION
