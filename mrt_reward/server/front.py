"""The page at `/`, for a person with a browser: what proves, how busy it is, what it gave, and a form for one trace.

The page itself says nothing of this server, so that whoever has no key may see it: all that it shows it asks for by the
routes of the contract, with the key that the person types. It loads nothing from elsewhere; a content security policy
allows its own script and style, by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from fastapi.responses import HTMLResponse

from mrt_reward.server.examples import TRACE


def front() -> HTMLResponse:
    """The page, with the headers that it needs."""
    page, policy = _page()
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(page, headers=headers)


@cache
def _page() -> tuple[str, str]:
    """Its text and its content security policy."""
    assets = files("mrt_reward.server") / "assets"
    frame, style, script = (
        (assets / name).read_text(encoding="utf-8") for name in ("front.html", "front.css", "front.js")
    )
    shown = {name: escape(str(TRACE[name])) for name in ("problem", "answer", "completion")}
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Template(frame).substitute(shown, style=style, script=script), policy


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
