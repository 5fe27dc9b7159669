from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mrt_reward.errors import ProverUnavailable, WeightsError, WeightsUnsupported
from mrt_reward.files import WEIGHTS_MARKER
from mrt_reward.protocols import Reloadable, Supervised, WeightsCanary, WeightsKind
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
        self.canaries: list[WeightsCanary | None] = []

    async def load_weights(self, folder: Path, kind: WeightsKind, canary: WeightsCanary | None = None) -> None:
        assert kind == "checkpoint"
        self.canaries.append(canary)
        self.num_loading += 1
        self.most_loading = max(self.most_loading, self.num_loading)
        await self.let.wait()
        self.num_loading -= 1
        if folder.name == "broken":
            raise WeightsError("half-written", param="path")
        self.version = folder.name


async def settle() -> None:
    # Folders are looked at in a thread.
    await asyncio.sleep(0.02)


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


async def test_whoever_asks_for_weights_that_are_being_loaded_waits_for_that_load() -> None:
    prover = Loading()
    loader = WeightsLoader(prover)
    first = asyncio.create_task(loader.load(Path("new"), "checkpoint"))
    await until_loading(prover)
    # The first caller gives up, and asks again; so does another, who asks for the same.
    first.cancel()
    again = [asyncio.create_task(loader.load(Path("new"), "checkpoint")) for _ in range(2)]
    await settle()
    prover.let.set()
    assert [info.version for info in await asyncio.gather(*again)] == ["new", "new"]
    assert len(prover.canaries) == 1


async def until_loading(prover: Loading) -> None:
    while not prover.num_loading:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


async def test_what_is_served_is_not_loaded_again_unless_it_was_written_again(tmp_path: Path) -> None:
    prover = Loading()
    prover.let.set()
    loader, file = WeightsLoader(prover), tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    canary = WeightsCanary((1, 2), (3, 4), -1.0)
    for _ in range(2):
        await loader.load(tmp_path, "checkpoint", canary)
        (tmp_path / WEIGHTS_MARKER).touch()
    assert prover.canaries == [canary]
    file.write_bytes(b"other")
    await loader.load(tmp_path, "checkpoint", canary)
    await loader.load(tmp_path, "checkpoint")
    assert prover.canaries == [canary, canary, None]


async def test_a_failed_publication_is_a_problem_until_weights_are_taken() -> None:
    prover = Loading()
    prover.let.set()
    loader = WeightsLoader(prover)
    loader.refuse_if_failed()
    with pytest.raises(WeightsError):
        await loader.load(Path("broken"), "checkpoint")
    with pytest.raises(
        ProverUnavailable, match="'broken' were published and not taken, so that version 1 proves"
    ) as at:
        loader.refuse_if_failed()
    assert at.value.code == "weights_not_taken"
    await loader.load(Path("good"), "checkpoint")
    loader.refuse_if_failed()
    with pytest.raises(WeightsError):
        await loader.load(Path("broken"), "checkpoint")
    # Whoever sends what serves says that it is meant to.
    await loader.load(Path("good"), "checkpoint")
    loader.refuse_if_failed()
    assert len(prover.canaries) == 3


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
