"""What a trainer's user can choose, under the same names in every framework."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_settings import BaseSettings, CliApp, SettingsError

from mrt_reward.core.credit_config import BASELINES, Baseline, CreditConfig, CreditOptions
from mrt_reward.core.progress import WasteOptions
from mrt_reward.errors import ConfigError
from mrt_reward.mistakes import did_you_mean, mistakes, nearest
from mrt_reward.options import (
    AUTHORS_SEGMENTERS,
    AnswerOptions,
    BalancedSegmenter,
    EpisodeLimit,
    EpisodeTokens,
    Estimator,
    EstimatorName,
    Likelihood,
    MarkerSegmenter,
    ParagraphSegmenter,
    Rollouts,
    SamplingOptions,
    ScoreOptions,
    Segmenter,
    TokenSegmenter,
)
from mrt_reward.training.follow_options import FollowOptions

SegmenterName = Literal["balanced", "markers", "paragraphs", "tokens", "mrt-omni-math", "mrt-aime", "mrt-regret"]
OnFailure = Literal["mask", "drop", "abort"]
BY_POLICY, BY_ROLLOUT, BY_POOL = "policy", "rollout", "pool"
"""What `url` is where no server is started: the policy proves in this process, or on the engines that write for it; or
engines of their own do, which the trainer starts."""

Flags = TypeVar("Flags", bound=BaseSettings)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainingSettings(FollowOptions, WasteOptions, EpisodeLimit, SamplingOptions, AnswerOptions, CreditOptions):
    """How a training run is paid for progress. The defaults are the paper's where it says.

    What is not declared here is an option of credit or of scoring, and is declared there.
    """

    baseline: Annotated[
        Literal[Baseline, "termination"],
        Field(description=f"{BASELINES} termination is for mode prefix: A = r - J(prefix)."),
    ] = "none"
    scale_by_std: Annotated[
        bool | None,
        Field(description="Whether the outcome advantage is divided by its deviation. Unset: as the trainer does."),
    ] = None
    segmenter: Annotated[
        SegmenterName | Annotated[Segmenter, Field(discriminator="kind")],
        Field(description="Where thinking is cut: a name, or a mapping, which has a `max_episodes` of its own."),
    ] = "balanced"
    episode_tokens: Annotated[
        EpisodeTokens, Field(description="Prover tokens of an episode, where `segmenter` is tokens.")
    ] = TokenSegmenter("tokens").num_tokens
    estimator: Annotated[EstimatorName, Field(description="How a prefix is valued: without sampling, or by it.")] = (
        "likelihood"
    )
    url: Annotated[
        str | list[str],
        Field(
            description="Server, or several with the same prover; a group's traces go to one. rollout: the policy "
            "itself proves, on the engines that the trainer runs for it (veRL, TRL with a vLLM server). pool: engines "
            "of their own do, which the trainer starts (veRL). policy: the policy does, in the trainer's process (TRL "
            "without vLLM, loops of your own)."
        ),
    ] = "http://127.0.0.1:8000"
    api_key_env: Annotated[str, Field(description="Environment variable that holds the servers' API key, if any.")] = (
        "MRT_REWARD_API_KEY"
    )
    mode: Annotated[
        Literal["episodes", "prefix"],
        Field(description="episodes: each episode is paid its progress. prefix: rows start from prefixes (MRT-RL)."),
    ] = "episodes"
    timeout_s: Annotated[
        float, Field(gt=0, le=86_400, description="Longest wait for a trace's score, tries included, in seconds.")
    ] = 300.0
    on_failure: Annotated[
        OnFailure,
        Field(description="A trace without score: mask its progress, drop it from its group, or abort the run."),
    ] = "mask"
    max_failed_share: Annotated[
        float, Field(ge=0, le=1, description="The run stops when more of a batch's traces than this have no score.")
    ] = 0.5
    regret_budget: Annotated[
        int | None, Field(ge=1, description="C of the logged regret in tokens. Unset: the longest response allowed.")
    ] = None

    @property
    def by_policy(self) -> bool:
        """Whether the policy itself proves, and no server."""
        return self.urls == [BY_POLICY]

    @property
    def by_rollout(self) -> bool:
        """Whether the policy proves on the trainer's own engines, and no server is started."""
        return self.urls == [BY_ROLLOUT]

    @property
    def by_pool(self) -> bool:
        """Whether engines prove that the trainer starts for that alone."""
        return self.urls == [BY_POOL]

    @property
    def urls(self) -> list[str]:
        """All servers."""
        return [self.url] if isinstance(self.url, str) else list(self.url)

    @property
    def api_key(self) -> str | None:
        """The key itself, from the environment; never log it."""
        return os.environ.get(self.api_key_env) or None

    @property
    def admin_key(self) -> str | None:
        """The admin key itself, from the environment; never log it."""
        return os.environ.get(self.admin_key_env) or self.api_key

    def score_options(self, step: int = 0) -> ScoreOptions:
        """What servers are asked for at a step; nothing is left to their own settings but the grader.

        The step seeds answers that may be coupled, so that a problem that is met again gets fresh noise.
        """
        return ScoreOptions(segmenter=self._segmenter(), estimator=self._estimator(step), **_own(self, AnswerOptions))

    def credit_config(
        self, *, scale_by_std: bool = True, epsilon: float = 1e-6, singleton: Literal["raw", "zero"] = "raw"
    ) -> CreditConfig:
        """How progress becomes advantage, with the framework's own habits, or veRL's, where the user says nothing."""
        return CreditConfig(
            baseline="none" if self.baseline == "termination" else self.baseline,
            scale_by_std=scale_by_std if self.scale_by_std is None else self.scale_by_std,
            epsilon=epsilon,
            singleton=singleton,
            **_own(self, CreditOptions),
        )

    def _estimator(self, step: int) -> Estimator:
        match self.estimator:
            case "likelihood":
                return Likelihood()
            case "rollouts":
                seed = 0 if self.coupled is False else step % 2**32
                return Rollouts("rollouts", seed=seed, **_own(self, SamplingOptions))

    def _segmenter(self) -> Segmenter:
        match self.segmenter:
            case "balanced":
                return BalancedSegmenter(max_episodes=self.max_episodes)
            case "markers":
                return MarkerSegmenter(max_episodes=self.max_episodes)
            case "paragraphs":
                return ParagraphSegmenter("paragraphs", max_episodes=self.max_episodes)
            case "tokens":
                return TokenSegmenter("tokens", num_tokens=self.episode_tokens, max_episodes=self.max_episodes)
            case str() as name:
                return AUTHORS_SEGMENTERS[name]
            case segmenter:
                return segmenter


