"""Keys under which a request's ASGI scope holds what its middlewares found."""

from __future__ import annotations

REQUEST_ID = "mrt_reward.request_id"
"""The caller's name for the request, or one of ours."""

HOLDER = "mrt_reward.holder"
"""Name of the caller's key, where it has one."""

RECEIVED_AT = "mrt_reward.received_at"
"""When the request's head was there, in monotonic seconds."""

SCAN = "mrt_reward.scan"
"""What was counted in the body while it arrived."""
