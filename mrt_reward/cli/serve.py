"""`mrt-reward serve`: the HTTP server."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.cli.ending import end_soon
from mrt_reward.cli.flags import ENGINE_ARG, Graders, engine_args_from, graders_from, setting, told_of
from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.errors import MRTRewardError
from mrt_reward.server.listening import refuse_open_addresses
from mrt_reward.server.run import serve as run_server
from mrt_reward.wiring import build_scorer


def serve(
    model: Annotated[str | None, setting("model")] = None,
    engine: Annotated[str | None, setting("engine")] = None,
    engine_url: Annotated[str | None, setting("engine_url")] = None,
    engine_version: Annotated[str | None, setting("engine_version")] = None,
    tokenizer: Annotated[str | None, setting("tokenizer")] = None,
    dtype: Annotated[str | None, setting("dtype")] = None,
    device: Annotated[str | None, setting("device")] = None,
    max_model_len: Annotated[int | None, setting("max_model_len")] = None,
    revision: Annotated[str | None, setting("revision")] = None,
    trust_remote_code: Annotated[bool | None, setting("trust_remote_code")] = None,
    tensor_parallel_size: Annotated[int | None, setting("tensor_parallel_size")] = None,
    gpu_memory_utilization: Annotated[float | None, setting("gpu_memory_utilization")] = None,
    engine_arg: Annotated[list[str] | None, ENGINE_ARG] = None,
    grader: Graders = None,
    host: Annotated[str | None, setting("host")] = None,
    port: Annotated[int | None, setting("port")] = None,
    admin_host: Annotated[str | None, setting("admin_host")] = None,
    admin_port: Annotated[int | None, setting("admin_port")] = None,
    no_key: Annotated[bool | None, typer.Option("--no-key", help=told_of("no_key"), show_default=False)] = None,
    allowed_hosts: Annotated[str | None, setting("allowed_hosts")] = None,
    weights_root: Annotated[str | None, setting("weights_root")] = None,
    cache_path: Annotated[str | None, setting("cache_path")] = None,
    cache_disk_mb: Annotated[float | None, setting("cache_disk_mb")] = None,
    max_queue_tokens: Annotated[int | None, setting("max_queue_tokens")] = None,
    default_deadline_s: Annotated[float | None, setting("default_deadline_s")] = None,
    drain_timeout_s: Annotated[float | None, setting("drain_timeout_s")] = None,
    max_body_mb: Annotated[float | None, setting("max_body_mb")] = None,
    max_connections: Annotated[int | None, setting("max_connections")] = None,
    alpha: Annotated[float | None, setting("alpha")] = None,
    log_format: Annotated[str | None, setting("log_format")] = None,
) -> None:
    """Serve progress rewards over HTTP. Without --model, the bundled mini model proves.

    Every flag is also an environment variable (MRT_REWARD_PORT) and a key of the TOML file that MRT_REWARD_CONFIG
    names; flags win over the environment, which wins over the file. Keys have no flags: callers' is
    MRT_REWARD_API_KEY, the admin routes' MRT_REWARD_ADMIN_KEY, the endpoint's of engine openai
    MRT_REWARD_ENGINE_API_KEY. An address that other machines reach needs a key, or --no-key.

    SIGTERM or Ctrl-C: take no more, finish what was taken within --drain-timeout-s, end. A second SIGTERM changes
    nothing; a second Ctrl-C gives up what is in flight, with 503.
    """
    flags = dict(locals())
    flags["engine_args"] = engine_args_from(flags.pop("engine_arg"))
    flags["graders"] = graders_from(flags.pop("grader"))
    settings = load_settings(**flags)
    refuse_open_addresses(settings)
    console = Console(stderr=True)
    if settings.model is None and settings.engine != "openai":
        console.print("no --model: serving the bundled [bold]mini[/] model, a demonstration prover", highlight=False)
    asyncio.run(_serve(settings, console))


async def _serve(settings: ServeSettings, console: Console) -> None:
    scorer = build_scorer(settings)

    def tell(port: int) -> None:
        # What was loaded stays; looking through it for garbage would stop everything for a third of a second.
        gc.freeze()
        console.print(f"ready: http://{settings.host}:{port} (the contract at /docs)", highlight=False)

    try:
        await run_server(scorer, settings, on_ready=tell)
    except MRTRewardError as error:
        end_soon(2, f"mrt-reward: {error}")
        raise
    # All is done; a signal that comes while Python shuts down would turn that into a failure.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_soon(0)
