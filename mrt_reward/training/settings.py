"""What a trainer's user can choose, under the same names in every framework."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, CliApp

from mrt_reward.core.credit import CreditConfig
from mrt_reward.errors import ConfigError
from mrt_reward.options import (
    AUTHORS_SEGMENTERS,
    BalancedSegmenter,
    Delimiters,
    Estimator,
    Likelihood,
    MarkerSegmenter,
    ParagraphSegmenter,
    Rollouts,
    ScoreOptions,
    Segmenter,
    Terminator,
    TerminatorName,
    TokenSegmenter,
)

SegmenterName = Literal["balanced", "markers", "paragraphs", "tokens", "mrt-omni-math", "mrt-aime", "mrt-regret"]
OnFailure = Literal["mask", "drop", "abort"]
Flags = TypeVar("Flags", bound=BaseSettings)


class TrainingSettings(BaseModel):
    """How a training run is paid for progress. The defaults are the paper's where it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[
        str | list[str], Field(description="Server, or several with the same prover; a group's traces go to one.")
    ] = "http://127.0.0.1:8000"
    api_key_env: Annotated[str, Field(description="Environment variable that holds the servers' API key, if any.")] = (
        "MRT_REWARD_API_KEY"
    )
    mode: Annotated[
        Literal["episodes", "prefix"],
        Field(description="episodes: each episode is paid its progress. prefix: rows start from prefixes (MRT-RL)."),
    ] = "episodes"
    alpha: Annotated[float, Field(ge=0, le=1000, description="Weight of progress; 0 is outcome reward alone.")] = 1.0
    credit: Annotated[
        Literal["immediate", "to_go"],
        Field(description="An episode is paid its own progress (the paper), or all that follows as well."),
    ] = "immediate"
    gamma: Annotated[float, Field(ge=0, le=1, description="Discount per episode, for to_go.")] = 1.0
    baseline: Annotated[
        Literal["none", "group", "group_index", "termination"],
        Field(description="Baseline of progress; termination is for mode prefix: A = r - J(prefix)."),
    ] = "none"
    answer_progress: Annotated[
        Literal["none", "add"], Field(description="add also pays the answer's tokens alpha times (r - J[K]).")
    ] = "none"
    progress_norm: Annotated[
        Literal["none", "group_std"], Field(description="group_std divides progress by its deviation in the group.")
    ] = "none"
    scale_by_std: Annotated[
        bool | None,
        Field(description="Whether the outcome advantage is divided by its deviation; none is the trainer's own."),
    ] = None
    segmenter: Annotated[
        SegmenterName | Segmenter, Field(description="Where thinking is cut into episodes: a name, or a mapping.")
    ] = "balanced"
    max_episodes: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Most episodes of a trace, where `segmenter` is balanced, markers, paragraphs, tokens.",
        ),
    ] = 8
    episode_tokens: Annotated[
        int, Field(ge=1, le=1_000_000, description="Prover tokens of an episode, where `segmenter` is tokens.")
    ] = 512
    delimiters: Annotated[Delimiters, Field(description="What opens and closes thinking.")] = Delimiters()
    terminator: Annotated[
        TerminatorName | Terminator, Field(description="What forces an answer: boxed, official, qwen3, or a mapping.")
    ] = "boxed"
    estimator: Annotated[
        Literal["likelihood", "rollouts"], Field(description="How a prefix is valued: without sampling, or by it.")
    ] = "likelihood"
    num_samples: Annotated[int, Field(ge=1, le=128, description="Answers per prefix, for rollouts.")] = 8
    temperature: Annotated[float, Field(ge=0, le=10, description="Of these answers.")] = 0.6
    best_of: Annotated[int, Field(ge=1, le=128, description="k of the Best-of-k prover, for rollouts.")] = 1
    grader: Annotated[str | None, Field(description="Grader by its name on the server; none is its default.")] = None
    waste_threshold: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="An episode whose progress is smaller, either way, is counted as waste in the metrics.",
        ),
    ] = 0.02
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
        int | None, Field(ge=1, description="C of the logged regret in tokens; none is the longest response allowed.")
    ] = None
    follow_steps: Annotated[
        int | None, Field(ge=1, description="Hand the policy's weights to the prover every so many steps; none never.")
    ] = None
    admin_url: Annotated[str | list[str], Field(description="Admin ports of the servers, for `follow_steps`.")] = (
        "http://127.0.0.1:8001"
    )
    admin_key_env: Annotated[str, Field(description="Environment variable that holds their admin key, if any.")] = (
        "MRT_REWARD_ADMIN_KEY"
    )

    @property
    def urls(self) -> list[str]:
        """All servers."""
        return [self.url] if isinstance(self.url, str) else list(self.url)

    @property
    def admin_urls(self) -> list[str]:
        """All admin ports."""
        return [self.admin_url] if isinstance(self.admin_url, str) else list(self.admin_url)

    @property
    def api_key(self) -> str | None:
        """The key itself, from the environment; never log it."""
        return os.environ.get(self.api_key_env) or None

    @property
    def admin_key(self) -> str | None:
        """The admin key itself, from the environment; never log it."""
        return os.environ.get(self.admin_key_env) or self.api_key

    def score_options(self) -> ScoreOptions:
        """What servers are asked for; nothing is left to their own settings but the grader."""
        estimator: Estimator = Likelihood()
        if self.estimator == "rollouts":
            estimator = Rollouts("rollouts", self.num_samples, self.temperature, best_of=self.best_of)
        return ScoreOptions(
            segmenter=self._segmenter(),
            delimiters=self.delimiters,
            terminator=self.terminator,
            estimator=estimator,
            grader=self.grader,
            waste_threshold=self.waste_threshold,
        )

    def credit_config(
        self, *, scale_by_std: bool = True, epsilon: float = 1e-6, singleton: Literal["raw", "zero"] = "raw"
    ) -> CreditConfig:
        """How progress becomes advantage, with the framework's own habits, or veRL's, where the user says nothing."""
        return CreditConfig(
            alpha=self.alpha,
            credit=self.credit,
            gamma=self.gamma,
            baseline="none" if self.baseline == "termination" else self.baseline,
            answer_progress=self.answer_progress,
            progress_norm=self.progress_norm,
            scale_by_std=scale_by_std if self.scale_by_std is None else self.scale_by_std,
            epsilon=epsilon,
            singleton=singleton,
        )

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


