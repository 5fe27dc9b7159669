"""The trainer tells the service when replicas sleep and what they wake with; the replicas become an engine of ours."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from mrt_verl import expand, service
from mrt_verl.expand import WHERE
from ray.exceptions import RayError
from transformers import AutoModelForCausalLM
from verl.checkpoint_engine.base import CheckpointEngineManager

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverUnavailable
from mrt_reward.mini import MODEL_DIR
from mrt_reward.training.settings import TrainingSettings
from tests.verl.cpu.routes import Routes
from tests.verl.test_switch import SWITCH, composed


class Remote:
    """Stands for a method of an actor."""

    def __init__(self, name: str, log: list[Any], result: Any = None) -> None:
        self.name, self.log, self.result = name, log, result

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        self.log.append((self.name, *args, *kwargs.values()))
        return self.result


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the service and the replicas are told, in order."""
    seen: list[Any] = []
    actor = SimpleNamespace(pause=Remote("pause", seen), resume=Remote("resume", seen))
    monkeypatch.setattr(service._Run, "service", actor)
    monkeypatch.setattr(service._Run, "version", service.BEFORE)
    monkeypatch.setattr(service._Run, "sleeps", True)

    def get(found: Any, timeout: float | None = None) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(service.ray, "get", get)
    monkeypatch.setattr("verl.checkpoint_engine.base.ray.get", get)
    return seen


def manager_of(seen: list[Any]) -> Any:
    """veRL's own, without what it makes of a configuration."""

    class Replica:
        async def sleep(self) -> None:
            seen.append("sleep")

        async def abort_all_requests(self, reject_request: bool = False) -> None:
            seen.append("abort")

    manager: Any = object.__new__(CheckpointEngineManager)
    manager.backend, manager.replicas = "naive", [Replica(), Replica()]
    manager.actor_wg = SimpleNamespace(update_weights=lambda **given: seen.append(("weights", given["global_steps"])))
    return manager


def test_nothing_is_asked_from_before_replicas_sleep_until_they_have_their_weights(log: list[Any]) -> None:
    manager = manager_of(log)
    manager.sleep_replicas()
    manager.update_weights(7)
    assert log == [("pause",), "sleep", "sleep", ("pause",), ("weights", 7), ("resume", "7")]
    log.clear()
    manager.abort_replicas()
    manager.update_weights(global_steps=8)
    assert log == [("pause",), "abort", "abort", ("pause",), ("weights", 8), ("resume", "8")]
    log.clear()
    # The same weights again, as after a validation.
    manager.update_weights()
    assert log == [("pause",), ("weights", None), ("resume", "8")]


def test_veRLs_own_coroutines_await_them_still(log: list[Any]) -> None:  # noqa: N802 - its name
    manager = manager_of(log)

    async def as_update_weights_does() -> None:
        await manager.abort_replicas()

    asyncio.run(as_update_weights_does())
    assert log == [("pause",), "abort", "abort"]


