"""A record's docstring is taken apart as it is written."""

from __future__ import annotations

from mrt_reward.docstrings import attributes_of


class Walk:
    """A walk.

    It has `steps`: many.

    Attributes:
        steps: how many, in
            all: none is 0.
        share: of it.

    Raises:
        ValueError: there are none.

    """


def test_each_attribute_has_its_whole_text_and_other_sections_have_no_part_in_it() -> None:
    head, described = attributes_of(Walk.__doc__ or "")
    assert head == "A walk.\n\nIt has `steps`: many."
    assert described == {"steps": "How many, in all: none is 0.", "share": "Of it."}


def test_a_docstring_without_attributes_is_its_own_head() -> None:
    assert attributes_of("One sentence.") == ("One sentence.", {})
    assert attributes_of("") == ("", {})
