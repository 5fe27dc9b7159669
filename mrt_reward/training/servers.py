"""Who proves in a run, before it starts: servers, or the policy itself, in this process or on the trainer's engines."""

from __future__ import annotations

from collections.abc import Mapping

from mrt_reward.client import Client, RetryPolicy
from mrt_reward.errors import ConfigError, MRTRewardError, RequestRejected
from mrt_reward.training.settings import BY_POLICY, BY_POOL, BY_ROLLOUT, TrainingSettings
from mrt_reward.wire import ProverOut

OF_SERVERS = ("follow_steps", "admin_url", "admin_key_env", "api_key_env")
"""Settings that say something of servers alone."""


def check_without_server(settings: TrainingSettings, where: str) -> None:
    """Refuse what does not go with a prover that is no server.

    Args:
        settings: whose `url` is policy, rollout or pool.
        where: path of these settings in the framework's configuration, for messages.

    Raises:
        ConfigError: one is for servers, or nothing is proved at all.

    """
    for name in OF_SERVERS:
        given = getattr(settings, name)
        if given != getattr(TrainingSettings, name):
            raise ConfigError(
                f"{where}.url={settings.urls[0]} asks no server, and {where}.{name}={given} is for servers: "
                "leave it out",
                param=f"{where}.{name}",
            )
    if settings.mode == "prefix":
        raise ConfigError(
            f"{where}.mode=prefix asks no prover: leave {where}.url={settings.urls[0]} out", param=f"{where}.url"
        )


def check_servers(settings: TrainingSettings, where: str) -> None:
    """Ask every server who proves, before anything is trained, and say so.

    Args:
        settings: for the addresses and the key.
        where: path of these settings in the framework's configuration, for messages.

    Raises:
        ConfigError: one does not answer, or cannot do what is asked for; or the policy itself should prove, which a
            trainer that asks here cannot let it do.

    """
    if {BY_ROLLOUT, BY_POOL} & set(settings.urls):
        raise ConfigError(
            f"{where}.url={settings.url}: engines of the trainer prove in veRL (rollout, pool) and in TRL with a vLLM "
            "server (rollout), where that is the one url. Start `mrt-reward serve`, and set "
            f"{where}.url to its address",
            param=f"{where}.url",
        )
    if BY_POLICY in settings.urls:
        raise ConfigError(
            f"{where}.url={settings.url}: the policy itself proves in TRL without vLLM and in loops of your own. "
            f"Here its weights are in other processes: start `mrt-reward serve`, and set {where}.url to its address, "
            f"and {where}.follow_steps where it is to follow the policy",
            param=f"{where}.url",
        )
    found: dict[str, ProverOut] = {}
    for url in settings.urls:
        try:
            with Client(url, api_key=settings.api_key, timeout_s=20.0, retry=RetryPolicy(max_tries=3)) as client:
                prover = client.prover()
        except (RequestRejected, ConfigError) as error:  # such as a wrong key, or an address that is none
            raise ConfigError(f"{where}.url={url}: {error}", param=f"{where}.url") from error
        except MRTRewardError as error:
            message = f"no progress server answers at {where}.url={url}: {error}"
            raise ConfigError(message, param=f"{where}.url") from error
        if settings.estimator == "rollouts" and settings.coupled and prover.coupled == "none":
            raise ConfigError(
                f"{where}.coupled needs a prover that couples answers, and the one at {url} does not: leave it out, or "
                "start the server with --engine vllm or transformers",
                param=f"{where}.coupled",
            )
        found[url] = prover
        print(f"[mrt] {url} proves with {prover.model} (version {prover.version})")  # noqa: T201 - as trainers do
    _refuse_another(found, where)


def _refuse_another(found: Mapping[str, ProverOut], where: str) -> None:
    """A group goes to another server while its own is away, so that all must read tokens in the same way."""
    first, *rest = found
    for url in rest:
        if found[url].tokenizer != found[first].tokenizer:
            raise ConfigError(
                f"{where}.url: {url} proves with {found[url].model} and {first} with {found[first].model}, whose "
                "tokenizers differ: name servers of one prover",
                param=f"{where}.url",
            )
