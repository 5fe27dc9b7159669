"""The rollout side: the user's own agent or reward gives the outcome, and the server what its episodes earned."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from openrlhf.utils.agent import AgentExecutorBase, SingleTurnAgentExecutor
from transformers.utils.hub import cached_file

from mrt_openrlhf.labels import EvaluationLabel, TrainingLabel, prefix_columns
from mrt_openrlhf.payload import KEY, pack
from mrt_openrlhf.setup import Setup
from mrt_reward.errors import GraderError
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.prefix import trained_part
from mrt_reward.training.records import Lapse, Prefixed, Record
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import TraceScorer

logger = logging.getLogger("mrt")

_IF_THERE: dict[str, Any] = {"_raise_exceptions_for_missing_entries": False}


@dataclass(frozen=True, slots=True)
class _Sample:
    """What is known of a sample before it is answered: its own label without our marks, and its row of prefixes."""

    prompt: str
    label: Any
    row: Prefixed | None
    step: int

    @property
    def answer(self) -> object:
        """Accepted gold answers."""
        return cast("Mapping[str, Any]", self.label).get("answer") if isinstance(self.label, Mapping) else self.label


class AgentExecutor(AgentExecutorBase):
    """Runs the user's own agent, or OpenRLHF's single turn with the user's own reward, and scores what it wrote.

    What `execute` returns is theirs, with one row of numbers more among its `extra_logs`; evaluation samples are
    returned as they are.
    """

    def __init__(self) -> None:
        self._setup = Setup.from_environment()
        self._inner: Any = _users_agent(self._setup)
        self._settings = self._setup.settings
        self._scorer: TraceScorer | None = None
        self._num_lapses = 0

    async def execute(  # noqa: PLR0913, PLR0917 - OpenRLHF's own
        self,
        prompt: str,
        label: Any,  # noqa: ANN401 - a dataset's column
        sampling_params: Any,  # noqa: ANN401 - of vLLM
        max_length: int,
        hf_tokenizer: Any,  # noqa: ANN401 - of transformers
        llm_engine: Any,  # noqa: ANN401 - OpenRLHF's rollout actor
        images: Any = None,  # noqa: ANN401 - a dataset's column
    ) -> dict[str, Any]:
        """One sample, with its outcome and its progress.

        Raises:
            GraderError: the user's reward gave none.

        """
        evaluating = isinstance(label, EvaluationLabel)
        step = label.step if isinstance(label, TrainingLabel) else 0
        given = label.label if isinstance(label, (EvaluationLabel, TrainingLabel)) else label
        row = None
        if self._settings.mode == "prefix":
            row, given = prefix_columns(given)
        output: dict[str, Any] = await self._inner.execute(
            prompt, given, sampling_params, max_length, hf_tokenizer, llm_engine, images
        )
        if output.get("reward") is None and (self._setup.rewards or self._setup.agent):
            where = self._setup.agent or ", ".join(self._setup.rewards)
            raise GraderError(
                f"{where} gave no reward for a sample, and OpenRLHF would stop at it later without a reason: see the "
                "message above it in this worker's log, and that the reward is reachable from every node"
            )
        rewarded = time.perf_counter()
        if not evaluating:
            # An agent's text may be longer than what OpenRLHF keeps of it.
            tokens = list(output["observation_tokens"][:max_length])
            sample = _Sample(prompt, given, row, step)
            record, num_tokens = await self._scored(tokens, output["action_ranges"], hf_tokenizer, sample)
            record = replace(record, waited_s=time.perf_counter() - rewarded, rewarded_at=time.time())
            output["extra_logs"] = {**(output.get("extra_logs") or {}), KEY: pack(record, num_tokens)}
        return output

    async def _scored(
        self,
        tokens: Sequence[int],
        action_ranges: Sequence[tuple[int, int]],
        hf_tokenizer: Any,  # noqa: ANN401 - of transformers
        sample: _Sample,
    ) -> tuple[Record, int]:
        """Record of a sample, and how many of its tokens the policy wrote."""
        # OpenRLHF's mask has no place for the very first token.
        written = [(max(start, 1), min(end, len(tokens))) for start, end in action_ranges if start < len(tokens)]
        num_tokens = sum(end - start for start, end in written)
        if len(written) != 1:
            why = f"the agent made {len(written)} turns, and progress is that of one response"
            return self._logged(Record(Lapse.UNSUPPORTED, why)), num_tokens
        [(start, end)] = written
        scorer = self._scorer = self._scorer or TraceScorer(self._settings, policy_tokens(hf_tokenizer))
        group = hashlib.sha256(sample.prompt.encode()).hexdigest()[:16]
        response = Response(tokens[:start], tokens[start:end], answer=sample.answer, group=group, step=sample.step)
        if sample.row is not None:
            return Record(trained_part(sample.row, response, scorer.tokens, self._settings.delimiters)), num_tokens
        return self._logged(await scorer.score(response)), num_tokens

    def _logged(self, record: Record) -> Record:
        if isinstance(record.what, Lapse) and record.what.failed:
            self._num_lapses += 1
            # The first ones are logged, and then ever fewer: a dead server must not fill the disk.
            if self._num_lapses & (self._num_lapses - 1) == 0:
                logger.warning("mrt: no progress (%s): %s", record.what.name.lower(), record.reason)
        return record


def policy_tokens(tokenizer: Any) -> PolicyTokens:  # noqa: ANN401 - of transformers
    """Tokens of a tokenizer that was loaded from a folder or from the hub's cache, by the file that it came from."""
    name = str(tokenizer.name_or_path)
    file = cached_file(name, "tokenizer.json", local_files_only=True, **_IF_THERE) if name else None
    return PolicyTokens.of(tokenizer, None if file is None else Path(file).parent)


def _users_agent(setup: Setup) -> AgentExecutorBase:
    if setup.agent is None:
        return SingleTurnAgentExecutor(list(setup.rewards) or None)
    from openrlhf.trainer.ray import vllm_engine  # noqa: PLC0415 - it brings vLLM

    # What loads this file too.
    return vllm_engine._load_agent_executor(setup.agent)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
