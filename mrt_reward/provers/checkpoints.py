"""Folders with weights: where they are, whether they are whole, and whether they fit what is served.

Only headers are read here, so a refusal costs nothing and touches no engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from mrt_reward.errors import ConfigError, WeightsError, translated

INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"

_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py"]

# What makes a checkpoint another network. Other fields tell how it was trained, or by which release it was written.
_SHAPE = (
    "model_type", "architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings",
)  # fmt: skip

# What decides which ids a text has. The rest of a tokenizer.json, such as padding and markers around it, is not used.
_TOKEN_PARTS = ("model", "added_tokens", "normalizer", "pre_tokenizer", "decoder")

Shapes = Mapping[str, tuple[int, ...]]
"""Of tensors, by name."""


def resolve_folder(model: str, revision: str | None) -> Path:
    """The folder of a model; one of the hub is downloaded, pickled files left out.

    Raises:
        ConfigError: there is none.

    """
    folder = Path(model)
    if folder.is_dir():
        return folder
    from huggingface_hub import HfApi  # noqa: PLC0415 - only for models of the hub

    try:
        return Path(cast("Any", HfApi()).snapshot_download(model, revision=revision, allow_patterns=_HUB_FILES))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model {model!r} is neither a folder here nor a model that the hub gave: {error}", param="model"
        ) from error


def local_folder(model: str, revision: str | None) -> Path | None:
    """The folder of a model that is on this machine, perhaps in the hub's cache; None where nothing is."""
    folder = Path(model)
    if folder.is_dir():
        return folder
    from huggingface_hub import HfApi  # noqa: PLC0415 - only for models of the hub

    api = cast("Any", HfApi())
    try:
        return Path(api.snapshot_download(model, revision=revision, allow_patterns=_HUB_FILES, local_files_only=True))
    except (OSError, ValueError):
        return None


def weights_version(folder: Path) -> str:
    """Short sha256 over names, sizes and contents of the folder's safetensors files."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:16]


def end_ids(folder: Path, own: int | None) -> frozenset[int]:
    """Ends of turn: what the generation settings list, else the configuration, and the tokenizer's own."""
    for name in ("generation_config.json", "config.json"):
        listed = _read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        if listed is not None:
            ids = cast("set[int]", {listed} if isinstance(listed, int) else set(listed))
            break
    else:
        ids = set[int]()
    return frozenset(ids if own is None else {*ids, own})


def tensor_shapes(path: Path) -> Shapes:
    """Shapes of the tensors of one file, whose size must be what its header promises.

    Raises:
        WeightsError: it is not a whole safetensors file.

    """
    try:
        with cast("Any", safe_open)(path, framework="numpy") as file:
            names = cast("list[str]", file.keys())
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path.name} is half-written, or no safetensors file ({error}): write it again, the marker file last, and "
            "send the path again",
            param="path",
        ) from error


def checkpoint_shapes(folder: Path) -> Shapes:
    """Shapes of all tensors of a checkpoint, in one file or in the shards that its index lists.

    Raises:
        WeightsError: a file is missing or broken.

    """
    index = folder / INDEX
    if index.is_file():
        placed = cast("dict[str, str]", _read_json(index).get("weight_map", {}))
        shards = sorted(set(placed.values()))
    else:
        shards = sorted(path.name for path in folder.glob("*.safetensors"))
    if not shards:
        raise WeightsError(
            f"expected *.safetensors in {folder.name!r}, found none; other formats are not loaded", param="path"
        )
    shapes: dict[str, tuple[int, ...]] = {}
    for shard in shards:
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise WeightsError(f"shard {shard!r} is listed in {INDEX} and is not there: write it again", param="path")
        shapes.update(tensor_shapes(folder / shard))
    return shapes


