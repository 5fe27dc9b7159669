"""The server as a Ray Serve application; `serve.yaml` beside it says how many replicas there are, and where.

    Serve's proxy → the routes of `mrt-reward serve` → Scorer → prover

Every replica has a prover of its own. How many there are, `mrt_queued_tokens.py` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from mrt_queued_tokens import QUEUED_TOKENS
from ray import serve

from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.server.app import create_app
from mrt_reward.server.health import Readiness
from mrt_reward.server.listening import refuse_open_addresses
from mrt_reward.server.run import first_proved
from mrt_reward.server.telemetry import configure_logs
from mrt_reward.wiring import build_scorer

OF_THE_PROXY = ("tls_cert", "tls_key", "tls_client_ca")
"""Settings of a server that accepts connections itself, which here Serve's proxy does."""

OF_THE_ADMIN_PORT = ("admin_key", "weights_root")
"""Settings of a port that replicas do not have: one request would reach one replica, and not the others."""


class Replica:
    """One prover, and the public routes in front of it.

    Args:
        given: settings of `mrt-reward serve`, as in its TOML file. Those of `MRT_REWARD_…` and of the file that
            `MRT_REWARD_CONFIG` names are read on the replica's own machine.

    Raises:
        ConfigError: a setting is wrong, or there is no key for what other machines reach.
        ProverUnavailable: the prover cannot prove.

    """

    async def __init__(self, given: Mapping[str, object]) -> None:
        settings = replica_settings(given)
        configure_logs(settings.log_format)
        self._scorer = build_scorer(settings)
        self._readiness = Readiness(self._scorer)
        self._app = create_app(self._scorer, settings)
        self._watching = asyncio.create_task(self._scorer.canary.watch(settings.canary_every_s))
        try:
            await first_proved(self._scorer, with_canary=settings.canary_every_s > 0)
        except BaseException:
            await self._close()
            raise

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Asked for by Serve once the replica is made."""
        return self._app

    async def check_health(self) -> None:
        """Ask what `/readyz` asks. Serve replaces a replica where this fails three times in a row."""
        await self._readiness.check()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tokens admitted and not answered: `mrt_reward_queue_tokens` of the metrics."""
        return {QUEUED_TOKENS: float(self._scorer.queue.queued_tokens)}

    async def __del__(self) -> None:
        """Called by Serve once nothing is in flight, or `graceful_shutdown_timeout_s` are over."""
        await self._close()

    async def _close(self) -> None:
        self._app.state.stopping.now()
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._scorer.close()


def replica_settings(given: Mapping[str, object]) -> ServeSettings:
    """Settings of a replica, which is reached through Serve's proxies alone.

    Raises:
        ConfigError: one promises what a replica does not do, or is wrong, or there is no key and `no_key` is not set.

    """
    settings = load_settings(**given)
    for names, instead in (
        (OF_THE_PROXY, "Serve's proxies speak plain HTTP here: encrypt in http_options of serve.yaml"),
        (OF_THE_ADMIN_PORT, "replicas have no admin port: give new weights by deploying anew"),
    ):
        for name in names:
            if name in settings.model_fields_set:
                raise ConfigError(f"{name} is set, and {instead}; leave it out", param=name)
    # Whoever reaches a proxy reaches the replica, under whatever name.
    settings = settings.model_copy(update={"host": "0.0.0.0"})
    refuse_open_addresses(settings)
    return settings


def app(given: dict[str, Any]) -> serve.Application:
    """The application, from `args` of `serve.yaml`."""
    return serve.deployment(name="Replica")(serve.ingress()(Replica)).bind(given)
