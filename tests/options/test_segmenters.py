from __future__ import annotations

from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from mrt_reward.options import AUTHORS_SEGMENTERS, BalancedSegmenter, ScoreOptions, Segmenter

OPTIONS = TypeAdapter(ScoreOptions)


def test_the_longest_episode_can_be_cut_in_two_that_are_long_enough() -> None:
    assert BalancedSegmenter(min_chars=100, max_chars=200).max_chars == 200
    with pytest.raises(ValueError, match="at least twice min_chars, got 199 and 100"):
        BalancedSegmenter(min_chars=100, max_chars=199)


@pytest.mark.parametrize("record", get_args(Segmenter))
def test_a_segmenter_is_chosen_by_its_kind_alone_and_takes_no_unknown_field(record: type[Segmenter]) -> None:
    kind = TypeAdapter(record).json_schema()["properties"]["kind"]["const"]
    assert isinstance(OPTIONS.validate_python({"segmenter": {"kind": kind}}).segmenter, record)
    with pytest.raises(ValidationError, match="chunk_size"):
        OPTIONS.validate_python({"segmenter": {"kind": kind, "chunk_size": 3}})


@pytest.mark.parametrize("name", sorted(AUTHORS_SEGMENTERS))
def test_the_authors_segmenters_are_read_back_as_they_were_written(name: str) -> None:
    written = OPTIONS.dump_python(ScoreOptions(segmenter=AUTHORS_SEGMENTERS[name]), mode="json")
    assert OPTIONS.validate_python(written).segmenter == AUTHORS_SEGMENTERS[name]
