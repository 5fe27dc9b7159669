"""A prover that follows the policy of the custom loop."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.custom_loop.train import LoopSettings, train
from mrt_reward.client import Client
from mrt_reward.client.admin import load_weights
from mrt_reward.errors import ConfigError, RequestRejected
from mrt_reward.in_process import policy_canary
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.training.vouching import WeightsCanary
from mrt_reward.wire import WeightsRequest
from tests.custom_loop.conftest import Served
from tests.server.conftest import threaded_server
from tests.serving import free_port


def trained(out: Path, url: str, admin_url: str) -> list[dict[str, float]]:
    """Log of a run whose prover is to follow it at every step."""
    mrt: Any = {"url": url, "admin_url": admin_url, "follow_steps": 1}
    asyncio.run(train(LoopSettings(out=out, mrt=mrt, steps=2, problems=2, group_size=2, max_tokens=40)))
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def canary_of(folder: Path) -> WeightsCanary:
    """What the loop says of a policy with these weights."""
    model, tokenizer = cast("Any", AutoModelForCausalLM), cast("Any", AutoTokenizer)
    canary = policy_canary(model.from_pretrained(folder, dtype="float32"), tokenizer.from_pretrained(folder))
    assert canary is not None
    return canary


def version(served: Served) -> str:
    with Client(served.url) as client:
        return client.prover().version


def test_a_server_proves_with_the_weights_of_each_step(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    out, first = served.weights_root / "run", version(served)
    log = trained(out, served.url, served.admin_url)
    assert [(entry["mrt/following/step"], entry["mrt/following/refused"]) for entry in log] == [(1, 0), (2, 0)]
    assert [entry["mrt/following/vouched"] for entry in log] == [1, 1]
    reported = [line for line in caplog.messages if "proves with the weights of step" in line]
    versions = [first, *(words.rpartition(" ")[2] for words in reported)]
    assert len(set(versions)) == len(versions) == 3
    assert version(served) == versions[-1]
    # A server that gets weights of another step than the loop has says so, and keeps its own.
    folder = str(out / "step-1")
    with pytest.raises(RequestRejected, match="these are not the weights that the sender has"):
        load_weights(served.admin_url, WeightsRequest(path=folder, canary=canary_of(out / "step-2")))
    assert version(served) == versions[-1]
    assert load_weights(served.admin_url, WeightsRequest(path=folder, canary=canary_of(out / "step-1"))) == versions[1]
    one, two, last = (load_file(out / name / "model.safetensors") for name in ("step-1", "step-2", "model"))
    assert all(torch.equal(two[name], last[name]) for name in last)
    assert any(not torch.equal(one[name], two[name]) for name in last)


def test_a_server_that_refuses_is_counted_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    # It may load from there, and its engine takes no weights while it runs.
    prover = ScriptedProver(lambda _text, _index: 0.5)
    with threaded_server(prover, admin_port=port, weights_root=str(tmp_path)) as url:
        log = trained(tmp_path / "run", url, f"http://127.0.0.1:{port}")
    assert [(entry["step"], entry["mrt/following/refused"]) for entry in log] == [(1, 1), (2, 1)]
    assert "keeps its old weights at step 2" in caplog.text
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_a_server_that_may_not_load_the_folder_is_reported_before_anything_is_trained(tmp_path: Path) -> None:
    root, port = tmp_path / "root", free_port()
    root.mkdir()
    with (
        threaded_server(admin_port=port, weights_root=str(root)) as url,
        pytest.raises(ConfigError, match=r"--mrt\.follow_steps: .* --weights-root .*run \(or a folder above\)"),
    ):
        trained(tmp_path / "run", url, f"http://127.0.0.1:{port}")
    assert not list((tmp_path / "run").iterdir())
