"""An engine of somebody else's, in a process of its own: `python -m tests.faults.engine PORT LEDGER`.

It answers as vLLM does, from the rule of the fake endpoint, and writes down each question.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.mini import MODEL_DIR
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai import fake_endpoint
from tests.provers.openai.fake_endpoint import FakeEndpoint

DELAY_S = 0.15
"""Of each question."""


class Recorded:
    """Writes down each question as it comes; a kill takes nothing of that away."""

    def __init__(self, app: ASGIApp, ledger: Path) -> None:
        self._app = app
        self._file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one."""
        if scope["type"] != "http" or not scope["path"].endswith("completions"):
            await self._app(scope, receive, send)
            return
        messages = [message := await receive()]
        while message.get("more_body"):
            messages.append(message := await receive())
        body = b"".join(each.get("body", b"") for each in messages)
        os.write(self._file, f"{hashlib.blake2b(body, digest_size=8).hexdigest()}\n".encode())
        await asyncio.sleep(DELAY_S)

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment] # as where it is not installed: it takes long to load
    port, written = sys.argv[1:]
    fake_endpoint.VOCAB_SIZE = 4096  # of the bundled model, whose tokenizer is at hand
    engine = FakeEndpoint("vllm", HFTokenizer(MODEL_DIR))
    uvicorn.run(Recorded(engine.app, Path(written)), host="127.0.0.1", port=int(port), log_level="error")
