"""The chat's page in a real browser: two tabs talk, the server goes and comes back."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from browser import start_browser
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.slow

PATIENCE_S = 20
PHONE = {"width": 360, "height": 640}

# A server that is down, and a script that the page's policy stops.
EXPECTED_ERRORS = re.compile("ERR_CONNECTION_REFUSED|TrustedHTML")

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


OpenTab = Callable[..., Page]


@pytest.fixture
def open_tab(browser: Browser, server: ChatServer) -> Iterator[OpenTab]:
    """`open_tab("Ada")`: a page that has joined; any error in it fails the test."""
    errors: list[str] = []
    contexts = []

    def open_page(name: str | None, *, phone: bool = False, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport=PHONE if phone else {"width": 1100, "height": 700},
            is_mobile=phone,
            has_touch=phone,
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text)
                if message.type == "error" and not EXPECTED_ERRORS.search(message.text)
                else None
            ),
        )
        page.goto(server.url)
        if name is not None:
            join(page, name)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


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
    expect(page.locator("#log .words")).to_have_text(list(texts))


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
        assert page.title() == "sockwave chat"


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
        expect(page.get_by_role("button", name="Send")).to_be_disabled()
    unsent = ada.get_by_label("Message", exact=True)
    unsent.fill("not yet sent")
    unsent.press("Enter")
    expect(unsent).to_have_value("not yet sent")

    server.start()
    for page in (ada, bob):
        expect_light(page, "Connected")
        expect_names(page, "Ada", "Bob")
    expect(unsent).to_have_value("not yet sent")
    unsent.press("Enter")
    expect_said(bob, "before", "not yet sent")
    expect_said(ada, "before", "not yet sent")


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


def test_texts_that_did_not_arrive_return_to_the_message_field(
    open_tab: OpenTab, server: ChatServer
) -> None:
    ada = open_tab("Ada")
    expect(ada.get_by_role("button", name="Send")).to_be_enabled()
    server.process.send_signal(signal.SIGSTOP)
    say(ada, "into the void")
    server.process.kill()
    server.process.wait()
    expect_light(ada, "Reconnecting…")
    expect(ada.get_by_label("Message", exact=True)).to_have_value("into the void")
