"""What tests of the `openai` prover share: proofs about the rule's model, what they should give, broken replies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrt_reward.backoff import Backoff
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, Proven, RolloutQuery, SpellingIds
from mrt_reward.provers.openai.prover import OpenAIProver
from tests.provers.openai.fake_endpoint import FakeEndpoint, rule
from tests.provers.openai.fake_sglang import FakeSGLang
from tests.provers.openai.switchboard import Switchboard

# 7 8 9 and 7 8 share their nodes: 4 nodes, of which 9, 8 and 12 end a spelling.
SPELLINGS = (SpellingIds((7, 8, 9), (10, 11)), SpellingIds((7, 8), (10,)), SpellingIds((12,), (13, 14, 15)))
LIKELIHOOD = LikelihoodQuery(SPELLINGS)
SAMPLED = RolloutQuery(num_samples=3, temperature=1.0, top_p=1.0, max_tokens=6, stop_at_close=False)
NO_WAIT = Backoff(max_tries=3, base_s=0.0, max_wait_s=0.0)


def make_proof(cuts: Sequence[int], query: LikelihoodQuery | RolloutQuery = LIKELIHOOD, *, seed: int = 0) -> Proof:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 300, size=max(cuts), dtype=np.int32)
    probes = tuple(Probe(cut, (1, 2 + index), seed=1000 * seed + index) for index, cut in enumerate(cuts))
    return Proof(ids, probes, query)


def prefix_of(proof: Proof, probe: Probe) -> list[int]:
    return [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]


def expected(proof: Proof, *, num_closes: int | None = None) -> list[list[float]]:
    """The rule's own sums; with all closes, or with the plainest only (in these spellings the first)."""
    rows: list[list[float]] = []
    for probe in proof.probes:
        row: list[float] = []
        for spelling in SPELLINGS:
            ids = prefix_of(proof, probe)
            total = 0.0
            for token in spelling.ids:
                total += rule(ids)[token]
                ids.append(token)
            row.append(total + math.log(sum(math.exp(rule(ids)[token]) for token in spelling.close[:num_closes])))
        rows.append(row)
    return rows


def prover_of(fake: FakeEndpoint | FakeSGLang, folder: Path, **settings: Any) -> OpenAIProver:
    if isinstance(fake, FakeEndpoint) and fake.dialect == "plain":
        settings.setdefault("max_model_len", 4096)
    chosen = EngineSettings(engine_url="http://engine:9/v1/", tokenizer=str(folder), **settings)
    return OpenAIProver(chosen, transport=fake.transport, backoff=NO_WAIT)


FLEET = ("a", "b", "c")
QUICK = Backoff(max_tries=3, base_s=0.001, max_wait_s=0.01)


def fleet_of(
    switchboard: Switchboard, folder: Path, hosts: Sequence[str] = FLEET, *, shared: bool = False, **settings: Any
) -> OpenAIProver:
    """A prover of several endpoints."""
    urls = tuple(f"http://{host}:9" for host in hosts)
    chosen = EngineSettings(engine_url=urls, tokenizer=str(folder), **settings)
    return OpenAIProver(chosen, transport=switchboard, backoff=QUICK, shared=shared)


def likelihoods(proven: Proven) -> list[list[float]]:
    return [list(answer.spelling_logprobs) for answer in proven.answers]


def without_tokens(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        choice["logprobs"]["top_logprobs"] = [{}]
        choice["logprobs"]["tokens"] = ["x"]
    return reply


def echo_of_another_length(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        choice["logprobs"]["token_logprobs"] = choice["logprobs"]["token_logprobs"][3:]
    return reply


def echo_with_a_gap(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        choice["logprobs"]["token_logprobs"][-2:-1] = [None]
    return reply
