"""When the engine's one worker last got on: noted in its thread, read from any."""

from __future__ import annotations

import time

import torch


class Pulse:
    """Beats between passes and between layers while a worker works; silence means that it hangs.

    A layer is the smallest part of a proof that is alike on every model: it takes milliseconds to a few seconds.
    """

    def __init__(self) -> None:
        self._at: float | None = None

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last beat; None while nothing is under way."""
        at = self._at
        return None if at is None else time.monotonic() - at

    def begin(self) -> None:
        """Note that work begins."""
        self._at = time.monotonic()

    def beat(self) -> None:
        """Work gets on. Outside of work nothing beats: a loop may use the model by itself."""
        if self._at is not None:
            self._at = time.monotonic()

    def end(self) -> None:
        """Nothing is under way."""
        self._at = None

    def follow(self, model: torch.nn.Module) -> None:
        """Beat before each layer of the model."""
        for layers in model.modules():
            if isinstance(layers, torch.nn.ModuleList):
                for layer in layers:
                    layer.register_forward_pre_hook(self._before_layer)

    def _before_layer(self, _layer: torch.nn.Module, _given: object) -> None:
        self.beat()
