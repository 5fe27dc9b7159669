"""Real thinking of a 32 B model, through segmentation, token accounting and the page."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mrt_reward.evaluation.browser import shown
from mrt_reward.evaluation.folder import RESULTS, Folder
from mrt_reward.evaluation.report import ReportSpec, make_report
from mrt_reward.evaluation.run import Run, RunPlan
from mrt_reward.evaluation.traces import Results
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Trace
from tests.evaluation.chromium import EXECUTABLE, Chromium
from tests.evaluation.conftest import SAMPLING, CountingProver, InputRow
from tests.service.conftest import WordGrader, speller

FILE = Path(os.environ.get("MRT_REWARD_TEST_DATA", "")) / "traces_qwen3_32b.jsonl"

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="needs MRT_REWARD_TEST_DATA with traces_qwen3_32b.jsonl")


def rows() -> list[InputRow]:
    found: list[InputRow] = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        trace = Trace(row["id"], problem=row["problem"], completion=row["completion"], answer=(row["answer"],))
        found.append(InputRow(row["id"], trace))
    return found


@pytest.fixture
async def results(tmp_path: Path) -> Path:
    options = ScoreOptions(estimator=Rollouts("rollouts", num_samples=8, keep_answers=True))
    scorer = Scorer(CountingProver(), {"word": WordGrader()}, speller)
    try:
        with Folder(tmp_path) as folder:
            counts = await Run(scorer, folder, RunPlan("qwen3-32b", options, SAMPLING), lambda _: None)(rows())
    finally:
        await scorer.close()
    assert (counts.scored, counts.failed) == (35, 0)
    return tmp_path / RESULTS


async def test_real_thinking_is_cut_counted_and_shown_without_a_loss(results: Path) -> None:
    completion_of = {row.id: row.trace.completion for row in rows() if row.trace is not None}
    num_episodes: list[int] = []
    for result in Results([results]):
        scored, completion = result.scored, completion_of[result.scored.id]
        assert completion is not None
        assert result.completion == completion
        episodes = scored.episodes
        num_episodes.append(len(episodes))
        # Episodes partition the thinking, in characters and in tokens; the scripted prover's tokens are bytes.
        start, end = completion.index("<think>\n") + len("<think>\n"), completion.find("</think>")
        end = len(completion) if end < 0 else end
        texts = [completion[episode.char_start : episode.char_end] for episode in episodes]
        assert "".join(texts) == completion[start:end]
        for episode, text in zip(episodes, texts, strict=True):
            assert episode.token_end - episode.token_start == len(text.encode())
        grown = [after - before for before, after in zip(scored.prefix_tokens, scored.prefix_tokens[1:], strict=False)]
        # A terminator after the middle of a line has a blank line before it: two bytes.
        assert all(abs(more - len(text.encode())) <= 2 for more, text in zip(grown, texts, strict=True))
        page = shown(result)
        assert [part["tokens"] for part in page["episodes"]] == [len(text.encode()) for text in texts]
        assert page["answer"].startswith("</think>") == (completion.find("</think>") >= 0)
    assert max(num_episodes) == 8
    assert min(num_episodes) >= 1


@pytest.mark.slow
@pytest.mark.skipif(not EXECUTABLE, reason="needs chromium: apt-get install chromium")
async def test_real_thinking_is_read_in_a_real_browser(results: Path, tmp_path: Path) -> None:
    make_report([results], tmp_path / "out", ReportSpec())
    html = tmp_path / "out" / "report.html"
    with Chromium(tmp_path / "profile") as browser:
        browser.open(html)
        assert browser.evaluate("document.getElementById('pick').options.length") == 35
        shown_text = browser.evaluate("document.querySelector('#trace').textContent")
        assert "progress" in shown_text
        assert browser.errors == []
        assert set(browser.requests) == {html.resolve().as_uri()}
