"""How to install more of this package: the package is on no index, so a command names where this copy came from."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from typing import Any
from urllib.parse import unquote, urlsplit

NAME = "mrt-reward"


def install_command(extra: str) -> str:
    """Shell command that adds an extra to this environment.

    It names the clone, the wheel or the git address that this copy was installed from, as pip recorded it (PEP 610);
    a copy that was never installed is a clone.
    """
    try:
        recorded = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        recorded = None
    return command_for(extra, json.loads(recorded) if recorded else None)


def command_for(extra: str, origin: dict[str, Any] | None) -> str:
    """The command for an origin: the content of `direct_url.json`, None where there is none."""
    if origin is None:
        return f"pip install '.[{extra}]' in a clone of {NAME}"
    url = str(origin["url"])
    if origin.get("dir_info", {}).get("editable"):
        return f"pip install -e {shlex.quote(f'{unquote(urlsplit(url).path)}[{extra}]')}"
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"pip install {shlex.quote(f'{NAME}[{extra}] @ {url}')}"
