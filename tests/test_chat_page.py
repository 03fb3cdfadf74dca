"""The chat's page in a real browser: tabs talk, servers go and come back, workers are killed."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import start_browser
from commands import freeze
from playwright.sync_api import Browser, ConsoleMessage, Page, WebSocket, expect
from services import Service, needs_workers, started_service
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

pytestmark = pytest.mark.slow

PATIENCE_S = 20
PHONE = {"width": 360, "height": 640}

# A server that is down, and a script that the page's policy stops.
EXPECTED_ERRORS = re.compile("ERR_CONNECTION_(?:REFUSED|RESET)|TrustedHTML")

expect.set_options(timeout=PATIENCE_S * 1000)


class ChatServer:
    """`python -m sockwave chat`, which can be stopped and started again at the same address."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sockwave", "chat", "--port", str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        printed = re.fullmatch(r"Chat on http://127\.0\.0\.1:(\d+)/\n", line)
        assert printed, line
        self.port = int(printed[1])

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from start_browser()


@pytest.fixture
def server() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.process.kill()
    server.process.communicate(timeout=PATIENCE_S)


class Tabs:
    """Pages of a browser, used again by one test after another: a new one takes two seconds of a
    processor's time, most of it to start a process for it."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[tuple[bool, bool], list[Page]] = {}
        #: What went wrong in any of them.
        self.errors: list[str] = []

    def take(self, *, phone: bool, dark: bool) -> Page:
        """Give a page that nobody uses."""
        if free := self._free.get((phone, dark)):
            return free.pop()
        page = self._browser.new_context(
            viewport=PHONE if phone else {"width": 1100, "height": 700},
            is_mobile=phone,
            has_touch=phone,
            color_scheme="dark" if dark else "light",
        ).new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED_ERRORS.search(message.text):
            self.errors.append(message.text)

    def give_back(self, page: Page, *, phone: bool, dark: bool) -> None:
        """Let others use a page, which then remembers nothing of it."""
        page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.goto("about:blank")
        self._free.setdefault((phone, dark), []).append(page)


@pytest.fixture(scope="module")
def tabs(browser: Browser) -> Tabs:
    return Tabs(browser)


OpenTab = Callable[..., Page]


@pytest.fixture
def open_tab(tabs: Tabs, server: ChatServer) -> Iterator[OpenTab]:
    """`open_tab("Ada")`: a page that has joined; any error in it fails the test."""
    tabs.errors.clear()
    with contextlib.ExitStack() as ends:

        def open_page(
            name: str | None,
            *,
            room: str = "",
            url: str | None = None,
            phone: bool = False,
            dark: bool = False,
            prepare: Callable[[Page], object] | None = None,
        ) -> Page:
            page = tabs.take(phone=phone, dark=dark)

            def end() -> None:
                if prepare is not None:  # what it has done to the page stays
                    page.context.close()
                elif not page.is_closed():
                    tabs.give_back(page, phone=phone, dark=dark)

            ends.callback(end)
            if prepare is not None:
                prepare(page)
            page.goto(f"{url or server.url}#{room}")
            if name is not None:
                join(page, name)
            return page

        yield open_page
    assert tabs.errors == []


def join(page: Page, name: str) -> None:
    page.get_by_label("Your name", exact=True).fill(name)
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator("#names")).to_contain_text("you")


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()


def expect_names(page: Page, *names: str) -> None:
    expect(page.locator("#names .name")).to_have_text(list(names))


def expect_said(page: Page, *texts: str) -> None:
    expect(page.locator("#lines .words")).to_have_text(list(texts))
    expect(page.locator("#waiting .words")).to_have_count(0)


def hurry(page: Page) -> None:
    """Have a page connect now, as when its network is back."""
    page.evaluate("dispatchEvent(new Event('online'))")


def enter_room(page: Page, name: str) -> None:
    page.get_by_label("Another room").fill(name)
    page.get_by_role("button", name="Go", exact=True).click()


def expect_light(page: Page, words: str) -> None:
    expect(page.get_by_role("status")).to_have_text(words)


def test_two_tabs_talk_and_see_who_comes_and_goes(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    expect_light(ada, "Connected")
    expect_names(ada, "Ada")
    bob = open_tab("Bob")
    expect_names(ada, "Ada", "Bob")
    expect_names(bob, "Ada", "Bob")
    expect(ada.get_by_role("log")).to_contain_text("Bob joined")

    say(ada, "Hello, Bob")
    expect_said(bob, "Hello, Bob")
    say(bob, "Hello, Ada")
    expect_said(ada, "Hello, Bob", "Hello, Ada")
    expect(bob.locator(".said", has_text="Hello, Bob").locator("b")).to_have_text("Ada")
    expect(ada.get_by_label("Message", exact=True)).to_have_value("")

    bob.close()
    expect_names(ada, "Ada")
    expect(ada.get_by_role("log")).to_contain_text("Bob left")


def test_enter_sends_and_shift_enter_breaks_the_line(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    message = ada.get_by_label("Message", exact=True)
    message.press_sequentially("one")
    message.press("Shift+Enter")
    message.press_sequentially("two")
    message.press("Enter")
    expect(message).to_have_value("")
    assert ada.locator("#log .words").inner_text() == "one\ntwo"


@pytest.mark.parametrize(
    "written",
    [
        "<img src=x onerror=\"document.title='broken'\">",
        "<script>document.title='broken'</script>",
        "&lt;b&gt; &amp; \"quoted\" 'so'",
    ],
)
def test_what_people_write_stays_text(open_tab: OpenTab, written: str) -> None:
    name = written[:24].strip()
    ada, bob = open_tab("Ada"), open_tab(name)
    say(bob, written)
    for page in (ada, bob):
        assert page.locator("#log .words").inner_text() == written
        assert page.locator("#names .name", has_text=name).inner_text() == name
        assert page.locator("#log :is(img, script), #names :is(img, script)").count() == 0
        assert page.title() == "lobby · sockwave chat"


def test_policy_of_the_page_stops_a_script_that_got_in(open_tab: OpenTab) -> None:
    ada = open_tab(None)
    refused = ada.evaluate(
        """() => {
            try { document.body.innerHTML = "<b>in</b>"; } catch (error) { return error.name; }
        }"""
    )
    assert refused == "TypeError"
    expect(ada.locator("header")).to_be_visible()


def test_name_can_be_changed(open_tab: OpenTab) -> None:
    ada, bob = open_tab("Ada"), open_tab("Bob")
    ada.get_by_role("button", name="Change my name").click()
    field = ada.get_by_label("Your name", exact=True)
    expect(field).to_have_value("Ada")
    field.fill("")
    field.press_sequentially("Countess " + "x" * 30)
    expect(field).to_have_value("Countess " + "x" * 15)
    field.fill("Countess")
    ada.get_by_role("button", name="Save").click()
    expect_names(bob, "Bob", "Countess")
    expect(bob.get_by_role("log")).to_contain_text("Ada is now Countess")


def test_tabs_come_back_when_the_server_does(open_tab: OpenTab, server: ChatServer) -> None:
    ada, bob = open_tab("Ada"), open_tab("Bob")
    say(ada, "before")
    expect_said(bob, "before")
    server.stop()
    for page in (ada, bob):
        expect_light(page, "Reconnecting…")
    say(ada, "written meanwhile")
    expect(ada.locator("#waiting .pending .words")).to_have_text("written meanwhile")
    expect(ada.get_by_label("Message", exact=True)).to_have_value("")
    expect(bob.get_by_text("No connection.")).to_be_visible()
    bob.get_by_role("button", name="Try now").click()
    expect(bob.get_by_text("Next try in")).to_be_visible()

    server.start()
    for page in (ada, bob):
        hurry(page)
        expect_light(page, "Connected")
        expect_names(page, "Ada", "Bob")
        expect(page.locator("#retry")).to_be_hidden()
        expect_said(page, "before", "written meanwhile")
        # It was another server, which knows nothing of what the first one had.
        entries = page.locator("#lines > *").all_inner_texts()
        (hole,) = (n for n, one in enumerate(entries) if one == "Lines may be missing here")
        assert entries[hole - 1].endswith("before") or "Bob" in entries[hole - 1]
        assert any("written meanwhile" in one for one in entries[hole:])


def test_name_lasts_when_the_page_is_loaded_again(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    ada.reload()
    expect_names(ada, "Ada")
    expect(ada.get_by_role("dialog")).to_be_hidden()


def test_nobody_gets_past_the_entrance_without_a_name(open_tab: OpenTab) -> None:
    page = open_tab(None)
    entrance = page.get_by_role("dialog")
    expect(entrance).to_be_visible()
    for _ in range(3):
        page.keyboard.press("Escape")
    page.get_by_label("Your name", exact=True).fill("   ")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(entrance).to_be_visible()
    expect_names(page)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_fits_a_phone(open_tab: OpenTab, dark: bool) -> None:
    phone = open_tab("W" * 24, phone=True, dark=dark)
    say(phone, "x" * 500)
    say(phone, "wide words " * 50)
    expect(phone.locator("#log .words")).to_have_count(2)
    people = phone.get_by_role("button", name="1 here")
    expect(phone.locator("#names")).to_be_hidden()
    people.tap()
    expect(phone.locator("#names")).to_be_visible()
    sizes = phone.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert sizes == [PHONE["width"], PHONE["width"]]
    outside = phone.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter((it) => it.getBoundingClientRect().right > window.innerWidth + 1)
            .map((it) => it.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    people.tap()
    expect(phone.locator("#names")).to_be_hidden()
    for button in ("Send", "1 here"):
        box = phone.get_by_role("button", name=button).bounding_box()
        assert box
        assert box["height"] >= 44  # a thumb's


def test_log_follows_what_is_new_unless_its_reader_has_scrolled_up(open_tab: OpenTab) -> None:
    ada, bob = open_tab("Ada"), open_tab("Bob")
    for number in range(30):
        say(bob, f"line {number}")
    expect(ada.locator("#log .words").last).to_have_text("line 29")
    expect(ada.locator("#log .words").last).to_be_in_viewport()
    ada.get_by_role("log").evaluate("(log) => log.scrollTo(0, 0)")
    expect(ada.locator("#log .words").last).not_to_be_in_viewport()
    say(bob, "the last")
    newest = ada.get_by_role("button", name="New messages")
    newest.click()
    expect(ada.locator("#log .words").last).to_be_in_viewport()
    expect(newest).to_be_hidden()


def test_line_waits_visibly_until_the_server_has_it(open_tab: OpenTab, server: ChatServer) -> None:
    ada = open_tab("Ada")
    say(ada, "heard")
    expect_said(ada, "heard")
    freeze(server.process.pid)
    for text in ("one", "two"):
        say(ada, text)
    expect(ada.locator("#waiting .pending .words")).to_have_text(["one", "two"])
    expect(ada.locator("#waiting").get_by_text("Sending…")).to_have_count(2)
    server.process.send_signal(signal.SIGCONT)
    expect_said(ada, "heard", "one", "two")
    expect(ada.get_by_text("Sending…")).to_have_count(0)


def test_who_comes_later_reads_the_last_lines(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    for text in ("one", "two"):
        say(ada, text)
    expect_said(ada, "one", "two")
    bob = open_tab("Bob")
    expect_said(bob, "one", "two")
    expect(bob.locator("#lines .mine")).to_have_count(0)
    ada.reload()
    expect_said(ada, "one", "two")
    expect(ada.locator("#lines .mine")).to_have_count(2)


def test_invitation_goes_when_somebody_comes_or_writes(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    invitation = ada.get_by_text("No messages yet.")
    expect(invitation).to_be_visible()
    bob = open_tab("Bob")
    expect(invitation).to_be_hidden()
    expect(bob.get_by_text("No messages yet.")).to_be_visible()
    say(bob, "hello")
    expect(bob.get_by_text("No messages yet.")).to_be_hidden()
    enter_room(ada, "elsewhere")
    expect(invitation).to_be_visible()


def test_badge_stays_whole_beside_a_long_name(open_tab: OpenTab) -> None:
    for phone in (False, True):
        page = open_tab("W" * 24, phone=phone)
        if phone:
            page.get_by_role("button", name="2 here").tap()
        badge = page.locator("#names small")
        box = badge.bounding_box()
        assert box
        # One line, and all of it: "you" is wider than high in no font.
        assert badge.evaluate("(it) => it.scrollWidth <= it.clientWidth")
        assert badge.evaluate("(it) => it.getClientRects().length") == 1
        assert box["height"] < 2 * float(
            badge.evaluate("(it) => parseFloat(getComputedStyle(it).fontSize)")
        )
        name = page.locator("#names .name", has_text="W").first
        assert name.get_attribute("title") == "W" * 24


def test_rooms_are_apart(open_tab: OpenTab) -> None:
    ada, bob = open_tab("Ada"), open_tab("Bob")
    say(ada, "in the lobby")
    expect_said(bob, "in the lobby")
    enter_room(bob, "  Tea & Cake/ #1 ")
    expect(bob.locator("#where")).to_have_text("tea-&-cake-1")
    assert bob.url.endswith("#tea-%26-cake-1")
    expect(bob).to_have_title("tea-&-cake-1 · sockwave chat")
    expect_said(bob)
    expect_names(bob, "Bob")
    expect_names(ada, "Ada")
    expect(ada.get_by_role("log")).to_contain_text("Bob left")
    say(bob, "over here")
    say(ada, "and here")
    expect_said(bob, "over here")
    expect_said(ada, "in the lobby", "and here")

    eve = open_tab("Eve", room="tea-%26-cake-1")
    expect_said(eve, "over here")
    expect_names(eve, "Bob", "Eve")
    expect(bob.locator("#rooms a")).to_have_text(["lobby", "tea-&-cake-1"])
    expect(bob.locator("#rooms [aria-current=page]")).to_have_text("tea-&-cake-1")
    bob.get_by_role("link", name="lobby").click()
    expect_said(bob, "in the lobby", "and here")
    expect_names(ada, "Ada", "Bob")
    bob.go_back()
    expect_said(bob, "over here")


@pytest.mark.parametrize(
    ("address", "room"),
    [
        ("", "lobby"),
        ("%", "%"),
        ("a/b*c", "a-b-c"),
        ("-", "lobby"),
        ("Caf%C3%A9", "café"),
        ("x" * 99, "x" * 32),
    ],
)
def test_address_names_the_room(open_tab: OpenTab, address: str, room: str) -> None:
    ada = open_tab("Ada", room=address)
    expect(ada.locator("#where")).to_have_text(room)
    say(ada, "hello")
    expect_said(ada, "hello")


def test_line_that_waits_stays_in_its_room(open_tab: OpenTab, server: ChatServer) -> None:
    ada = open_tab("Ada")
    server.stop()
    expect_light(ada, "Reconnecting…")
    say(ada, "for the lobby")
    enter_room(ada, "other")
    say(ada, "for the other")
    expect(ada.locator("#waiting .words")).to_have_text(["for the other"])
    ada.get_by_role("link", name="lobby").click()
    expect(ada.locator("#waiting .words")).to_have_text(["for the lobby"])
    server.start()
    hurry(ada)
    expect_said(ada, "for the lobby")
    ada.get_by_role("link", name="other").click()
    expect_said(ada, "for the other")


#: A page that can be without a network, as long as it says so.
NETWORK = """
const Real = WebSocket;
let last = null;
let isOffline = false;
class Broken {
  constructor() { setTimeout(() => this.onclose({ code: 1006, reason: "" })); }
  close() {}
}
window.WebSocket = function (...all) {
  return (last = isOffline ? new Broken() : new Real(...all));
};
window.goOffline = () => { isOffline = true; last.close(); };
window.goOnline = () => { isOffline = false; dispatchEvent(new Event("online")); };
"""


def test_who_was_away_for_long_gets_the_latest_lines(open_tab: OpenTab, server: ChatServer) -> None:
    bob = open_tab("Bob", prepare=lambda page: page.add_init_script(NETWORK))
    say(bob, "before")
    expect_said(bob, "before")
    bob.evaluate("goOffline()")
    expect_light(bob, "Reconnecting…")
    with connect(
        server.url.replace("http", "ws", 1),
        origin=Origin(server.url.rstrip("/")),
        subprotocols=[Subprotocol("sockwave.1")],
    ) as ada:
        for number in range(205):
            line = json.dumps({"by": "ada", "name": "Ada", "text": f"line {number}", "at": 0})
            command = {"publish": "room/lobby", "message": line, "id": f"ada:{number}"}
            ada.send(json.dumps(command))
            assert json.loads(ada.recv(PATIENCE_S))["acknowledged"] == command["id"]
    bob.evaluate("goOnline()")
    expect_said(bob, "before", *(f"line {number}" for number in range(5, 205)))
    expect(bob.get_by_text("Lines may be missing here")).to_have_count(1)
    entries = bob.locator("#lines > *").all_inner_texts()
    assert entries[1] == "Lines may be missing here"
    say(bob, "after")
    expect(bob.locator("#lines .words").last).to_have_text("after")
    expect(bob.get_by_text("Lines may be missing here")).to_have_count(1)


#: The chat as `sockwave chat --workers 2` serves it; each connection is told which process has it.
SERVICE = """
import logging, os
from sockwave.cli.chat import create_chat
logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
server = create_chat()

