"""What cannot be had together is refused before anything starts, with what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mrt_openrlhf.setup import AGENT, WHERE, Setup
from mrt_reward.errors import ConfigError
from mrt_reward.training.settings import TrainingSettings

VERSIONS = ("0.11.2",)
"""Of OpenRLHF that the adapter was tested with."""


def check_version(version: str) -> None:
    """See that OpenRLHF is one that the adapter knows.

    Raises:
        ConfigError: it is not.

    """
    if version not in VERSIONS:
        raise ConfigError(
            f"mrt_openrlhf extends OpenRLHF {', '.join(VERSIONS)}, and this is {version}, whose internals may differ: "
            f"pip install openrlhf=={VERSIONS[-1]}; or, without the adapter, --reward.remote_url "
            "http://SERVER/get_reward gives any version one number per trace"
        )


def check_run(args: Any, setup: Setup) -> None:  # noqa: ANN401 - OpenRLHF's parsed flags
    """See that OpenRLHF's flags and ours go together.

    Args:
        args: OpenRLHF's flags, nested by their dots.
        setup: what the user said to us.

    Raises:
        ConfigError: they do not.

    """
    settings = setup.settings
    _check_outcome(args, setup)
    _check_estimator(args, settings)
    if args.data.max_images_per_prompt > 0:
        raise ConfigError(
            "--data.max_images_per_prompt: progress of traces about images cannot be proved from their text; train "
            "without mrt_openrlhf, or on text alone"
        )
    if settings.mode == "prefix":
        _check_prefixes(args, settings)
    elif settings.estimator == "likelihood" and args.data.label_key is None:
        raise ConfigError(
            "--data.label_key is not set, and the likelihood of the gold answer needs it: name the "
            f"column that holds it, or choose {WHERE}.estimator rollouts with a grader that needs none",
            param="--data.label_key",
        )
    shaped = args.reward.overlong_buffer_len is not None or args.reward.stop_properly_penalty_coef is not None
    if settings.on_failure == "drop" and shaped:
        raise ConfigError(
            f"{WHERE}.on_failure=drop takes a trace's reward out of its group before OpenRLHF's length penalties are "
            f"put in: leave --reward.overlong_buffer_len and --reward.stop_properly_penalty_coef out, or set "
            f"{WHERE}.on_failure to mask or abort",
            param=f"{WHERE}.on_failure",
        )
    _check_following(args, settings)


def _check_outcome(args: Any, setup: Setup) -> None:  # noqa: ANN401 - OpenRLHF's parsed flags
    if setup.rewards and setup.agent:
        raise ConfigError(
            "--reward.remote_url and --train.agent_func_path both give the outcome, and OpenRLHF would silently drop "
            "the first: leave one of them out",
            param="--reward.remote_url",
        )
    if setup.agent and Path(setup.agent).absolute() == AGENT:
        raise ConfigError(
            "--train.agent_func_path is mrt_openrlhf's own file, which is used anyway: leave it out, or name yours",
            param="--train.agent_func_path",
        )
    if not setup.rewards and not setup.agent and not args.reward.model_name_or_path:
        raise ConfigError(
            "nothing gives the outcome: set --reward.remote_url (an address, or a .py file with reward_func), "
            "--train.agent_func_path or --reward.model_name_or_path, as without mrt_openrlhf",
            param="--reward.remote_url",
        )
    servers = {urlsplit(url).netloc for url in setup.settings.urls}
    for url in setup.rewards:
        if urlsplit(url).netloc in servers and urlsplit(url).path.rstrip("/") == "/get_reward":
            raise ConfigError(
                f"--reward.remote_url {url} already has progress in its reward, which would be paid twice: give the "
                "outcome by another address or a .py file",
                param="--reward.remote_url",
            )


def _check_estimator(args: Any, settings: TrainingSettings) -> None:  # noqa: ANN401 - OpenRLHF's parsed flags
    estimator = args.algo.advantage.estimator
    if settings.scale_by_std not in (None, estimator == "group_norm") and settings.mode == "episodes":
        better = "group_norm" if settings.scale_by_std else "dr_grpo"
        raise ConfigError(
            f"{WHERE}.scale_by_std={settings.scale_by_std} contradicts --algo.advantage.estimator {estimator}, which "
            f"works out the outcome's advantage: leave it out, or choose the estimator {better}",
            param=f"{WHERE}.scale_by_std",
        )
    if settings.truncated != "zero" and estimator not in ("group_norm", "dr_grpo"):
        raise ConfigError(
            f"{WHERE}.truncated={settings.truncated} changes outcomes within a group: choose an estimator that "
            f"compares within one, --algo.advantage.estimator group_norm or dr_grpo; got {estimator}",
            param=f"{WHERE}.truncated",
        )
    if estimator != "gae" or settings.mode == "prefix":
        return
    if settings.credit != "to_go":
        raise ConfigError(
            "--algo.advantage.estimator gae (OpenRLHF's default) sums rewards up, so progress becomes to_go: add "
            f"{WHERE}.credit to_go, or choose another estimator, such as group_norm, for {WHERE}.credit immediate",
            param=f"{WHERE}.credit",
        )
    wanted = {"gamma": 1.0, "baseline": "none", "progress_norm": "none"}
    for name, value in wanted.items():
        if getattr(settings, name) != value:
            raise ConfigError(
                f"{WHERE}.{name}={getattr(settings, name)} cannot be had with --algo.advantage.estimator gae, whose "
                f"critic is the baseline and whose --algo.advantage.gamma discounts: leave it at {value}, or choose "
                "another estimator",
                param=f"{WHERE}.{name}",
            )


def _check_prefixes(args: Any, settings: TrainingSettings) -> None:  # noqa: ANN401 - OpenRLHF's parsed flags
    if args.data.label_key is None:
        raise ConfigError(
            f"{WHERE}.mode=prefix reads the rows' groups from their labels: name their column by --data.label_key",
            param="--data.label_key",
        )
    if args.algo.advantage.estimator not in ("group_norm", "dr_grpo"):
        raise ConfigError(
            f"{WHERE}.mode=prefix normalises the rows of a mrt_group together, with division by their deviation "
            "(--algo.advantage.estimator group_norm) or without (dr_grpo); got "
            f"{args.algo.advantage.estimator}",
            param="--algo.advantage.estimator",
        )
    if settings.baseline not in ("none", "termination"):
        raise ConfigError(
            f"{WHERE}.baseline={settings.baseline} is of progress, which {WHERE}.mode=prefix does not have: set it to "
            "none or termination",
            param=f"{WHERE}.baseline",
        )
    if args.algo.kl.init_coef > 0 and not args.algo.kl.use_loss:
        raise ConfigError(
            f"{WHERE}.mode=prefix replaces the rewards that --algo.kl.init_coef penalises: add "
            "--algo.kl.use_loss, or set --algo.kl.init_coef 0",
            param="--algo.kl.use_loss",
        )


def _check_following(args: Any, settings: TrainingSettings) -> None:  # noqa: ANN401 - OpenRLHF's parsed flags
    steps = settings.follow_steps
    if steps is None:
        return
    if not args.ckpt.save_hf or args.ckpt.save_steps < 1 or steps % args.ckpt.save_steps:
        raise ConfigError(
            f"{WHERE}.follow_steps={steps} needs the policy's weights in Hugging Face format at each of these steps: "
            f"add --ckpt.save_hf --ckpt.save_steps {steps}",
            param=f"{WHERE}.follow_steps",
        )
    if args.ds.lora.rank > 0:
        raise ConfigError(
            f"{WHERE}.follow_steps needs the policy's whole weights, and with --ds.lora.rank {args.ds.lora.rank} "
            "OpenRLHF saves the adapter alone, which is not handed over: leave one of the two out",
            param=f"{WHERE}.follow_steps",
        )