def test_weights_that_did_not_arrive_keep_the_service_quiet(log: list[Any]) -> None:
    manager = manager_of(log)

    def fail(**_: Any) -> None:
        raise RuntimeError("out of memory")

    manager.actor_wg = SimpleNamespace(update_weights=fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        manager.update_weights(7)
    assert log == [("pause",)]
    assert service._Run.version == service.BEFORE


def test_training_goes_on_without_the_service(
    log: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Remote("pause", log, RayError("no answer"))
    actor = SimpleNamespace(pause=gone, resume=gone)
    monkeypatch.setattr(service._Run, "service", actor)
    monkeypatch.setattr(service.ray, "kill", lambda killed: log.append(("kill", killed is actor)))
    manager_of(log).update_weights(7)
    # It would take new weights for the old ones: what it does not score is counted, and no value mixes two.
    assert log == [("pause",), ("kill", True), ("weights", 7)]
    assert "did not answer to pause, and is ended: no answer" in caplog.text
    log.clear()
    # Before it is there, the version is kept for it.
    manager_of(log).update_weights(9)
    assert (log, service._Run.version) == ([("weights", 9)], "9")


def test_the_service_is_wrapped_around_verl_once() -> None:
    before = CheckpointEngineManager.update_weights
    service.follow_weights()
    assert CheckpointEngineManager.update_weights is before


POOL = (
    "reward.reward_model.nnodes=1",
    "reward.reward_model.n_gpus_per_node=4",
    "reward.reward_model.rollout.tensor_model_parallel_size=2",
)


@pytest.mark.parametrize(("dtype", "expected"), [("bfloat16", "bfloat16"), ("fp8", "auto")])
def test_replicas_are_an_engine_with_several_endpoints(dtype: str, expected: str) -> None:
    config = composed(f"actor_rollout_ref.model.path={MODEL_DIR}", f"actor_rollout_ref.rollout.dtype={dtype}")
    engines = service.engines_of(config, ["10.0.0.1:41", "[fe80::1]:42"], pool=False)
    assert engines.engine_urls == ("http://10.0.0.1:41", "http://[fe80::1]:42")
    assert (engines.tokenizer, engines.dtype, engines.engine) == (str(MODEL_DIR), expected, "openai")


def started(monkeypatch: pytest.MonkeyPatch, result: Any, seen: list[Any], url: str = "rollout") -> None:
    """Start over two replicas; the actor's start ends in `result`."""
    actor = SimpleNamespace(start=Remote("start", seen, result))
    made = SimpleNamespace(options=lambda **_: Remote("made", [], actor))
    monkeypatch.setattr(service.ray, "remote", lambda _: made)
    balancer = SimpleNamespace(get_all_servers=Remote("servers", [], ["a:1", "b:2"]))
    config = composed(SWITCH, f"reward.mrt.url={url}", f"actor_rollout_ref.model.path={MODEL_DIR}", *POOL)
    if url == "pool":
        assert expand.expand(config)
    manager = SimpleNamespace(llm_client=SimpleNamespace(_load_balancer=balancer), config=config)
    service.start(manager, TrainingSettings(url=url), WHERE)


def test_a_service_starts_with_the_version_that_the_replicas_have(
    log: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service._Run, "version", "12")
    started(monkeypatch, "one closing token only", log)
    assert log == [("start", "12", True)]
    output = capsys.readouterr().out
    assert "[mrt] the policy's replicas (2) prove; their weights are those of each step; one closing" in output


def test_the_pools_replicas_are_found_by_name_and_sent_no_weights(
    log: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    actors = {
        f"vllm_server_reward_{rank}_0": SimpleNamespace(get_server_address=Remote("address", [], (host, 41 + rank)))
        for rank, host in enumerate(("10.0.0.1", "fe80::1"))
    }
    monkeypatch.setattr(service.ray, "get_actor", actors.__getitem__)
    started(monkeypatch, "", log, "pool")
    assert log == [("start", "pool", True)]
    assert "[mrt] the pool's replicas (2) prove; their weights are those it was started with" in capsys.readouterr().out
    log.clear()
    manager_of(log).update_weights(3)
    assert log == [("weights", 3)]
    config = composed(SWITCH, "reward.mrt.url=pool", f"actor_rollout_ref.model.path={MODEL_DIR}", *POOL)
    assert expand.expand(config)
    assert service.pool_addresses(config) == ["10.0.0.1:41", "[fe80::1]:42"]
    assert service.engines_of(config, ["a:1"], pool=True).tokenizer == str(MODEL_DIR)


def test_replicas_that_cannot_prove_are_reported_before_the_first_step(
    log: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"url=rollout: the policy's replicas \(a:1, b:2\) cannot prove: nobody"):
        started(monkeypatch, ProverUnavailable("nobody answers"), log)


async def test_the_actor_listens_with_a_key_of_its_own_and_names_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    routes = Routes(str(MODEL_DIR), AutoModelForCausalLM.from_pretrained(MODEL_DIR).eval(), lambda: False)
    engines = EngineSettings(engine_url=f"http://127.0.0.1:{await routes.open()}", tokenizer=str(MODEL_DIR))
    actor = service.Service(engines, "rollout", WHERE)
    assert await actor.start("3", likelihood=True) == ""
    url, key = await actor.address()
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/v1/prover")).status_code == 401
        log = {"Authorization": f"Bearer {key}"}
        assert (await client.get("/v1/prover", headers=log)).json()["version"] == "3"
        await actor.pause()
        await actor.resume("4")
        assert (await client.get("/v1/prover", headers=log)).json()["version"] == "4"
    await actor._service.close()
    await routes.close()
