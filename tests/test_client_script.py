"""`sockwave.js` in a real browser, against a server that says what each test wants, by frames."""

import contextlib
import importlib.resources
import json
import queue
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from browser import start_browser
from commands import PATIENCE_S, running
from playwright.sync_api import Browser, Page
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

pytestmark = pytest.mark.slow

SCRIPT = importlib.resources.files("sockwave").joinpath("topics/page/sockwave.js")

# What the client tells the page, in order; every promise of a publish tells how it ends.
PAGE = """<!doctype html><script type="module">
import { connect } from "/sockwave.js";
window.told = [];
const tell = (...what) => told.push(what);
window.begin = (address) => {
  window.client = connect(address, {
    state: (state, why) => tell(state, why),
    message: (message) => tell("message", message),
  });
};
window.listen = (topic, more) => client.subscribe(topic, {
  message: (message, { position, id }) =>
    tell(topic, typeof message === "string" ? message : [...message], position, id),
  delta: (...all) => tell(topic, "delta", ...all),
  end: (...all) => tell(topic, "end", ...all),
  members: (members) => tell(topic, "members", Object.fromEntries(members)),
  state: (state, { recovered, position, reason }) =>
    tell(topic, state, reason ?? recovered, position),
  ...more,
});
window.publish = (...all) => {
  const published = client.publish(...all);
  published.then(
    (position) => tell("published", position),
    (error) => tell("failed", error.message),
  );
  return published.id;
};
window.isReady = true;
</script>"""


class Peer:
    """One connection of the client's, as its server sees it."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.is_over = threading.Event()

    def hear(self) -> Any:
        """Wait for the next command."""
        return json.loads(self.connection.recv(PATIENCE_S))

    def say(self, **frame: object) -> None:
        self.connection.send(json.dumps(frame))

    def cut(self) -> None:
        """End the connection as a killed process does, without a closing handshake."""
        self.connection.socket.close()
        self.is_over.set()

    def close(self, code: int, reason: str = "") -> None:
        self.connection.close(code, reason)
        self.is_over.set()

    def wait_closed(self) -> int | None:
        """Wait until the client has closed the connection, and give its code."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.connection.recv(PATIENCE_S)
        self.is_over.set()
        return self.connection.close_code


class Host:
    """A server that gives out the page, and hands each WebSocket to the test."""

    def __init__(self) -> None:
        self.peers: queue.Queue[Peer] = queue.Queue()
        self.is_refusing = False
        self._peers: list[Peer] = []
        self._server: Server = serve(
            self._handle,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol("sockwave.1")],
            process_request=self._admit,
            compression=None,
        )
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return connection.respond(503, "not now") if self.is_refusing else None
        is_script = request.path == "/sockwave.js"
        response = connection.respond(200, SCRIPT.read_text("utf-8") if is_script else PAGE)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "text/javascript" if is_script else "text/html"
        return response

    def _handle(self, connection: ServerConnection) -> None:
        peer = Peer(connection)
        self._peers.append(peer)
        self.peers.put(peer)
        peer.is_over.wait()

    def accept(self) -> Peer:
        """Wait for the client's next connection."""
        return self.peers.get(timeout=PATIENCE_S)

    def stop(self) -> None:
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.cut()
        self._server.shutdown()
        self._thread.join()


class Client:
    """The page's client, and what it has told."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._taken = 0

    def run(self, program: str, *arguments: object) -> Any:
        """Call a JavaScript function with arguments."""
        return self.page.evaluate(f"(all) => ({program})(...all)", list(arguments))

    def hear(self) -> list[Any]:
        """Wait for the next thing that it tells."""
        self._taken += 1
        self.page.wait_for_function(
            f"told.length >= {self._taken}", timeout=PATIENCE_S * 1000, polling=10
        )
        told: list[Any] = self.page.evaluate(f"told[{self._taken - 1}]")
        return told

    def pass_by(self, seconds: float) -> None:
        """Let so much time go by, and run what was to run in it."""
        self.page.clock.run_for(int(seconds * 1000))

    def listen(self, topic: str, **more: object) -> None:
        self.run("(topic, more) => { window.room = listen(topic, more); }", topic, more)

    def publish(self, topic: str, message: str) -> str:
        """Publish, and give the id of it."""
        drawn: str = self.run("publish", topic, message)
        return drawn


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from start_browser()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.stop()


class Tab:
    """A page that one test after another uses: a new one takes a second of a processor's time."""

    def __init__(self, browser: Browser) -> None:
        self.page = browser.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    @contextlib.contextmanager
    def client(self, url: str) -> Iterator[Client]:
        """Give the client of a page for the length of a block; any error in it fails the test."""
        self.errors.clear()
        self.page.goto(url)
        self.page.wait_for_function("window.isReady", polling=10)
        yield Client(self.page)
        self.page.goto("about:blank")
        assert self.errors == []


