"""Graders that return a score in [0, 1]: a service of somebody's, or a reward model."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import httpx

from mrt_reward.certificates import certificates
from mrt_reward.errors import ConfigError, GraderError, translated
from mrt_reward.graders.answers import whole_text
from mrt_reward.graders.custom import score_grade
from mrt_reward.install import install_command
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Grade, Verdict

HTTP_TIMEOUT_S = 30.0
HTTP_BATCH = 64
MODEL_BATCH = 16
MODEL_MAX_TOKENS = 4096


def _failed(reason: str, count: int) -> list[Grade]:
    return [Grade(Verdict.UNGRADED, reason=reason[:300])] * count


def checked_score(score: object) -> Grade:
    """A grade of what claims to be a score; UNGRADED when it is none."""
    if isinstance(score, (int, float)) and not isinstance(score, bool) and 0 <= score <= 1:
        return score_grade(float(score))
    shown = "null" if score is None else repr(score)[:50]
    return Grade(Verdict.UNGRADED, reason=f"expected a score in [0, 1], got {shown}")


class HTTPScoreGrader:
    """Posts `{"items": [{"completion", "problem", "answers"}]}` and reads `{"scores": [number or null]}`.

    A failed request, a null and a score outside [0, 1] are UNGRADED, never 0.
    """

    needs_answer = False
    binary = False

    def __init__(
        self, url: str, *, timeout_s: float = HTTP_TIMEOUT_S, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url
        self._client = httpx.AsyncClient(timeout=timeout_s, transport=transport, verify=certificates())

    @property
    def identity(self) -> str:
        """The address; what answers there is its owner's to version."""
        return f"http:{self._url}"

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        """Grades in the order of the items."""
        grades: list[Grade] = []
        for start in range(0, len(items), HTTP_BATCH):
            grades += await self._grade(items[start : start + HTTP_BATCH])
        return grades

    async def _grade(self, items: Sequence[GradeItem]) -> list[Grade]:
        body = [
            {"completion": _encodable(whole_text(item)), "problem": _encodable(item.problem),
             "answers": [_encodable(answer) for answer in item.answers]}
            for item in items
        ]  # fmt: skip
        try:
            response = await self._client.post(self._url, json={"items": body})
            response.raise_for_status()
            reply: object = response.json()
        except httpx.HTTPStatusError as error:
            return _failed(f"the score service answered HTTP {error.response.status_code}", len(items))
        except (httpx.HTTPError, ValueError) as error:
            return _failed(f"the score service failed: {type(error).__name__}: {error}", len(items))
        scores = cast("dict[str, object]", reply).get("scores") if isinstance(reply, dict) else None
        if not isinstance(scores, list) or len(cast("list[object]", scores)) != len(items):
            return _failed(f"expected {{'scores': [...]}} with {len(items)} entries", len(items))
        return [checked_score(score) for score in cast("list[object]", scores)]

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _model_failure(error: Exception) -> GraderError:
    return GraderError(f"the reward model failed: {type(error).__name__}: {error}")


def _encodable(text: str) -> str:
    """Text without lone surrogates, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


class RewardModelGrader:
    """A Hugging Face sequence-classification model with one output; the score is its sigmoid.

    The model reads the problem and the completion as a chat where its tokenizer has a template, and otherwise as two
    texts with a blank line between. It runs in a thread, one batch at a time.
    """

    needs_answer = False
    binary = False

    def __init__(self, path: str | Path, *, device: str | None = None) -> None:
        try:
            import torch  # noqa: PLC0415 - an optional extra
            from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                f"a reward model needs torch and transformers ({error}): {install_command('transformers')}"
            ) from error
        self._path = str(path)
        self._torch: Any = torch
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(self._path)
            model = cast("Any", AutoModelForSequenceClassification).from_pretrained(self._path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"expected a sequence-classification model at {self._path}: {error}") from error
        if model.config.num_labels != 1:
            raise ConfigError(f"expected a model with one output, got {model.config.num_labels} at {self._path}")
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        model.config.pad_token_id = self._tokenizer.pad_token_id
        self._model: Any = model.to(self._device).eval()
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """The folder or name it was loaded from."""
        return f"model:{self._path}"

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        """Grades in the order of the items."""
        grades: list[Grade] = []
        for start in range(0, len(items), MODEL_BATCH):
            batch = items[start : start + MODEL_BATCH]
            try:
                with translated(_model_failure):
                    logits = await asyncio.to_thread(self._logits, [self._text(item) for item in batch])
            except GraderError as error:
                grades += _failed(str(error), len(batch))
            else:
                grades += [checked_score(sigmoid(logit)) for logit in logits]
        return grades

    def _text(self, item: GradeItem) -> str:
        problem, completion = _encodable(item.problem), _encodable(whole_text(item))
        if self._tokenizer.chat_template is None:
            return f"{problem}\n\n{completion}"
        chat = [{"role": "user", "content": problem}, {"role": "assistant", "content": completion}]
        return str(self._tokenizer.apply_chat_template(chat, tokenize=False))

    def _logits(self, texts: list[str]) -> list[float]:
        with self._lock, self._torch.inference_mode():
            self._tokenizer.truncation_side = "left"  # the answer is at the end
            inputs = self._tokenizer(
                texts, return_tensors="pt", padding=True, truncation=True, max_length=self._max_tokens()
            )
            return self._model(**inputs.to(self._device)).logits[:, 0].float().tolist()

    def _max_tokens(self) -> int:
        return min(MODEL_MAX_TOKENS, int(getattr(self._model.config, "max_position_embeddings", MODEL_MAX_TOKENS)))

    async def close(self) -> None:
        """Let the model go."""
        self._model = None


def sigmoid(logit: float) -> float:
    """1 / (1 + e^-x), without overflow; not-a-number stays so."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
