"""What the operator sees of a refused handshake: one line at INFO, whoever has refused it."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from test_handshake_origin import ask
from together import together
from wire import KEY3, Wire, build_request, hixie_headers, upgrade_headers, wait_until

import sockwave
from sockwave import log
from sockwave.handshake.refusal import Refusal
from sockwave.log import LINE_COUNT, TEXT_SIZE, peers

OWN = "http://example.com"
EVIL = "http://evil.example"
VERSIONS = (75, 76, 7, 8, 13)
ORIGINS = (None, "", "None", "null", "NULL", "file://", "FILE://", OWN, "https://example.com", EVIL)

# Which of these may connect.
POLICIES: list[tuple[Any, set[str | None]]] = [
    ("*", set(ORIGINS)),
    ("same-origin", {OWN}),
    (OWN, {OWN}),
    ([None], {None}),
    ([OWN, None], {OWN, None}),
    ("null", {"null"}),
    (["file://", EVIL], {"file://", EVIL}),
    ([None, "null", "file://"], {None, "null", "file://"}),
    (re.compile(".*"), {"", "None", OWN, "https://example.com", EVIL}),
    (re.compile("null|file://|http://e.*"), {OWN, EVIL}),
    (lambda origin: origin in (None, "null"), {None, "null"}),
]


class Lines(logging.Handler):
    """What is logged about peers: the lines, each with its level."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))

    def take(self) -> list[str]:
        """Give the lines since the last call, without the ports of clients."""
        taken = [re.sub(r"127\.0\.0\.1:\d+", "CLIENT", line) for _, line in self.lines]
        assert all(level == logging.INFO for level, _ in self.lines)
        self.lines.clear()
        peers._periods.clear()
        return taken


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """The lines about peers at INFO, however many there were before."""
    monkeypatch.setattr(peers, "_periods", {})
    logger = logging.getLogger("sockwave.peers")
    level, handler = logger.level, Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


async def get_status(server: sockwave.Server, data: bytes) -> int:
    """Send a request, and give the status of its answer."""
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(data)
        return (await wire.receive_head()).status


# ---- origins -------------------------------------------------------------------------------------


@pytest.mark.slow
@together
@pytest.mark.parametrize(("policy", "accepted"), POLICIES)
@pytest.mark.parametrize("way", ["fast", "slow"])
async def test_an_origin_counts_as_it_is_listed_for_every_version(
    start_server: StartServer, lines: Lines, policy: Any, accepted: set[str | None], way: str
) -> None:
    server = await start_server(origin=policy)
    if way == "slow":  # who hears of each handshake has each looked at
        server.on("handshake", lambda: None)
    for version in VERSIONS:
        for origin in ORIGINS:
            data = build_request(ask(version, origin)) + (KEY3 if version == 76 else b"")
            status = await get_status(server, data)
            assert status == (101 if origin in accepted else 403), (version, origin)
            seen = lines.take()
            assert len(seen) == (status == 403)
            for line in seen:
                assert line.startswith("the handshake of CLIENT is refused with 403: ")
                assert f"; origin {'none' if origin is None else repr(origin)}, expected " in line


@together
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("same-origin", "'http://example.com' (same-origin)"),
        ("https://a.example", "'https://a.example'"),
        ([None, "null", "https://a.example"], "'https://a.example' or 'null' or none"),
        (
            [f"http://{letter}" for letter in "abcde"],
            "'http://a' or 'http://b' or 'http://c' or 2 more",
        ),
        (re.compile(r"https://\w+\.example"), r"a match of 'https://\\w+\\.example'"),
        (str.isdigit, "what str.isdigit accepts"),
    ],
    ids=repr,
)
async def test_the_line_names_both_origins_the_scheme_and_the_host(
    start_server: StartServer, lines: Lines, policy: Any, expected: str
) -> None:
    server = await start_server(origin=policy)
    answers = []
    for _ in range(2):
        assert await get_status(server, build_request(ask(13, EVIL))) == 403
        answers.append(lines.take())
        server.on("handshake", lambda: None)
    assert answers[0] == answers[1]
    assert answers[0] == [
        "the handshake of CLIENT is refused with 403: this origin may not connect; "
        f"origin '{EVIL}', expected {expected}; "
        "scheme http, host 'example.com', version rfc6455"
    ]