@pytest.fixture(scope="module")
def still_tab(browser: Browser) -> Tab:
    """A page whose clock stands still."""
    tab = Tab(browser)
    tab.page.clock.install()
    tab.page.clock.pause_at("2100-01-01")
    return tab


@pytest.fixture(scope="module")
def tabs(browser: Browser) -> list[Tab]:
    return [Tab(browser) for _ in range(3)]


@pytest.fixture
def client(still_tab: Tab, host: Host) -> Iterator[Client]:
    """A client that has begun to connect; its clock stands still, and its dice show 0.5."""
    with still_tab.client(f"http://127.0.0.1:{host.port}/page") as client:
        client.page.evaluate("() => { Math.random = () => 0.5; begin('/socket'); }")
        client.page.clock.run_for(1)
        yield client


def opened(client: Client, host: Host) -> Peer:
    """Wait until the client is connected."""
    peer = host.accept()
    told = [client.hear()]
    while told[-1] != ["open", {}]:
        told.append(client.hear())
    assert told[-2] == ["connecting", {}]
    return peer


def subscribed(client: Client, host: Host, position: str = "e1-3", **more: object) -> Peer:
    """Wait until the client is connected, and has subscribed to "room"."""
    peer = opened(client, host)
    client.listen("room", **more)
    peer.hear()
    peer.say(subscribed="room", position=position, recovered=True)
    assert client.hear() == ["room", "subscribed", True, position]
    return peer


def wait_s(client: Client) -> float:
    """Wait until the client waits, and give how long."""
    state, why = client.hear()
    assert state == "waiting", (state, why)
    return float(why["waitMs"]) / 1000


def again(client: Client, host: Host) -> Peer:
    """Wait until a client that has lost its connection has another one."""
    client.pass_by(wait_s(client))
    return opened(client, host)


def test_script_is_one_short_module_without_dependencies() -> None:
    script = SCRIPT.read_text("utf-8")
    assert len(script.splitlines()) < 150
    assert "import" not in script
    assert re.findall(r"^export (\w+ \w+)", script, re.MULTILINE) == ["function connect"]


def test_client_speaks_the_subprotocol_at_an_address_relative_to_the_page(
    client: Client, host: Host
) -> None:
    peer = opened(client, host)
    assert peer.connection.subprotocol == "sockwave.1"
    assert peer.connection.request
    assert peer.connection.request.path == "/socket"


def test_subscriber_gets_messages_and_says_where_it_stands_when_it_comes_back(
    client: Client, host: Host
) -> None:
    client.listen("room", since="0-0", data={"name": "Ada"})
    peer = opened(client, host)
    assert peer.hear() == {"subscribe": "room", "since": "0-0", "data": {"name": "Ada"}}
    peer.say(topic="room", message="one", position="e1-1", id="x:1")
    peer.say(topic="room", base64="AP8=", position="e1-2")
    peer.say(subscribed="room", position="e1-2", recovered=True)
    assert client.hear() == ["room", "one", "e1-1", "x:1"]
    assert client.hear() == ["room", [0, 255], "e1-2", None]
    assert client.hear() == ["room", "subscribed", True, "e1-2"]
    peer.say(topic="room", message="three", position="e1-3")
    assert client.hear()[1] == "three"

    peer.cut()
    peer = again(client, host)
    assert peer.hear() == {"subscribe": "room", "since": "e1-3", "data": {"name": "Ada"}}


def test_topic_without_a_history_is_subscribed_without_a_position(
    client: Client, host: Host
) -> None:
    peer = opened(client, host)
    client.listen("room")
    assert peer.hear() == {"subscribe": "room"}
    peer.say(subscribed="room", position=None, recovered=False)
    assert client.hear() == ["room", "subscribed", True, None]  # nothing was before
    for _ in range(2):
        peer.say(topic="room", message="the same")
        assert client.hear() == ["room", "the same", None, None]
    peer.cut()
    peer = again(client, host)
    assert peer.hear() == {"subscribe": "room"}
    peer.say(subscribed="room", position=None, recovered=False)
    assert client.hear() == ["room", "subscribed", False, None]


