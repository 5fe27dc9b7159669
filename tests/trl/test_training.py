"""TRL trains the bundled model on a CPU, against a real server, and each token is paid what core says."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from mrt_trl.checks import LOGP_LOSSES, RATIO_LOSSES
from safetensors.torch import load_file
from transformers import TrainerCallback

from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from tests.serving import Server
from tests.trl.policy import Generated, Recorded, problems, right, steps_of, trainer
from tests.verl.checking import Row, answer_of, expected, score_again

OPTIONS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("weights"))
    made.start()
    try:
        made.wait()
        yield made
    finally:
        made.kill()


def rows_of(made: Recorded, batch: Generated) -> list[Row]:
    """What was trained on, its outcome worked out once more from the text."""
    tokenizer: Any = made.processing_class
    answers = {row["prompt"][0]["content"]: row["solution"] for row in problems()}
    rows: list[Row] = []
    for index, length in enumerate(batch.lengths):
        prompt = batch.output["prompt_ids"][index][batch.output["prompt_mask"][index] == 1].tolist()
        response = batch.output["completion_ids"][index, :length].tolist()
        [outcome] = right([tokenizer.decode(response)], [answer_of(tokenizer.decode(prompt), answers)])
        assert outcome is not None
        advantage = batch.advantages[index, :length].double().numpy()
        mask = batch.output["completion_mask"][index, :length].tolist()
        rows.append(
            Row(str(index // int(made.num_generations or 1)), prompt, response, mask, np.array([outcome]), advantage)
        )
    return rows


def check_batch(made: Recorded, batch: Generated, config: CreditConfig) -> None:
    """Each token is paid what core gives, by another road than the adapter's."""
    rows = rows_of(made, batch)
    answers = {row["prompt"][0]["content"]: row["solution"] for row in problems()}
    scored = score_again(rows, answers, OPTIONS)
    for row, trace, wanted in zip(rows, scored, expected(rows, scored, config), strict=True):
        assert trace.status == "ok", trace.error
        assert row.advantage == pytest.approx(wanted, abs=2e-5)
    assert sum(len(trace.episodes) for trace in scored) > len(rows)


def check_buffers(made: Recorded, batch: Generated) -> None:
    """TRL shuffles and splits the batch: each completion keeps its own advantages."""
    rows = zip(batch.output["completion_ids"], batch.advantages, strict=True)
    advantages = {tuple(ids.tolist()): row for ids, row in rows}
    assert made._buffered_inputs is not None
    pieces: Any = made._buffered_inputs
    assert len(pieces) == 2
    for piece in pieces:
        assert piece["advantages"].shape == piece["completion_ids"].shape
        for ids, row in zip(piece["completion_ids"], piece["advantages"], strict=True):
            assert row.equal(advantages[tuple(ids.tolist())])


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", [*RATIO_LOSSES, *LOGP_LOSSES])
def test_every_loss_trains_on_progress(tmp_path: Path, server: Server, loss_type: str) -> None:
    # Two groups in one generation batch, split for two steps and trained on twice.
    made = trainer(
        tmp_path,
        server.url,
        {"alpha": 0.5, "credit": "to_go", "baseline": "group"} if loss_type == "grpo" else None,
        loss_type=loss_type,
        max_steps=3,
        num_generations=2,
        per_device_train_batch_size=2,
        steps_per_generation=2,
        num_iterations=2,
        seed=len(loss_type),
    )
    before = {name: each.clone() for name, each in made.model.named_parameters()}  # type: ignore[union-attr]
    made.train()
    [batch] = made.kept
    config = CreditConfig(epsilon=1e-4, singleton="zero")
    if loss_type == "grpo":
        config = CreditConfig(alpha=0.5, credit="to_go", baseline="group", epsilon=1e-4, singleton="zero")
    check_batch(made, batch, config)
    check_buffers(made, batch)
    assert not (batch.advantages - batch.theirs_B[:, None]).eq(0).all()
    steps = steps_of(made)
    assert len(steps) == 3
    assert all(math.isfinite(step["grad_norm"]) and step["grad_norm"] > 0 for step in steps)
    assert steps[0]["mrt/failed/share"] == 0
    assert steps[0]["mrt/traces/scored"] == 4
    assert {"mrt/progress/mean", "mrt/value/first", "mrt/regret", "mrt/prover/latency_s/mean"} <= set(steps[0])
    # Later steps train on the same batch, and have nothing new to tell.
    assert "mrt/traces/scored" not in steps[1]
    assert any(not before[name].equal(each) for name, each in made.model.named_parameters())  # type: ignore[union-attr]


class Restart(TrainerCallback):
    """Kills the server after the first step; another is there while the next batch waits for its scores."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.timer: threading.Timer | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 1:
            self.server.kill()
            self.timer = threading.Timer(1.0, self.server.start)
            self.timer.start()


@pytest.mark.slow
def test_a_restarted_server_is_waited_for_and_the_prover_follows(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    restart = Restart(server)
    try:
        server.wait()
        before = httpx.get(f"{server.url}/v1/prover").json()
        admin_url = f"http://127.0.0.1:{server.admin_port}"
        made = trainer(
            tmp_path,
            server.url,
            {"follow_steps": 2, "admin_url": admin_url},
            max_steps=2,
            save_strategy="steps",
            save_steps=2,
            gradient_accumulation_steps=2,
            per_device_train_batch_size=2,
            callbacks=[restart],
        )
        made.train()
        after = httpx.get(f"{server.url}/v1/prover").json()
    finally:
        if restart.timer is not None:
            restart.timer.join()
        server.kill()
    first, second = steps_of(made)
    assert first["mrt/failed/share"] == second["mrt/failed/share"] == 0
    assert second["mrt/traces/scored"] == 4
    for batch in made.kept:
        check_batch(made, batch, CreditConfig(epsilon=1e-4, singleton="zero"))
    last = made.state.log_history[-1]
    # What TRL's policy says of its weights is what the server finds in the checkpoint.
    following = {name: value for name, value in last.items() if name.startswith("mrt/following/")}
    assert following == {"mrt/following/step": 2.0, "mrt/following/refused": 0.0, "mrt/following/vouched": 1.0}
    assert after["version"] != before["version"]
    assert after["model"] == "checkpoint-2"
    saved = load_file(tmp_path / "out" / "checkpoint-2" / "model.safetensors")
    assert all(torch.isfinite(weights).all() for weights in saved.values())
