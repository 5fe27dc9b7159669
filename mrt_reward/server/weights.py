"""Which folders weights may come from: finished ones below the configured root, wherever links lead."""

from __future__ import annotations

from pathlib import Path

from mrt_reward.config import ServeSettings
from mrt_reward.errors import UNFINISHED, WeightsError
from mrt_reward.files import WEIGHTS_MARKER


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
    try:
        folder = (root / asked).resolve()
        return _finished(folder, root, asked)
    except (OSError, ValueError, RuntimeError) as error:  # a name that no file can have, or links in a circle
        raise WeightsError(f"path {asked[:200]!r} cannot be read: {error}", param="path") from error


def _finished(folder: Path, root: Path, asked: str) -> Path:
    if folder == root or not folder.is_relative_to(root):
        raise WeightsError("the path is outside the configured weights_root, or is the root itself", param="path")
    if not folder.is_dir():
        raise WeightsError(f"there is no folder {asked!r} below weights_root", param="path")
    for file in folder.iterdir():
        if not file.resolve().is_relative_to(root):
            raise WeightsError(f"{file.name!r} is a link to outside the configured weights_root", param="path")
    if not (folder / WEIGHTS_MARKER).is_file():
        raise WeightsError(
            f"expected the marker file {WEIGHTS_MARKER!r} in {asked!r}, which its writer puts there last: wait for it",
            code=UNFINISHED,
            param="path",
        )
    return folder
