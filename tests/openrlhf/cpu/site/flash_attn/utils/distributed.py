from __future__ import annotations

from typing import Any


def all_gather(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("flash-attn is not here: --ds.packing_samples needs a GPU")
