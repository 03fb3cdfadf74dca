"""A page in a real browser: it fetches, reads a stream, hears events, and talks by WebSocket."""

import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright
from servers import Peers

pytestmark = pytest.mark.slow

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
PATIENCE_S = 60

#: What the page of `applications/sse_starlette.py` tells of what it did.
LINES = [
    "fetch 200 É",
    "fetch 404",
    "stream 55",
    "aborted",
    "multi 1two",
    "lines",
    'json {"é":[1]}',
    "last None",
    "open peers",
    "message hé",
    "closed 4000 as asked",
    "refused 1006",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ["chromium", "chromium-browser", "google-chrome"]
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"the page is tested in a browser, and there is none of {', '.join(names)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.mark.parametrize("peers", ["sse_starlette"], indirect=True)
def test_page_in_a_browser_gets_what_it_asks_for(peers: Peers, browser: Browser) -> None:
    for server, base in peers.bases.items():
        page = browser.new_page()
        page.goto(base)
        page.wait_for_function("document.title == 'done'", timeout=PATIENCE_S * 1000)
        assert (page.text_content("#lines") or "").split("\n") == LINES, server
        page.close()
        events: list[str] = []
        while "endless over" not in events:
            events = httpx.get(f"{base}/events").json()
    statuses = peers.end()
    assert all(statuses[server] == 0 for server in peers.bases.keys() - {"uvicorn"})
