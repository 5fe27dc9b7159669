"""All scoring options as one page, from the records that declare them.

python -m tests.options.table       writes mrt_reward/options/README.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import mrt_reward.options
from mrt_reward.docstrings import attributes_of
from mrt_reward.options import AUTHORS_SEGMENTERS, MarkerSegmenter, ScoreOptions

PAGE = Path(mrt_reward.options.__file__).with_name("README.md")

INTRODUCTION = """# Scoring options

Where thinking is cut, how an answer is forced, and how a value is got from it. The same options stand in `options` of a
request, in `--options` of a verb (JSON or `@FILE`), in the settings file of a server, and in Python:

```
mrt-reward score traces.jsonl --options '{"segmenter": {"kind": "markers"}, "estimator": {"kind": "rollouts"}}'
```

```python
from mrt_reward import score
from mrt_reward.options import MarkerSegmenter, Rollouts, ScoreOptions

score(traces, options={"segmenter": {"kind": "markers"}, "estimator": {"kind": "rollouts"}})
score(traces, options=ScoreOptions(segmenter=MarkerSegmenter(), estimator=Rollouts("rollouts")))  # the same
```

`Client.score` takes `options` likewise. The names `mrt-aime`, `mrt-omni-math` and `mrt-regret` stand for the segmenters
of the authors' notebooks, as `"segmenter": "mrt-aime"`; `--options mrt-aime` is short for it, and in `ScoreOptions(…)`
they are `AUTHORS_SEGMENTERS["mrt-aime"]` of the same module.

What is left out has its default. A misspelt name is refused with the nearest right one. Trainers have most of them
among [their settings](../../adapters/SETTINGS.md). [Which estimator to
choose](../evaluation/estimators.md).
"""

ORDER = (
    "ScoreOptions", "Delimiters", "Terminator", "BalancedSegmenter", "MarkerSegmenter", "ParagraphSegmenter",
    "TokenSegmenter", "ExplicitSegmenter", "Likelihood", "Rollouts", "PathPrior",
)  # fmt: skip

TITLES = {
    "ScoreOptions": "All",
    "Delimiters": "`delimiters`",
    "Terminator": "`terminator`, as a mapping",
    "PathPrior": "`prior`",
}

MAX_DEFAULT = 60
"""Characters of a default; a longer one is said to be a list."""


def page() -> str:
    """The page as it has to be."""
    schema = TypeAdapter(ScoreOptions).json_schema()
    records = {
        **schema["$defs"],
        "ScoreOptions": {name: field_schema for name, field_schema in schema.items() if name != "$defs"},
    }
    assert set(records) == set(ORDER), set(records) ^ set(ORDER)
    return "\n".join([INTRODUCTION, *(line for name in ORDER for line in _section(name, records[name]))])


def _authors() -> str:
    """What the names of the authors' segmenters stand for: where they differ from `markers`."""
    plain = asdict(MarkerSegmenter())
    lines = ["The names of the authors' segmenters stand for:", "", "| name | settings of `markers` |", "|---|---|"]
    for name, segmenter in AUTHORS_SEGMENTERS.items():
        settings = {field: value for field, value in asdict(segmenter).items() if value != plain[field]}
        lines.append(f"| `{name}` | `{json.dumps({'kind': segmenter.kind, **settings})}` |")
    return "\n".join(lines) + "\n"


def _section(name: str, record: Mapping[str, Any]) -> Iterator[str]:
    head, described = attributes_of(record["description"])
    kind = record["properties"].get("kind", {}).get("const")
    union = "estimator" if name in ("Likelihood", "Rollouts") else "segmenter"
    yield f"## {TITLES.get(name) or f'`{union}`: `{kind}`'}\n\n{' '.join(head.split())}\n"
    fields = {field: schema for field, schema in record["properties"].items() if field != "kind"}
    if not fields:
        return
    yield "| option | default | may be | meaning |\n|---|---|---|---|"
    for field, schema in fields.items():
        meaning = schema.get("description") or described[field]
        yield f"| `{field}` | {_default(field, schema)} | {_range(schema)} | {meaning.replace('|', chr(92) + '|')} |"
    yield ""
    if name == "MarkerSegmenter":
        yield _authors()


def _default(field: str, schema: Mapping[str, Any]) -> str:
    if "default" not in schema:
        chosen = getattr(ScoreOptions(), field, None)
        return f"`{chosen.kind}`" if chosen else "must be given"
    if schema.get("$ref", "").endswith("PathPrior"):
        return "below"
    text = json.dumps(schema["default"], ensure_ascii=False)
    return f"`{text}`" if len(text) <= MAX_DEFAULT else f"a list of {len(schema['default'])}: `{text[:MAX_DEFAULT]}…`"


def _range(schema: Mapping[str, Any]) -> str:
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return "one of those below" if union == "oneOf" else " or ".join(_range(each) for each in schema[union])
    if "$ref" in schema:
        return "a mapping, below"
    if choices := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{choice}`" for choice in choices)
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = ", ".join(f"{sign} {schema[bound]:,}" for bound, sign in words.items() if bound in schema)
    return " ".join(filter(None, [str(schema.get("type", "any")), bounds]))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
