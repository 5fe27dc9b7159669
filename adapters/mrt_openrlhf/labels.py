"""What a label says: what its sample is for, when it was made, its gold answer, and the prefix that its row is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from mrt_reward.errors import ConfigError
from mrt_reward.training.prefix import read_prefixed
from mrt_reward.training.records import Prefixed

PromptBatch = tuple[list[Any], list[Any], list[Any], list[Any]]
"""Data sources, prompts, labels and images, as OpenRLHF's data loader gives them."""


@dataclass(frozen=True, slots=True)
class EvaluationLabel:
    """The label of a sample that is never proved; OpenRLHF tells its agents no other way what a sample is for."""

    label: Any


@dataclass(frozen=True, slots=True)
class TrainingLabel:
    """The label of a sample that is proved, with the round of sampling that it was made in."""

    label: Any
    step: int


def for_evaluation(batches: Iterator[PromptBatch]) -> Iterator[PromptBatch]:
    """Batches whose labels say that they are for evaluation."""
    for sources, prompts, labels, images in batches:
        yield sources, prompts, [EvaluationLabel(label) for label in labels], images


def prefix_columns(label: Any) -> tuple[Prefixed, Any]:  # noqa: ANN401 - a dataset's column
    """The row of a dataset of prefixes, and its own label, from a label that holds both.

    OpenRLHF hands agents one column, so that it is an object: `mrt_group`, `label`, and optionally `mrt_value_prefix`
    and `mrt_stop`. A row that must stop is trained from its answer on, which is for the caller to find.

    Raises:
        ConfigError: there is no such object.
        TraceError: it says nothing usable (`read_prefixed`).

    """
    columns = cast("Mapping[str, Any]", label) if isinstance(label, Mapping) else {}
    if "mrt_group" not in columns or "label" not in columns:
        raise ConfigError(
            "--mrt.mode=prefix needs labels (--data.label_key) that are objects with mrt_group, which names the rows "
            f"that are normalised together, and label, the gold answer; got {label!r:.200}"
        )
    return read_prefixed(columns, "a label"), columns["label"]
