"""Whether a file of scores may be gone on with: only in the way it was begun, and with the same traces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from mrt_reward.errors import ConfigError
from mrt_reward.options import ScoreOptions
from mrt_reward.types import Trace
from mrt_reward.wire import trace_fields

_OPTIONS = TypeAdapter(ScoreOptions)

REMEDY = "use another --output, or --overwrite"


@dataclass(frozen=True)
class Begun:
    """What a file of scores must agree with before more is written to it.

    Attributes:
        target: file of scored traces.
        options: of scoring, now.
        traces: of the input, by id.

    """

    target: Path
    options: ScoreOptions
    traces: Mapping[str, Trace]

    def refuse(self, fields: Mapping[str, Any]) -> None:
        """Refuse a line that was scored in another way, or of another trace with the same id.

        Raises:
            ConfigError: the message names what differs.

        """
        name = fields.get("id")
        differing = "; ".join(changed_options(fields.get("options"), self.options))
        if differing:
            raise ConfigError(f"{self.target} was scored with other options ({differing}): {REMEDY}", param="options")
        trace = self.traces.get(str(name))
        if trace is None or "trace" not in fields:
            return
        columns = _changed_columns(fields["trace"], trace)
        if columns:
            raise ConfigError(
                f"{self.target} holds the scores of another {name!r}, whose {', '.join(columns)} differ from the "
                f"input's: {REMEDY}",
                param="output",
            )

    def refuse_prover(self, before: Iterable[str], name: str, version: str | None) -> None:
        """Refuse to go on with another prover, by name and version.

        Args:
            before: who scored the file's lines, each as `name@version`.
            name: of the prover now.
            version: of its weights; None where it is not known, so that the names alone are compared.

        Raises:
            ConfigError: a line was scored by another.

        """
        now = name if version is None else f"{name}@{version}"
        for each in before:
            if now != (each.rpartition("@")[0] if version is None else each):
                raise ConfigError(
                    f"{self.target} was scored by {each}, and the prover is {now}: {REMEDY}", param="model"
                )


def changed_options(before: object, now: ScoreOptions) -> Iterator[str]:
    """What differs from the options that a line was scored with, as `name: before, now after`."""
    try:
        known = _OPTIONS.validate_python(before)
    except ValidationError:
        yield "the file does not say which, or says so as another version did"
        return
    yield from _changed(_OPTIONS.dump_python(known, mode="json"), _OPTIONS.dump_python(now, mode="json"), "")


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], within: str) -> Iterator[str]:
    if before.get("kind") != now.get("kind"):
        yield f"{within.rstrip('.')}: {before.get('kind')}, now {now.get('kind')}"
        return
    for name in now:
        old, new = before.get(name), now[name]
        fields, new_fields = _mapping(old), _mapping(new)
        if fields is not None and new_fields is not None:
            yield from _changed(fields, new_fields, f"{within}{name}.")
        elif old != new:
            yield f"{within}{name}: {_short(old)}, now {_short(new)}"


def _mapping(value: object) -> Mapping[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _changed_columns(before: Mapping[str, Any], now: Trace) -> list[str]:
    """Columns of a trace that are not what they were."""
    fields = {name: value for name, value in trace_fields(now).items() if name not in ("id", "metadata")}
    written = cast("dict[str, Any]", json.loads(json.dumps(fields)))
    return sorted(name for name in before.keys() | written.keys() if before.get(name) != written.get(name))
