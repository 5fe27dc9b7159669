"""One real batch to an advantage, on any veRL that the launcher takes: `python -m tests.verl.one_batch FOLDER`.

veRL's own agent loop asks the bundled model, its reward loop asks our manager and that a real server, and its own
`compute_advantage` calls the estimator; what comes out is compared with `core/credit.py`. Only the engines are missing,
which earlier versions cannot run on a CPU.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
import torch
import verl
from hydra import compose, initialize_config_module
from mrt_verl import plugin
from transformers import AutoModelForCausalLM
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.experimental.reward_loop import RewardLoopWorker, migrate_legacy_reward_impl
from verl.protocol import DataProto
from verl.trainer.ppo.ray_trainer import compute_advantage

from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problem
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from tests.serving import Server
from tests.verl.checking import Row, expected, score_again
from tests.verl.cpu.run import REWARD

NUM_PROMPTS, NUM_SAMPLES = 2, 4
ARGUMENTS = [
    f"actor_rollout_ref.model.path={MODEL_DIR}",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1",
    "actor_rollout_ref.rollout.name=vllm",
    "actor_rollout_ref.rollout.prompt_length=128",
    "actor_rollout_ref.rollout.response_length=320",
    f"reward.custom_reward_function.path={REWARD}",
    "reward.type=mrt",
    "reward.mrt.segmenter=paragraphs",
]


class Policy:
    """What a rollout server answers, sampled by transformers."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model: Any = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)

    async def generate(self, *, prompt_ids: Sequence[int], **_: Any) -> Any:
        given = torch.tensor([list(prompt_ids)])
        ids = self.model.generate(given, do_sample=True, top_k=0, max_new_tokens=320)[0, len(prompt_ids) :].tolist()
        return SimpleNamespace(token_ids=ids, log_probs=None, routed_experts=None, num_preempted=0, extra_fields={})


def worker_of(config: Any, reward_loop: Any) -> Any:
    """Our agent loop's worker in this process, with the policy in place of rollout servers."""
    from mrt_verl.agent_loop import MRTAgentLoopWorker  # noqa: PLC0415 - after the plug-in

    policy: Any = Policy()

    class Worker(MRTAgentLoopWorker):
        # veRL 0.7 makes its own manager of servers, unless there is one; later ones are given it.
        server_manager = policy

    given: Any = [] if "servers" in AgentLoopWorker.__init__.__annotations__ else policy
    return Worker(config, given, None, [reward_loop])  # type: ignore[arg-type]


def prompts(answers: dict[str, str]) -> DataProto:
    """Each problem several times, as a trainer hands them over."""
    rows = [(text, f"uid{index}") for index, text in enumerate(answers) for _ in range(NUM_SAMPLES)]

    def column(values: Sequence[Any]) -> Any:
        filled = np.empty(len(values), dtype=object)
        filled[:] = values
        return filled

    columns = {
        "raw_prompt": column([[{"role": "user", "content": text}] for text, _ in rows]),
        "uid": column([uid for _, uid in rows]),
        "data_source": column(["island"] * len(rows)),
        "reward_model": column([{"ground_truth": answers[text]} for text, _ in rows]),
        "extra_info": column([{} for _ in rows]),
    }
    return DataProto(batch=None, non_tensor_batch=columns, meta_info={"global_steps": 1, "validate": False})


def rows_of(data: DataProto) -> list[Row]:
    """The batch without its padding."""
    width = data.batch["responses"].shape[1]
    rows: list[Row] = []
    for index, mask in enumerate(data.batch["attention_mask"].bool()):

        def kept(name: str, of: Any, index: int = index) -> Any:
            return data.batch[name][index][of].float().numpy()

        asked, answered = mask[:-width], mask[-width:]
        rows.append(
            Row(
                data.non_tensor_batch["uid"][index],
                kept("prompts", asked).astype(int).tolist(),
                kept("responses", answered).astype(int).tolist(),
                kept("response_mask", answered).astype(int).tolist(),
                kept("rm_scores", answered).astype(float),
                kept("advantages", answered).astype(float),
            )
        )
    return rows


def main(folder: Path) -> None:
    """Compare, and print what was found."""
    from mrt_verl.expand import expand  # noqa: PLC0415 - after the plug-in

    rng = np.random.default_rng(1)
    answers = {problem.text: str(problem.answer) for problem in (sample_problem(rng) for _ in range(NUM_PROMPTS))}
    server = Server(folder)
    server.start()
    try:
        server.wait()
        plugin.register()
        with initialize_config_module("verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", overrides=[*ARGUMENTS, f"reward.mrt.url={server.url}"])
        config = migrate_legacy_reward_impl(config)
        assert expand(config)
        ray.init("local", num_cpus=4, include_dashboard=False)
        reward_loop = ray.remote(RewardLoopWorker).remote(config, None)  # type: ignore[arg-type]
        data = asyncio.run(worker_of(config, reward_loop).generate_sequences(prompts(answers)))
        data.non_tensor_batch["uid"] = prompts(answers).non_tensor_batch["uid"]
        data.batch["token_level_rewards"] = data.batch["rm_scores"]
        data = compute_advantage(data, adv_estimator="mrt", config=config.algorithm)  # type: ignore[arg-type]
    finally:
        server.kill()
        ray.shutdown()
    rows = rows_of(data)
    scored = score_again(rows, answers, ScoreOptions(segmenter=ParagraphSegmenter("paragraphs")))
    wanted = expected(rows, scored, CreditConfig())
    apart = max(float(np.abs(row.advantage - each).max()) for row, each in zip(rows, wanted, strict=True))
    found = {
        "verl": verl.__version__,
        "traces": len(rows),
        "episodes": sum(len(trace.episodes) for trace in scored),
        "distinct_advantages": len({round(float(each), 6) for row in rows for each in row.advantage}),
        "largest_difference": apart,
    }
    print(json.dumps(found))
    assert apart < 1e-5


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
