"""Thinking beyond a trace's own end: whenever it would stop, a word makes it go on (budget forcing).

As the authors do it: the words take turns, each extension has a budget of its own, a paragraph that the budget cut is
dropped, and values are taken after every second extension.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge

from mrt_reward.errors import ProverError
from mrt_reward.evaluation.result import Extension
from mrt_reward.evaluation.sampling import SamplingSpec, continue_from
from mrt_reward.options import ExplicitSegmenter, ScoreOptions
from mrt_reward.ranges import option
from mrt_reward.service.encoding import Encoded
from mrt_reward.service.jobs import segment
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Status, Trace

WORDS = ("Wait", "But wait", "Alternatively", "But hold on")
"""In their turn, as in the authors' script."""

SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class ForcingSpec:
    """How thinking is extended.

    Attributes:
        num_extensions: W, the number of words that force it on.
        sampling: temperature, top-p and seed.
        every: values are taken after every this many extensions, and after the last.
        close: what would close the thinking; what comes after it is dropped.

    """

    num_extensions: int
    sampling: SamplingSpec
    max_tokens: Annotated[int, Ge(1)] = option(2048, "Tokens of each extension.")
    every: int = 2
    close: str = "</think>"


async def extend(scorer: Scorer, trace: Trace, options: ScoreOptions, spec: ForcingSpec) -> Extension:
    """Force a trace on beyond its end, and take values there.

    It ends early where the context is full.

    Raises:
        TraceError: the trace cannot be segmented.
        ProverError: the engine failed.

    """
    encoded, _ = segment(trace, options, scorer.tokenizer)
    text, ends = "", list[int]()
    for number in range(spec.num_extensions):
        opened = text + _opening(encoded, text, WORDS[number % len(WORDS)])
        thought = await _thought(scorer, encoded, opened, spec, name=f"{trace.id}+{number}")
        if thought is None:
            break
        text = opened + thought
        if (number + 1) % spec.every == 0 or number + 1 == spec.num_extensions:
            ends.append(len(text))
    extension = Extension(text, tuple(ends), (), ())
    return await _valued(scorer, trace, encoded, options, extension) if ends else extension


def _opening(encoded: Encoded, text: str, word: str) -> str:
    """The word, in a paragraph of its own."""
    written = encoded.completion[encoded.thinking.start : encoded.thinking.end] + text
    return ("" if not written or written.endswith(SEPARATOR) else SEPARATOR) + word


async def _thought(scorer: Scorer, encoded: Encoded, opened: str, spec: ForcingSpec, *, name: str) -> str | None:
    """What the model writes after the extended text and one more word; None where there is no room for it."""
    tokenizer = scorer.tokenizer
    more = tokenizer.encode_untrusted(opened).ids
    context = np.concatenate([encoded.context, encoded.thinking_ids, more])
    if scorer.info.max_tokens and len(context) >= scorer.info.max_tokens:
        return None
    sampling = replace(spec.sampling, num_traces=1, max_tokens=spec.max_tokens)
    [ids], limit = await continue_from(scorer, context, sampling, name=name)
    thought, _ = tokenizer.locate(ids)
    thought, closed, _ = thought.partition(spec.close) if spec.close else (thought, "", "")
    if not closed and len(ids) >= limit and SEPARATOR in thought:
        thought = thought.rpartition(SEPARATOR)[0] + SEPARATOR
    return thought


async def _valued(
    scorer: Scorer, trace: Trace, encoded: Encoded, options: ScoreOptions, extension: Extension
) -> Extension:
    """The extension with its values."""
    start, end = encoded.thinking.start, encoded.thinking.end
    longer = replace(
        trace,
        completion=encoded.completion[:end] + extension.text,
        completion_ids=None,
        episode_starts=tuple(dict.fromkeys([start, *(end + at for at in (0, *extension.ends[:-1]))])),
    )
    [scored] = await scorer.score([longer], replace(options, segmenter=ExplicitSegmenter("explicit")))
    num = len(extension.ends)
    if scored.status is Status.ERROR or len(scored.values) <= num:
        message = scored.error.message if scored.error else "its boundaries fell into one token"
        raise ProverError(f"the extension could not be scored: {message}")
    return replace(extension, prefix_tokens=scored.prefix_tokens[-num:], values=scored.values[-num:])
