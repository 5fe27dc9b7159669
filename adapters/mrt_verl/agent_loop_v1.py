"""The same for veRL's V1 trainer, whose workers put trajectories into a queue one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import transfer_queue
from verl.experimental.agent_loop import AgentLoopOutput, AgentLoopWorker
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ

from mrt_verl.agent_loop import MARKS, Marking, begin


def queue_methods() -> dict[str, Callable[..., Any]]:
    """What veRL's own worker adds to its base; Ray keeps the class itself from being a base."""
    raw = AgentLoopWorkerTQ.__ray_actor_class__  # type: ignore[attr-defined]
    return {name: method for name, method in vars(raw).items() if callable(method) and not name.startswith("__")}


class MarkedOutput(AgentLoopOutput):
    """An output whose token rewards carry marks."""

    def as_dict(self) -> dict[str, Any]:
        """As veRL's, with the marks added to `rm_scores`."""
        output = super().as_dict()
        marks = output["extra_fields"].pop(MARKS, [])
        if "rm_scores" in output:
            for token, value in marks:
                output["rm_scores"][token] += value
        return output


class QueueWorker(AgentLoopWorker):
    """veRL's worker of the V1 trainer, as a class that can be a base."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - veRL's own
        super().__init__(*args, **kwargs)
        transfer_queue.init()
        self.background_tasks: set[Any] = set()


for _name, _method in queue_methods().items():
    setattr(QueueWorker, _name, _method)


class MRTAgentLoopWorkerTQ(Marking, QueueWorker):
    """Worker of the V1 trainer; TQ is veRL's suffix for what uses its TransferQueue."""

    async def _compute_score(self, outputs: list[AgentLoopOutput], *, kwargs: dict[str, Any], **more: Any) -> None:  # noqa: ANN401
        await super()._compute_score(outputs, kwargs=kwargs, **more)
        final = outputs[-1]
        if MARKS in final.extra_fields:
            fields = {name: getattr(final, name) for name in AgentLoopOutput.model_fields}
            outputs[-1] = MarkedOutput.model_construct(_fields_set=set(final.model_fields_set), **fields)


class MRTAgentLoopManagerTQ(AgentLoopManagerTQ):
    """Manager of the V1 trainer's workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - veRL's own
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(MRTAgentLoopWorkerTQ)
        begin(self)
