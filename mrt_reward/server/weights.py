"""Which folders weights may come from: finished ones below the configured root, wherever links lead."""

from __future__ import annotations

from pathlib import Path

from mrt_reward.config import ServeSettings
from mrt_reward.errors import UNFINISHED, WeightsError


def allowed_folder(settings: ServeSettings, asked: str) -> Path:
    """The folder that a request names, with all links followed.

    Raises:
        WeightsError: it is not below the root, not there, or not finished.

    """
    if settings.weights_root is None:
        raise WeightsError(
            "this server loads no weights: start it with --weights-root FOLDER to allow what is below it", param="path"
        )
    root = Path(settings.weights_root).resolve()
    folder = (root / asked).resolve()
    if folder == root or not folder.is_relative_to(root):
        raise WeightsError("the path is outside the configured weights_root, or is the root itself", param="path")
    if not folder.is_dir():
        raise WeightsError(f"there is no folder {asked!r} below weights_root", param="path")
    for file in folder.iterdir():
        if not file.resolve().is_relative_to(root):
            raise WeightsError(f"{file.name!r} is a link to outside the configured weights_root", param="path")
    if not (folder / settings.weights_marker).is_file():
        raise WeightsError(
            f"expected the marker file {settings.weights_marker!r} in {asked!r}, which its writer puts there last: "
            f"wait for it, or set weights_marker",
            code=UNFINISHED,
            param="path",
        )
    return folder
