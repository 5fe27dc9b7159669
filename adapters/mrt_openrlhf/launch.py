"""OpenRLHF's own main, with two things changed in the driver.

Its flags are checked when they are parsed, and Ray is started with what its workers need to know; and the rollout
workers load our agent, which has the user's own inside.
"""

from __future__ import annotations

import functools
import json
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mrt_openrlhf import worker
from mrt_openrlhf.checks import check_run, check_version
from mrt_openrlhf.flags import settings_of_environment, split_flags
from mrt_openrlhf.setup import AGENT, WHERE, Setup
from mrt_reward.errors import ConfigError
from mrt_reward.install import install_command
from mrt_reward.training.following import check_shared
from mrt_reward.training.servers import check_servers
from mrt_reward.training.table import settings_table

MAIN = "openrlhf.cli.train_ppo_ray"
_THEIRS = {"TOKENIZERS_PARALLELISM": "true", "NCCL_DEBUG": "WARN", "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1"}
"""What OpenRLHF sets when it starts Ray by itself."""


def run(arguments: Sequence[str]) -> None:
    """Train as `python -m openrlhf.cli.train_ppo_ray` does with these arguments, less ours.

    Raises:
        ConfigError: OpenRLHF is not there, or is another version; or a setting is wrong.

    """
    try:
        check_version(version("openrlhf"))
    except PackageNotFoundError:
        raise ConfigError(f"OpenRLHF is not installed here: {install_command('openrlhf')}") from None
    flags, theirs = split_flags(arguments)
    variables, warnings = settings_of_environment(os.environ)
    for warning in warnings:
        print(f"[mrt] warning: {warning}", file=sys.stderr)  # noqa: T201 - before there is a log
    given = {**variables, **flags}
    if {"-h", "--help"} & set(theirs):
        print(settings_table(f"{WHERE}."))  # noqa: T201 - help
    extend_driver(given)
    sys.argv[1:] = theirs
    runpy.run_module(MAIN, run_name="__main__", alter_sys=True)


def extend_driver(given: Mapping[str, Any]) -> None:
    """Change what OpenRLHF's main calls, once it has parsed its flags."""
    # The trainer is made here, and sent to its process as it is.
    worker.setup()
    config: Any = import_module("openrlhf.utils.config")
    engines: Any = import_module("openrlhf.trainer.ray")
    hierarchize, create = config.hierarchize, engines.create_vllm_engines

    @functools.wraps(hierarchize)
    def hierarchized(flat: Any) -> Any:  # noqa: ANN401 - argparse's
        args = hierarchize(flat)
        prepare(args, given)
        return args

    @functools.wraps(create)
    def create_vllm_engines(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - OpenRLHF's own
        # The agent has the user's own inside, so that neither replaces the other.
        return create(*args, **{**kwargs, "agent_func_path": str(AGENT), "remote_rm_url": None})

    config.hierarchize = hierarchized
    engines.create_vllm_engines = create_vllm_engines


def prepare(args: Any, given: Mapping[str, Any]) -> None:  # noqa: ANN401 - OpenRLHF's parsed flags
    """Check a run, and start Ray with what its workers need to know.

    Raises:
        ConfigError: something is wrong, no server answers, or one may not load what is saved.

    """
    rewards = tuple(args.reward.remote_url.split(",")) if args.reward.remote_url else ()
    longest = args.rollout.max_new_tokens or args.data.max_len
    setup = Setup(dict(given), rewards, args.train.agent_func_path, longest)
    check_run(args, setup)
    if setup.settings.mode == "episodes":
        check_servers(setup.settings, WHERE)
        check_shared(Path(args.ckpt.path).absolute(), setup.settings, WHERE)
    import ray  # noqa: PLC0415 - not before the settings are right

    if ray.is_initialized():
        raise ConfigError("Ray was started before mrt_openrlhf could tell its workers about the run: let it start Ray")
    ray.init(runtime_env=runtime_env(setup, os.environ))


def runtime_env(setup: Setup, environment: Mapping[str, str]) -> dict[str, Any]:
    """Ray's environment of a run: what OpenRLHF sets, the setup, and what a submitted job has not set already.

    Raises:
        ConfigError: the job brings a hook of its own.

    """
    job: dict[str, Any] = json.loads(environment.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}").get("runtime_env") or {}
    if job.get("worker_process_setup_hook", worker.HOOK) != worker.HOOK:
        raise ConfigError(
            f"the job's runtime environment has worker_process_setup_hook={job['worker_process_setup_hook']}, and Ray "
            f"runs only one: call {worker.HOOK} from it, and leave it out of --runtime-env-json"
        )
    variables = {name: environment.get(name, value) for name, value in _THEIRS.items()} | setup.to_environment()
    added = {name: value for name, value in variables.items() if name not in job.get("env_vars", {})}
    # Ray refuses a field that the job has set as well, even to the same value.
    hook = {} if "worker_process_setup_hook" in job else {"worker_process_setup_hook": worker.HOOK}
    return {"env_vars": added, **hook}
