"""Answers of several proofs in one decode: bit by bit what each gets alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import Proof, RolloutQuery
from mrt_reward.provers.hf.decoding import MIN_ROWS, Sampling
from mrt_reward.provers.hf.loading import load
from mrt_reward.provers.hf.model import PackedModel
from tests.provers.hf.plain import make_proof, rollouts


@pytest.fixture(scope="module", params=["mini", "tiny"])
def model(request: pytest.FixtureRequest, model_dir: Any) -> Iterator[PackedModel]:
    """The bundled model, whose layers are wide enough for a CPU's fast kernels, and tiny ones of other families."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    loaded = load(EngineSettings(model=str(MODEL_DIR if request.param == "mini" else model_dir), device="cpu"))
    assert loaded.model.side_by_side is not None
    yield loaded.model.side_by_side
    torch.set_num_threads(before)


def never() -> None:
    """No pause."""


def grown(model: PackedModel, proofs: Sequence[Proof]) -> list[tuple[list[torch.Tensor], Sampling]]:
    """Side by side; of each proof the logits of all its steps, and its answers."""
    found: list[tuple[list[torch.Tensor], Sampling]] = []
    for proof in proofs:
        assert isinstance(proof.query, RolloutQuery)
        found.append(([], model.sample(proof, proof.query, never)))
    while live := [(logits, each) for logits, each in found if each.growing is not None]:
        for logits, each in live:
            assert each.growing is not None
            logits.append(each.growing.logits_RV.clone())
        model.grow([each for _, each in live])
    return found


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_logits_and_answers_are_bit_equal_whatever_was_decoded_beside_them(
    model: PackedModel, coupled: bool, top_p: float
) -> None:
    asked = (
        ([30], rollouts(8, 1.0, top_p, coupled=coupled)),
        # Probes of several blocks, which branch, end at other times, and need a second packed row's worth of rows.
        ([3, 20, 41, 60, 77], rollouts(12, 1.2, top_p, coupled=coupled, max_tokens=20)),
        ([50, 51], rollouts(2, 0.7, top_p, coupled=coupled, max_tokens=30)),
        ([12], rollouts(1, 0.0, top_p, coupled=coupled)),
        ([25], rollouts(1, 1.0, top_p, coupled=coupled, logprobs=True)),
    )
    proofs = [make_proof(cuts, query, seed=seed) for seed, (cuts, query) in enumerate(asked)]
    beside = grown(model, proofs)
    for proof, (logits, sampling) in zip(proofs, beside, strict=True):
        [(alone_logits, alone)] = grown(model, [proof])
        assert len(logits) == len(alone_logits)
        assert all(torch.equal(*pair) for pair in zip(logits, alone_logits, strict=True))
        assert sampling.answers == alone.answers
        assert sampling.num_tokens == alone.num_tokens


def test_products_of_few_rows_are_why_a_step_has_a_least_number_of_rows() -> None:
    """What the bit-equality rests on: above `MIN_ROWS`, a row of a product does not depend on how many there are."""
    weights = torch.randn(384, 128, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(256, 128, generator=torch.Generator().manual_seed(1))
    first = {
        torch.nn.functional.linear(rows[None, :count], weights)[0, 0].numpy().tobytes()
        for count in range(MIN_ROWS, 257, 3)
    }
    assert len(first) == 1


def test_a_proof_works_through_its_probes_some_at_a_time(model: PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = make_proof([10, 20, 30, 40, 50], rollouts(4, 1.0))
    [(_, together)] = grown(model, [proof])
    monkeypatch.setattr("mrt_reward.provers.hf.decoding.MAX_ANSWERS", 8)
    assert isinstance(proof.query, RolloutQuery)
    sampling = model.sample(proof, proof.query, never)
    assert sampling.num_answers == 8
    most = 0
    while sampling.growing is not None:
        most = max(most, sampling.growing.answers.num_unfinished)
        model.grow([sampling])
    assert most == 8
    assert sampling.num_answers == 0
    assert [answer.completions for answer in sampling.answers] == [answer.completions for answer in together.answers]
