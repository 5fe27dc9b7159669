"""The settings of trainers, as `adapters/SETTINGS.md` lists them for all adapters."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, cast, get_args

from pydantic.fields import FieldInfo

from mrt_reward.training.settings import TrainingSettings


def settings_table(prefix: str = "") -> str:
    """All settings as a Markdown table, in the order of their declaration, each name behind the prefix."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    declared: dict[str, FieldInfo] = cast("Any", TrainingSettings).__pydantic_fields__
    for name, field in declared.items():
        default = field.default
        shown = f"`{_as_mapping(default) if is_dataclass(default) else default}`" if default is not None else "unset"
        choices = get_args(field.annotation)
        named = ", ".join(choices) if choices and all(isinstance(choice, str) for choice in choices) else ""
        meaning = (field.description or "") + (f" One of {named}." if named else "")
        lines.append(f"| `{prefix}{name}` | {shown} | {meaning} |")
    return "\n".join(lines) + "\n"


def _as_mapping(record: Any) -> str:  # noqa: ANN401 - any dataclass
    return "{" + ", ".join(f"{each.name}: {getattr(record, each.name)}" for each in fields(record)) + "}"
