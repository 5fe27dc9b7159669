from __future__ import annotations

from rich.console import Console

from mrt_reward.cli.printed import show_table

ROWS = {
    "plain [4]": {"answer tokens a trace": "843", "squared error": "0.0322 [0.0258, 0.0395]"},
    "coupled 4": {"answer tokens a trace": "846", "squared error": "0.0118 [0.0085, 0.0154]"},
}


def shown(width: int) -> str:
    console = Console(width=width, force_terminal=False, record=True, quiet=False)
    with console.capture() as captured:
        show_table(console, "errors", "estimator", ROWS)
    return captured.get()


def test_every_cell_stands_whole_at_any_width() -> None:
    for width in (50, 80, 200):
        text = shown(width)
        assert all(cell in text for name, cells in ROWS.items() for cell in (name, *cells.values()))
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width


def test_a_narrow_terminal_gets_a_list_for_each_name() -> None:
    assert "estimator plain [4]\n  answer tokens a trace  843\n" in shown(50)
    assert "estimator plain [4]" not in shown(80)
