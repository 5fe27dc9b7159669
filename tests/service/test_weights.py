from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mrt_reward.errors import WeightsError, WeightsUnsupported
from mrt_reward.protocols import Reloadable, Supervised, WeightsKind
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.weights import WeightsLoader
from tests.service.conftest import MakeScorer


class Loading(ScriptedProver):
    """Takes the folder's name as its version, once it is let."""

    def __init__(self) -> None:
        super().__init__([0.5])
        self.let = asyncio.Event()
        self.num_loading = 0
        self.most_loading = 0

    async def load_weights(self, folder: Path, kind: WeightsKind) -> None:
        assert kind == "checkpoint"
        self.num_loading += 1
        self.most_loading = max(self.most_loading, self.num_loading)
        await self.let.wait()
        self.num_loading -= 1
        if folder.name == "broken":
            raise WeightsError("half-written", param="path")
        self.version = folder.name


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_loads_go_one_after_the_other_and_tell_who_proves_then() -> None:
    prover = Loading()
    loader = WeightsLoader(prover)
    loads = [asyncio.create_task(loader.load(Path(name), "checkpoint")) for name in ("one", "two")]
    await settle()
    prover.let.set()
    assert [info.version for info in await asyncio.gather(*loads)] == ["one", "two"]
    assert prover.most_loading == 1


async def test_a_load_ends_even_if_its_caller_leaves() -> None:
    prover = Loading()
    load = asyncio.create_task(WeightsLoader(prover).load(Path("new"), "checkpoint"))
    await settle()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    prover.let.set()
    await settle()
    assert (prover.version, prover.num_loading) == ("new", 0)


async def test_weights_that_are_not_taken_leave_the_old_ones_and_the_way_free() -> None:
    prover = Loading()
    prover.let.set()
    loader = WeightsLoader(prover)
    with pytest.raises(WeightsError, match="half-written"):
        await loader.load(Path("broken"), "checkpoint")
    assert prover.version == "1"
    assert (await loader.load(Path("good"), "checkpoint")).version == "good"


async def test_an_engine_that_keeps_its_weights_refuses_others_unread() -> None:
    prover = ScriptedProver([0.5])
    assert not isinstance(prover, Reloadable)
    with pytest.raises(WeightsUnsupported, match="'scripted' loads no lora"):
        await WeightsLoader(prover).load(Path("/x/adapter"), "lora")


async def test_only_an_engine_that_may_end_on_its_own_is_waited_for(make_scorer: MakeScorer) -> None:
    dying = ScriptedProver([0.5])
    assert isinstance(dying, Supervised)
    scorer = make_scorer(dying)
    waiting = asyncio.create_task(scorer.wait_dead())
    await settle()
    assert not waiting.done()
    dying.die()
    assert (await waiting).code == "engine_dead"
    await scorer.close()