def test_message_that_comes_twice_is_told_once(client: Client, host: Host) -> None:
    peer = subscribed(client, host)
    for offset in (3, 4, 4, 2, 5):
        peer.say(topic="room", message=f"number {offset}", position=f"e1-{offset}")
    assert client.hear()[1] == "number 4"
    assert client.hear()[1] == "number 5"
    peer.say(topic="room", message="of another epoch", position="e2-1")
    assert client.hear()[1] == "of another epoch"


def test_offsets_are_compared_as_numbers(client: Client, host: Host) -> None:
    peer = subscribed(client, host, position="e1-9")
    peer.say(topic="room", message="tenth", position="e1-10")
    assert client.hear()[1] == "tenth"


def test_what_is_missing_is_told(client: Client, host: Host) -> None:
    peer = subscribed(client, host)
    peer.say(gap="room", position="e1-8")
    assert client.hear() == ["room", "gap", False, "e1-8"]
    peer.say(topic="room", message="before it", position="e1-8")
    peer.say(topic="room", message="behind it", position="e1-9")
    assert client.hear()[1] == "behind it"
    peer.cut()
    peer = again(client, host)
    assert peer.hear()["since"] == "e1-9"
    peer.say(subscribed="room", position="e2-1", recovered=False)
    assert client.hear() == ["room", "subscribed", False, "e2-1"]
    peer.say(topic="room", message="goes on", position="e2-2")
    assert client.hear()[1] == "goes on"


def test_refused_subscription_is_told_and_not_tried_again(client: Client, host: Host) -> None:
    peer = opened(client, host)
    client.listen("secret")
    client.listen("room")
    peer.hear()
    peer.hear()
    peer.say(refused="subscribe", topic="secret", reason="not for you")
    assert client.hear() == ["secret", "refused", "not for you", None]
    peer.cut()
    peer = again(client, host)
    assert peer.hear() == {"subscribe": "room"}
    client.listen("secret")
    assert peer.hear() == {"subscribe": "secret"}


def test_topic_is_subscribed_once(client: Client) -> None:
    client.listen("room")
    message = client.run(
        "() => { try { listen('room'); } catch (error) { return error.message; } }"
    )
    assert message == "subscribed already: room"


def test_nothing_of_an_earlier_subscription_reaches_the_next(client: Client, host: Host) -> None:
    peer = subscribed(client, host)
    client.run("() => room.unsubscribe()")
    client.listen("room")
    assert [peer.hear(), peer.hear()] == [{"unsubscribe": "room"}, {"subscribe": "room"}]
    peer.say(topic="room", message="old", position="e1-4")
    peer.say(unsubscribed="room")
    peer.say(subscribed="room", position="e1-4", recovered=True)
    assert client.hear() == ["room", "subscribed", True, "e1-4"]
    peer.say(topic="room", message="new", position="e1-5")
    assert client.hear()[1] == "new"


def test_unsubscribed_topic_stays_so_after_a_reconnect(client: Client, host: Host) -> None:
    peer = subscribed(client, host)
    client.listen("other")
    assert peer.hear() == {"subscribe": "other"}
    client.run("() => room.unsubscribe()")
    assert peer.hear() == {"unsubscribe": "other"}
    client.run("() => room.unsubscribe()")  # the second time means nothing
    peer.cut()
    peer = again(client, host)
    assert peer.hear()["subscribe"] == "room"
    client.listen("other")
    assert peer.hear() == {"subscribe": "other"}
    peer.say(topic="other", message="heard")
    assert client.hear()[:2] == ["other", "heard"]


def test_publish_is_done_when_it_is_acknowledged(client: Client, host: Host) -> None:
    peer = opened(client, host)
    ids = [client.publish("room", message) for message in ("one", "two", "three")]
    for drawn, message in zip(ids, ("one", "two", "three"), strict=True):
        assert peer.hear() == {"publish": "room", "message": message, "id": drawn}
    peer.say(acknowledged=ids[0], topic="room", position="e1-1")
    peer.say(refused="publish", topic="room", reason="too loud", id=ids[1])
    peer.say(acknowledged=ids[2], topic="room", position=None)
    assert client.hear() == ["published", "e1-1"]
    assert client.hear() == ["failed", "too loud"]
    assert client.hear() == ["published", None]


