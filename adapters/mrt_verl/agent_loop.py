"""veRL's agent loop with one step more: the marks of a trajectory go onto its own tokens."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import ray
import torch
from omegaconf import DictConfig
from verl.experimental.agent_loop.agent_loop import AgentLoopManager, AgentLoopOutput, AgentLoopWorker
from verl.protocol import DataProto

from mrt_reward.core.scale import ProgressScale
from mrt_reward.training.records import Lapse, Prefixed, Record
from mrt_reward.training.vouching import CanaryTokens
from mrt_verl import advantage
from mrt_verl.expand import WHERE, settings_of
from mrt_verl.marks import Mark, encode, encode_prefixed
from mrt_verl.reward_manager import RECORD, SCALE, STEP, VALIDATING, WRITER
from mrt_verl.tracking import follow_manager
from mrt_verl.vouching import vouch

MARKS = "mrt_marks"
MAX_RECORDS = 100_000

_trajectory: ContextVar[dict[str, Any] | None] = ContextVar("mrt_trajectory", default=None)

_OF_J = ProgressScale()

advantage.register()


class Marking:
    """What both of veRL's workers get: records are kept for the log, and become marks beside the output."""

    _records: deque[Record]
    _follows_writers = False

    async def _run_agent_loop(self, sampling_params: Any, trajectory: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if not self._follows_writers:
            self._follows_writers = True
            config: DictConfig | None = getattr(self, "config", None)
            if config is not None and settings_of(config).by_rollout:
                note_writers(self.llm_client)  # type: ignore[attr-defined] - of the base
        # The V1 trainer batches samples of several steps, and tells each its own.
        step = int(kwargs.get("global_steps", trajectory["step"]))
        token = _trajectory.set({VALIDATING: bool(trajectory["validate"]), STEP: step})
        try:
            return await super()._run_agent_loop(sampling_params, trajectory, **kwargs)  # type: ignore[misc]
        finally:
            _trajectory.reset(token)

    async def _compute_score(self, outputs: Any, *, kwargs: dict[str, Any], **more: Any) -> None:  # noqa: ANN401
        trajectory = _trajectory.get() or {VALIDATING: False}
        await super()._compute_score(outputs, kwargs={**kwargs, **trajectory}, **more)  # type: ignore[misc]
        # veRL 0.7 has one output at a time.
        final: AgentLoopOutput = outputs[-1] if isinstance(outputs, list) else outputs
        info = final.extra_fields.get("reward_extra_info")
        record = info.pop(RECORD, None) if info else None
        scale = info.pop(SCALE, None) if info else None
        if trajectory[VALIDATING]:
            return
        if record is None:
            record = Record(Lapse.UNSUPPORTED, "the agent loop rewarded this trajectory itself")
        self._keep(replace(record, rewarded_at=time.time()))
        final.extra_fields[MARKS] = marks_of(record, final.response_mask, scale or _OF_J)

    def _keep(self, record: Record) -> None:
        if not hasattr(self, "_records"):
            self._records = deque(maxlen=MAX_RECORDS)
        self._records.append(record)

    async def mrt_vouch(self) -> tuple[CanaryTokens, Any]:
        """What a replica writes by its weights of now, with its `TokenOutput`, for servers that take the same ones."""
        return await vouch(self.tokenizer, self.llm_client)  # type: ignore[attr-defined] - of the base

    async def mrt_records(self) -> list[Record]:
        """Records since the last call."""
        records: list[Record] = list(getattr(self, "_records", ()))
        self._records = deque(maxlen=MAX_RECORDS)
        return records


def marks_of(record: Record, response_mask: Sequence[int], scale: ProgressScale = _OF_J) -> list[Mark]:
    """Marks of a scored trajectory; the outcome's token must be one that the policy wrote."""
    if isinstance(record.what, Prefixed):
        return encode_prefixed(record.what, len(response_mask))
    what = record.what if response_mask and response_mask[-1] else Lapse.UNSUPPORTED
    return [] if what is None else encode(what, len(response_mask), scale)


def note_writers(client: Any) -> None:  # noqa: ANN401 - LLMServerClient
    """Note which replica a client sends the present trajectory to, since its tokens are cached there."""
    original: Callable[..., Any] = client._acquire_server  # noqa: SLF001 - pinned in the contract tests

    @functools.wraps(original)
    async def acquire_server(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - veRL's own
        server_id, handle = await original(*args, **kwargs)
        trajectory = _trajectory.get()
        if trajectory is not None:
            trajectory[WRITER] = server_id
        return server_id, handle

    client._acquire_server = acquire_server  # noqa: SLF001


class MRTAgentLoopWorker(Marking, AgentLoopWorker):
    """Worker of the legacy trainer, whose batches are padded here."""

    def _postprocess(self, inputs: list[Any], *args: Any, **kwargs: Any) -> DataProto:  # noqa: ANN401
        marked = [each.extra_fields.pop(MARKS, []) for each in inputs]
        data = super()._postprocess(inputs, *args, **kwargs)
        add_marks(data.batch["rm_scores"], marked)
        return data


def add_marks(reward_NT: torch.Tensor, marked: Sequence[Sequence[Mark]]) -> None:
    """Add each row's marks to its token rewards."""
    for row, marks in enumerate(marked):
        for token, value in marks:
            reward_NT[row, token] += value


class MRTAgentLoopManager(AgentLoopManager):
    """Manager of the legacy trainer's workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - veRL's own
        self.agent_loop_workers_class = ray.remote(MRTAgentLoopWorker)
        super().__init__(*args, **kwargs)
        begin(self)


def begin(manager: Any) -> None:  # noqa: ANN401 - one of two classes of veRL's
    """Log what this manager's workers record, and let its replicas prove if that is asked for."""
    follow_manager(manager)
    settings = settings_of(manager.config)
    if settings.by_rollout or settings.by_pool:
        from mrt_verl import service  # noqa: PLC0415 - earlier versions of veRL have not what it needs

        service.start(manager, settings, WHERE)
