"""What vLLM's CPU build (0.32) leaves out of `reload_weights` where a model's head shares the embedding's weights.

The CPU build multiplies by packed copies of weights. A reload packs anew what it loads, and a shared head is not among
that: its parameter is the new one, and its packed copy the old one. GPU builds multiply by the parameter itself.
"""

from __future__ import annotations

from typing import Any


class RepackedHead:
    """Mixed into vLLM's worker by `--worker-extension-cls`, so that `/collective_rpc` reaches it."""

    model_runner: Any

    def repack_head(self) -> None:
        """Pack the head's present weights."""
        head = self.model_runner.model.lm_head
        head.quant_method.process_weights_after_loading(head)