async def test_a_missing_origin_is_said_to_be_missing(
    start_server: StartServer, lines: Lines
) -> None:
    server = await start_server(origin="same-origin")
    assert await get_status(server, build_request(upgrade_headers())) == 403
    assert lines.take() == [
        "the handshake of CLIENT is refused with 403: "
        "without an Origin header nobody may connect here; "
        "origin none, expected 'http://example.com' (same-origin); "
        "scheme http, host 'example.com', version rfc6455"
    ]


async def test_behind_a_proxy_the_line_tells_what_it_has_told(
    start_server: StartServer, lines: Lines
) -> None:
    server = await start_server(origin="same-origin", trusted_proxies="127.0.0.1")
    told = {
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "8443",
    }
    assert await get_status(server, build_request(ask(13, "https://example.com") | told)) == 403
    assert lines.take() == [
        "the handshake of 192.0.2.7:0 is refused with 403: this origin may not connect; "
        "origin 'https://example.com', expected 'https://example.com:8443' (same-origin); "
        "scheme https, host 'example.com:8443', version rfc6455"
    ]


# ---- every other refusal -------------------------------------------------------------------------

PLAIN = upgrade_headers()
NO_TOKEN = PLAIN | {"Sec-WebSocket-Protocol": "no token"}
THE_REST = r"; origin none, expected any; scheme http, host 'example\.com', version rfc6455"

REFUSALS: list[tuple[dict[str, Any], bytes, str]] = [
    ({}, build_request(upgrade_headers(12)), r"426: this version .* version '12'"),
    ({}, build_request(PLAIN | {"Sec-WebSocket-Version": "x"}), r"400: .* version 'x'"),
    ({"version": "hybi-08"}, build_request(PLAIN), "426: this version .* version rfc6455"),
    ({"version": "rfc6455"}, build_request(hixie_headers(75)), "400: this version .* draft75"),
    (
        {"version": "rfc6455"},
        build_request(hixie_headers(76)) + KEY3,
        "400: this version .* draft76",
    ),
    (
        {},
        build_request(PLAIN | {"Sec-WebSocket-Key": "x"}),
        "400: expected exactly one Sec-WebSocket-K",
    ),
    ({}, build_request(PLAIN | {"Sec-WebSocket-Key1": "1 1"}), "400: expected the keys of one"),
    ({}, build_request(hixie_headers(76) | {"Sec-WebSocket-Key1": "1"}) + KEY3, "400: .* draft76"),
    (
        {},
        build_request(hixie_headers(76) | {"Via": "a"}) + KEY3,
        "400: expected no proxy.* draft76",
    ),
    ({}, build_request(PLAIN, method="POST"), "400: expected the method GET"),
    ({}, build_request(PLAIN | {"Content-Length": "1"}) + b"x", "400: expected an opening .* body"),
    (
        {"subprotocol": "a"},
        build_request(NO_TOKEN),
        "400: expected tokens in Sec-WebSocket-Protocol",
    ),
    (
        {},
        build_request([*ask(13, OWN).items(), ("Origin", EVIL)]),
        f"400: expected at most one origin; origin '{OWN}' and '{EVIL}', expected any",
    ),
    (
        {"trusted_proxies": "127.0.0.1"},
        build_request(PLAIN | {"Forwarded": "for"}),
        "400: malformed Forwarded; .*version '13'",
    ),
    (
        {"trusted_proxies": "127.0.0.1"},
        build_request(PLAIN | {"X-Forwarded-Port": "0"}),
        "400: a malformed port was forwarded; .*version '13'",
    ),
]


@together
@pytest.mark.parametrize(
    ("options", "data", "expected"), REFUSALS, ids=lambda value: repr(value)[:60]
)
async def test_what_the_protocol_refuses_is_logged_once(
    start_server: StartServer,
    lines: Lines,
    options: dict[str, Any],
    data: bytes,
    expected: str,
) -> None:
    server = await start_server(**options)
    status = await get_status(server, data)
    (line,) = lines.take()
    assert re.search(f"^the handshake of CLIENT is refused with {expected}", line), line
    assert f" with {status}: " in line
    assert "; origin " in line
    assert "; scheme http, host 'example.com', version " in line


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ({"header_count": 4}, 431, "more than 4 header fields"),
        ({"header_block_size": 100}, 431, "header fields of more than 100 bytes"),
        ({"request_line_size": 10}, 414, "a request line of more than 10 bytes"),
    ],
)
async def test_a_head_past_its_limits_is_logged_though_it_is_not_read(
    start_server: StartServer, lines: Lines, options: dict[str, Any], status: int, sentence: str
) -> None:
    server = await start_server(**options)
    assert await get_status(server, build_request(PLAIN)) == status
    assert lines.take() == [f"a request of CLIENT is refused with {status}: {sentence}"]