def load_training_settings(given: Mapping[str, Any], *, where: str) -> TrainingSettings:
    """Settings from a framework's own configuration.

    Args:
        given: names and values.
        where: their place in that configuration, such as `reward.mrt`, for messages.

    Raises:
        ConfigError: one is wrong or unknown; says which, and the one that was probably meant.

    """
    for name in given:
        if name not in TrainingSettings.model_fields:
            near = suggestion(name, TrainingSettings.model_fields)
            hint = f"did you mean {where}.{near}?" if near else f"known: {', '.join(TrainingSettings.model_fields)}"
            raise ConfigError(f"unknown setting {where}.{name}; {hint}", param=f"{where}.{name}")
    try:
        settings = TrainingSettings.model_validate(dict(given))
    except ValidationError as error:
        raise _wrong(error, where) from error
    _check_together(settings, where)
    return settings


def from_flags(kind: type[Flags]) -> Flags:
    """Settings of a trainer that has a command line of its own, with these among them.

    Raises:
        ConfigError: one is wrong; says which.

    """
    try:
        return CliApp.run(kind)
    except ValidationError as error:
        raise _wrong(error) from error


def _wrong(error: ValidationError, *where: str) -> ConfigError:
    first = error.errors(include_url=False)[0]
    name = ".".join([*where, *(str(part) for part in first["loc"])])
    return ConfigError(f"setting {name}: {first['msg']}, got {first['input']!r}", param=name)


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one is nearest to."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return near[0] if near else None


def _check_together(settings: TrainingSettings, where: str) -> None:
    if settings.baseline == "termination" and settings.mode != "prefix":
        raise ConfigError(
            f"{where}.baseline=termination compares with the value of a row's prefix: set {where}.mode=prefix, or one "
            "of none, group, group_index",
            param=f"{where}.baseline",
        )
    if settings.mode == "prefix" and settings.follow_steps is not None:
        raise ConfigError(
            f"{where}.follow_steps needs mode=episodes: mode=prefix asks no prover", param=f"{where}.mode"
        )
    if settings.best_of > settings.num_samples:
        raise ConfigError(
            f"{where}.best_of must be at most num_samples = {settings.num_samples}, got {settings.best_of}",
            param=f"{where}.best_of",
        )


def settings_table(prefix: str) -> str:
    """All settings as a Markdown table, for the adapters' documentation."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in TrainingSettings.model_fields.items():
        default = field.default
        told = "{open: <think>, close: </think>}" if isinstance(default, Delimiters) else str(default)
        choices = get_args(field.annotation)
        shown = ", ".join(choices) if choices and all(isinstance(choice, str) for choice in choices) else ""
        meaning = (field.description or "") + (f" One of {shown}." if shown else "")
        lines.append(f"| `{prefix}{name}` | `{told.replace('None', 'none')}` | {meaning} |")
    return "\n".join(lines) + "\n"
