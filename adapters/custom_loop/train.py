"""GRPO paid for progress: a whole training loop in plain PyTorch and transformers, to copy and to change.

    python adapters/custom_loop/train.py --out run --mrt.url policy      the policy proves itself; mini, on a CPU
    mrt-reward serve & python adapters/custom_loop/train.py --out run    or a server does, mini as well

A step is draw → think → score → pay → learn. `draw` and `outcome` are the task: replace them. `--mrt.alpha 0` is GRPO.
MRT-RL, which starts from prefixes of old traces, is prefixes.py.

Dimension key: B rows of a batch, group after group · P tokens of a padded prompt · T tokens of a padded response.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.progress import track
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from mrt_reward.errors import ConfigError, MRTRewardError
from mrt_reward.in_process import PolicyScorer, policy_canary
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problem
from mrt_reward.mini.template import boxed_answer
from mrt_reward.training.advantages import batch_advantages, check_failures
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.following import check_shared, hand_over
from mrt_reward.training.metrics import batch_metrics, in_words, record_metrics
from mrt_reward.training.records import Record
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import BatchScorer, TraceScorer
from mrt_reward.training.servers import check_servers, check_without_server
from mrt_reward.training.settings import TrainingSettings, as_json, from_flags, load_training_settings
from mrt_reward.types import Message


class LoopSettings(BaseSettings):
    """GRPO paid for progress by `mrt-reward serve`, or, by --mrt.url policy, by itself. null leaves a value unset."""

    model_config = SettingsConfigDict(env_prefix="MRT_LOOP_", cli_implicit_flags=True, cli_hide_none_type=True)

    out: Annotated[Path, Field(description="Folder of the run: state.pt, log.jsonl, and in the end model/.")]
    resume: Annotated[bool, Field(description="Go on with the run in that folder, if there is one.")] = False
    model: Annotated[Path, Field(description="Folder of the policy; this is the bundled mini.")] = MODEL_DIR
    steps: Annotated[int, Field(ge=1, description="Optimiser steps in all.")] = 40
    problems: Annotated[int, Field(ge=1, description="Problems of a step.")] = 8
    group_size: Annotated[int, Field(ge=1, description="Traces of each problem.")] = 8
    max_tokens: Annotated[int, Field(ge=1, description="Longest response, in tokens.")] = 180
    temperature: Annotated[float, Field(gt=0, description="Of the policy's sampling.")] = 1.0
    learning_rate: Annotated[float, Field(gt=0, description="Of AdamW.")] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0, description="Steps until the learning rate is reached, in a line.")] = 0
    decay: Annotated[bool, Field(description="Let the learning rate then fall in a line, to 0 after the last.")] = False
    max_grad_norm: Annotated[float, Field(gt=0, description="Gradients are clipped to this norm.")] = 1.0
    micro_rows: Annotated[int, Field(ge=1, description="Traces of one backward pass; a matter of memory.")] = 16
    save_steps: Annotated[int, Field(ge=1, description="Steps between saves, which is what a kill may lose.")] = 1
    seed: Annotated[int, Field(ge=0, description="Of problems and sampling, together with the step's number.")] = 0
    mrt: Annotated[TrainingSettings, Field(default_factory=TrainingSettings)]


@dataclass(frozen=True)
class PolicyRollouts:
    """What the policy answered: ids and mask, (B, P + T), prompts padded on the left and responses on the right."""

    problems: list[Any]  # each has a `text` and an `answer`
    ids: Tensor
    mask: Tensor
    num_prompt: int

    def response(self, row: int) -> Response:
        """A row as the prover is asked about it, without padding."""
        problem, cut = self.problems[row], self.num_prompt
        ids, mask = self.ids[row].cpu(), self.mask[row].bool().cpu()
        prompt, response = (cast("list[int]", half.tolist()) for half in (ids[:cut][mask[:cut]], ids[cut:][mask[cut:]]))
        return Response(prompt, response, [Message("user", problem.text)], [str(problem.answer)], problem.text)


class Loop:
    """A policy in training, and the log of its steps."""

    mode = "episodes"
    template: str | None = None  # of the prompts; None is the tokenizer's own

    def __init__(self, settings: LoopSettings) -> None:
        self.settings = settings
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer: Any = AutoTokenizer.from_pretrained(settings.model, padding_side="left")
        self.policy = cast("Any", AutoModelForCausalLM).from_pretrained(settings.model, dtype="float32").to(self.device)
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=settings.learning_rate, weight_decay=0.0)
        self.scorer: BatchScorer = TraceScorer(settings.mrt, PolicyTokens.of(self.tokenizer, settings.model))
        if settings.mrt.by_policy:
            self.scorer = PolicyScorer(self.policy, self.tokenizer, settings.mrt, "--mrt")
        self.log: list[dict[str, float]] = []

    def draw(self, rng: np.random.Generator) -> Sequence[Any]:
        """Problems of a step; each has a `text` and an `answer`."""
        return [sample_problem(rng) for _ in range(self.settings.problems)]

    def outcome(self, response: Response) -> float:
        """Reward r of a finished response, from all of its text: its prompt may have closed the thinking."""
        text = self.tokenizer.decode([*response.prompt_ids, *response.response_ids])
        return float([str(boxed_answer(text))] == response.answer)

    async def step(self) -> None:
        """One step. Its draws depend on the seed and its number alone, so there is no random state to lose."""
        started, number = time.perf_counter(), len(self.log)
        rng = np.random.default_rng([self.settings.seed, number])
        torch.manual_seed(int(rng.integers(2**63)))
        rollouts = self.think(self.draw(rng))
        advantage_BT, metrics = await self.advantages(rollouts)
        metrics["grad_norm"] = self.learn(rollouts, advantage_BT)
        folder = self.settings.out.absolute() / f"step-{number + 1}"
        canary = lambda: policy_canary(self.policy, self.tokenizer)  # noqa: E731 - for a server that follows to compare
        metrics |= hand_over(folder, self.settings.mrt, number + 1, save=self.export, canary=canary)
        self.log.append({"step": number + 1, **metrics, "seconds": time.perf_counter() - started})

    @torch.no_grad()
    def think(self, problems: Sequence[Any]) -> PolicyRollouts:
        """Sample a group of responses to each problem."""
        prompts = self.tokenizer.apply_chat_template(
            [[{"role": "user", "content": problem.text}] for problem in problems], chat_template=self.template,
            add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True,
        ).to(self.device)  # fmt: skip
        size, num_prompt, end = self.settings.group_size, prompts["input_ids"].shape[1], self.tokenizer.eos_token_id
        ids = self.policy.generate(
            **prompts, num_return_sequences=size, max_new_tokens=self.settings.max_tokens,
            do_sample=True, temperature=self.settings.temperature, top_k=0, top_p=1.0, eos_token_id=end,
        )  # fmt: skip
        ends = (ids[:, num_prompt:] == end).long()
        mask = torch.cat([prompts["attention_mask"].repeat_interleave(size, 0), (ends.cumsum(1) <= ends).long()], 1)
        return PolicyRollouts([problem for problem in problems for _ in range(size)], ids, mask, num_prompt)

    async def advantages(self, rollouts: PolicyRollouts) -> tuple[Tensor, dict[str, float]]:
        """What each token is paid, (B, T), and what is logged."""
        records, how = await self.score(rollouts)
        advantage_BT, what = self.pay(records)
        return advantage_BT, what | how

    async def score(self, rollouts: PolicyRollouts) -> tuple[list[Record], dict[str, float]]:
        """Outcome of each row beside the prover's values, or why there are none; and how scoring went."""
        step = len(self.log)  # the problems of later steps get fresh noise where answers are coupled
        responses = [replace(rollouts.response(row), step=step) for row in range(len(rollouts.problems))]
        started = time.perf_counter()
        records = await self.scorer.score_all(responses)
        waited_s = time.perf_counter() - started
        records = [
            record.rewarded(self.outcome(response), len(response.response_ids))
            for response, record in zip(responses, records, strict=True)
        ]
        if reasons := [record.reason for record in records if record.reason]:
            print(f"{len(reasons)} of {len(records)} traces have no values, one because: {reasons[0]}")
        return records, record_metrics(records, waited_s)

    def pay(self, records: Sequence[Record]) -> tuple[Tensor, dict[str, float]]:
        """Advantage of each token, (B, T): A_outcome + α·(G[j] - b[j]) in episode j; A_outcome without values."""
        mrt, size = self.settings.mrt, self.settings.group_size
        check_failures(records, mrt.on_failure, mrt.max_failed_share, "--mrt")
        credit = mrt.credit_config()
        paid = batch_advantages(records, [row // size for row in range(len(records))], credit, mrt.on_failure)
        advantage_BT = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, paid.advantage_NT)), batch_first=True)
        metrics = batch_metrics(records, mrt, mrt.regret_budget or self.settings.max_tokens)
        metrics |= {"mrt/groups/mixed_versions": paid.num_mixed, "mrt/waste_threshold": mrt.waste_threshold}
        metrics["response_length/mean"] = float(np.mean([record.num_tokens for record in records]))
        return advantage_BT.float().to(self.device), metrics

    def learn(self, rollouts: PolicyRollouts, advantage_BT: Tensor) -> float:
        """One optimiser step on -Σ A·log π / tokens: GRPO's, as a batch is used once. Returns the gradient's norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        is_response = rollouts.mask[:, rollouts.num_prompt :]
        self.optimizer.zero_grad()
        for rows in torch.split(torch.arange(len(advantage_BT)), self.settings.micro_rows):
            gain: Any = (advantage_BT * is_response)[rows] * self.logprobs(rollouts, rows)
            (-gain.sum() / is_response.sum()).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        return float(norm)

    @property
    def learning_rate(self) -> float:
        """Of the step that comes next."""
        num_steps, warmup = self.settings.steps, self.settings.warmup_steps
        rising = (len(self.log) + 1) / max(warmup, 1)
        falling = (num_steps - len(self.log)) / max(num_steps - warmup, 1) if self.settings.decay else 1.0
        return self.settings.learning_rate * min(rising, falling, 1.0)

    def logprobs(self, rollouts: PolicyRollouts, rows: Tensor) -> Tensor:
        """Log-probability of each response token, at the temperature that it was sampled with; (rows, T)."""
        ids, mask, target = rollouts.ids[rows], rollouts.mask[rows], rollouts.ids[rows, rollouts.num_prompt :]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.policy(ids, attention_mask=mask, position_ids=positions, logits_to_keep=target.shape[1] + 1)
        logits = output.logits[:, :-1] / self.settings.temperature
        return -torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")

    def save(self) -> None:
        """All in one file, replaced in one go, so that what a kill leaves fits together; log.jsonl is for people."""
        state = {"settings": self.identity(), "log": self.log, "policy": self.policy.state_dict()}
        torch.save({**state, "optimizer": self.optimizer.state_dict()}, self.settings.out / "state.part")
        (self.settings.out / "state.part").replace(self.settings.out / "state.pt")
        (self.settings.out / "log.part").write_text("".join(json.dumps(entry) + "\n" for entry in self.log))
        (self.settings.out / "log.part").replace(self.settings.out / "log.jsonl")

    def load(self) -> None:
        """Go on where the run in the folder was saved; raises ConfigError where it is not this one."""
        out = self.settings.out
        state = torch.load(out / "state.pt", map_location=self.device, weights_only=True)
        now, then = self.identity(), state["settings"]
        if other := [f"{name} is {now[name]} and was {then.get(name)}" for name in now if now[name] != then.get(name)]:
            raise ConfigError(f"{out} cannot go on with other settings: {'; '.join(other)}")
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log = state["log"]

    def export(self, folder: Path) -> None:
        """Write the policy as a model in Hugging Face format."""
        self.policy.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def identity(self) -> dict[str, Any]:
        """The settings that make a run what it is."""
        servers = {"url", "api_key_env", "admin_url", "admin_key_env", "timeout_s"}
        mrt = {name: value for name, value in as_json(self.settings.mrt).items() if name not in servers}
        mrt["url"] = "policy" if self.settings.mrt.by_policy else None  # one server is as good as another
        # The rate hangs on the number of steps only where it falls.
        elsewhere = ["out", "resume", "save_steps", "mrt", *([] if self.settings.decay else ["steps"])]
        mine = self.settings.model_dump(mode="json", exclude=set(elsewhere))
        return mine | {f"mrt.{name}": value for name, value in mrt.items()}


async def train(settings: LoopSettings, kind: type[Loop] = Loop) -> None:
    """A whole run, or the rest of it; raises ConfigError before it starts where it could not go well."""
    mrt = load_training_settings(as_json(settings.mrt), where="--mrt")
    if mrt.mode != kind.mode:
        raise ConfigError("--mrt.mode episodes is trained by train.py, and --mrt.mode prefix by prefixes.py beside it")
    if (settings.out / "state.pt").exists() and not settings.resume:
        raise ConfigError(f"{settings.out} holds a run already: go on with --resume, or choose another --out")
    if mrt.by_policy:
        check_without_server(mrt, "--mrt")
    elif mrt.mode == "episodes":
        check_servers(mrt, "--mrt")
        check_shared(settings.out.absolute(), mrt, "--mrt")
    settings.out.mkdir(parents=True, exist_ok=True)
    loop = kind(settings)
    if (settings.out / "state.pt").exists():
        loop.load()
    for number in track(range(len(loop.log) + 1, settings.steps + 1), "training", settings.steps, len(loop.log)):
        await loop.step()
        if number % settings.save_steps == 0 or number == settings.steps:
            loop.save()
        print(f"step {number}: {in_words(loop.log[-1])}, {loop.log[-1]['seconds']:.1f} s")
    await loop.scorer.close()
    loop.export(settings.out / "model")


def main(settings: type[LoopSettings] = LoopSettings, kind: type[Loop] = Loop) -> None:
    """The command."""
    try:
        asyncio.run(train(from_flags(settings), kind))
    except MRTRewardError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
