"""Names and signatures of vLLM that the prover relies on, by inspection; supported are 0.32 and 0.33."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def named(path: str) -> Any:
    """What `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("vllm.v1.engine.async_llm:AsyncLLM.from_engine_args", ("engine_args",)),
        ("vllm.v1.engine.async_llm:AsyncLLM.generate", ("prompt", "sampling_params", "request_id", "lora_request")),
        ("vllm.v1.engine.async_llm:AsyncLLM.add_lora", ("lora_request",)),
        ("vllm.v1.engine.async_llm:AsyncLLM.shutdown", ("timeout",)),
        ("vllm.v1.engine.async_llm:AsyncLLM.get_num_unfinished_requests", ()),
        ("vllm.inputs.engine:tokens_input", ("prompt_token_ids", "cache_salt")),
        ("vllm.lora.request:LoRARequest", ("lora_name", "lora_int_id", "lora_path")),
        (
            "vllm.v1.sample.logits_processor.builtin:process_dict_updates",
            ("req_entries", "batch_update", "new_state"),
        ),
        ("vllm.v1.sample.logits_processor:LogitsProcessor.__init__", ("vllm_config", "device", "is_pin_memory")),
        ("vllm.v1.sample.logits_processor:LogitsProcessor.apply", ("logits",)),
        ("vllm.v1.sample.logits_processor:LogitsProcessor.update_state", ("batch_update",)),
    ],
)
def test_what_is_called_takes_these_arguments(path: str, parameters: tuple[str, ...]) -> None:
    owner, _, method = path.partition(":")[2].partition(".")
    called = named(f"{path.partition(':')[0]}:{owner}")
    called = getattr(called, method) if method else called
    assert set(parameters) <= set(inspect.signature(called).parameters)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (
            "vllm:SamplingParams",
            (
                "temperature max_tokens stop_token_ids ignore_eos logprob_token_ids flat_logprobs extra_args "
                "prompt_logprobs skip_reading_prefix_cache detokenize output_kind"
            ),
        ),
        (
            "vllm.engine.arg_utils:AsyncEngineArgs",
            (
                "model dtype max_model_len tensor_parallel_size gpu_memory_utilization trust_remote_code load_format "
                "block_size enforce_eager kv_cache_memory_bytes num_gpu_blocks_override additional_config "
                "enable_prefix_caching skip_tokenizer_init disable_log_stats logits_processors enable_lora "
                "max_lora_rank logprobs_mode speculative_config distributed_executor_backend hf_overrides"
            ),
        ),
        ("vllm.logprobs:FlatLogprobs", "start_indices end_indices token_ids logprobs"),
        ("vllm.outputs:CompletionOutput", "token_ids logprobs"),
    ],
)
def test_records_have_these_fields(path: str, fields: str) -> None:
    record = named(path)
    known = getattr(record, "__struct_fields__", None) or [field.name for field in dataclasses.fields(record)]
    assert set(fields.split()) <= set(known)


def test_outputs_tell_what_was_cached() -> None:
    parameters = inspect.signature(named("vllm.outputs:RequestOutput")).parameters
    assert {"prompt_token_ids", "prompt_logprobs", "outputs", "finished", "num_cached_tokens"} <= set(parameters)


def test_an_engines_death_has_its_own_error_and_flag() -> None:
    assert issubclass(named("vllm.v1.engine.exceptions:EngineDeadError"), Exception)
    assert issubclass(named("vllm.exceptions:VLLMClientError"), Exception)
    assert isinstance(inspect.getattr_static(named("vllm.v1.engine.async_llm:AsyncLLM"), "errored"), property)


def test_log_probabilities_are_raw_unless_asked_otherwise() -> None:
    # A forced token must tell its own probability, not the 1 that is left of it.
    assert named("vllm.engine.arg_utils:AsyncEngineArgs").logprobs_mode == "raw_logprobs"


def test_the_heads_precision_is_an_override() -> None:
    assert isinstance(inspect.getattr_static(named("vllm.config:ModelConfig"), "head_dtype"), property)


def test_as_many_tokens_can_be_watched_as_a_request_asks_for() -> None:
    assert named("vllm.sampling_params:MAX_LOGPROB_TOKEN_IDS") >= 2


def test_the_server_takes_the_flags_of_the_engines_on_kubernetes() -> None:
    file = Path(__file__).parents[2] / "deploy" / "kubernetes" / "engines.yaml"
    deployment, *_ = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["vllm", "serve"]
    parser = named("vllm.entrypoints.launchers.cli_args:make_arg_parser")(
        named("vllm.utils.argparse_utils:FlexibleArgumentParser")()
    )
    flags = parser.parse_args(container["args"])
    assert flags.kv_events_config.publisher == "zmq"
    assert flags.kv_events_config.topic == "kv@$(POD_IP):8000@prover"
    assert (flags.block_size, flags.logprobs_mode) == (16, "raw_logprobs")
    # Of the same seed in every process, unless PYTHONHASHSEED says otherwise.
    assert flags.prefix_caching_hash_algo == "sha256"
    names = {each["name"] for each in container["env"] if each["name"].startswith("VLLM_")}
    assert names <= set(named("vllm.envs:environment_variables"))


def test_events_of_cached_blocks_hold_what_llm_ds_router_reads() -> None:
    # By name, and not by position, as it was before: the adapter of v0.10.0 reads both.
    msgpack = import_module("msgspec.msgpack")
    stored = named("vllm.distributed.kv_events:BlockStored")(
        block_hashes=[b"12345678"],
        parent_block_hash=None,
        token_ids=[1, 2],
        block_size=2,
        lora_id=None,
        medium="GPU",
        lora_name=None,
    )
    _, [event], *_ = msgpack.decode(msgpack.encode(named("vllm.distributed.kv_events:KVEventBatch")(1.0, [stored])))
    assert event["type"] == "BlockStored"
    assert (event["token_ids"], event["block_size"], event["parent_block_hash"]) == ([1, 2], 2, None)