SETTING_NAMES = tuple(each.name for each in fields(TrainingSettings))
_VALID = TypeAdapter(TrainingSettings)


def _own(settings: TrainingSettings, base: type[Any]) -> dict[str, Any]:
    """The options that stand in one base of the settings, by name."""
    return {each.name: getattr(settings, each.name) for each in fields(base)}


def as_json(settings: TrainingSettings) -> dict[str, Any]:
    """All of them by name, as JSON holds them."""
    return cast("dict[str, Any]", _VALID.dump_python(settings, mode="json"))


def load_training_settings(given: Mapping[str, Any], *, where: str) -> TrainingSettings:
    """Settings from a framework's own configuration.

    Args:
        given: names and values.
        where: their path in that configuration, such as `reward.mrt`, for messages.

    Raises:
        ConfigError: one is wrong or unknown; says which, and the one that was probably meant.

    """
    for name in given:
        if name not in SETTING_NAMES:
            near = nearest(name, SETTING_NAMES, 0.5)
            hint = f"did you mean {where}.{near}?" if near else f"known: {', '.join(SETTING_NAMES)}"
            raise ConfigError(f"unknown setting {where}.{name}; {hint}", param=f"{where}.{name}")
    try:
        settings = _VALID.validate_python(dict(given))
    except ValidationError as error:
        raise _wrong(error, TrainingSettings, where) from error
    _check_together(settings, where)
    return settings


