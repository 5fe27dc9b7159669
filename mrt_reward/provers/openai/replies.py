"""Replies of OpenAI's completions protocol, as servers write them; checked before anyone reads them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, FiniteFloat


class ReplyObject(BaseModel):
    """A JSON object in a reply; fields that are not declared are not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Logprobs(ReplyObject):
    """Log-probabilities of a choice's tokens, echoed prompt first; a missing one is None, one not finite is refused."""

    tokens: list[str] = []
    token_logprobs: list[FiniteFloat | None] = []
    top_logprobs: list[dict[str, FiniteFloat] | None] | None = None


class Choice(ReplyObject):
    """One sampled answer."""

    index: int
    text: str
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class _Cached(ReplyObject):
    cached_tokens: int | None = None


class CompletionUsage(ReplyObject):
    """Tokens of a request, all its prompts together."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None

    @property
    def computed_tokens(self) -> int:
        """Tokens that were not said to be cached. vLLM tells this for a request's last prompt only: an upper bound."""
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None
        return max(0, self.prompt_tokens - (cached or 0)) + self.completion_tokens


class Completions(ReplyObject):
    """The reply of `/v1/completions`."""

    choices: list[Choice]
    usage: CompletionUsage | None = None


class ModelCard(ReplyObject):
    """One entry of `/v1/models`. Its `created` is not read: vLLM, SGLang and llama.cpp give the time of the request."""

    id: str
    root: str | None = None
    max_model_len: int | None = None
    meta: dict[str, object] | None = None

    @property
    def max_tokens(self) -> int | None:
        """Longest context, where the server reports it; llama.cpp does under `meta`, and means each of its slots."""
        length = self.max_model_len or (self.meta or {}).get("n_ctx")
        return length if isinstance(length, int) and length > 0 else None


class ModelCards(ReplyObject):
    """Reply of `/v1/models`."""

    data: list[ModelCard]
