"""`MRTGRPOTrainer`: TRL's `GRPOTrainer` with advantages of shape (B, T), which it supports for subclasses.

Four of TRL's methods are extended. Each calls TRL's own and changes nothing of what it does:

    train                            an event loop for scoring is there meanwhile
    _generate                        the completions go to the server while TRL goes on, or the policy itself proves
    _calculate_rewards               the scores are waited for; rows that are dropped become TRL's own `None`
    _generate_and_score_completions  what progress adds is added to TRL's own advantages
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
import trl
from anyio.from_thread import BlockingPortal, start_blocking_portal
from trl import GRPOConfig, GRPOTrainer

from mrt_reward.training.servers import check_servers, check_without_server
from mrt_reward.training.settings import TrainingSettings, load_training_settings
from mrt_trl.checks import WHERE, check_columns, check_config, check_loss_method, check_synchronous, check_version
from mrt_trl.following import Following, check_following
from mrt_trl.prefixes import PrefixBatch
from mrt_trl.progress import ProgressBatch
from mrt_trl.rows import TRL_EPSILON, GenerationBatch, Rows, TrainerContext, outcomes
from mrt_trl.scoring import scorer_of


class MRTGRPOTrainer(GRPOTrainer):
    """A `GRPOTrainer` that pays each episode of thinking for its progress.

        A_t = A + α·(G[j] - b[j])      for the tokens of episode j, where A is TRL's own

    Args:
        model: as in `GRPOTrainer`, like all that follow but these two.
        reward_funcs: give the outcome.
        args: `GRPOConfig`.
        train_dataset: as in `GRPOTrainer`, with the column of gold answers.
        more: as in `GRPOTrainer`.
        mrt: `TrainingSettings`, or some of them by name.
        answer_column: of the dataset, with the gold answers: text, a number, or several of these.
        named: as in `GRPOTrainer`.

    Raises:
        ConfigError: a setting is wrong, contradicts another, or no server answers, before a model is loaded; or no
            server may load its checkpoints, or the policy cannot prove.

    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - TRL's own
        reward_funcs: Any = None,  # noqa: ANN401
        args: GRPOConfig | None = None,
        train_dataset: Any = None,  # noqa: ANN401
        *more: Any,  # noqa: ANN401
        mrt: TrainingSettings | Mapping[str, Any] | None = None,
        answer_column: str = "solution",
        **named: Any,  # noqa: ANN401
    ) -> None:
        check_version(trl.__version__)
        check_synchronous(args, type(self).__mro__)
        check_loss_method(self._compute_loss.__module__)
        settings = mrt if isinstance(mrt, TrainingSettings) else load_training_settings(mrt or {}, where=WHERE)
        check_config(GRPOConfig() if args is None else args, settings)
        check_columns(getattr(train_dataset, "column_names", None), settings, answer_column)
        if settings.by_policy or settings.by_rollout:
            check_without_server(settings, WHERE)
        elif settings.mode == "episodes":
            check_servers(settings, WHERE)
        self._mrt_batch: GenerationBatch | None = None
        self._mrt_portal: BlockingPortal | None = None
        super().__init__(model, reward_funcs, args, train_dataset, *more, **named)
        if settings.mode == "prefix":
            # Rows of a group are neighbours in the dataset, and are normalised within one batch.
            self.shuffle_dataset = False
        check_following(self, settings)
        self._mrt = TrainerContext(
            settings=settings,
            scorer=scorer_of(self, settings),
            answer_column=answer_column,
            max_tokens=self.max_completion_length,
            credit=settings.credit_config(
                scale_by_std=self.scale_rewards == "group", epsilon=TRL_EPSILON, singleton="zero"
            ),
            note=self._mrt_note,
        )
        if settings.follow_steps is not None:
            self.add_callback(Following(self, settings, self._mrt_note))

    def __init_subclass__(cls, **more: Any) -> None:  # noqa: ANN401 - of Python's
        super().__init_subclass__(**more)
        # Its own constructor may come before ours.
        check_synchronous(None, cls.__mro__)

    def train(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of transformers
        """Train, as in `GRPOTrainer`."""
        with self._scoring():
            return super().train(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not cast("torch.nn.Module", self.model).training:
            return super()._generate_and_score_completions(inputs)
        with self._batch(inputs) as batch:
            output = super()._generate_and_score_completions(inputs)
            output["advantages"] = batch.advantages(output["advantages"], output["completion_ids"].size(1))
            return output

    def _generate(self, prompts: list[Any]) -> Any:  # noqa: ANN401 - a tuple that grows
        generated = super()._generate(prompts)
        if self._mrt_batch is not None:
            self._mrt_batch.generated(prompts, generated[0], generated[1])
        return generated

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - TRL's own
        rewards_NF = super()._calculate_rewards(*args, **kwargs)
        if self._mrt_batch is not None:
            left_out = self._mrt_batch.rewarded(outcomes(rewards_NF, self.reward_weights))
            rewards_NF[torch.tensor(left_out, device=rewards_NF.device)] = torch.nan
        return rewards_NF

    @contextmanager
    def _batch(self, inputs: list[dict[str, Any]]) -> Generator[GenerationBatch]:
        """What the other two methods work on; an error in any of TRL's cancels what is still being scored."""
        rows = Rows(self.accelerator, inputs, cast("int", self.num_generations))
        with ExitStack() as stack:
            if self._mrt.settings.mode == "prefix":
                self._mrt_batch = PrefixBatch(self._mrt, rows)
            else:
                portal = stack.enter_context(self._scoring())
                self._mrt_batch = batch = ProgressBatch(self._mrt, rows, portal, self.state.global_step)
                stack.callback(batch.leave)
            try:
                yield self._mrt_batch
            finally:
                self._mrt_batch = None

    @contextmanager
    def _scoring(self) -> Generator[BlockingPortal]:
        """The event loop that scores, in a thread of its own: one while training lasts, or while a batch alone does."""
        if self._mrt_portal is not None:
            yield self._mrt_portal
            return
        with start_blocking_portal() as portal:
            self._mrt_portal = portal
            try:
                yield portal
            finally:
                self._mrt_portal = None
                portal.call(self._mrt.scorer.close)

    def _mrt_note(self, metrics: Mapping[str, float]) -> None:
        """Into TRL's own log, which averages over the batches between two lines."""
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)