def test_binary_message_is_published(client: Client, host: Host) -> None:
    peer = opened(client, host)
    client.run("() => { publish('room', Uint8Array.of(0, 255)); }")
    command = peer.hear()
    assert (command["publish"], command["base64"]) == ("room", "AP8=")


def test_id_of_a_publish_does_not_tell_of_the_next(client: Client) -> None:
    ids = [client.publish("room", "hello") for _ in range(50)]
    parts = [one.rpartition(":") for one in ids]
    assert [int(count) for *_, count in parts] == list(range(1, 51))
    drawn = {number for random, *_ in parts for number in random.split(".")}
    assert len(drawn) == 4 * 50
    assert max(map(len, ids)) <= 64


def test_what_is_not_acknowledged_is_sent_again_in_order_behind_the_subscriptions(
    client: Client, host: Host
) -> None:
    peer = subscribed(client, host)
    sent = [client.publish("room", str(number)) for number in range(3)]
    commands = [peer.hear() for _ in sent]
    peer.say(acknowledged=sent[1], topic="room", position="e1-4")
    assert client.hear() == ["published", "e1-4"]
    peer.cut()
    waited = wait_s(client)
    late = client.publish("room", "written without a connection")
    client.pass_by(waited)
    peer = opened(client, host)
    assert peer.hear() == {"subscribe": "room", "since": "e1-3"}
    assert [peer.hear(), peer.hear()] == [commands[0], commands[2]]
    assert peer.hear() == {"publish": "room", "message": "written without a connection", "id": late}
    for number, drawn in enumerate((sent[0], sent[2], late), 5):
        peer.say(acknowledged=drawn, topic="room", position=f"e1-{number}")
        assert client.hear() == ["published", f"e1-{number}"]
    peer.cut()
    peer = again(client, host)
    assert peer.hear()["subscribe"] == "room"
    client.publish("room", "the next")
    assert peer.hear()["message"] == "the next"


def test_publish_that_may_be_forgotten_is_not_sent_again(client: Client, host: Host) -> None:
    peer = opened(client, host)
    client.publish("room", "old")
    assert peer.hear()["message"] == "old"
    host.is_refusing = True
    peer.cut()
    waited_s, wait = 0.0, wait_s(client)
    client.publish("room", "never sent")
    while waited_s < 300:
        # No more than that: the clock would run on to what the client does about silence.
        client.pass_by(wait)
        assert client.hear() == ["connecting", {}]
        waited_s, wait = waited_s + wait, wait_s(client)
    host.is_refusing = False
    client.pass_by(wait)
    peer = opened(client, host)
    assert peer.hear()["message"] == "never sent"
    client.page.wait_for_function("told.some(([what]) => what === 'failed')")
    failed = client.run("() => told.filter(([what]) => what === 'failed')")
    assert failed == [["failed", "the connection was lost: this is published, or not"]]


def test_publishes_that_wait_are_bounded(client: Client, host: Host) -> None:
    peer = opened(client, host)
    client.run("() => { for (let n = 0; n < 1000; n++) publish('room', `${n}`); }")
    client.publish("room", "too many")
    assert client.hear() == ["failed", "1000 publishes wait already"]
    first = peer.hear()
    peer.say(acknowledged=first["id"], topic="room", position="e1-1")
    assert client.hear() == ["published", "e1-1"]
    client.publish("room", "fits")
    assert [peer.hear()["message"] for _ in range(1000)][-1] == "fits"


