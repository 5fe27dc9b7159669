"""What is refused before a model is loaded: versions, losses and settings that would lose or falsify progress."""

from __future__ import annotations

from collections.abc import Sequence

from trl import GRPOConfig

from mrt_reward.errors import ConfigError
from mrt_reward.training.settings import TrainingSettings

WHERE = "mrt"
"""Path of the settings, for messages: the trainer's own argument."""

RATIO_LOSSES = ("dapo", "grpo", "bnpo", "dr_grpo", "sapo", "luspo")
"""Their gradient flows through the importance ratio: a token is paid its own advantage only if it has its own ratio."""

LOGP_LOSSES = ("cispo", "vespo")
"""Their gradient flows through each token's log-probability, whatever the ratio."""


def check_version(version: str) -> None:
    """Refuse a TRL whose trainer is not known.

    Raises:
        ConfigError: it is another than 1.16.

    """
    if not version.startswith("1.16."):
        raise ConfigError(
            f"mrt_trl works with TRL 1.16.x, and this is {version}: the methods of GRPOTrainer that it extends may "
            "have changed. Install trl==1.16.0, or give a trainer of your own (B, T) advantages with mrt_reward.Client"
        )


def check_config(args: GRPOConfig, settings: TrainingSettings) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: says what, and what to set instead.

    """
    _check_loss(args.loss_type, args.importance_sampling_level)
    scales = args.scale_rewards != "none"
    if settings.scale_by_std is not None and settings.scale_by_std != scales:
        raise ConfigError(
            f"{WHERE}.scale_by_std={settings.scale_by_std} contradicts scale_rewards={args.scale_rewards!r}: TRL works "
            f"out the outcome's advantage itself. Leave {WHERE}.scale_by_std out, and set scale_rewards in GRPOConfig",
            param=f"{WHERE}.scale_by_std",
        )
    alone = args.scale_rewards != "batch" and args.multi_objective_aggregation == "sum_then_normalize"
    if settings.truncated != "zero" and not alone:
        raise ConfigError(
            f"{WHERE}.truncated={settings.truncated} changes outcomes within a group: set scale_rewards to 'group' or "
            "'none', and multi_objective_aggregation to 'sum_then_normalize', in GRPOConfig",
            param=f"{WHERE}.truncated",
        )
    if settings.mode == "prefix":
        _check_prefix(args)
    if args.world_size > 1 and settings.timeout_s >= args.ddp_timeout:
        raise ConfigError(
            f"{WHERE}.timeout_s={settings.timeout_s:g} is not below ddp_timeout={args.ddp_timeout}: the other "
            "processes would give up before a trace does. Raise ddp_timeout in GRPOConfig",
            param=f"{WHERE}.timeout_s",
        )
    _check_following(args, settings.follow_steps, settings.keep_last)
    if settings.by_policy:
        _check_policy(args)
    if settings.by_rollout and not (args.use_vllm and args.vllm_mode == "server"):
        raise ConfigError(
            f"{WHERE}.url=rollout asks the vLLM server that TRL generates with: set use_vllm=True and "
            "vllm_mode='server' in GRPOConfig, and start `trl vllm-serve`. An engine in the trainer's process "
            f"(vllm_mode='colocate') listens at no address: start `mrt-reward serve`, and set {WHERE}.url to it",
            param=f"{WHERE}.url",
        )


def check_synchronous(args: object, bases: Sequence[type]) -> None:
    """Refuse TRL's asynchronous GRPO, which takes no trainer of another kind.

    Args:
        args: the trainer's configuration.
        bases: of the trainer's class.

    Raises:
        ConfigError: the configuration or a base is of it.

    """
    names = [type(args).__name__, *(base.__name__ for base in bases)]
    for name in names:
        if name in ("AsyncGRPOConfig", "AsyncGRPOTrainer"):
            raise ConfigError(
                f"{name}: TRL's asynchronous GRPO works its advantages out in rollout workers, one for a sequence, so "
                "that progress has no place: use GRPOConfig and MRTGRPOTrainer",
                param="args",
            )


def check_columns(columns: Sequence[str] | None, settings: TrainingSettings, answer_column: str) -> None:
    """See that the dataset has what scoring needs; `columns` is None where they are not known beforehand.

    Raises:
        ConfigError: one is missing.

    """
    needed = ["mrt_group"] if settings.mode == "prefix" else []
    needed += ["mrt_value_prefix"] if settings.baseline == "termination" else []
    if settings.mode == "episodes" and settings.estimator == "likelihood":
        needed.append(answer_column)
    for name in needed:
        if columns is not None and name not in columns:
            hint = (
                'name the one with the gold answers (answer_column="..."), or set mrt.estimator=rollouts with a grader '
                "that needs none"
                if name == answer_column
                else "it names the rows that are normalised together, or gives the value of their prefix"
            )
            raise ConfigError(
                f"train_dataset has no column {name!r}; it has {', '.join(columns)}: {hint}", param=f"{WHERE}.mode"
            )


def check_loss_method(module: str) -> None:
    """Refuse a trainer of TRL's own with another loss than GRPOTrainer's; `module` is where its loss is defined.

    Raises:
        ConfigError: it is one of TRL's experiments.

    """
    if module.startswith("trl.") and module != "trl.trainer.grpo_trainer":
        raise ConfigError(
            f"the loss of {module} takes one advantage per sequence, so progress would be lost: combine MRTGRPOTrainer "
            "with GRPOTrainer or a trainer of your own whose loss takes (B, T) advantages"
        )


def _check_loss(loss_type: str, level: str) -> None:
    if loss_type not in (*RATIO_LOSSES, *LOGP_LOSSES):
        raise ConfigError(
            f"loss_type={loss_type!r} is not known to take an advantage per token: use one of "
            f"{', '.join((*RATIO_LOSSES, *LOGP_LOSSES))}",
            param="loss_type",
        )
    if level != "token" and loss_type in RATIO_LOSSES:
        raise ConfigError(
            f"importance_sampling_level={level!r} with loss_type={loss_type!r} gives every token of a sequence the "
            'mean of its advantages, so progress would be lost: set importance_sampling_level="token", or one of '
            f"loss_type={', '.join(LOGP_LOSSES)}",
            param="importance_sampling_level",
        )


def _check_prefix(args: GRPOConfig) -> None:
    if args.scale_rewards == "batch" or args.multi_objective_aggregation != "sum_then_normalize":
        raise ConfigError(
            f"{WHERE}.mode=prefix normalises the weighted sum of rewards within each mrt_group, which "
            f"scale_rewards={args.scale_rewards!r} with multi_objective_aggregation="
            f"{args.multi_objective_aggregation!r} does not: set scale_rewards to 'group' or 'none', and "
            "multi_objective_aggregation='sum_then_normalize'",
            param="scale_rewards",
        )


def _check_following(args: GRPOConfig, steps: int | None, keep_last: int | None) -> None:
    if steps is None:
        return
    every = args.save_steps if str(getattr(args.save_strategy, "value", args.save_strategy)) == "steps" else 0
    if every < 1 or steps % every:
        raise ConfigError(
            f"{WHERE}.follow_steps={steps} needs a checkpoint at each of these steps, and save_strategy is "
            f"{getattr(args.save_strategy, 'value', args.save_strategy)!r} with save_steps={args.save_steps:g}: set "
            f'save_strategy="steps", save_steps={steps}',
            param=f"{WHERE}.follow_steps",
        )
    if keep_last is not None:
        raise ConfigError(
            f"{WHERE}.keep_last={keep_last}: checkpoints are TRL's own: leave it out, and set "
            f"save_total_limit={keep_last} in GRPOConfig",
            param=f"{WHERE}.keep_last",
        )


def _check_policy(args: GRPOConfig) -> None:
    for name, why in (
        ("use_vllm", "vLLM generates and holds the memory that proofs need"),
        ("torch_compile", "a compiled policy would be compiled anew for proofs of each length"),
    ):
        if getattr(args, name):
            raise ConfigError(
                f"{WHERE}.url=policy goes with {name}=False, because {why}: set it in GRPOConfig, or start `mrt-reward "
                f"serve` and set {WHERE}.url to it",
                param=name,
            )
