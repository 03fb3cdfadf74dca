"""A page in a real browser: it fetches, reads a stream, hears events, and talks by WebSocket."""

from collections.abc import Iterator

import httpx
import pytest
from browser import start_browser
from playwright.sync_api import Browser
from servers import Peers

pytestmark = pytest.mark.slow

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
    yield from start_browser()


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