def test_stream_gives_each_piece_and_all_of_it(client: Client, host: Host) -> None:
    peer = subscribed(client, host, "e1-0")
    peer.say(topic="room", position="e1-2", delta="Once upon")
    peer.say(topic="room", position="e1-3", delta=" a time")
    peer.say(topic="room", position="e1-3", delta=" a time")
    assert client.hear() == ["room", "delta", "Once upon", "Once upon"]
    assert client.hear() == ["room", "delta", " a time", "Once upon a time"]
    peer.cut()
    peer = again(client, host)
    assert peer.hear()["since"] == "e1-3"
    peer.say(topic="room", position="e1-5", delta=" there was")
    peer.say(subscribed="room", position="e1-5", recovered=True)
    assert client.hear() == ["room", "delta", " there was", "Once upon a time there was"]
    assert client.hear()[1] == "subscribed"
    peer.say(topic="room", position="e1-6", end="finished")
    assert client.hear() == ["room", "end", "finished", "Once upon a time there was"]
    peer.say(topic="room", position="e1-7", delta="Another")
    assert client.hear() == ["room", "delta", "Another", "Another"]
    peer.say(topic="room", position="e1-8", end="aborted")
    assert client.hear() == ["room", "end", "aborted", "Another"]


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "behind"])
def test_stream_of_another_epoch_is_another_text(
    client: Client, host: Host, is_before: bool
) -> None:
    peer = subscribed(client, host, "e1-0")
    peer.say(topic="room", position="e1-1", delta="old")
    assert client.hear()[1] == "delta"
    peer.cut()
    peer = again(client, host)
    peer.hear()
    if is_before:
        peer.say(topic="room", position="e2-1", delta="new")
    peer.say(subscribed="room", position="e2-1" if is_before else "e2-0", recovered=False)
    if not is_before:
        peer.say(topic="room", position="e2-1", delta="new")
    told = [client.hear(), client.hear()]
    assert ["room", "delta", "new", "new"] in told


def test_client_appends_and_finishes(client: Client, host: Host) -> None:
    peer = opened(client, host)
    client.run("() => { client.append('room', 'Once'); client.finish('room'); }")
    appended, finished = peer.hear(), peer.hear()
    assert (appended["append"], appended["delta"]) == ("room", "Once")
    assert finished["finish"] == "room"
    assert appended["id"] != finished["id"]


def test_members_are_kept_from_a_snapshot_and_differences(client: Client, host: Host) -> None:
    peer = subscribed(client, host, data="Ada")
    peer.say(topic="room", members={"1": "Ada", "2": "Bob"})
    assert client.hear() == ["room", "members", {"1": "Ada", "2": "Bob"}]
    peer.say(topic="room", join={"3": "Eve", "2": "Robert"}, leave={"1": "Ada"})
    assert client.hear() == ["room", "members", {"2": "Robert", "3": "Eve"}]
    peer.say(topic="room", join={"3": "Eva"}, leave={"3": "Eve"})  # left, and came back
    assert client.hear() == ["room", "members", {"2": "Robert", "3": "Eva"}]
    peer.say(topic="room", join={}, leave={"2": "Robert"})
    assert client.hear() == ["room", "members", {"3": "Eva"}]
    assert client.run("() => [...room.members]") == [["3", "Eva"]]
    peer.say(topic="room", members={"__proto__": "odd"})
    assert client.hear()[1] == "members"
    assert client.run("() => [...room.members]") == [["__proto__", "odd"]]


def test_member_changes_what_others_are_told_of_it(client: Client, host: Host) -> None:
    peer = subscribed(client, host, data="Ada")
    client.run("() => room.update('Countess')")
    assert peer.hear() == {"subscribe": "room", "since": "e1-3", "data": "Countess"}
    peer.cut()
    assert again(client, host).hear()["data"] == "Countess"


def test_ordinary_messages_go_both_ways(client: Client, host: Host) -> None:
    peer = opened(client, host)
    assert client.run("() => client.send('hello')") is True
    assert peer.hear() == {"send": "hello"}
    peer.say(message="welcome")
    assert client.hear() == ["message", "welcome"]
    peer.cut()
    wait_s(client)
    assert client.run("() => client.send('to nobody')") is False
    client.run("() => client.retry()")
    peer = opened(client, host)
    client.run("() => client.send('to somebody')")
    assert peer.hear() == {"send": "to somebody"}


def test_waits_grow_up_to_half_a_minute_and_are_random(client: Client, host: Host) -> None:
    peer = opened(client, host)
    host.is_refusing = True
    peer.cut()
    waits = []
    for dice in [0.5] * 7 + [0.01, 0]:
        waits.append(wait_s(client))
        client.run("(dice) => { Math.random = () => dice; }", dice)
        client.pass_by(waits[-1])
        assert client.hear() == ["connecting", {}]
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 15, 15, 0.3]
    assert wait_s(client) == 0


def test_connection_that_lasted_begins_the_waits_anew(client: Client, host: Host) -> None:
    opened(client, host).cut()
    peer = again(client, host)
    client.pass_by(5)
    peer.cut()
    assert wait_s(client) == 0.5
    client.pass_by(0.5)
    peer = opened(client, host)
    client.pass_by(5.1)
    peer.cut()
    assert wait_s(client) == 0.25


