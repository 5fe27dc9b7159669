"""How fields of the records are read from JSON and written as JSON.

The records say it in their annotations. pydantic asks them where a record is on the wire, and is imported only then.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mrt_reward.errors import TraceError
from mrt_reward.golds import MAX_GOLD_CHARS, MAX_GOLDS, golds_of

BASE64_IDS = r"^([A-Za-z0-9+/]{16})*([A-Za-z0-9+/]{6}==|[A-Za-z0-9+/]{11}=)?$"
"""Base64 of whole int32."""

MAX_ID = 2**31 - 1

_GOLD = [{"type": "string", "maxLength": MAX_GOLD_CHARS}, {"type": "number"}]


@dataclass(frozen=True, slots=True)
class Reads:
    """Annotation of a field that is read by a function, before its own type is checked.

    Attributes:
        read: raises `TraceError` for what it cannot read, and passes on what the type's own check refuses.
        schema: JSON schema of what it takes.

    """

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - pydantic's
        """Ask `read` first."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see above

        return core_schema.no_info_before_validator_function(_as_field_error(self.read), handler(source))

    def __get_pydantic_json_schema__(self, *_: object) -> dict[str, Any]:
        """What the OpenAPI document says."""
        return dict(self.schema)


class IdsField:
    """Annotation of token ids, or other int32: a list or base64 when read, base64 when written."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> Any:  # noqa: ANN401 - pydantic's
        """The array itself, in Python."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see above

        written = core_schema.plain_serializer_function_ser_schema(encode_ids, when_used="json")
        return core_schema.no_info_plain_validator_function(_as_field_error(ids_of), serialization=written)

    @classmethod
    def __get_pydantic_json_schema__(cls, *_: object) -> dict[str, Any]:
        """What the OpenAPI document says."""
        numbers = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": MAX_ID}}
        text = {"type": "string", "pattern": BASE64_IDS, "description": "base64 of little-endian int32"}
        return {"anyOf": [numbers, text]}


def _as_field_error(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same, with its errors as pydantic takes them, which adds the name of the field."""

    def converted(given: Any) -> Any:  # noqa: ANN401 - any JSON
        from pydantic_core import PydanticCustomError  # noqa: PLC0415 - see above

        try:
            return read(given)
        except TraceError as error:
            raise PydanticCustomError("field", "{converted}", {"converted": str(error)}) from error

    return converted


def id_text(given: Any) -> Any:  # noqa: ANN401 - any JSON
    """An id that is a number is its text."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


ID = Reads(id_text, {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 500}, {"type": "integer"}]})

GOLDS = Reads(
    golds_of,
    {"anyOf": [*_GOLD, {"type": "array", "maxItems": MAX_GOLDS, "items": {"anyOf": _GOLD}}, {"type": "null"}]},
)


SESSION_PATTERN = r"^[\x21-\x7e]{1,200}$"


def session_text(given: Any) -> Any:  # noqa: ANN401 - any JSON
    """A session becomes a header, which carries no blank, no line break and ASCII alone."""
    if isinstance(given, str) and re.fullmatch(SESSION_PATTERN.strip("^$"), given) is None:
        raise TraceError(f"expected 1 to 200 printable ASCII characters without blanks, got {_shown(given)}")
    return given


SESSION = Reads(
    session_text,
    {
        "anyOf": [{"type": "string", "pattern": SESSION_PATTERN}, {"type": "null"}],
        "description": "Session under which the trace was written, or URL of the endpoint that wrote it: engine openai "
        "asks about it there, where its tokens are cached. No value depends on it.",
    },
)


def encode_ids(ids: NDArray[np.int32]) -> str:
    """Token ids as base64 of little-endian int32."""
    return base64.b64encode(np.asarray(ids, "<i4").tobytes()).decode()


def ids_of(given: object) -> NDArray[np.int32]:
    """Token ids, from a list or an array of whole numbers or from base64 of little-endian int32.

    Raises:
        TraceError: it is neither, or an id is negative or no int32.

    """
    if isinstance(given, str):
        ids = _decoded(given)
    elif isinstance(given, np.ndarray) and given.dtype.kind in "iu" and given.ndim == 1:
        ids = cast("NDArray[np.int64]", given)
    elif isinstance(given, list | tuple) and set(map(type, cast("list[object]", given))) <= {int}:
        # As objects: numbers of any size compare.
        ids = np.array(given, object)
    else:
        raise TraceError(f"expected a list of whole numbers, or base64 of little-endian int32, got {_shown(given)}")
    if ids.size and not 0 <= ids.min() <= ids.max() <= MAX_ID:
        raise TraceError(f"expected numbers from 0 to {MAX_ID}, got {ids.min()} to {ids.max()}")
    return ids.astype(np.int32)


def _decoded(text: str) -> NDArray[np.int32]:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<i4")
    except (ValueError, binascii.Error) as error:
        raise TraceError(f"expected base64 of little-endian int32, got {_shown(text)}") from error


def _shown(given: Any) -> str:  # noqa: ANN401 - any JSON
    """What was given, as far as it can be shown in a line; the item that is no id, of a list."""
    if isinstance(given, list | tuple):
        items = cast("list[object]", given)
        return next((f"{item!r} at index {index}" for index, item in enumerate(items) if type(item) is not int))[:100]
    text = f'"{given}"' if isinstance(given, str) else type(given).__name__
    return text if len(text) <= 60 else f"{text[:60]}…"
