"""One example for each route: what it is asked, or what it answers where it is asked nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRACE: Mapping[str, Any] = {
    "id": "1",
    "problem": "On the island map, which of these places leads to an exit after exactly three steps: 49, 34, 51, 19, "
    "20? Exactly one of them does.",
    "answer": "51",
    "completion": "<think>\nLet me start with 19.\n\nFrom 19, one step leads to 4, two to 33, three to 47.\n\nPlace 47 "
    "is not an exit, which rules out 19.\n\nAlternatively, take 51.\n\nFrom 51, one step leads to 37, two to 39, three "
    "to 55.\n\nPlace 55 is an exit, so it works from 51.\n</think>\n\nThe final answer is \\boxed{51}",
}
"""A trace of the bundled model, which knows this problem."""

_WRONG: Mapping[str, Any] = {
    **TRACE,
    "id": "2",
    "completion": "<think>\nLet me start with 19.\n\nIt works from 19.\n</think>\n\nThe final answer is \\boxed{19}",
}

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "/v1/score": {"traces": [TRACE], "options": {"estimator": {"kind": "likelihood"}}},
    "/v1/advantages": {"groups": [{"traces": [TRACE, _WRONG]}], "credit": {"alpha": 1.0, "baseline": "group"}},
    "/v1/episodes": {"traces": [TRACE], "options": {"segmenter": {"kind": "balanced", "max_episodes": 4}}},
    "/get_reward": {
        "query": ["What is 6 times 7?<think>\n6 times 7 is 42.\n</think>\\boxed{42}"],
        "prompts": ["What is 6 times 7?"],
        "labels": ["42"],
    },
    "/admin/drain": {"draining": True},
    "/admin/weights": {"path": "step-200", "kind": "checkpoint"},
}
"""Bodies of requests, by path."""

REPLIES: Mapping[str, Any] = {
    "/livez": {"status": "ok"},
    "/readyz": {"status": "ok"},
    "/version": {"version": "0.1.0"},
    "/v1/prover": {
        "model": "Qwen3-1.7B",
        "version": "8172c3e3b7b5341e",
        "engine": "vllm",
        "max_tokens": 16384,
        "note": "",
        "coupled": "exact",
        "computed_per_needed": 1.11,
        "endpoints": [],
        "tokenizer": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
        "graders": ["math"],
        "options": {},
    },
    "/v1/overview": {
        "queued_tokens": 1200,
        "queue_limit_tokens": 4000000,
        "running": 1,
        "waiting": 2,
        "traces": {"ok": 64, "partial": 0, "error": 1},
        "progress": [{"low": 0.2, "high": 0.5, "episodes": 31}],
        "errors": [{"where": "trace", "code": "no_thinking", "count": 1, "seconds_ago": 12.5}],
    },
    "/metrics": "mrt_reward_cache_hits_total 12.0\n",
    "/admin/cache": {"status": "ok"},
    "/admin/drain": {"status": "ok"},
}
"""What is answered with 200 where nothing is asked, by path."""
