"""`mrt-reward serve`: the HTTP server."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys

from rich.console import Console

from mrt_reward.cli.ending import end_soon
from mrt_reward.cli.flags import SERVE_FLAGS, with_settings
from mrt_reward.config import ServeSettings
from mrt_reward.errors import MRTRewardError
from mrt_reward.server.listening import refuse_open_addresses, refuse_taken_ports
from mrt_reward.server.run import serve as run_server
from mrt_reward.server.tls import tls_context
from mrt_reward.wiring import build_scorer

SWITCH_S = 0.0005
"""How long a thread that parses keeps the event loop waiting each time, in seconds; Python's own 5 ms add up to 140."""


@with_settings(*SERVE_FLAGS)
def serve(settings: ServeSettings) -> None:
    """Serve progress rewards over HTTP. Without --model, the bundled mini model proves.

    Every flag is also an environment variable (MRT_REWARD_PORT) and a key of the TOML file that MRT_REWARD_CONFIG
    names; flags win over the environment, which wins over the file. Keys have no flags: callers' is
    MRT_REWARD_API_KEY, the admin routes' MRT_REWARD_ADMIN_KEY, the endpoint's of engine openai
    MRT_REWARD_ENGINE_API_KEY; keys of several callers, with scopes and budgets, are tables [keys.NAME] of the TOML
    file. An address that other machines reach needs a key, or --no-key.

    With SIGTERM or Ctrl-C the server takes no more, finishes what it has, and ends after --drain-timeout-s at the
    latest. A second SIGTERM changes nothing; a second Ctrl-C gives up what is in flight, with 503.
    """
    refuse_open_addresses(settings)
    refuse_taken_ports(settings)
    tls_context(settings)
    console = Console(stderr=True)
    if settings.model is None and settings.engine != "openai":
        console.print("no --model: serving the bundled [bold]mini[/] model, a demonstration prover", highlight=False)
    asyncio.run(_serve(settings, console))


async def _serve(settings: ServeSettings, console: Console) -> None:
    scorer = build_scorer(settings)

    def tell(port: int) -> None:
        # What was loaded stays; looking through it for garbage would stop everything for a third of a second.
        gc.freeze()
        sys.setswitchinterval(SWITCH_S)
        scheme = "http" if settings.tls_cert is None else "https"
        console.print(
            f"ready: {scheme}://{settings.host}:{port} (a page to try it at /, the contract at /docs)", highlight=False
        )

    try:
        await run_server(scorer, settings, on_ready=tell)
    except MRTRewardError as error:
        end_soon(2, f"mrt-reward: {error}")
        raise
    # All is done; a signal that comes while Python shuts down would turn that into a failure.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_soon(0)
