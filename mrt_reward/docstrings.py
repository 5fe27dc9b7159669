"""What a docstring says of each attribute: read once more for the OpenAPI document and the table of options."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^(Attributes|Raises|Args|Returns):$", re.MULTILINE)
_ENTRY = re.compile(r"^    (?P<name>\w+): ", re.MULTILINE)


def attributes_of(docstring: str) -> tuple[str, dict[str, str]]:
    """A docstring of a record without its sections, and what its section `Attributes` says of each.

    Args:
        docstring: in Google's style.

    """
    head, *rest = _SECTION.split(inspect.cleandoc(docstring))
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    _, *entries = _ENTRY.split(sections.get("Attributes", ""))
    described = {name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)}
    return head.strip(), {name: text[:1].upper() + text[1:] for name, text in described.items()}
