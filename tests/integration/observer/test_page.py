"""The status page in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd.errors import UnavailableError
from reportd.observer.screen import Screen, Table
from tests.chromium import Chromium
from tests.integration.observer.test_web import LOCAL, Health, serving
from tests.system.stage import until

NASTY = '<img src=x onerror="document.title=1"><script>document.title = 1</script>'
WELL = Screen(headline="vm-1: running, ready", is_ready=True, needed=(), tables=())


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    """Give a browser; skip, with the reason, where set-up could not install it."""
    try:
        with Chromium(tmp_path / "chromium") as found:
            yield found
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.timeout(180)
def test_page_in_a_browser(browser: Chromium) -> None:
    """It shows what it is told, harmlessly, and anew without being reloaded; nobody else is asked.

    While nobody answers it says so, and keeps what was said last.
    """
    health = Health()
    health.screen = Screen(
        headline="vm-1: running, NOT READY",
        is_ready=False,
        needed=(f"worker-0 cannot write: {NASTY}", "  a hint"),
        tables=(Table(("partner", "open"), (("acme", 1500), ("bolt", 3))),),
    )
    with serving(LOCAL, health) as web:
        browser.open(f"http://{web.address}/")
        until(lambda: "NOT READY" in browser.text(), "the page")
        text = browser.text()
        assert NASTY in text
        assert "1,500" in text
        assert browser.eval("document.querySelectorAll('main img').length") == 0
        browser.eval("window.mark = 'not reloaded'")

        health.screen = WELL
        until(lambda: "running, ready" in browser.text(), "news")
        assert "1,500" not in browser.text()
        assert browser.eval("window.mark") == "not reloaded"
        assert browser.complaints == []
        assert {one.split("/")[2] for one in browser.requested if "data:" not in one} == {
            web.address
        }
        assert not browser.eval("document.querySelector('#silent').checkVisibility()")
    until(
        lambda: browser.eval("document.querySelector('#silent').checkVisibility()"),
        "word that nobody answers",
    )
    assert "running, ready" in browser.text()
