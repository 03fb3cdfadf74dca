"""Opening handshakes of all versions, from the first byte on, and the frames behind them.

Byte 0 chooses the options of the server, byte 1 how the stream is cut; the rest are bytes.
"""

import asyncio
import functools
import logging
import re

import reference

from fuzz.answers import Answer, read_answers
from fuzz.conversation import EVENT_CODES, feed
from fuzz.memory import MemoryServer
from sockwave import Deflate
from sockwave.core.session.connection import Connection
from sockwave.errors import Refused
from sockwave.handshake import Handshake
from sockwave.log import peers

LOGGER = logging.getLogger("sockwave.peers")
STATUSES = {101, 400, 403, 404, 405, 408, 413, 414, 417, 426, 431, 501, 503, 505}
EXTENSION = re.compile(
    r"permessage-deflate(; (server|client)_no_context_takeover"
    r"|; (server|client)_max_window_bits=(8|9|1[0-5])){0,4}"
)


class Reader(logging.Handler):
    """Reads what is logged of the peers: a line each, and nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        assert line.isascii(), f"logged {line!r}"
        assert line.isprintable(), f"logged {line!r}"
        assert len(line) < 8192, f"logged {len(line)} characters"


READER = Reader()


async def authorize(handshake: Handshake) -> bool:
    """Decide after a while, by the target."""
    await asyncio.sleep(0.2)
    if "refused" in handshake.request.target:
        raise Refused(404, "no such room\n")
    _ = (handshake.request.cookies, handshake.request.params, handshake.request.headers)
    return "denied" not in handshake.request.target


OPTIONS = (
    {"compression": True, "subprotocol": ["chat", "superchat"]},
    {
        "compression": Deflate(server_context_takeover=True, client_context_takeover=True),
        "origin": "same-origin",
    },
    {"authorize": authorize, "origin": ["http://a", "https://example.com"], "compression": True},
    {"version": "rfc6455"},
)


@functools.cache
def server(choice: int) -> MemoryServer:
    """Give the server with those options."""
    return MemoryServer(max_size=1000, **OPTIONS[choice])  # type: ignore[arg-type]


def run(data: bytes) -> None:
    """Feed a server one stream of bytes, from accept on, and read what it logs of that."""
    if len(data) < 2:
        return
    level, propagates = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(READER)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    peers._periods.clear()
    try:
        run_logged(data)
    finally:
        LOGGER.removeHandler(READER)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagates


def run_logged(data: bytes) -> None:
    """Feed a server one stream of bytes, from accept on."""
    front = server(data[0] & 3)
    opened: list[Connection] = []

    def connected(connection: Connection) -> None:
        opened.append(connection)

    front.server.on("connection", connected)
    peer = front.connect()
    closes: list[int] = []

    def ended(code: int) -> None:
        closes.append(code)

    try:
        feed(front, peer, data[2:], data[1])
        for connection in opened:
            connection.on("close", ended)
        if data[0] & 0x80:
            front.pass_time(30.0, peer)
        front.end(peer)
    finally:
        front.server.off("connection", connected)
    # A request that does not upgrade gets 426, and the next one may come: of whatever method.
    methods = [match.decode() for match in re.findall(rb"(?:^|\n)(HEAD|[A-Z]+) ", data[2:])]
    if "HEAD" in methods:
        return
    answers, frames = read_answers(bytes(peer.output), [], is_cut=False)
    for answer in answers:
        assert answer.status in STATUSES, f"answered with {answer.status}"
    switched = [answer for answer in answers if answer.status == 101]
    assert len(switched) == len(opened), f"{len(switched)} times 101, {len(opened)} connections"
    for answer, connection in zip(switched, opened, strict=True):
        check_answer(answer, connection, data[2:])
        for code in closes:
            assert code in EVENT_CODES
        if not connection.version.startswith("draft"):
            while frames:
                header = reference.parse_header(
                    frames, from_client=False, allowed_rsv=reference.RSV1
                )
                assert header is not None, "half a header was sent"
                frames = frames[header[1] + header[3] :]


def check_answer(answer: Answer, connection: Connection, wire: bytes) -> None:
    """Raise AssertionError where a 101 is not the one that the request asks for."""
    headers, request = answer.headers, connection.request.headers
    assert headers.pop("upgrade").lower() == "websocket"
    assert headers.pop("connection") == "Upgrade"
    version = connection.version
    if version == "draft76":
        key3 = wire[wire.find(b"\r\n\r\n", wire.find(connection.request.raw[:-4])) + 4 :][:8]
        answer76 = reference.answer_76(
            request["sec-websocket-key1"], request["sec-websocket-key2"], key3
        )
        assert len(answer76) == 16
        prefix = "sec-websocket-"
    elif version == "draft75":
        prefix = "websocket-"
    else:
        accept = headers.pop("sec-websocket-accept")
        assert accept == reference.accept_value(request["sec-websocket-key"])
        prefix = "sec-websocket-"
    if version.startswith("draft"):
        location = headers.pop(prefix + "location")
        assert location == f"ws://{request['host']}{connection.request.target}"
        assert headers.pop(prefix + "origin", None) == request.get("origin")
    chosen = headers.pop(prefix + "protocol", None)
    assert chosen == connection.subprotocol
    assert chosen in (None, "chat", "superchat")
    extension = headers.pop("sec-websocket-extensions", None)
    assert extension is None or EXTENSION.fullmatch(extension), f"answered {extension!r}"
    assert not headers, f"more header fields than expected: {headers!r}"
