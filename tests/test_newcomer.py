"""Requests that come in pieces: nobody can tell them from those that come whole."""

import pytest
from conftest import StartServer
from test_fast_request import DATE, PLAIN
from together import together
from wire import Wire, build_request, upgrade_headers, wait_until

from sockwave.core.opening.newcomer import PendingConnection

#: A head is kept by what answers plain requests up to here, and read by HTTP beyond it.
PARTIAL_HEAD_SIZE = 1024

SUBPROTOCOL = build_request({**upgrade_headers(), "Sec-WebSocket-Protocol": "chat, other"})
PAGE = b"GET /page?a=1 HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\n12345"
NO_HOST = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"


def fill(size: int) -> bytes:
    """Give a plain request of so many bytes."""
    field = b"Cookie: \r\n"
    return PLAIN[:-2] + field[:-2] + b"x" * (size - len(PLAIN) - len(field)) + b"\r\n\r\n"


async def answer_to(wire: Wire) -> bytes:
    """Give an answer's head, without what depends on the time."""
    return DATE.sub(b"", (await wire.receive_head()).raw)


@together
@pytest.mark.parametrize("step", [1, 7, 100])
@pytest.mark.parametrize(
    "raw", [PLAIN, SUBPROTOCOL, PAGE, POST, NO_HOST, fill(1200)], ids=lambda raw: str(len(raw))
)
async def test_request_in_pieces_is_answered_as_one_that_is_whole(
    raw: bytes, step: int, start_server: StartServer
) -> None:
    server = await start_server(subprotocol="chat")
    server.on("request", lambda req, res: res.end(req.path))
    answers = []
    for cuts in ([], range(0, len(raw), step)):
        async with await Wire.open(server.addresses[0]) as wire:
            await wire.write_pieces(raw, cuts)
            answers.append(await answer_to(wire))
    assert answers[0] == answers[1]


@together
@pytest.mark.parametrize("size", [PARTIAL_HEAD_SIZE - 1, PARTIAL_HEAD_SIZE, PARTIAL_HEAD_SIZE + 1])
@pytest.mark.parametrize("more", [1, 2, 300])
async def test_long_beginning_opens_when_its_rest_has_come(
    size: int, more: int, start_server: StartServer
) -> None:
    server = await start_server()
    raw = fill(size + more)
    async with await Wire.open(server.addresses[0]) as wire:
        await wire.write_pieces(raw, [size])
        assert (await wire.receive_head()).status == 101
        await wait_until(lambda: server.connections)
        assert next(iter(server.connections)).request.raw == raw


@together
@pytest.mark.parametrize(
    ("begun", "behind"),
    [
        (b"GET / HTTP/1.1", b"\n"),
        (b"GET / HTTP/1.1\r", b"X"),
        (b"GET / HTTP/1.1\r\nHost: a", b"\rb"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX", b": y\nZ"),
        (b"GE", b"\x00"),
        (b"\r\n", b"\x16\x03"),
    ],
)
async def test_beginning_that_goes_wrong_is_refused_before_it_ends(
    begun: bytes, behind: bytes, start_server: StartServer
) -> None:
    server = await start_server(handshake_timeout=None)
    async with await Wire.open(server.addresses[0]) as wire:
        await wire.write_pieces(begun + behind, [len(begun)])
        if begun == b"GE":
            wire.write(b"\r\n\r\n")  # what is no method is only told from one at its end
        assert (await wire.receive_head()).status == 400


@pytest.mark.parametrize(
    ("limit", "before", "limited", "status"),
    [
        ("request_line_size", b"", b"GET /", 414),
        ("header_block_size", b"GET / HTTP/1.1\r\n", b"X: ", 431),
    ],
)
async def test_limits_hold_for_a_beginning(
    limit: str, before: bytes, limited: bytes, status: int, start_server: StartServer
) -> None:
    server = await start_server(**{limit: 200, "handshake_timeout": None})
    async with await Wire.open(server.addresses[0]) as wire:
        await wire.write_pieces(before + limited.ljust(200, b"a"), [len(before + limited)])
        await wire.receive_nothing()
        wire.write(b"a")
        assert (await wire.receive_head()).status == status


async def test_beginning_is_kept_by_the_connection_alone_up_to_its_limit(
    start_server: StartServer,
) -> None:
    server = await start_server()
    held = fill(2 * PARTIAL_HEAD_SIZE)[:PARTIAL_HEAD_SIZE]
    async with await Wire.open(server.addresses[0]) as wire:
        await wire.write_pieces(held, [10])
        await wait_until(
            lambda: (
                [guest.held_size for guest in server._host.not_upgraded()] == [PARTIAL_HEAD_SIZE]
            )
        )
        assert isinstance(server._host.not_upgraded()[0], PendingConnection)
        wire.write(b"x")
        await wait_until(
            lambda: (
                [guest.held_size for guest in server._host.not_upgraded()]
                == [PARTIAL_HEAD_SIZE + 1]
            )
        )
        assert not isinstance(server._host.not_upgraded()[0], PendingConnection)


async def test_who_ends_in_the_middle_of_a_head_hears_nothing(start_server: StartServer) -> None:
    server = await start_server(handshake_timeout=None)
    async with await Wire.open(server.addresses[0]) as wire:
        await wire.write_pieces(PLAIN[:40], [20])
        wire.write_eof()
        assert await wire.receive_rest() == b""


async def test_who_has_begun_is_let_go_when_the_server_closes(start_server: StartServer) -> None:
    server = await start_server(handshake_timeout=None)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(PLAIN[:40])
        await wait_until(lambda: any(guest.held_size for guest in server._host.not_upgraded()))
        ended = server.close()
        assert await wire.receive_rest() == b""
        await wire.close()
        await ended
