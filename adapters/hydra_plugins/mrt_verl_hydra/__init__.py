"""Lets `reward.type=mrt reward.mrt.alpha=0.5` be said on the command line of stock veRL, without a `+`.

Hydra finds this package by its path. In an application that is not veRL's it changes nothing; nor where nothing would
read the switch, as in stock veRL with its plug-ins off: there Hydra says that the key does not exist.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

SCHEME = "mrtverl"
READER = "mrt_verl.plugin"
"""What reads the switch: loaded by veRL itself, or by the launcher."""

GROUP, NAME = "reward", "reward/reward"
_PROVIDER = "mrt-reward"


def verl_config_dir() -> Path | None:
    """Where the installed veRL keeps its configuration; None without one that has `reward/reward.yaml`."""
    spec = find_spec("verl")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        config = Path(folder) / "trainer" / "config"
        if (config / f"{NAME}.yaml").is_file():
            return config
    return None


class RewardOverlaySource(FileConfigSource):
    """veRL's own `reward/reward.yaml`, with the two keys `type` and `mrt` beside what is there."""

    @staticmethod
    def scheme() -> str:
        """Of the search path element that `MRTSearchPath` adds."""
        return SCHEME

    def available(self) -> bool:
        """Whether the file is there."""
        return (Path(self.path) / f"{NAME}.yaml").is_file()

    def is_group(self, config_path: str) -> bool:
        """Only the group of that one file."""
        return config_path.rstrip("/") in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        """Only that one file."""
        return config_path.removesuffix(".yaml") == NAME

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """What the group holds, for shell completion."""
        del results_filter
        return [GROUP] if not config_path else ["reward"]

    def load_config(self, config_path: str) -> ConfigResult:
        """The file with the two keys; unknown names below `mrt` come through, so that they can be sorted out later."""
        result = super().load_config(config_path)
        config = result.config
        if isinstance(config, DictConfig) and "type" not in config:
            config["type"] = None
            config["mrt"] = {}
            OmegaConf.set_struct(config["mrt"], value=False)
        return result


class MRTSearchPath(SearchPathPlugin):
    """Puts the overlay before veRL's configuration, where the application is veRL."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Look before veRL's own folder for its reward configuration."""
        config_dir = verl_config_dir()
        if config_dir is None or READER not in sys.modules:
            return
        paths = [str(element.path) for element in search_path.get_path()]
        folders = [Path(path.removeprefix("file://")).resolve() for path in paths]
        # Hydra tells the folder that it is, where the environment is a link to another. Trainers below
        # verl.experimental have folders of their own, and find veRL's later.
        package = config_dir.parents[1].resolve()
        if "pkg://verl.trainer.config" in paths or any(package in each.parents for each in folders):
            search_path.prepend(provider=_PROVIDER, path=f"{SCHEME}://{config_dir}")
