"""What a policy reads before it thinks, as text: trainers tokenize it themselves.

Text that a model wrote becomes part of it. A tokenizer would make control tokens of words such as `<|im_end|>` in it,
so a trace whose thinking holds one is refused (`holds_control`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.options import Delimiters
from mrt_reward.protocols import Tokenizer
from mrt_reward.types import Message, Trace

AS_IT_IS = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""Chat template that hands texts on as they are: for trainers that do more to text than to chats (`turn`)."""


def turn(role: str, text: str) -> list[Mapping[str, str]]:
    """A chat of one turn; under `AS_IT_IS` it is the text, and nothing is put before or after it."""
    return [{"role": role, "content": text}]


def messages_of(trace: Trace) -> tuple[Message, ...]:
    """What was asked, as a chat.

    Raises:
        TraceError: the trace holds a rendered prompt or ids only.

    """
    if trace.messages is not None:
        return trace.messages
    if trace.problem is None:
        raise TraceError("expected `problem` or `messages`: a rendered prompt is no chat", param="problem")
    return (Message("user", trace.problem),)


def thinking_opened(prompt: str, delimiters: Delimiters, asked: str = "") -> str:
    """The prompt with exactly one thinking block open at its end; an empty one that a template inserted goes.

    Args:
        prompt: rendered, up to where the assistant speaks.
        delimiters: what opens and closes thinking; without an opener, the prompt stays as it is.
        asked: the last message, whose own text says nothing about what is open.

    """
    if not delimiters.open:
        return prompt
    said = prompt.rfind(asked) + len(asked) if asked and asked in prompt else 0
    head, tail = prompt[:said], prompt[said:]
    opener = tail.rfind(delimiters.open)
    close = tail.rfind(delimiters.close) if delimiters.close else -1
    if opener > close:
        return prompt
    if opener >= 0:
        inside = tail[opener + len(delimiters.open) : close]
        if not (inside + tail[close + len(delimiters.close) :]).strip():
            tail = tail[:opener]
    return f"{head}{tail}{delimiters.open}\n"


class Prompts:
    """Renders prompts with thinking opened.

    Args:
        tokenizer: of the policy that will be trained; None serves traces that hold a rendered `prompt`.
        delimiters: what opens and closes thinking.

    """

    def __init__(self, tokenizer: Tokenizer | None, delimiters: Delimiters) -> None:
        self._tokenizer = tokenizer
        self._delimiters = delimiters

    def opened(self, trace: Trace) -> str:
        """The prompt's text, with exactly one thinking block open at its end.

        Raises:
            TraceError: the trace does not say what was asked, or the template refuses it.
            ConfigError: a chat has to be rendered, and there is no tokenizer.

        """
        if trace.prompt is not None:
            return thinking_opened(trace.prompt, self._delimiters)
        chat = messages_of(trace)
        if self._tokenizer is None:
            raise ConfigError(
                "prompts are chats, which only the policy's own template can render: name its folder with --tokenizer",
                param="tokenizer",
            )
        rendered = self._tokenizer.render_chat(chat)
        return thinking_opened(rendered, self._delimiters, chat[-1].content.strip())

    def keeps(self, chat: Sequence[Message]) -> bool:
        """Whether the template writes the last turn out whole, white space apart; some drop the thinking of it.

        Without a tokenizer nothing is known, and nothing is held against it.
        """
        if self._tokenizer is None:
            return True
        return "".join(chat[-1].content.split()) in "".join(self._tokenizer.render_chat(chat).split())

    def holds_control(self, text: str) -> bool:
        """Whether a trainer's tokenizer would make control tokens of words in the text; unknown without one."""
        if self._tokenizer is None:
            return False
        return not self._tokenizer.control_ids.isdisjoint(self._tokenizer.encode_trusted(text).tolist())
