"""The file that OpenRLHF's rollout workers load as the agent of a run."""

from __future__ import annotations

from mrt_openrlhf.executor import AgentExecutor

__all__ = ["AgentExecutor"]
