"""The engine's thread: who is answered beside whom, and what becomes of those for whom there is no room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.hf.decoding import Sampling
from mrt_reward.provers.hf.loading import load
from mrt_reward.provers.hf.model import PackedModel
from mrt_reward.provers.hf.pulse import Pulse
from mrt_reward.provers.hf.selfcheck import ProvedModel
from mrt_reward.provers.hf.walking import WalkedModel
from mrt_reward.provers.hf.worker import ProverWorker, Weights
from tests.provers.hf.plain import make_proof, rollouts


@pytest.fixture(scope="module")
def model(qwen_dir: Path) -> PackedModel:
    packed = load(EngineSettings(model=str(qwen_dir), device="cpu")).model.side_by_side
    assert packed is not None
    return packed


class Steps:
    """How many proofs, and how many columns of theirs, each step of decoding holds."""

    def __init__(self, model: PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proofs: list[int] = []
        self.columns: list[int] = []
        self.broken: Exception | None = None
        inner = PackedModel.grow

        def grow(model: PackedModel, samplings: Sequence[Sampling]) -> None:
            self.proofs.append(len(samplings))
            self.columns.append(sum(each.num_columns for each in samplings))
            sampled = [each.growing.answers.query.num_samples for each in samplings if each.growing is not None]
            if self.broken is not None and 3 in sampled:
                raise self.broken
            inner(model, samplings)

        monkeypatch.setattr(PackedModel, "grow", grow)


@pytest.fixture
def steps(model: PackedModel, monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(model, monkeypatch)


async def answers(worker: ProverWorker, proofs: Sequence[Proof]) -> list[Proven]:
    return await asyncio.gather(*(asyncio.wrap_future(worker.prove(proof)) for proof in proofs))


def working(model: PackedModel, max_columns: int = 10_000) -> ProverWorker:
    return ProverWorker(weights(model), Pulse(), num_threads=1, max_columns=max_columns)


def weights(model: PackedModel, version: str = "first") -> Weights:
    return Weights(ProvedModel(model, model), version)


@pytest.fixture
async def alone(model: PackedModel) -> AsyncIterator[list[Proven]]:
    """What each of `PROOFS` is answered by itself."""
    worker = working(model)
    yield [(await answers(worker, [proof]))[0] for proof in PROOFS]
    worker.close()


LONG = rollouts(4, 1.5, max_tokens=60)
PROOFS = [make_proof([20 + seed], LONG, seed=seed) for seed in range(6)]


async def test_sampled_answers_of_several_proofs_grow_side_by_side(
    model: PackedModel, steps: Steps, alone: list[Proven]
) -> None:
    num_alone = len(steps.proofs)
    worker = working(model)
    together = await answers(worker, PROOFS)
    worker.close()
    assert together == alone
    assert max(steps.proofs[num_alone:]) == len(PROOFS)
    assert len(steps.proofs) - num_alone < num_alone / 2


async def test_room_is_bounded_and_who_is_begun_anew_is_answered_the_same(
    model: PackedModel, steps: Steps, alone: list[Proven]
) -> None:
    num_alone = len(steps.columns)
    # Room to begin about three: 20 tokens, a suffix and 4 x 16 columns each; they come to need 4 x 64 each.
    worker = working(model, max_columns=300)
    together = await answers(worker, PROOFS)
    worker.close()
    held = zip(steps.proofs[num_alone:], steps.columns[num_alone:], strict=True)
    assert max(columns for proofs, columns in held if proofs > 1) <= 300
    assert [proven.answers for proven in together] == [proven.answers for proven in alone]
    assert max(steps.proofs[num_alone:]) > 1
    # What was run twice is reported.
    assert sum(proven.computed_tokens for proven in together) > sum(proven.computed_tokens for proven in alone)


async def test_one_proof_alone_may_need_more_than_there_is_room_for(model: PackedModel, alone: list[Proven]) -> None:
    worker = working(model, max_columns=1)
    assert await answers(worker, PROOFS[:2]) == alone[:2]
    worker.close()


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("kernel failed"), "prover_failed"), (TypeError("a bug"), None)]
)
async def test_a_step_that_fails_fails_for_the_guilty_alone(
    model: PackedModel, steps: Steps, alone: list[Proven], error: Exception, code: str | None
) -> None:
    guilty = make_proof([9], rollouts(3, 1.0))
    steps.broken = error
    worker = working(model)
    asked = [*PROOFS[:2], guilty, *PROOFS[2:4]]
    calls = [asyncio.wrap_future(worker.prove(proof)) for proof in asked]
    reported = await asyncio.gather(*calls, return_exceptions=True)
    worker.close()
    failed = reported.pop(2)
    assert isinstance(failed, ProverError if code else TypeError)
    assert getattr(failed, "code", None) == code
    assert [proven.answers for proven in reported if isinstance(proven, Proven)] == [
        proven.answers for proven in alone[:4]
    ]


async def test_a_likelihood_is_answered_while_answers_grow(model: PackedModel) -> None:
    worker = working(model)
    growing = worker.prove(make_proof([20], rollouts(4, 3.0, max_tokens=2000)))
    await asyncio.wrap_future(worker.prove(make_proof([20])))
    assert not growing.done()
    growing.cancel()
    worker.close()


async def test_a_model_that_is_walked_is_asked_one_proof_after_the_other_and_answers_the_same(
    model: PackedModel, steps: Steps, alone: list[Proven]
) -> None:
    num_alone = len(steps.proofs)
    walked = WalkedModel(model.model, model.max_tokens, model.stops)
    worker = ProverWorker(Weights(ProvedModel(model, walked), "first"), Pulse(), num_threads=1, max_columns=10_000)
    calls = [worker.prove(proof) for proof in PROOFS[:3]]
    order: list[int] = []
    for index, call in enumerate(calls):
        call.add_done_callback(lambda _, index=index: order.append(index))
    reported = await asyncio.gather(*map(asyncio.wrap_future, calls))
    worker.close()
    assert [proven.answers for proven in reported] == [proven.answers for proven in alone[:3]]
    assert order == [0, 1, 2]
    assert len(steps.proofs) == num_alone


async def test_who_leaves_while_a_trace_is_walked_ends_it(model: PackedModel) -> None:
    walked = WalkedModel(model.model, model.max_tokens, model.stops)
    worker = ProverWorker(Weights(ProvedModel(model, walked), "first"), Pulse(), num_threads=1, max_columns=10_000)
    started, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell(*_: object) -> None:
        loop.call_soon_threadsafe(started.set)

    handle = model.model.register_forward_pre_hook(tell)
    endless = asyncio.wrap_future(worker.prove(make_proof([20], rollouts(4, 3.0, max_tokens=2000))))
    await started.wait()
    handle.remove()
    later = asyncio.wrap_future(worker.prove(PROOFS[0]))
    endless.cancel()
    assert (await later).version == "first"
    worker.close()


async def test_other_weights_wait_for_what_is_under_way_and_what_waits_is_answered_by_them(
    model: PackedModel,
) -> None:
    worker = working(model)
    first = worker.prove(PROOFS[0])
    started, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell(*_: object) -> None:
        loop.call_soon_threadsafe(started.set)

    handle = model.model.register_forward_pre_hook(tell)
    await started.wait()
    handle.remove()
    waiting = worker.prove(PROOFS[2])
    changed = worker.change(weights(model, "second"))
    later = worker.prove(PROOFS[1])
    ended: list[str] = []
    for name, future in (("change", changed), ("waiting", waiting), ("later", later)):
        cast("Future[object]", future).add_done_callback(lambda _, name=name: ended.append(name))
    await asyncio.wrap_future(changed)
    assert (await asyncio.wrap_future(first)).version == "first"
    assert (await asyncio.wrap_future(waiting)).version == "second"
    assert (await asyncio.wrap_future(later)).version == "second"
    assert ended == ["change", "waiting", "later"], "whoever changed them knew it before anybody was answered by them"
    worker.close()


async def test_who_leaves_is_no_longer_decoded_and_closing_answers_the_others(model: PackedModel) -> None:
    worker = working(model)
    endless = rollouts(4, 3.0, max_tokens=2000)
    calls = [asyncio.wrap_future(worker.prove(make_proof([20], endless, seed=seed))) for seed in range(3)]
    calls[0].cancel()
    await asyncio.to_thread(worker.close)
    reported = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(reported[0], asyncio.CancelledError)
    assert [type(each) for each in reported[1:]] == [ProverUnavailable] * 2
    with pytest.raises(ProverUnavailable):
        worker.prove(PROOFS[0])


async def test_the_thread_takes_as_many_threads_for_an_operation_as_it_was_given(model: PackedModel) -> None:
    seen: set[int] = set()
    handle: Any = model.model.register_forward_pre_hook(lambda *_: seen.add(torch.get_num_threads()))
    worker = ProverWorker(weights(model), Pulse(), num_threads=2, max_columns=10_000)
    await answers(worker, PROOFS[:1])
    worker.close()
    handle.remove()
    assert seen == {2}