def _same_tokens(own: Path, other: Path) -> bool:
    """Whether ids stand for the same text; trainers write the file anew, in another form, beside their weights.

    Raises:
        WeightsError: the other file is no tokenizer.

    """
    if own.read_bytes() == other.read_bytes():
        return True
    unreadable = f"tokenizer.json in {other.parent.name!r} cannot be read"
    with translated(lambda error: WeightsError(f"{unreadable}: {error}", param="path")):
        read = Tokenizer.from_str(other.read_text(encoding="utf-8"))
    mine, theirs = (json.loads(tokenizer.to_str()) for tokenizer in (Tokenizer.from_file(str(own)), read))
    return all(mine.get(part) == theirs.get(part) for part in _TOKEN_PARTS)


def refuse_other_model(served: Path, folder: Path) -> None:
    """Check that a checkpoint is of the served network and tokenizer, and whole.

    Raises:
        WeightsError: it is not; the message says in what it differs.

    """
    old, new = _read_json(served / "config.json"), _read_json(folder / "config.json")
    for field in _SHAPE:
        if old.get(field) != new.get(field):
            raise WeightsError(
                f"the checkpoint is of another architecture: {field} is {new.get(field)!r}, the served model has "
                f"{old.get(field)!r}; restart the server with --model for another model",
                param="path",
            )
    own, other = served / "tokenizer.json", folder / "tokenizer.json"
    if other.is_file() and own.is_file() and not _same_tokens(own, other):
        raise WeightsError(
            "the checkpoint's tokenizer.json differs from the served one: token ids would mean other text; restart the "
            "server with --model",
            param="path",
        )
    before, after = checkpoint_shapes(served), checkpoint_shapes(folder)
    # Tied embeddings may be written twice.
    twice = {"lm_head.weight"} if new.get("tie_word_embeddings") else set[str]()
    for name in sorted((before.keys() | after.keys()) - twice):
        if before.get(name) != after.get(name):
            raise WeightsError(
                f"tensor {name!r} has shape {after.get(name)}, the served model has {before.get(name)}", param="path"
            )


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that fits.

    Attributes:
        folder: where it is.
        rank: of its matrices.
        version: changes with any byte of it.

    """

    folder: Path
    rank: int
    version: str


def read_adapter(folder: Path, served: Path, max_rank: int) -> Adapter:
    """Check a LoRA adapter against the served model.

    Raises:
        WeightsError: it is not whole, its rank is too large, or it is for another base.

    """
    config = _read_json(folder / "adapter_config.json")
    rank = config.get("r")
    if not isinstance(rank, int) or not 1 <= rank <= max_rank:
        raise WeightsError(
            f"the adapter has rank {rank!r}, the engine takes 1 to {max_rank}: train a smaller one, or start the "
            f"server with --engine-arg max_lora_rank=RANK",
            param="path",
        )
    if not (folder / ADAPTER).is_file():
        raise WeightsError(f"expected {ADAPTER} in {folder.name!r}, found none", param="path")
    base = checkpoint_shapes(served)
    for name, shape in tensor_shapes(folder / ADAPTER).items():
        module, _, kind = name.removeprefix("base_model.model.").rpartition(".lora_")
        if not module or not kind.startswith(("A.", "B.")):
            continue  # vLLM itself judges what else an adapter may hold
        weight = base.get(f"{module}.weight")
        wide = None if weight is None else (rank, weight[1]) if kind.startswith("A.") else (weight[0], rank)
        if shape != wide:
            raise WeightsError(
                f"the adapter is for another base: {name!r} has shape {shape}, here it would have {wide or 'no place'}",
                param="path",
            )
    return Adapter(folder, rank, weights_version(folder))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"expected {path.name} in {path.parent.name!r}: {error.strerror}", param="path") from error
    except ValueError as error:
        raise WeightsError(f"{path.name} is not JSON ({error}): write it again", param="path") from error
    if not isinstance(record, dict):
        raise WeightsError(f"{path.name} holds no JSON object: write it again", param="path")
    return cast("dict[str, Any]", record)