def from_flags(kind: type[Flags]) -> Flags:
    """Settings of a trainer that has a command line of its own, with these among them.

    Raises:
        ConfigError: one is wrong or unknown; says which, and the one that was probably meant.

    """
    try:
        return CliApp.run(kind, cli_exit_on_error=False)
    except ValidationError as error:
        raise _wrong(error, kind) from error
    except SettingsError as error:
        raise ConfigError(f"{error}{_meant_flag(str(error), kind)}") from error


def _meant_flag(message: str, kind: type[BaseSettings]) -> str:
    """End of a message of argparse: what was probably meant by the first flag in it."""
    known = [f"--{name}" for name in kind.model_fields] + [f"--mrt.{name}" for name in SETTING_NAMES]
    flags = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
    return "".join(did_you_mean(flag, known) for flag in flags[:1]) + "; --help lists all"


def _wrong(error: ValidationError, record: object, *where: str) -> ConfigError:
    [first, *_] = mistakes(error.errors(include_url=False), record)
    name = ".".join([*where, first.param])
    return ConfigError(f"setting {name}: {first.message}", param=name)


def _check_together(settings: TrainingSettings, where: str) -> None:
    if settings.baseline == "termination" and settings.mode != "prefix":
        raise ConfigError(
            f"{where}.baseline=termination compares with the value of a row's prefix: set {where}.mode=prefix, or one "
            "of none, group, group_index",
            param=f"{where}.baseline",
        )
    if settings.mode == "prefix" and settings.follow_steps is not None:
        message = f"{where}.follow_steps needs mode=episodes: mode=prefix asks no prover"
        raise ConfigError(message, param=f"{where}.mode")
    if settings.keep_last is not None and settings.follow_steps is None:
        raise ConfigError(
            f"{where}.keep_last deletes weights that {where}.follow_steps wrote: set that too, or leave it out",
            param=f"{where}.keep_last",
        )
    if settings.credit == "anytime" and settings.anytime_budget is None:
        raise ConfigError(
            f"{where}.credit=anytime needs {where}.anytime_budget: the largest budget C, in tokens of the response",
            param=f"{where}.anytime_budget",
        )
    for name, needs, given, allowed in (
        ("charge_closing", "baseline group or rate", settings.baseline, ("group", "rate")),
        ("pay_ending", "credit immediate", settings.credit, ("immediate",)),
    ):
        if getattr(settings, name) and given not in allowed:
            raise ConfigError(f"{where}.{name} needs {where}.{needs}, got {given}", param=f"{where}.{name}")
    if settings.progress == "log" and settings.estimator != "likelihood":
        raise ConfigError(
            f"{where}.progress=log needs {where}.estimator=likelihood: none right of a few sampled answers does not "
            f"tell how small J is; got {settings.estimator}",
            param=f"{where}.progress",
        )
    if settings.progress == "log" and settings.answer_progress != "none":
        raise ConfigError(
            f"{where}.answer_progress=add pays r - J[K], which is no difference of logarithms: leave it at none with "
            f"{where}.progress=log",
            param=f"{where}.answer_progress",
        )
    _check_answers(settings, where)


def _check_answers(settings: TrainingSettings, where: str) -> None:
    """The posterior of sampled answers: what it needs, and what needs it."""
    posterior = settings.paid_values == "posterior"
    if posterior and (settings.estimator != "rollouts" or settings.best_of > 1):
        raise ConfigError(
            f"{where}.paid_values=posterior needs {where}.estimator=rollouts and {where}.best_of=1",
            param=f"{where}.paid_values",
        )
    if settings.mean_samples is not None and not posterior:
        raise ConfigError(
            f"{where}.mean_samples gives answers where they help, which biases raw values: set "
            f"{where}.paid_values=posterior",
            param=f"{where}.paid_values",
        )
    for name, number in (("best_of", settings.best_of), ("mean_samples", settings.mean_samples or 1)):
        if number > settings.num_samples:
            raise ConfigError(
                f"{where}.{name} must be at most num_samples = {settings.num_samples}, got {number:g}",
                param=f"{where}.{name}",
            )