@pytest.mark.parametrize(
    ("code", "reason", "waited"),
    [
        (1001, "restarting, retry=60", 30),
        (1013, "retry=2.5", 1.25),
        (1001, "retry=0", 0),
        (1001, "retry=999999999999", 2**30 / 1000),
        (1001, "retry=soon", 0.25),
        (1001, "noretry=60", 0.25),
        (1011, "retry=60", 0.25),
        (1000, "", 0.25),
        (1012, "", 0.25),
        (4399, "", 0.25),
        (4500, "", 0.25),
    ],
)
def test_server_says_within_how_long_to_come_back(
    client: Client, host: Host, code: int, reason: str, waited: float
) -> None:
    opened(client, host).close(code, reason)
    assert wait_s(client) == pytest.approx(waited, rel=1e-6)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 4400, 4499])
def test_server_ends_it_for_good(client: Client, host: Host, code: int) -> None:
    peer = opened(client, host)
    client.publish("room", "in vain")
    peer.hear()
    peer.close(code, "enough")
    assert client.hear() == ["closed", {"code": code, "reason": "enough"}]
    assert client.hear() == ["failed", f"closed: {code} enough"]
    client.run("() => { client.retry(); dispatchEvent(new Event('online')); }")
    client.pass_by(100)
    client.publish("room", "too late")
    assert client.hear() == ["failed", "the client is closed"]
    assert host.peers.empty()


def test_application_closes(client: Client, host: Host) -> None:
    peer = opened(client, host)
    client.publish("room", "in vain")
    client.run("() => client.close(4000, 'bye')")
    assert client.hear() == ["closed", {"code": 4000, "reason": "bye"}]
    assert client.hear() == ["failed", "closed: 4000 bye"]
    assert peer.wait_closed() == 4000
    client.run("() => client.close()")
    client.pass_by(100)
    client.publish("room", "too late")
    assert client.hear() == ["failed", "the client is closed"]


def test_application_closes_while_the_client_waits(client: Client, host: Host) -> None:
    opened(client, host).cut()
    wait_s(client)
    client.run("() => client.close()")
    assert client.hear() == ["closed", {"code": 1000, "reason": ""}]
    client.pass_by(100)
    assert host.peers.empty()


@pytest.mark.parametrize("what", ["client.retry()", "dispatchEvent(new Event('online'))"])
def test_client_that_waits_tries_at_once_when_it_is_told_to(
    client: Client, host: Host, what: str
) -> None:
    opened(client, host).cut()
    wait_s(client)
    client.run(f"() => {{ {what}; }}")
    opened(client, host)
    client.pass_by(1)  # the try that it had waited for is not made any more
    assert host.peers.empty()


def test_silent_connection_is_asked_for_an_answer_and_given_up_without_one(
    client: Client, host: Host
) -> None:
    peer = subscribed(client, host)
    for _ in range(2):
        client.pass_by(20)
        (asked,) = peer.hear().values()
        peer.say(unsubscribed=asked)
        peer.say(message="heard")
        assert client.hear() == ["message", "heard"]
    client.pass_by(20)
    assert list(peer.hear()) == ["unsubscribe"]
    client.pass_by(20)
    peer.wait_closed()
    assert again(client, host).hear()["subscribe"] == "room"


def test_connection_that_does_not_open_is_given_up(client: Client, host: Host) -> None:
    opened(client, host).cut()
    wait = wait_s(client)
    # The client does not hear of it when the next one opens.
    client.run(
        """() => {
            window.Real = WebSocket;
            window.WebSocket = class extends Real { set onopen(_) {} };
        }"""
    )
    client.pass_by(wait)
    assert client.hear() == ["connecting", {}]
    host.accept()
    client.run("() => { window.WebSocket = Real; }")
    client.pass_by(20)
    again(client, host)


def test_frame_that_was_no_command_is_an_error_of_the_page(client: Client, host: Host) -> None:
    peer = opened(client, host)
    client.run(
        """() => addEventListener("error", (event) => {
            event.preventDefault();
            told.push([event.message]);
        })"""
    )
    peer.say(error="no command")
    assert client.hear() == ["Uncaught Error: sockwave: no command"]
    peer.say(message="it goes on")
    assert client.hear() == ["message", "it goes on"]


