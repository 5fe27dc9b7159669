"""Where a report's numbers come from: data, model, prover, limits, options, dates and commands, without folders.

A folder of `evaluate` knows all of it (`settings.json`, `runs.jsonl`). A file of `score` knows the prover and the
options of each line; what is not recorded is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from mrt_reward.evaluation.folder import RESULTS, RUNS, SETTINGS
from mrt_reward.evaluation.result import Result
from mrt_reward.options import Rollouts, ScoreOptions

_PARENTS = re.compile(r"(?<![\w.~:/-])~?/(?:[^\s\"',:/]+/)+")
"""The folders of an absolute path, in a command line: what is before its last part."""
_USER = re.compile(r"(?<=://)[^/@\s]*@")
"""Who asks, in an address."""

_DEFAULTS = cast(
    "dict[str, Any]",
    TypeAdapter(ScoreOptions).dump_python(ScoreOptions(estimator=Rollouts("rollouts")), mode="json"),
)
_ALWAYS_SHOWN = ("num_samples", "temperature", "top_p", "max_tokens", "max_episodes")
"""Options whose defaults are worth a reader's while too."""


MAX_OPTIONS = 4
"""Ways of scoring that are listed for a model; a file may have a seed of its own in every line."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a verb.

    Attributes:
        date: ISO 8601, in UTC, to the minute.
        command: as it was typed, without the folders that files lie in.
        version: of mrt-reward.

    """

    date: str
    command: str
    version: str

    def __str__(self) -> str:
        """For a reader."""
        return f"{self.date} UTC, mrt-reward {self.version}: {self.command}"

    def fields(self) -> dict[str, str]:
        """For a file."""
        return asdict(self)


def without_folders(text: str) -> str:
    """A command line or an error without absolute paths' folders, and without who asks in addresses."""
    return _PARENTS.sub("", _USER.sub("", text))


def shown_names(names: Iterable[str]) -> dict[str, str]:
    """What to call models: one that is an absolute path by its last parts, as many as tell it from the others."""
    known = list(dict.fromkeys(names))

    def cut(name: str, depth: int) -> str:
        return "/".join(Path(name).parts[1:][-depth:]) or name if name.startswith("/") else name

    for depth in range(1, 64):
        shown = {name: cut(name, depth) for name in known}
        if len(set(shown.values())) == len(known):
            return shown
    return {name: name for name in known}


@dataclass
class Origins:
    """What lines of results and the files beside them say of how the values came about.

    Attributes:
        options: of scoring, by model; the first `MAX_OPTIONS` that differ.
        provers: by model.
        files: that lines of a model were read from.

    """

    options: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict[str, list[Mapping[str, Any]]])
    provers: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    files: dict[str, set[Path]] = field(default_factory=dict[str, set[Path]])

    def add(self, result: Result) -> None:
        """One more line."""
        name = result.answered_by
        known = self.options.setdefault(name, [])
        if result.options is not None and len(known) < MAX_OPTIONS and result.options not in known:
            known.append(result.options)
        if result.scored.prover:
            self.provers.setdefault(name, set()).add(without_folders(result.scored.prover))
        self.files.setdefault(name, set()).add(result.path)

    def facts(self, names: dict[str, str]) -> dict[str, dict[str, str]]:
        """By model, direct answers being a model of their own: a few words of each fact that is recorded.

        Args:
            names: what to call each model.

        """
        return {names[name]: self._facts_of(name) for name in self.files}

    def _facts_of(self, name: str) -> dict[str, str]:
        facts = {"prover": ", ".join(sorted(self.provers.get(name, ())))}
        settings, runs = _beside(name, self.files[name])
        facts["data"] = str(settings.get("source") or ", ".join(sorted(path.name for path in self.files[name])))
        facts["engine"] = str(settings.get("engine") or "")
        sampling = cast("dict[str, Any]", settings.get("sampling") or {})
        facts["sampling"] = _option(sampling, _DEFAULTS["estimator"]) if "kind" in sampling else in_words(sampling)
        if settings.get("forcing"):
            facts["forced beyond its end"] = f"{settings['forcing'].get('num_extensions')} times"
        ways = [settings["options"]] if "options" in settings else self.options[name]
        for part in ("estimator", "segmenter", "terminator", "grader"):
            facts[part] = " or ".join(dict.fromkeys(_option(way.get(part), _DEFAULTS.get(part)) for way in ways))
        facts["made by"] = "; ".join(map(str, runs))
        return {fact: text for fact, text in facts.items() if text}


def in_words(fields: Mapping[str, Any]) -> str:
    """Names and values, without those that are not set and those that hold others."""
    return ", ".join(
        _in_words(name.replace("_", " "), value)
        for name, value in fields.items()
        if value is not None and not isinstance(value, dict | list)
    )


def _in_words(name: str, value: object) -> str:
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _option(chosen: object, default: object) -> str:
    """One option: a kind, and what of it differs from the defaults or is worth saying anyhow."""
    if not isinstance(chosen, dict):
        return str(chosen or "")
    fields = cast("dict[str, Any]", chosen)
    usual = cast("dict[str, Any]", default) if isinstance(default, dict) else {}
    is_usual_kind = usual.get("kind") == fields.get("kind")
    shown = {
        name: value
        for name, value in fields.items()
        if name != "kind" and (name in _ALWAYS_SHOWN or (is_usual_kind and value != usual.get(name)))
    }
    return ", ".join(filter(None, [str(fields.get("kind", "of its own")), in_words(shown)]))


def _beside(name: str, files: Iterable[Path]) -> tuple[dict[str, Any], list[Invocation]]:
    """What stands beside files of `evaluate` about a model: its settings, and the calls that made it."""
    settings: dict[str, Any] = {}
    runs: list[Invocation] = []
    for path in sorted(files):
        if path.name != RESULTS:
            continue
        settings |= cast("dict[str, Any]", _object(_text(path.with_name(SETTINGS))).get(name) or {})
        for line in _text(path.with_name(RUNS)).splitlines():
            fields = _object(line)
            if fields.get("model") == name:
                runs.append(Invocation(*(without_folders(str(fields.get(key, ""))) for key in _RUN)))
    return settings, runs


_RUN = ("date", "command", "version")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):  # whatever stands beside the results is a help, and no condition
        return ""


def _object(text: str) -> dict[str, Any]:
    try:
        fields: object = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}
