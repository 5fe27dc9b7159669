"""The one page of all trainers' settings. `python -m tests.training.test_table` writes its table anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.training.settings import SETTING_NAMES
from mrt_reward.training.table import settings_table

ADAPTERS = Path(__file__).parents[2] / "adapters"
PAGE = ADAPTERS / "SETTINGS.md"
OPEN, CLOSE = "<!-- settings -->\n", "<!-- /settings -->\n"


def test_the_table_holds_every_setting_once() -> None:
    lines = settings_table().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == list(SETTING_NAMES)
    assert "| `--mrt.alpha` | `1.0` |" in settings_table("--mrt.")
    assert "| `follow_steps` | unset | Send the policy's weights to the prover every N steps. Unset: never. |" in lines
    assert "| `alpha` | `1.0` | Weight of progress; 0 is outcome reward alone. |" in lines


def test_the_page_has_the_settings_as_they_are() -> None:
    written = PAGE.read_text(encoding="utf-8").split(OPEN)[1].split(CLOSE)[0]
    assert written == settings_table(), "run: python -m tests.training.test_table"


@pytest.mark.parametrize("path", sorted(ADAPTERS.glob("*/README.md")), ids=lambda path: path.parent.name)
def test_every_adapter_links_the_page_and_repeats_none_of_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "(../SETTINGS.md)" in text
    assert [line for line in settings_table().splitlines()[2:] if line in text] == []


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(OPEN)
    after = rest.split(CLOSE)[1]
    PAGE.write_text(f"{before}{OPEN}{settings_table()}{CLOSE}{after}", encoding="utf-8")