@server.on("connection")
def connected(conn):
    conn.send('{"message":"%d"}' % os.getpid())

server.listen(0, "127.0.0.1")
logging.info("running on http://127.0.0.1:%d", server.addresses[0][1])
server.run(workers=2)
"""


class Witness:
    """Hears which process has a tab's connection."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def attend(self, page: Page) -> None:
        page.on("websocket", self._opened)

    def _opened(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._received)

    def _received(self, payload: str | bytes) -> None:
        frame = json.loads(payload)
        if "topic" not in frame and "message" in frame:
            self.pids.append(int(frame["message"]))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """The chat on two workers."""
    with started_service(tmp_path, "-c", SERVICE) as service:
        service.wait_ready(2)
        yield service


@needs_workers
def test_no_line_is_lost_or_twice_when_workers_are_killed(
    open_tab: OpenTab, service: Service
) -> None:
    url = f"http://127.0.0.1:{service.port}/"
    witnesses = [Witness(), Witness()]
    pages = [
        open_tab(name, url=url, prepare=witness.attend)
        for name, witness in zip(("Ada", "Bob"), witnesses, strict=True)
    ]
    written: list[str] = []
    for page in pages:
        expect_names(page, "Ada", "Bob")
    for round_number in range(4):
        victim = witnesses[round_number % 2].pids[-1]
        for number in range(8):
            for page, name in zip(pages, ("Ada", "Bob"), strict=True):
                written.append(f"{name} {round_number}.{number}")
                say(page, written[-1])
            if number == 3:
                os.kill(victim, signal.SIGKILL)
        for page in pages:
            expect(page.locator("#waiting .words")).to_have_count(0)
            expect(page.locator("#lines .words")).to_have_count(len(written))
            expect_names(page, "Ada", "Bob")
        service.wait_ready(3 + round_number)
    read = [page.locator("#lines .words").all_inner_texts() for page in pages]
    assert read[0] == read[1]  # everybody sees the same order
    assert sorted(read[0]) == sorted(written)
    for name in ("Ada", "Bob"):
        assert [one for one in read[0] if one.startswith(name)] == [
            one for one in written if one.startswith(name)
        ]
    for page in pages:
        expect(page.get_by_text("Lines may be missing here")).to_have_count(0)
    late = open_tab("Eve", url=url)
    expect_said(late, *read[0])
    expect_names(late, "Ada", "Bob", "Eve")
    expect_names(pages[0], "Ada", "Bob", "Eve")


