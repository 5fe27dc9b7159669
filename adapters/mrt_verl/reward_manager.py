"""The user's own reward, and beside it the progress of the same trajectory, scored while others still generate."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict
from ray.exceptions import RayError
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.protocol import DataProto
from verl.trainer.ppo.reward import load_reward_manager
from verl.utils.fs import copy_to_local

from mrt_reward.options import Delimiters
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.prefix import read_prefixed, trained_part
from mrt_reward.training.records import Lapse, Prefixed, Record
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import TraceScorer
from mrt_reward.types import Message
from mrt_verl.engines import OWN_SCORE
from mrt_verl.expand import OUTCOME_MANAGER, reads_switch_itself, settings_of

RECORD = "mrt_record"
"""Key of `reward_extra_info` that carries a `Record` to the agent loop's worker, which takes it out."""

SCALE = "mrt_scale"
"""Key beside it that carries the `ProgressScale` on which the record's progress is paid."""

VALIDATING = "__mrt_validate__"
"""Key of the sample that says that it is for validation, which is never scored."""

WRITER = "__mrt_writer__"
"""Key of the sample that says which replica wrote it, where the replicas prove."""

STEP = "__mrt_step__"
"""Key of the sample that says at which step of the trainer it was made."""

logger = logging.getLogger(__name__)

if reads_switch_itself():
    # The trainer's process imports this before the replicas get their first weights.
    from mrt_verl.service import follow_weights

    follow_weights()


class MRTRewardManager(RewardManagerBase):
    """Asks the user's reward manager for the outcome and the progress server for the episodes, at once.

    Args:
        config: of the trainer, expanded.
        tokenizer: the policy's.
        compute_score: as veRL made it for us; the outcome manager gets one of its own.
        reward_kwargs: handed on to the outcome manager.

    """

    def __init__(self, config: DictConfig, tokenizer: Any, compute_score: Any, **reward_kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(config, tokenizer, compute_score)
        theirs = config.copy()
        with open_dict(theirs):
            theirs.reward.reward_manager = theirs.reward[OUTCOME_MANAGER]
            if theirs.reward.custom_reward_function.path == OWN_SCORE:
                theirs.reward.custom_reward_function.path = None
        self._settings = settings_of(config)
        # Where the pool proves, it is no reward model of the user's.
        given = {} if self._settings.by_pool else reward_kwargs
        self._outcome: Any = load_reward_manager(theirs, tokenizer, **given)
        model = config.actor_rollout_ref.model
        folder = copy_to_local(OmegaConf.select(model, "tokenizer_path") or model.path)
        self._tokens = PolicyTokens.of(tokenizer, folder)
        served = self._settings.by_rollout or self._settings.by_pool
        self._scorer = None if served else TraceScorer(self._settings, self._tokens)
        self._num_lapses = 0

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """The outcome as the user's manager gives it, with a `Record` beside it for training samples."""
        columns = cast("Mapping[str, Sequence[Any]]", data.non_tensor_batch)
        if VALIDATING in columns and bool(columns[VALIDATING][0]):
            return await self._outcome.run_single(data)
        scoring = asyncio.ensure_future(self._scored(data))
        try:
            result = await self._outcome.run_single(data)
            rewarded = time.perf_counter()
            record = replace(await scoring, waited_s=time.perf_counter() - rewarded)
        finally:
            scoring.cancel()
        extra = result.get("reward_extra_info") or {}
        result["reward_extra_info"] = {**extra, RECORD: record, SCALE: self._settings.scale}
        return result

    async def _scored(self, data: DataProto) -> Record:
        if self._settings.mode == "prefix":
            return Record(prefixed_row(data, self._tokens, self._settings.delimiters))
        if len(data) != 1:
            record = Record(Lapse.UNSUPPORTED, "an agent loop with several outputs has no one response to score")
        else:
            record = await self._score(_response(data[0]))
        if isinstance(record.what, Lapse) and record.what.failed:
            self._num_lapses += 1
            # The first ones are logged, and then ever fewer: a dead server must not fill the disk.
            if self._num_lapses & (self._num_lapses - 1) == 0:
                logger.warning("mrt: no progress (%s): %s", record.what.name.lower(), record.reason)
        return record

    async def _score(self, response: Response) -> Record:
        if self._scorer is None:
            from mrt_verl import service  # noqa: PLC0415 - earlier versions of veRL have none

            try:
                url, key = await service.address()
            except (ValueError, RayError) as error:
                return Record(Lapse.UNREACHABLE, f"the run's scoring service is not there: {error}")
            self._scorer = TraceScorer(replace(self._settings, url=url), self._tokens, api_key=key)
        return await self._scorer.score(response)


def prefixed_row(data: DataProto, tokens: PolicyTokens, delimiters: Delimiters) -> Prefixed:
    """The row of a dataset of prefixes; raises TraceError as `read_prefixed` does."""
    item = data[len(data) - 1]
    row = read_prefixed(cast("Mapping[str, Any]", item.non_tensor_batch), "a row of data.train_files")
    return trained_part(row, _response(item), tokens, delimiters)


def _response(item: Any) -> Response:  # noqa: ANN401 - DataProtoItem
    """One sample of veRL's as a response."""
    columns = cast("Mapping[str, Any]", item.non_tensor_batch)
    prompts, responses, mask = (item.batch[name] for name in ("prompts", "responses", "attention_mask"))
    graded = columns.get("reward_model")
    num_prompt = int(columns.get("prompt_len", mask[: len(prompts)].sum()))
    num_response = int(columns.get("response_len", mask[len(prompts) :].sum()))
    return Response(
        prompt_ids=prompts[-num_prompt:].tolist(),
        response_ids=responses[:num_response].tolist(),
        messages=_messages(columns.get("raw_prompt")),
        answer=graded.get("ground_truth") if isinstance(graded, Mapping) else None,
        group=str(columns["uid"]) if "uid" in columns else None,
        step=int(columns.get(STEP, 0)),
        session=_session(columns.get(WRITER), responses[:num_response].tolist()),
    )


def _session(writer: object, response_ids: Sequence[int]) -> str | None:
    """The replica that wrote a trace, and after it what tells the trace from others that it wrote."""
    if not writer:
        return None
    data = np.array(response_ids, np.int32).tobytes()
    return f"http://{writer}#{zlib.crc32(data):08x}"


def _messages(chat: Any) -> list[Message]:  # noqa: ANN401 - a dataset's column
    """A chat of text alone; anything else is none."""
    turns = list(chat) if chat is not None else []
    if not all(isinstance(turn, Mapping) and isinstance(turn.get("content"), str) for turn in turns):
        return []
    return [Message(str(turn.get("role", "user")), str(turn["content"])) for turn in turns]
