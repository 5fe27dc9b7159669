"""A chat template's text, taken apart into the template's own words and the messages' contents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.types import Message


class ChatTemplate:
    """The template of a transformers tokenizer.

    Args:
        tokenizer: as transformers loads it.

    """

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - transformers' own
        self._tokenizer = tokenizer

    def render(self, messages: Sequence[Message]) -> str:
        """Text up to where the assistant speaks.

        Raises:
            ConfigError: there is no template.
            TraceError: the template refuses the messages.

        """
        if not self._tokenizer.chat_template:
            raise ConfigError("the prover's tokenizer has no chat template: send `prompt` instead", param="messages")
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            return self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError) as error:
            raise TraceError(f"the prover's chat template refuses the messages: {error}", param="messages") from error

    def split(self, messages: Sequence[Message]) -> list[str] | None:
        """The text cut around the contents: template, content, template, …; None where contents are not in it as sent.

        Found by rendering stand-ins for the contents. Contents may be trimmed by the template; the parts joined are
        exactly `render(messages)`.
        """
        salt = hashlib.sha256("\0".join(turn.content for turn in messages).encode("utf-8", "replace")).hexdigest()[:16]
        stand_in = f"content{salt}n"
        names = [f"{stand_in}{index}n" for index in range(len(messages))]
        rendered = self.render([Message(turn.role, name) for turn, name in zip(messages, names, strict=True)])
        if rendered.count(stand_in) != len(names):
            return None
        template: list[str] = []
        at = 0
        for name in names:
            found = rendered.find(name, at)
            if found < 0:
                return None
            template.append(rendered[at:found])
            at = found + len(name)
        template.append(rendered[at:])
        return _fill(self.render(messages), template, [turn.content for turn in messages])


def _fill(rendered: str, template: Sequence[str], contents: Sequence[str]) -> list[str] | None:
    """The rendered text in parts, if it is the template's pieces with the contents, trimmed or not, between them."""
    if not rendered.startswith(template[0]):
        return None
    parts, at = [template[0]], len(template[0])
    for content, piece in zip(contents, template[1:], strict=True):
        forms = (content, content.strip(), content.lstrip(), content.rstrip())
        form = next((form for form in forms if rendered.startswith(form + piece, at)), None)
        if form is None:
            return None
        parts += [form, piece]
        at += len(form) + len(piece)
    return parts if at == len(rendered) else None
