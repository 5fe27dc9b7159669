"""How many replicas there should be, by the prover tokens that wait in them.

Serve by itself counts requests, of which one may hold a trace or a thousand. This module imports nothing of ours,
because Serve imports it wherever its configuration is read: for `serve status`, too.
"""

from __future__ import annotations

from typing import Any

from ray.serve.config import AutoscalingContext

QUEUED_TOKENS = "queued_tokens"
"""Name under which replicas report them."""


class QueuedTokens:
    """Serve's autoscaling policy: so many replicas that each has `tokens_per_replica` queued in the mean.

    Bounds, delays and the window of the mean are those of `autoscaling_config`.

    Args:
        tokens_per_replica: prover tokens, admitted and not answered.

    """

    def __init__(self, tokens_per_replica: int = 2_000_000) -> None:
        self._tokens_per_replica = tokens_per_replica

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """How many replicas there should be, and nothing to remember."""
        reported = (context.aggregated_metrics or {}).get(QUEUED_TOKENS, {})
        wanted = sum(reported.values()) / self._tokens_per_replica
        if len(reported) < context.current_num_replicas:
            # One that starts, or cannot report, is not idle: none is taken away meanwhile.
            wanted = max(wanted, float(context.target_num_replicas))
        return wanted, {}