def refuse_all(handshake: sockwave.Handshake) -> None:
    handshake.refuse(404, "no such room\n" + "x" * 10_000)


async def refuse_late(handshake: sockwave.Handshake) -> bool:
    await asyncio.sleep(0)
    return False


def fail(*_: object) -> bool:
    raise KeyError


@pytest.mark.parametrize(
    ("options", "hook", "status", "expected"),
    [
        (
            {"authorize": refuse_late},
            None,
            403,
            "the application refuses CLIENT with 403: by refuse_late",
        ),
        (
            {},
            refuse_all,
            404,
            r"the application refuses CLIENT with 404: by refuse_all: no such room\\nx{243}\.\.\.",
        ),
        (
            {"authorize": fail},
            None,
            500,
            "the handshake of CLIENT is refused with 500: internal server error",
        ),
        (
            {"subprotocol": fail},
            None,
            500,
            "the handshake of CLIENT is refused with 500: internal server error",
        ),
    ],
)
async def test_what_the_application_refuses_is_logged_with_its_function(
    start_server: StartServer,
    lines: Lines,
    error_log: ErrorLog,
    options: dict[str, Any],
    hook: Callable[..., object] | None,
    status: int,
    expected: str,
) -> None:
    server = await start_server(**options)
    if hook is not None:
        server.on("handshake", hook)
    assert await get_status(server, build_request(PLAIN)) == status
    (line,) = lines.take()
    assert re.fullmatch(expected + THE_REST, line), line
    assert len(error_log.take()) == (status == 500)


async def never(handshake: sockwave.Handshake) -> None:
    await asyncio.Event().wait()


async def wait_for_key(server: sockwave.Server) -> None:
    """Be a client of draft 76 that keeps its last eight bytes to itself."""
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(hixie_headers(76)))
    assert (await wire.receive_head()).status == 408


async def wait_for_decision(server: sockwave.Server) -> None:
    assert await get_status(server, build_request(PLAIN)) == 503


async def make_room(server: sockwave.Server) -> None:
    """Be one who has to go, as somebody else comes."""
    states: list[int] = []
    server.on("readyStateChange", lambda conn, state: states.append(state))
    first = await Wire.open(server.addresses[0])
    first.write(build_request(hixie_headers(76)))
    await wait_until(lambda: sockwave.ReadyState.WAITING in states)
    await Wire.open(server.addresses[0])
    assert (await first.receive_head()).status == 503


async def come_twice(server: sockwave.Server) -> None:
    data = build_request(PLAIN | {"X-Forwarded-For": "192.0.2.7"})
    for status in (101, 429):
        wire = await Wire.open(server.addresses[0])
        wire.write(data)
        assert (await wire.receive_head()).status == status


async def see_it_close(server: sockwave.Server) -> None:
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(PLAIN))
        await wait_until(lambda: bool(server._host.openings.under_way))
        closed = asyncio.ensure_future(server.close())
        assert (await wire.receive_head()).status == 503
    await closed


@pytest.mark.parametrize(
    ("options", "act", "expected"),
    [
        (
            {"handshake_timeout": 0.2},
            wait_for_key,
            "408: handshake_timeout: the handshake took too",
        ),
        (
            {"handshake_timeout": 0.2, "authorize": never},
            wait_for_decision,
            "503: handshake_timeout: the handshake was not decided in time",
        ),
        (
            {"max_handshakes": 1},
            make_room,
            "503: max_handshakes: too many handshakes are under way",
        ),
        (
            {"max_connections_per_address": 1, "trusted_proxies": "127.0.0.1"},
            come_twice,
            "429: max_connections_per_address: too many connections from your address",
        ),
        ({"authorize": never}, see_it_close, "503: the server is going away"),
    ],
)
async def test_what_a_limit_refuses_is_logged_with_its_name(
    start_server: StartServer,
    lines: Lines,
    options: dict[str, Any],
    act: Callable[[sockwave.Server], Awaitable[None]],
    expected: str,
) -> None:
    server = await start_server(**options)
    await act(server)
    (line,) = lines.take()
    assert re.match(r"the handshake of \S+ is refused with " + expected, line), line


