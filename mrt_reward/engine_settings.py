"""What runs the prover: one record, which flags, environment, settings file, engines and benchmarks read."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from mrt_reward.errors import ConfigError


def _sendable(key: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
        raise ValueError(
            "expected printable ASCII without blanks or line breaks, because no header can carry others: the key "
            "that was given has one, perhaps at its end"
        )
    return key


Key = Annotated[SecretStr, Field(min_length=1), AfterValidator(_sendable)]
"""A key that is sent in a header; never shown."""


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL: what may be shown of it, because passwords and keys stand in the rest."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "(no URL)"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}" if host else "(no URL)"


class EngineSettings(BaseModel):
    """Settings of an engine. `ServeSettings` has them too, so that they are flags, variables and keys of the TOML file.

    Raises:
        ValueError: one is outside its range or choices, or unknown.

    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str | None, Field(description="Prover: folder, hub name or bundled model; none is mini.")] = None
    engine: Annotated[
        Literal["transformers", "vllm", "openai"],
        Field(description="Engine that runs the prover: transformers, vllm or openai."),
    ] = "transformers"
    engine_url: Annotated[
        str | tuple[str, ...] | None,
        Field(
            description="Engine openai: URL of the endpoint, such as http://127.0.0.1:8000, or of several that serve "
            "one model, with commas between: a trace goes to one of them, and to another where that one fails."
        ),
    ] = None
    engine_dialect: Annotated[
        Literal["auto", "completions", "sglang"],
        Field(
            description="Engine openai: how endpoints are asked. auto tries SGLang's own /generate, and takes OpenAI's "
            "completions where there is none."
        ),
    ] = "auto"
    engine_api_key: Annotated[Key | None, Field(description="Engine openai: its API key.")] = None
    engine_version: Annotated[
        str | None, Field(description="Engine openai: version of the endpoint's weights; change it when they change.")
    ] = None
    tokenizer: Annotated[
        str | None, Field(description="Engine openai: folder or hub name of the tokenizer; none is the model's name.")
    ] = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Field(description="Precision of the weights; auto is bfloat16 for vllm on a GPU, and float32 otherwise."),
    ] = "auto"
    device: Annotated[str, Field(description="auto, cpu, cuda or cuda:N; for engine transformers.")] = "auto"
    threads: Annotated[
        int | None,
        Field(
            ge=1,
            description="CPU threads of one operation; none is OMP_NUM_THREADS, or all cores, but 1 for models below "
            "100 million parameters on engine transformers.",
        ),
    ] = None
    max_kv_tokens: Annotated[
        int,
        Field(
            ge=1,
            description="Tokens whose keys and values sampled answers of several traces hold at once; one trace alone "
            "may hold more; for engine transformers.",
        ),
    ] = 32_768
    max_model_len: Annotated[
        int | None, Field(ge=2, description="Longest context in tokens, answer included; none is the model's own.")
    ] = None
    revision: Annotated[str | None, Field(description="Branch, tag or commit of a hub model.")] = None
    trust_remote_code: Annotated[bool, Field(description="Let the model's own Python code run.")] = False
    tensor_parallel_size: Annotated[int, Field(ge=1, description="GPUs that share the model; for engine vllm.")] = 1
    gpu_memory_utilization: Annotated[
        float | None, Field(gt=0, le=1, description="Share of each GPU's memory; none is vLLM's own; for engine vllm.")
    ] = None
    engine_args: Annotated[
        dict[str, Any], Field(description="More arguments of vLLM's AsyncEngineArgs, by name; for engine vllm.")
    ] = {}

    @property
    def engine_urls(self) -> tuple[str, ...]:
        """All endpoints."""
        given = self.engine_url.split(",") if isinstance(self.engine_url, str) else self.engine_url or ()
        return tuple(url.strip() for url in given if url.strip())

    @property
    def named_model(self) -> str:
        """The model, for engines that load one.

        Raises:
            ConfigError: none is named.

        """
        if self.model is None:
            raise ConfigError(f"engine {self.engine!r} needs a model: a folder or a hub name", param="model")
        return self.model
