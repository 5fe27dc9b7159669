"""The `mrt-reward` command, one file a verb."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; our own errors end it with one line and exit status 2."""
    if not sys.stderr.isatty():
        # Libraries' own bars would fill a log file.
        os.environ.setdefault("TQDM_DISABLE", "1")
    # The verbs load half the package; `import mrt_reward.cli` alone should not.
    from mrt_reward.cli.app import app  # noqa: PLC0415
    from mrt_reward.errors import MRTRewardError  # noqa: PLC0415

    try:
        app()
    except MRTRewardError as error:
        sys.stderr.write(f"mrt-reward: {error}\n")
        raise SystemExit(2) from error
