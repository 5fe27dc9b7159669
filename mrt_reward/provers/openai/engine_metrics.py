"""What an engine's `/metrics` say: that it works, for whomever, and how much of its prompts its cache of prefixes held.

Replies say neither: vLLM reports the cached tokens of a request's last prompt alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from mrt_reward.protocols import PrefixHits
from mrt_reward.provers.openai.endpoint import Endpoint

TIMEOUT_S = 1.0
"""An endpoint that takes longer to report is one that does not."""

_SAMPLE = re.compile(r"^vllm:prefix_cache_(queries|hits)(?:_total)?(?:\{[^}\n]*\})?[ \t]+([0-9.eE+]+)\b", re.MULTILINE)

# What vLLM, SGLang and llama.cpp count of their work: tokens, passes, and how full their caches are.
_COUNTS = re.compile(r"^(?:vllm|sglang|llamacpp):(?:\w*(?:tokens|decode)\w*_total|\w*usage\w*)[ {].*$", re.MULTILINE)


def read_work(page: str) -> str:
    """The counts of a page that move while the engine works for anybody; empty where it has none."""
    return "\n".join(_COUNTS.findall(page))


async def prefix_cache_of(endpoints: Sequence[Endpoint]) -> PrefixHits | None:
    """What those that report it report, together; None where none does, such as a router or another engine."""
    pages = await asyncio.gather(*(endpoint.peeked("/metrics", TIMEOUT_S) for endpoint in endpoints))
    found = [read for page in pages if page is not None and (read := read_prefix_cache(page)) is not None]
    if not found:
        return None
    return PrefixHits(sum(each.num_asked for each in found), sum(each.num_hit for each in found))


def read_prefix_cache(page: str) -> PrefixHits | None:
    """Both counters of a page in Prometheus' text format, summed over engines; None where either is missing."""
    counted: dict[str, float] = {}
    for name, value in _SAMPLE.findall(page):
        counted[name] = counted.get(name, 0.0) + float(value)
    return PrefixHits(counted["queries"], counted["hits"]) if len(counted) == 2 else None
