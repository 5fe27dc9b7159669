"""What every pass over a model must give: finite numbers."""

from __future__ import annotations

from torch import Tensor

from mrt_reward.errors import ProverError


def finite(logits: Tensor) -> Tensor:
    """The logits as they are.

    Raises:
        ProverError: not all of them are finite numbers.

    """
    # The largest of a row is finite exactly where no logit is NaN or +inf and not all are -inf.
    if not bool(logits.amax(dim=-1).isfinite().all()):
        raise ProverError(
            "the model gave logits that are not finite numbers; check its weights, or use a wider dtype",
            code="non_finite_logits",
        )
    return logits
