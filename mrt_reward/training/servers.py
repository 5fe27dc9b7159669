"""The progress servers of a run, before it starts."""

from __future__ import annotations

from mrt_reward.client import Client, RetryPolicy
from mrt_reward.errors import ConfigError, MRTRewardError
from mrt_reward.training.settings import TrainingSettings


def check_servers(settings: TrainingSettings, where: str) -> None:
    """Ask every server who proves, before anything is trained, and say so.

    Args:
        settings: for the addresses and the key.
        where: place of these settings in the framework's configuration, for messages.

    Raises:
        ConfigError: one does not answer, or cannot do what is asked for.

    """
    for url in settings.urls:
        with Client(url, api_key=settings.api_key, timeout_s=20.0, retry=RetryPolicy(max_tries=3)) as client:
            try:
                prover = client.prover()
            except MRTRewardError as error:
                raise ConfigError(
                    f"no progress server answers at {where}.url={url}: {error}. Start one with `mrt-reward serve`, and "
                    "see that its address and API key are right from this machine",
                    param=f"{where}.url",
                ) from error
        if settings.estimator == "rollouts" and settings.coupled and prover.coupled == "none":
            raise ConfigError(
                f"{where}.coupled needs a prover that couples answers, and the one at {url} does not: leave it out, or "
                "start the server with --engine vllm or transformers",
                param=f"{where}.coupled",
            )
        print(f"[mrt] {url} proves with {prover.model} (version {prover.version})")  # noqa: T201 - as trainers do
