"""Peer (b), the shape that the authors of MRT published: one blocking `generate` a trace, free-form answers, n = 8.

    python -m mrt_reward.benchmark.vllm_authors ASKED.json TOLD.json

It runs in a process of its own, with vLLM's `LLM` in it, and tells what it cost there without the start.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams

from mrt_reward.benchmark.processes import measured
from mrt_reward.provers.vllm.probes import computed

TEMPERATURE, TOP_P = 0.6, 0.95


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer every trace's prefixes, trace after trace.

    Args:
        asked: `engine`, arguments of `LLM`; `warm_up` and `traces`, lists of traces as lists of prompts as ids;
            `num_samples` and `max_tokens` of the answers.

    """
    llm = LLM(**asked["engine"])
    params = SamplingParams(
        n=int(asked["num_samples"]), temperature=TEMPERATURE, top_p=TOP_P, max_tokens=int(asked["max_tokens"]),
        detokenize=True,
    )  # fmt: skip

    def generate(trace: list[list[int]]) -> tuple[int, list[int]]:
        prompts: Any = [{"prompt_token_ids": ids} for ids in trace]
        outputs = llm.generate(prompts, params, use_tqdm=False)
        lengths = [len(answer.token_ids) for output in outputs for answer in output.outputs]
        return sum(computed(output) for output in outputs), lengths

    for trace in asked["warm_up"]:
        generate(trace)
    num_computed = 0
    lengths: list[int] = []
    with measured() as cost:
        for trace in asked["traces"]:
            num, found = generate(trace)
            num_computed += num
            lengths += found
    return {"cost": asdict(cost), "computed_tokens": num_computed, "answer_tokens": sum(lengths) / len(lengths)}


if __name__ == "__main__":
    source, target = sys.argv[1:]
    Path(target).write_text(json.dumps(run(json.loads(Path(source).read_text()))))
