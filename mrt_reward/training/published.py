"""Folders of weights that this trainer wrote for its provers, and when they may be deleted.

Each one has a mark. What has none was written by somebody else, and is never deleted.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

MARK = ".mrt-published"
"""File in a folder that was written here."""


def publish(folder: Path, save: Callable[[Path], None]) -> None:
    """Let weights be saved in a folder, which has the mark from then on.

    A folder that held something before, and no mark, is not ours, and gets none.
    """
    own = not folder.exists() or (folder / MARK).is_file() or not any(folder.iterdir())
    save(folder)
    if own and folder.is_dir():
        (folder / MARK).touch()


def delete_old(newest: Path, keep_last: int) -> None:
    """Delete what was published beside this folder, but for the last ones; call it once every prover has this one.

    Args:
        newest: folder that is in use, and is never deleted.
        keep_last: folders to keep, this one included.

    """
    found = [each for each in newest.parent.iterdir() if not each.is_symlink() and (each / MARK).is_file()]
    others = sorted((each for each in found if each != newest), key=lambda each: (each / MARK).stat().st_mtime_ns)
    for folder in others[: max(0, len(others) - (keep_last - 1))]:
        _delete(folder)


def _delete(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        logger.warning("mrt: the old weights in %s cannot be deleted: %s", folder, error)
