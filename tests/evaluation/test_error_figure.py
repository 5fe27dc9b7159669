from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.error_figure import save_errors
from mrt_reward.evaluation.estimators import EstimatorError

pytest.importorskip("matplotlib")


def error(name: str, value: float | None, tokens: float) -> EstimatorError:
    ends = (None, None) if value is None else (0.8 * value, 1.3 * value)
    known = Estimate(value, *ends, 9, 9)
    return EstimatorError(name, known, known, known, known, known, (), (), tokens)


def test_each_family_is_a_series_and_what_draws_nothing_a_line(tmp_path: Path) -> None:
    errors = [error("plain 2", 0.1, 20), error("plain 4", 0.05, 40), error("coupled 2", 0.03, 20)]
    errors += [error("likelihood", 0.01, 0), error("plain 8", None, 80)]
    path = tmp_path / "e.svg"
    save_errors(errors, "coupled 128", path)
    text = path.read_text()
    for words in ("plain", "coupled", "likelihood, no answers drawn", "answer tokens a trace", "against coupled 128"):
        assert f"<!-- {words} -->" in text or words in text
    assert "<!-- plain 2 -->" not in text
    # The same numbers, the same file.
    again = tmp_path / "again.svg"
    save_errors(errors, "coupled 128", again)
    assert again.read_text().count("\n") == text.count("\n")
    save_errors(errors[:1], "likelihood", tmp_path / "e.png")
    assert (tmp_path / "e.png").read_bytes()[:4] == b"\x89PNG"


def test_an_error_of_zero_is_not_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    save_errors([error("likelihood", 0.0, 0)], "likelihood", tmp_path / "e.svg")
    assert "no answers drawn" not in (tmp_path / "e.svg").read_text()


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.svg or \.png"):
        save_errors([error("plain 2", 0.1, 20)], "likelihood", tmp_path / "e.pdf")
