"""The page at `/`: what it says without a key, its policy, and the whole of it in a real browser."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.overview import EDGES
from tests.evaluation.chromium import EXECUTABLE, Chromium
from tests.server.conftest import VALUES, live_server, threaded_server

PATIENCE_S = 30.0


async def test_the_page_is_the_same_for_everybody_and_tells_nothing_of_the_server() -> None:
    async with live_server(api_key="a-key") as live:
        keyed = await live.http.get("/")
        info = live.scorer.info
    async with live_server(ScriptedProver([0.5], version="other-weights")) as live:
        free = await live.http.get("/")
    assert keyed.status_code == free.status_code == 200
    assert keyed.text == free.text
    assert not any(word in keyed.text for word in (info.note, f"@{info.version}", "a-key", "other-weights"))


async def test_its_policy_allows_its_own_script_and_style_alone() -> None:
    async with live_server() as live:
        reply = await live.http.get("/")
    policy = reply.headers["content-security-policy"]
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", reply.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"\son\w+=|style=|<link|<img|src=|https?:", reply.text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|localStorage", reply.text)
    assert reply.headers["cache-control"] == "no-store"


def wait_for(browser: Chromium, expression: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while not browser.evaluate(expression):
        assert monotonic() < deadline, (expression, browser.errors, browser.evaluate("document.body.innerText"))
        sleep(0.05)


def _cells(browser: Chromium, table: str) -> list[list[str]]:
    """Texts of a table, row by row."""
    rows = f"[...document.querySelectorAll('#{table} tr')]"
    return browser.evaluate(f"{rows}.map((row) => [...row.cells].map((cell) => cell.textContent))")


def fill(browser: Chromium, **fields: str) -> None:
    for name, text in fields.items():
        browser.evaluate(f"document.getElementById('{name}').value = {text!r}")


HOSTILE = "<think>\n<img src=x onerror=document.title='x'>\n\n<b>b</b>\n\n\U0001d54fc\n\n</think>\n\n\\boxed{42}"


@pytest.mark.slow
@pytest.mark.skipif(not EXECUTABLE, reason="needs chromium: apt-get install chromium")
def test_a_person_scores_a_trace_in_a_real_browser(tmp_path: Path) -> None:
    prover = ScriptedProver(lambda _, index: VALUES[min(index, 3)])
    with threaded_server(prover) as url, Chromium(tmp_path / "profile") as browser:
        browser.visit(f"{url}/")
        wait_for(browser, "!document.getElementById('state').hidden")
        assert "scripted@1" in browser.evaluate("document.getElementById('who').innerText")
        wait_for(browser, "document.getElementById('ready').innerText.includes('It can prove.')")
        browser.evaluate("document.getElementById('score').click()")
        wait_for(browser, "!document.getElementById('scored').hidden")
        rows = "document.querySelectorAll('#episodes tr')"
        assert browser.evaluate(f"{rows}.length") == 2
        cells = browser.evaluate(f"[...{rows}[0].cells].map((cell) => cell.textContent)")
        assert (cells[0], cells[1][:21], cells[2:]) == ("z[0]", "Let me start with 19.", ["0.500", "", "+0.250"])
        # From 0.25 to 0.5, up.
        filled = "document.querySelector('#episodes .track i')"
        assert browser.evaluate(f"{filled}.style.left + ' ' + {filled}.style.width + ' ' + {filled}.className") == (
            "25% 25% up"
        )
        wait_for(browser, "document.getElementById('busy').innerText.includes('1 ok')")
        # 0.25, 0.5 and 0.5: one episode rises by 0.25, one by nothing.
        counted = {name: count for name, count, *_ in _cells(browser, "progress") if count != "0"}
        assert counted == {"\N{MINUS SIGN}0.02 to +0.02": "1", "+0.20 to +0.50": "1"}
        assert len(_cells(browser, "progress")) == len(EDGES) + 1
        assert _cells(browser, "errors") == []
        assert not browser.evaluate("document.getElementById('no-errors').hidden")
        fill(browser, completion=HOSTILE, problem="6 times 7?", answer="42")
        browser.evaluate("document.getElementById('score').click()")
        wait_for(browser, "document.getElementById('episodes').innerText.includes('onerror')")
        assert browser.evaluate("document.querySelectorAll('#episodes img, #episodes b').length") == 0
        assert "\U0001d54fc" in browser.evaluate("document.getElementById('episodes').innerText")
        fill(browser, completion="no thinking here, and none was opened", problem="")
        browser.evaluate("document.getElementById('form').noValidate = true")
        browser.evaluate("document.getElementById('score').click()")
        wait_for(browser, "document.getElementById('told').className === 'alert'")
        wait_for(browser, "document.querySelectorAll('#errors tr').length > 0")
        [(_, *error)] = _cells(browser, "errors")
        assert error == ["trace", "invalid_trace", ""]
        assert browser.evaluate("document.getElementById('no-errors').hidden")
        assert browser.evaluate("document.title") == "mrt-reward"
        # No key is asked for, and what went wrong is said in words.
        assert browser.evaluate("document.getElementById('key').offsetParent === null")
        browser.evaluate(
            "fetch('v1/score', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})"
        )
        browser.evaluate("document.getElementById('key').dispatchEvent(new Event('change'))")
        wait_for(browser, "document.getElementById('errors').innerText.includes('422: the request is not as')")
        _looks_right(browser, url, tmp_path)
        assert [error for error in browser.errors if "Content Security" in error] == []
        asked = {request.removeprefix(url) for request in browser.requests if request.startswith("http")}
        assert asked <= {"/", "/v1/prover", "/v1/overview", "/v1/score", "/readyz", "/favicon.ico"}
        assert all(request.startswith(url) for request in browser.requests if request.startswith("http"))


def _looks_right(browser: Chromium, url: str, folder: Path) -> None:
    """Pictures in both schemes, wide and narrow; nothing is wider than the window."""
    for dark, width in ((False, 1200), (True, 1200), (False, 400)):
        browser.visit(f"{url}/", width=width, dark=dark)
        wait_for(browser, "!document.getElementById('state').hidden")
        browser.evaluate("document.getElementById('score').click()")
        wait_for(browser, "!document.getElementById('scored').hidden")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        browser.picture(folder / f"front-{'dark' if dark else 'light'}-{width}.png")


@pytest.mark.slow
@pytest.mark.skipif(not EXECUTABLE, reason="needs chromium: apt-get install chromium")
def test_with_a_key_nothing_is_shown_until_it_is_typed(tmp_path: Path) -> None:
    with threaded_server(api_key="a-key") as url, Chromium(tmp_path / "profile") as browser:
        browser.visit(f"{url}/")
        said: Callable[[str], str] = lambda name: browser.evaluate(f"document.getElementById('{name}').innerText")  # noqa: E731
        wait_for(browser, "document.getElementById('problem-state').innerText !== ''")
        assert said("problem-state") == "This server asks for a key: type it above."
        assert browser.evaluate("document.getElementById('state').hidden")
        assert browser.evaluate("document.getElementById('key').offsetParent !== null")
        assert "scripted" not in browser.evaluate("document.body.innerText")
        fill(browser, key="a-key")
        browser.evaluate("document.getElementById('key').dispatchEvent(new Event('change'))")
        wait_for(browser, "!document.getElementById('state').hidden")
        assert "scripted@1" in said("who")
        assert "a-key" not in browser.evaluate(
            "document.body.innerText + JSON.stringify([localStorage, sessionStorage])"
        )
