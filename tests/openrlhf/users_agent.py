"""An agent of a user's: answers at once, in one turn or in two, and gives its own reward."""

from __future__ import annotations

import os
from typing import Any

import torch
from openrlhf.utils.agent import AgentInstanceBase, MultiTurnAgentExecutor


class Instance(AgentInstanceBase):
    def __init__(self, *_: Any, **__: Any) -> None:
        self.left = int(os.environ.get("TURNS", "1"))

    async def step(self, state_dict: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.left -= 1
        right = float(state_dict["label"] in state_dict["action_text"])
        return {
            "rewards": torch.tensor(right),
            "scores": torch.tensor(right),
            "environment_feedback": "" if not self.left else "\nGo on.\n",
            "done": not self.left,
            "extra_logs": {"theirs": torch.tensor(right)},
        }


class AgentExecutor(MultiTurnAgentExecutor):
    def __init__(self) -> None:
        super().__init__(Instance)
