"""What a trainer's user can choose about a prover that follows the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from mrt_reward.ranges import option


@dataclass(frozen=True, kw_only=True)
class FollowOptions:
    """Whether the prover follows, where its server is, and which weights are kept for it."""

    follow_steps: Annotated[int, Ge(1)] | None = option(
        None, "Send the policy's weights to the prover every N steps. Unset: never."
    )
    keep_last: Annotated[int, Ge(1)] | None = option(
        None,
        "Folders of weights that are kept, of those that `follow_steps` had written (by the custom loop and OpenRLHF; "
        "checkpoints of veRL and TRL are deleted by their own option). Older ones are deleted once every server has "
        "taken newer weights. Unset: all are kept.",
    )
    admin_url: str | list[str] = option("http://127.0.0.1:8001", "Admin ports of the servers, for `follow_steps`.")
    admin_key_env: str = option("MRT_REWARD_ADMIN_KEY", "Environment variable that holds their admin key, if any.")

    def follows_at(self, step: int) -> bool:
        """Whether the prover gets the weights of a step."""
        return self.follow_steps is not None and step % self.follow_steps == 0

    @property
    def admin_urls(self) -> list[str]:
        """All admin ports."""
        return [self.admin_url] if isinstance(self.admin_url, str) else list(self.admin_url)