#: A real server for the same page, which drops the connections of those who ask for it.
SERVED = f"""
import sockwave

server = sockwave.create_server(subprotocol=["sockwave.1"])
server.client_script("/sockwave.js")
server.topic("room/*", history=sockwave.History(count=100), presence=True)

@server.on("subscribe")
@server.on("publish")
def may_use(conn, topic):
    return topic != "secret"

@server.on("connection")
def connected(conn):
    @conn.on("message")
    def message(message):
        conn.abort() if message == "drop me" else conn.send('{{"message":"heard"}}')

@server.on("request")
def request(req, res):
    res.write_head(200, {{"Content-Type": "text/html"}})
    res.end({PAGE!r})

server.listen(8000, "127.0.0.1")
server.run()
"""


@pytest.fixture
def clients(tabs: list[Tab]) -> Iterator[list[Client]]:
    """Three clients of the real server, each in a page of its own."""
    with running(SERVED) as address, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(tab.client(f"http://{address}/")) for tab in tabs]
        for client in clients:
            client.page.evaluate("() => { Math.random = () => 0; begin('/'); }")
        for client in clients:
            assert [client.hear(), client.hear()] == [["connecting", {}], ["open", {}]]
        yield clients


def drop(client: Client) -> None:
    """Have the server drop a client's connection, and wait until it has another one."""
    client.run("() => client.send('drop me')")
    while client.hear() != ["open", {}]:
        pass


def test_script_and_server_agree_on_messages(clients: list[Client]) -> None:
    ada, bob, _ = clients
    ada.listen("room/1", since="0-0")
    position = ada.hear()[-1]
    assert position.endswith("-0")
    assert ada.hear()[1] == "members"
    named = ada.publish("room/1", "one")
    told = sorted([ada.hear(), ada.hear()])
    epoch = position.partition("-")[0]
    assert told == [["published", f"{epoch}-1"], ["room/1", "one", f"{epoch}-1", named]]
    drop(ada)
    assert ada.hear() == ["room/1", "subscribed", True, f"{epoch}-1"]
    bob.run("() => { publish('room/1', 'two'); publish('room/1', Uint8Array.of(0, 255)); }")
    assert [bob.hear(), bob.hear()] == [["published", f"{epoch}-{n}"] for n in (2, 3)]
    bob.listen("room/1", since=f"{epoch}-1")
    heard = [bob.hear() for _ in range(3)]
    assert [one[1] for one in heard] == ["two", [0, 255], "subscribed"]
    ada.run("() => client.subscribe('secret', { state: (...all) => told.push(all) })")
    while (told := ada.hear())[0] != "refused":
        pass
    bob.run("() => { publish('secret', 'hi'); client.send('hi'); }")
    while (told := bob.hear())[0] != "failed":
        pass
    assert bob.hear() == ["message", "heard"]


def test_script_and_server_agree_on_streams(clients: list[Client]) -> None:
    ada, bob, eve = clients
    ada.listen("answer")
    assert ada.hear()[1] == "subscribed"
    eve.run("() => client.append('answer', 'Once')")
    assert ada.hear()[1:] == ["delta", "Once", "Once"]
    ada.run("() => client.send('drop me')")
    eve.run("async () => { await client.append('answer', ' upon'); }")
    eve.run("async () => { await client.append('answer', ' a time'); }")
    deltas = []
    while (told := ada.hear())[-1] != "Once upon a time":
        if told[1] == "delta":
            deltas.append(told[2])
    assert "".join([*deltas, told[2]]) == " upon a time"
    bob.listen("answer")
    assert bob.hear()[1:] == ["delta", "Once upon a time", "Once upon a time"]
    eve.run("() => client.finish('answer')")
    for one in (ada, bob):
        while (told := one.hear())[1] != "end":
            pass
        assert told[2:] == ["finished", "Once upon a time"]


def test_script_and_server_agree_on_members(clients: list[Client]) -> None:
    def wait_members(client: Client, *names: str) -> None:
        while (told := client.hear())[1] != "members" or sorted(told[2].values()) != list(names):
            pass

    ada, bob, _ = clients
    ada.listen("room/1", data="Ada")
    wait_members(ada, "Ada")
    bob.listen("room/1", data="Bob")
    for one in (ada, bob):
        wait_members(one, "Ada", "Bob")
    bob.run("() => room.update('Robert')")
    for one in (ada, bob):
        wait_members(one, "Ada", "Robert")
    bob.run("() => client.send('drop me')")
    wait_members(bob, "Ada", "Robert")
    bob.run("() => room.unsubscribe()")
    wait_members(ada, "Ada")