@needs_workers
@pytest.mark.skipif(sys.platform != "linux", reason="finds the sequencer in /proc")
def test_nothing_goes_missing_in_silence_when_the_sequencer_is_killed(
    open_tab: OpenTab, service: Service
) -> None:
    url = f"http://127.0.0.1:{service.port}/"
    pages = {name: open_tab(name, url=url) for name in ("Ada", "Bob")}
    written: list[str] = []
    for page in pages.values():
        expect_names(page, "Ada", "Bob")
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    (victim,) = {int(pid) for pid in children.read_text().split()} - set(service.ready_pids())
    for number in range(10):
        for name, page in pages.items():
            written.append(f"{name} {number}")
            say(page, written[-1])
        if number == 4:
            os.kill(victim, signal.SIGKILL)
    for name, page in pages.items():
        expect(page.locator("#waiting .words")).to_have_count(0)
        expect_names(page, "Ada", "Bob")
        page.wait_for_function(
            """(count) => document.querySelectorAll("#lines .words").length >= count
                || document.body.innerText.includes("Lines may be missing here")""",
            arg=len(written),
        )
        read = page.locator("#lines .words").all_inner_texts()
        assert len(read) == len(set(read))
        assert {one for one in written if one.startswith(name)} <= set(read)
        if set(read) != set(written):
            expect(page.get_by_text("Lines may be missing here")).not_to_have_count(0)


@needs_workers
def test_rooms_and_people_are_those_of_all_workers(open_tab: OpenTab, service: Service) -> None:
    url = f"http://127.0.0.1:{service.port}/"
    witness = Witness()
    pages: list[Page] = []
    while len(set(witness.pids)) < 2:
        assert len(pages) < 20, "all connections went to one worker"
        pages.append(open_tab(f"Tab {len(pages):02}", url=url, prepare=witness.attend))
        expect_names(pages[-1], *(f"Tab {number:02}" for number in range(len(pages))))
    say(pages[-1], "to all")
    for page in pages:
        expect_said(page, "to all")
        expect_names(page, *(f"Tab {number:02}" for number in range(len(pages))))
    enter_room(pages[-1], "apart")
    expect_names(pages[-1], pages[-1].evaluate("sessionStorage.getItem('name')"))
    say(pages[-1], "to nobody")
    say(pages[0], "to the others")
    for page in pages[:-1]:
        expect_said(page, "to all", "to the others")
    expect_said(pages[-1], "to nobody")
