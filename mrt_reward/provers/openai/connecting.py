"""An endpoint becomes one that can be asked: which model it serves, how long its context is, which protocol it speaks.

The version of the weights is what `/v1/models` says about them, SGLang's `weight_version`, and the operator's
`engine_version`: weights that are changed behind an endpoint without a new name of any of these cannot be seen from
here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable
from mrt_reward.protocols import Coupling, ProverInfo, Tokenizer
from mrt_reward.provers.openai.completions import CompletionsSpeaker
from mrt_reward.provers.openai.coupling import seed_couples
from mrt_reward.provers.openai.dialect import Interview
from mrt_reward.provers.openai.endpoint import AT_ONCE, Endpoint
from mrt_reward.provers.openai.replies import ModelCard
from mrt_reward.provers.openai.requests import Completer
from mrt_reward.provers.openai.sglang import SGLangSpeaker
from mrt_reward.provers.openai.sglang_dialect import model_info, sglang_speaker
from mrt_reward.provers.openai.speaking import NOTES, Draw, Speaker


@dataclass(frozen=True, slots=True)
class Connection:
    """An endpoint that can be asked.

    Attributes:
        info: who answers there.
        speaker: sends the requests in the server's protocol.

    """

    info: ProverInfo
    speaker: Speaker

    async def write_one(self, tokenizer: Tokenizer) -> None:
        """Let it generate one token, whatever else it was asked for.

        Raises:
            ProverUnavailable: it does not.

        """
        draw = Draw([tokenizer.encode_trusted("1 + 1 =").tolist()], None, 1, max_tokens=1, temperature=0.0, top_p=1.0)
        try:
            await self.speaker.draw(draw, AT_ONCE)
        except ProverUnavailable:
            raise
        except ProverError as error:
            raise ProverUnavailable(f"the endpoint cannot generate: {error}") from error


class Connector:
    """Connects to one endpoint, as often as it is lost; what the server can do is found out once.

    Args:
        endpoint: HTTP connections to the server.
        settings: of the engine.
        tokenizer: the model's own.

    """

    def __init__(self, endpoint: Endpoint, settings: EngineSettings, tokenizer: Tokenizer) -> None:
        self.endpoint = endpoint
        self._settings = settings
        self._tokenizer = tokenizer
        self._known: Connection | None = None

    async def connect(self) -> Connection:
        """Read who answers; at the first time, find out what the server can do.

        Raises:
            ProverUnavailable: it does not answer, or not as any protocol says.
            ConfigError: it serves no such model, or a setting is missing.

        """
        try:
            card = self._chosen(await self.endpoint.models())
            max_tokens = self._max_tokens(card)
            speaker, coupled = await self._speaker(card.id)
        except (ProverUnavailable, ConfigError):
            raise
        except ProverError as error:
            raise ProverUnavailable(f"the endpoint cannot be used: {error}") from error
        note, version = NOTES[speaker.way], self._version(card, speaker)
        self._known = Connection(ProverInfo(card.id, version, "openai", max_tokens, note, coupled=coupled), speaker)
        return self._known

    async def _speaker(self, model: str) -> tuple[Speaker, Coupling]:
        known = self._known
        if known is None or known.info.model != model:
            speaker = await self._interviewed(model)
            return speaker, "endpoint" if await seed_couples(speaker, self._tokenizer) else "none"
        speaker = known.speaker
        if isinstance(speaker, SGLangSpeaker) and (info := await model_info(self.endpoint)) is not None:
            speaker = replace(speaker, weights=info.weight_version)
        return speaker, known.info.coupled

    async def _interviewed(self, model: str) -> Speaker:
        chosen = self._settings.engine_dialect
        if chosen != "completions":
            speaker = await sglang_speaker(self.endpoint, self._tokenizer, asked_for=chosen == "sglang")
            if speaker is not None:
                return speaker
        dialect = await Interview(self.endpoint, model, self._tokenizer).dialect()
        return CompletionsSpeaker(Completer(self.endpoint, model, dialect), self._tokenizer)

    def _chosen(self, cards: Sequence[ModelCard]) -> ModelCard:
        shown, names = self.endpoint.shown, ", ".join(card.id for card in cards) or "none"
        asked = self._settings.model
        if asked is None:
            if len(cards) != 1:
                raise ConfigError(
                    f"{shown} serves {len(cards)} models ({names}): name one with setting model", param="model"
                )
            return cards[0]
        for card in cards:
            if card.id == asked:
                return card
        raise ConfigError(f"{shown} serves no model {asked!r}, but {names}", param="model")

    def _max_tokens(self, card: ModelCard) -> int:
        asked = self._settings.max_model_len
        if card.max_tokens is None and asked is None:
            raise ConfigError(
                f"{self.endpoint.shown} does not report its longest context: give setting max_model_len, in tokens",
                param="max_model_len",
            )
        return min(limit for limit in (card.max_tokens, asked) if limit is not None)

    def _version(self, card: ModelCard, speaker: Speaker) -> str:
        named = [card.model_dump(), self._settings.engine_version or ""]
        if isinstance(speaker, SGLangSpeaker):
            named.append(speaker.weights or "")
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]
