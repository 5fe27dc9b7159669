"""Traces to be read in the page: bounded in number and size, and nothing but data.

What a model wrote is hostile. It goes into the page as JSON in which no character can end the element that holds it,
and the page's script only ever puts it in text nodes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mrt_reward.evaluation.result import Result
from mrt_reward.service.encoding import problem_text
from mrt_reward.types import Episode, Value, Verdict

MAX_EPISODE_CHARS = 6_000
MAX_ANSWER_CHARS = 4_000
MAX_BYTES = 8_000_000
"""Of all traces together."""

_ESCAPED = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def browser_json(results: Iterable[Result], max_bytes: int = MAX_BYTES) -> tuple[str, int]:
    """Traces as JSON that may stand in a script element, and how many there was room for."""
    parts: list[str] = []
    used = 0
    for result in results:
        part = json.dumps(shown(result), ensure_ascii=True, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)
        if used + len(part) > max_bytes:
            continue
        used += len(part) + 1
        parts.append(part)
    return f"[{','.join(parts)}]", len(parts)


def shown(result: Result) -> dict[str, Any]:
    """What the page shows of a trace."""
    scored, trace = result.scored, result.trace if result.has_trace else None
    evaluation = result.evaluation
    last = scored.episodes[-1].char_end if scored.episodes else 0
    return {
        "id": scored.id[:200],
        "model": result.model[:200],
        "problem": result.problem[:200],
        "question": clipped(problem_text(trace) or trace.prompt or "", MAX_ANSWER_CHARS) if trace else "",
        "gold": list(trace.answer)[:8] if trace else [],
        "outcome": scored.outcome,
        "truncated": evaluation.truncated if evaluation else None,
        "values": [_value(value) for value in scored.values],
        "tokens": list(scored.prefix_tokens),
        "episodes": [_episode(episode, result.completion) for episode in scored.episodes],
        "answer": clipped(result.completion[last:], MAX_ANSWER_CHARS),
        "extension": _extension(result),
        "warnings": list(scored.warnings)[:5],
    }


def clipped(text: str, most: int) -> str:
    """The text, its middle left out if it is too long."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n\n[… {len(text) - 2 * half:,} characters left out …]\n\n{text[-half:]}"


def _value(value: Value) -> dict[str, Any]:
    votes = Counter("no answer" if answer.verdict is Verdict.UNPARSED else answer.text[:80]
                    for answer in value.answers or ())  # fmt: skip
    right = {answer.text[:80] for answer in value.answers or () if answer.verdict is Verdict.CORRECT}
    return {
        "v": value.value,
        "lo": value.low,
        "hi": value.high,
        "bound": value.bound,
        "answers": [[text, count, text in right] for text, count in votes.most_common(6)],
    }


def _episode(episode: Episode, completion: str) -> dict[str, Any]:
    return {
        "text": clipped(completion[episode.char_start : episode.char_end], MAX_EPISODE_CHARS),
        "progress": episode.progress,
        "stderr": episode.stderr,
        "tokens": episode.token_end - episode.token_start,
    }


def _extension(result: Result) -> list[dict[str, Any]]:
    extension = result.evaluation and result.evaluation.extension
    if not extension:
        return []
    starts = (0, *extension.ends[:-1])
    return [
        {"text": clipped(extension.text[start:end], MAX_EPISODE_CHARS), **_value(value)}
        for start, end, value in zip(starts, extension.ends, extension.values, strict=True)
    ]