@pytest.mark.parametrize("draft", [False, True])
async def test_a_handshake_that_has_lost_its_upgrade_header_is_seen(
    start_server: StartServer, lines: Lines, draft: bool
) -> None:
    server = await start_server(origin="same-origin")
    headers = hixie_headers(76) if draft else ask(13, EVIL)
    del headers["Upgrade"]
    assert await get_status(server, build_request(headers)) == 426
    (line,) = lines.take()
    assert line.startswith(
        "the handshake of CLIENT is refused with 426: "
        "no Upgrade: websocket, which a proxy may have taken out; origin '"
    )
    # Any other request is none.
    assert await get_status(server, build_request({"Host": "a"})) == 426
    assert lines.take() == []


async def test_a_client_that_has_ended_its_side_is_not_answered(
    start_server: StartServer, lines: Lines
) -> None:
    server = await start_server()
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(PLAIN)[:-1])
        await wire.receive_nothing()
        wire.write(b"\n")
        wire.write_eof()
        # Which of the two was read first is for the kernel to say.
        rest = await wire.receive_rest()
    expected = [] if rest else ["the handshake of CLIENT is not answered: its side has ended"]
    assert lines.take() == expected


async def test_who_is_let_in_is_not_logged(start_server: StartServer, lines: Lines) -> None:
    server = await start_server(origin="same-origin")
    for version in VERSIONS:
        data = build_request(ask(version, OWN)) + (KEY3 if version == 76 else b"")
        assert await get_status(server, data) == 101
    assert lines.take() == []


# ---- peers that mean ill -------------------------------------------------------------------------


@together
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "origin",
    [
        "http://a', expected 'http://a",
        "http://a'\"; scheme https, host 'b'",
        "%s %d %n {0}",
        "\\x1b\\r\\n",
        "http://" + "a" * 5_000,
        *(f"http://a{character}b" for character in "\x1b\x7f\x85\x9b\xad\xff\x00\r\n\x0b"),
    ],
    ids=lambda origin: repr(origin)[:30],
)
async def test_nothing_that_a_client_sends_forges_a_line(
    start_server: StartServer, lines: Lines, version: int, origin: str
) -> None:
    server = await start_server(origin="same-origin")
    data = build_request(ask(version, origin, "a';host='b")) + (KEY3 if version == 76 else b"")
    status = await get_status(server, data)
    assert status in (400, 403)
    (line,) = lines.take()
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 4 * TEXT_SIZE
    if status == 403:
        shown = repr(origin[:TEXT_SIZE]) + "..." * (len(origin) > TEXT_SIZE)
        assert f"; origin {shown}, expected \"http://a';host='b\" (same-origin); " in line


@pytest.mark.parametrize("way", ["fast", "slow"])
async def test_a_flood_of_refusals_is_cut_and_counted(
    start_server: StartServer, lines: Lines, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    server = await start_server(origin="same-origin")
    if way == "slow":
        server.on("handshake", lambda: None)
    written: list[Refusal] = []
    write = Refusal.__str__

    def count(self: Refusal) -> str:
        written.append(self)
        return write(self)

    monkeypatch.setattr(Refusal, "__str__", count)
    for _ in range(LINE_COUNT + 50):
        assert await get_status(server, build_request(ask(13, EVIL))) == 403
    assert len(lines.lines) == len(written) == LINE_COUNT
    # Other reasons are not hidden by it.
    assert await get_status(server, build_request(upgrade_headers(12))) == 426
    assert len(lines.lines) == LINE_COUNT + 1
    monkeypatch.setattr(log, "PERIOD_S", 0.0)
    assert await get_status(server, build_request(ask(13, EVIL))) == 403
    assert lines.lines[-1][1].endswith("version rfc6455 (and 50 more such lines)")


async def test_nothing_is_written_where_nobody_reads_it(
    start_server: StartServer, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.getLogger("sockwave.peers").setLevel(logging.WARNING)
    monkeypatch.setattr(Refusal, "__init__", None)  # whoever makes one fails
    server = await start_server(origin="same-origin")
    for data in (
        build_request(ask(13, EVIL)),
        build_request({"Host": "a", "Sec-WebSocket-Key": "a"}),
        build_request(hixie_headers(76) | {"Origin": EVIL}) + KEY3,
        b"nonsense\r\n\r\n",
    ):
        assert await get_status(server, data) in (400, 403, 426)
    assert lines.take() == []
    assert not peers._periods
