"""The page of scoring options says what the records declare."""

from __future__ import annotations

from tests.options.table import PAGE, page


def test_the_page_is_what_the_records_declare() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python -m tests.options.table"
