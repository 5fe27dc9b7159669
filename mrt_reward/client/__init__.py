"""The client: one asynchronous implementation, and a synchronous face of it."""

from mrt_reward.client.aio import AsyncClient
from mrt_reward.client.retry import MALFORMED, UNREACHABLE, RetryPolicy
from mrt_reward.client.sync import Client

__all__ = ["MALFORMED", "UNREACHABLE", "AsyncClient", "Client", "RetryPolicy"]
