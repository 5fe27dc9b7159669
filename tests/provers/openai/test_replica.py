"""One endpoint of several: how it comes and goes, and that one which hangs is found out."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from starlette.responses import Response

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.provers.openai import replica as module
from mrt_reward.provers.openai.connecting import Connector
from mrt_reward.provers.openai.endpoint import Endpoint
from mrt_reward.provers.openai.replica import Replica
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import NO_WAIT


def replica_of(fake: FakeEndpoint, folder: Path) -> Replica:
    endpoint = Endpoint("http://a:9", backoff=NO_WAIT, alone=False, transport=fake.transport)
    tokenizer = HFTokenizer(folder)
    return Replica(Connector(endpoint, EngineSettings(), tokenizer), "http://a:9", tokenizer)


async def test_it_comes_as_one_that_serves_a_version_and_goes_with_a_reason(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    replica = replica_of(vllm, qwen_dir)
    assert (replica.state.up, await replica.writes()) == (False, False)
    connection, identity = await replica.looked_at()
    replica.enter(connection, "version of all")
    assert replica.state.up
    assert replica.connection is not None
    assert replica.connection.info.version == "version of all"
    assert replica.own_version == connection.info.version
    assert len(identity.canary) > 1
    replica.leave("it burns")
    assert (replica.state.up, replica.state.problem, replica.state.num_failures) == (False, "it burns", 1)
    assert replica.own_version == connection.info.version, "which tells whether it comes back as another"


async def test_one_that_hangs_writes_nothing(
    vllm: FakeEndpoint, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = replica_of(vllm, qwen_dir)
    replica.enter((await replica.looked_at())[0], "1")
    assert await replica.writes()
    monkeypatch.setattr(module, "TOKEN_S", 0.05)
    vllm.hang = True
    assert not await replica.writes()
    assert vllm.num_running == 0, "its question was taken back"


@pytest.mark.parametrize(("step", "writes"), [(1, True), (0, False)])
async def test_one_that_is_too_busy_for_a_token_writes_where_its_own_counts_move(
    vllm: FakeEndpoint, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch, step: int, writes: bool
) -> None:
    replica = replica_of(vllm, qwen_dir)
    replica.enter((await replica.looked_at())[0], "1")
    monkeypatch.setattr(module, "TOKEN_S", 20.0 if writes else 0.5)
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    counted = count(1, step)
    vllm.counted = lambda: next(counted)
    vllm.replies += [Response(status_code=503)] * NO_WAIT.max_tries
    assert await replica.writes() is writes
    assert not vllm.replies


async def test_work_that_cannot_be_looked_at_is_none(
    vllm: FakeEndpoint, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = replica_of(vllm, qwen_dir)
    replica.enter((await replica.looked_at())[0], "1")
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    vllm.hang = True

    async def broken(_path: str, _timeout_s: float) -> str:
        raise ValueError("a bug")

    monkeypatch.setattr(replica.connector.endpoint, "peeked", broken)
    assert not await replica.writes()
