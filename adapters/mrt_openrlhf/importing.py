"""Changing a module when a process imports it, and costing nothing where it does not."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Patch = Callable[[Any], None]


class _Watcher(importlib.abc.MetaPathFinder):
    """Finds what the others find, and runs patches behind it."""

    def __init__(self) -> None:
        self.patches: dict[str, list[Patch]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.patches:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                self._extend(spec.loader, fullname)
                return spec
        return None

    def _extend(self, loader: Any, fullname: str) -> None:  # noqa: ANN401 - any loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for patch in self.patches[fullname]:
                patch(module)

        loader.exec_module = exec_module


_watcher = _Watcher()


def after_import(name: str, patch: Patch) -> None:
    """Call `patch` with the module of this name as soon as it is there, or at once; twice is as good as once."""
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)
    patches = _watcher.patches.setdefault(name, [])
    if patch in patches:
        return
    patches.append(patch)
    if name in sys.modules:
        patch(sys.modules[name])
