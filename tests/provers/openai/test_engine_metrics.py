"""What vLLM's `/metrics` says of its cache is read; where it says nothing, nothing is known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.protocols import CachesPrefixes, PrefixHits
from mrt_reward.provers.openai import engine_metrics
from mrt_reward.provers.openai.engine_metrics import read_prefix_cache, read_work
from mrt_reward.provers.openai.prover import OpenAIProver

# As vLLM 0.32 writes it, with two engines in one server.
PAGE = """\
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1.5e+03
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 500.0
# HELP vllm:prefix_cache_queries_created Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_created gauge
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.7e+09
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 1200.0
vllm:prefix_cache_hits_total{engine="1",model_name="m"} 300.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 9.0
"""


def test_engines_of_a_page_are_summed() -> None:
    assert read_prefix_cache(PAGE) == PrefixHits(2000.0, 1500.0)


@pytest.mark.parametrize("page", ["", "sglang:cache_hit_rate 0.5\n", PAGE.replace("prefix_cache_hits", "hits")])
def test_a_page_without_both_counters_says_nothing(page: str) -> None:
    assert read_prefix_cache(page) is None


COUNTED = {
    "vllm": ['vllm:prompt_tokens_total{engine="0"} 7.0', 'vllm:kv_cache_usage_perc{engine="0"} 0.5'],
    "sglang": ['sglang:generation_tokens_total{model_name="m"} 3', 'sglang:token_usage{model_name="m"} 0.01'],
    "llama.cpp": ["llamacpp:n_decode_total 125", "llamacpp:tokens_predicted_total 394"],
}


@pytest.mark.parametrize("server", COUNTED)
def test_those_counts_tell_of_work_that_move_with_it_alone(server: str) -> None:
    others = [
        "# TYPE vllm:prompt_tokens_total counter",
        'vllm:num_requests_waiting{engine="0"} 3.0',
        "llamacpp:predicted_tokens_seconds 68.5",
        "process_cpu_seconds_total 12.5",
        'http_requests_total{handler="/metrics"} 9.0',
    ]
    text = "\n".join([others[0], COUNTED[server][0], *others[1:], COUNTED[server][1]]) + "\n"
    assert read_work(text).splitlines() == COUNTED[server]


def prover_of(folder: Path, pages: Mapping[str, httpx.Response | type[httpx.HTTPError]]) -> OpenAIProver:
    async def handle(request: httpx.Request) -> httpx.Response:
        page = pages.get(request.url.host)
        if page is None:
            await asyncio.sleep(3600)
        assert request.url.path == "/metrics"
        if isinstance(page, httpx.Response):
            return page
        raise (page or httpx.ReadError)("gone")

    urls = tuple(f"http://{host}:9/v1" for host in ("a", "b", "c"))
    return OpenAIProver(EngineSettings(engine_url=urls, tokenizer=str(folder)), transport=httpx.MockTransport(handle))


async def test_endpoints_that_report_it_are_summed_and_others_left_out(
    qwen_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_metrics, "TIMEOUT_S", 0.05)
    pages = {"a": httpx.Response(200, text=PAGE), "b": httpx.ConnectError}  # c never answers
    prover = prover_of(qwen_dir, pages)
    assert isinstance(prover, CachesPrefixes)
    assert await prover.prefix_cache() == PrefixHits(2000.0, 1500.0)
    await prover.close()


async def test_nobody_who_reports_it_is_no_figure(qwen_dir: Path) -> None:
    away = httpx.Response(404, text=PAGE)
    prover = prover_of(qwen_dir, {"a": away, "b": httpx.Response(200, text="router_requests 1\n"), "c": away})
    assert await prover.prefix_cache() is None
    await prover.close()
