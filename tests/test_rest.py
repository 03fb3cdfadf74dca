"""What the kernel still holds of a client that has gone while its socket was not read."""

import asyncio
import contextlib
import functools
import gc
from pathlib import Path
from typing import Any

import pytest
import reference
from certificates import server_context
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from reference import CLOSE, TEXT, Frame, serialize_hixie
from tls_wire import TlsWire
from wire import Wire, build_request, count_turns, let_arrive, settle, wait_until

import sockwave

#: Together they fit what the kernel takes for a socket that is not read, of TCP and of Unix.
TEXTS = [f"{number} {'x' * 1000}" for number in range(30)]

#: Many times what one turn delivers.
MANY = tuple(map(str, range(30_000)))

CARRIERS = ["unix", "unix tls", "unix 76", "unix 75", "tcp", "tcp tls", "tcp 76", "tcp 75"]

#: Times for the options, as in `test_listen_timeout.py`.
SOON = 0.1


@functools.cache
def serialize_all(texts: tuple[str, ...]) -> bytes:
    """Give the frames of many messages, which takes longer than to have them echoed."""
    return b"".join(reference.serialize(Frame(TEXT, text.encode())) for text in texts)


class Client:
    """A client by any carrier, whose messages the server has begun not to read."""

    def __init__(self, server: sockwave.Server, carried: str) -> None:
        self.server = server
        self.carried = carried
        self.secure: TlsWire | None = None

    @classmethod
    async def connect(cls, server: sockwave.Server, carried: str, tmp_path: Path) -> "Client":
        """Connect to an address of this carrier."""
        made = cls(server, carried)
        context = server_context() if carried.endswith("tls") else None
        if carried.startswith("unix"):
            server.listen(0, path=str(tmp_path / "socket"), ssl=context)
        else:
            server.listen(0, "127.0.0.1", ssl=context)
        address = server.addresses[-1]
        if context is not None:
            made.secure = await TlsWire.connect(address)
            made.wire = made.secure.wire
        elif carried[-2:] in ("75", "76"):
            made.wire = await Wire.connect_hixie(address, int(carried[-2:]))
        else:
            made.wire = await Wire.connect(address)
        return made

    def send(self, *texts: str) -> None:
        """Send messages in one write."""
        if self.carried[-2:] in ("75", "76"):
            self.wire.write(b"".join(serialize_hixie(text) for text in texts))
            return
        (self.secure or self.wire).write(serialize_all(texts))

    async def leave(self) -> None:
        """Close the socket, with all that has been sent."""
        if self.secure is not None:
            self.secure.notify()
        assert await settle(self.wire.writer.transport.get_write_buffer_size) == 0
        await self.wire.close()

    async def reset(self) -> None:
        """Drop the connection with RST, behind all that has been sent."""
        assert await settle(self.wire.writer.transport.get_write_buffer_size) == 0
        await let_arrive()
        self.wire.reset()


class Slow:
    """A connection's listener that handles one message at a time, as fast as it is let."""

    def __init__(self, server: sockwave.Server) -> None:
        self.texts: list[str] = []
        self.codes: list[int] = []
        self.go_on = asyncio.Event()
        self.conn: sockwave.Connection | None = None
        server.on("connection", self.connected)

    def connected(self, conn: sockwave.Connection) -> None:
        self.conn = conn
        conn.on("message", self.handle)
        conn.on("close", self.codes.append)

    async def handle(self, text: str) -> None:
        await self.go_on.wait()
        self.texts.append(text)

    async def hear_all(self) -> None:
        """Handle what is left, which is to be every message, in order, and the end."""
        self.go_on.set()
        await wait_until(lambda: self.codes)
        await wait_until(lambda: len(self.texts) == len(TEXTS))
        assert self.texts == TEXTS


async def begin(
    start_server: StartServer, carried: str, tmp_path: Path, **options: Any
) -> tuple[sockwave.Server, Slow, Client]:
    """Have a client send all messages, the first of which keeps the others in the kernel."""
    server = await start_server(max_tasks=1, **options)
    slow = Slow(server)
    client = await Client.connect(server, carried, tmp_path)
    client.send(TEXTS[0])
    await wait_until(lambda: server.limit_hits["max_tasks"])
    client.send(*TEXTS[1:])
    return server, slow, client


@pytest.mark.parametrize("carried", CARRIERS)
async def test_messages_before_the_end_are_handled_where_the_socket_was_not_read(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    server, slow, client = await begin(start_server, carried, tmp_path)
    await client.leave()
    await let_arrive()
    assert await count_turns(server.loop, 0.2) < 50, "the loop spins"
    await slow.hear_all()
    assert slow.codes == [1005 if carried.endswith("75") else 1006]
    assert server.dropped_count == 0
    assert not server.connections


@pytest.mark.parametrize("carried", CARRIERS)
async def test_a_message_to_a_client_that_has_gone_loses_none_of_its_own(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    _, slow, client = await begin(start_server, carried, tmp_path)
    await client.leave()
    assert slow.conn is not None
    # The first may have to ask for the RST that the second runs into.
    with contextlib.suppress(sockwave.ConnectionClosed):
        for _ in range(3):
            slow.conn.send("are you there?")
            await let_arrive()
    await slow.hear_all()


@pytest.mark.parametrize("carried", CARRIERS)
async def test_what_came_before_a_reset_is_handled(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    server, slow, client = await begin(start_server, carried, tmp_path)
    assert slow.conn is not None
    slow.conn.send("not read by the client: a Unix socket tells of that as of a reset")
    await let_arrive()
    await client.reset()
    await let_arrive()
    assert await count_turns(server.loop, 0.2) < 50, "the loop spins"
    await slow.hear_all()


@pytest.mark.parametrize("carried", [name for name in CARRIERS if not name.endswith("75")])
async def test_the_close_frame_behind_messages_that_were_not_read_tells_how_it_ended(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    _, slow, client = await begin(start_server, carried, tmp_path)
    if carried.endswith("76"):
        client.wire.write(b"\xff\x00")
    else:
        frame = reference.serialize(Frame(CLOSE, reference.close_payload(4001)))
        (client.secure or client.wire).write(frame)
    await client.leave()
    await let_arrive()
    await slow.hear_all()
    assert slow.codes == [1005 if carried.endswith("76") else 4001]


@pytest.mark.parametrize("carried", CARRIERS)
async def test_a_message_of_which_half_has_come_is_dropped_with_those_before_it_handled(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    _, slow, client = await begin(start_server, carried, tmp_path)
    if carried.endswith(("75", "76")):
        client.wire.write(b"\x00half")
    else:
        (client.secure or client.wire).write(reference.serialize(Frame(TEXT, b"half"))[:-1])
    await client.leave()
    await let_arrive()
    await slow.hear_all()


@pytest.mark.parametrize("carried", ["unix", "unix tls", "tcp", "tcp tls"])
async def test_who_receives_one_after_the_other_is_given_all_that_came(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    server = await start_server(queue_count=1)
    accepted: list[sockwave.Connection] = []
    server.on("connection", accepted.append)
    client = await Client.connect(server, carried, tmp_path)
    client.send(TEXTS[0])
    await wait_until(lambda: server.limit_hits["queue_count"])
    client.send(*TEXTS[1:])
    await client.leave()
    await let_arrive()
    assert [text async for text in accepted[0]] == TEXTS


@pytest.mark.parametrize("carried", ["unix", "unix tls", "tcp", "tcp tls"])
async def test_a_flood_is_heard_to_its_end_though_its_client_has_gone(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    server = await start_server()
    heard: list[str] = []
    server.on("connection", lambda conn: conn.on("message", heard.append))
    client = await Client.connect(server, carried, tmp_path)
    client.send(*MANY)
    client.wire.writer.close()
    if client.secure is not None:  # without a close_notify, too
        with contextlib.suppress(ConnectionError):
            await client.wire.writer.wait_closed()
    await wait_until(lambda: len(heard) == len(MANY))
    assert heard == list(MANY)


@pytest.mark.parametrize("carried", ["unix", "unix tls", "tcp", "tcp tls"])
async def test_who_has_gone_and_is_never_read_again_ends_in_time(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    times = {"ping_interval": SOON, "ping_timeout": SOON, "finish_timeout": SOON}
    server, slow, client = await begin(start_server, carried, tmp_path, **times)
    await client.leave()
    await wait_until(lambda: slow.codes)
    assert slow.texts == []
    assert slow.codes == [1006]
    await wait_until(lambda: not server.connections)
    assert await count_turns(server.loop, 0.2) < 50, "the loop spins"


def count_connections() -> int:
    gc.collect()
    return sum(type(one) is sockwave.Connection for one in gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("carried", ["unix", "unix tls", "tcp", "tcp tls"])
async def test_an_echo_to_who_has_gone_is_no_error_and_leaves_nothing_behind(
    start_server: StartServer, error_log: ErrorLog, tmp_path: Path, carried: str
) -> None:
    server = await start_server(finish_timeout=1000)
    refused: list[str] = []
    codes: list[int] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def echo(text: str) -> None:
            try:
                conn.send(text)
            except sockwave.ConnectionClosed:
                refused.append(text)
                raise

        conn.on("close", codes.append)

    before = count_connections()
    for _ in range(5):
        client = await Client.connect(server, carried, tmp_path)
        client.wire.pause_reading()
        client.send(*MANY)
        client.wire.writer.close()
        await wait_until(lambda: not server.connections)
        await Wire.close_all()
        (tmp_path / "socket").unlink(missing_ok=True)
    await wait_until(lambda: count_connections() <= before)
    assert set(codes) == {1006}
    assert refused or carried.startswith("tcp")  # where the kernel may drop them all
    assert error_log.take() == []


@pytest.mark.parametrize("carried", ["unix", "tcp"])
async def test_requests_behind_one_whose_client_has_gone_hold_nobody_up(
    start_server: StartServer, tmp_path: Path, carried: str
) -> None:
    server = await start_server(pipelined_count=2)
    asked: list[str] = []
    go_on = asyncio.Event()

    @server.on("request")
    async def answer(request: sockwave.Request, response: sockwave.Response) -> None:
        asked.append(request.target)
        await go_on.wait()
        response.end("here")

    if carried == "unix":
        server.listen(0, path=str(tmp_path / "socket"))
    else:
        server.listen(0, "127.0.0.1")
    wire = await Wire.open(server.addresses[-1])
    wire.write(b"".join(build_request({"Host": "x"}, target=f"/{n}") for n in range(9)))
    await wait_until(lambda: server.limit_hits["pipelined_count"])
    wire.write(b"".join(build_request({"Host": "x"}, target=f"/{n}") for n in range(9, 12)))
    await let_arrive()
    await wire.close()
    await let_arrive()
    assert await count_turns(server.loop, 0.2) < 50, "the loop spins"
    go_on.set()
    other = await Wire.open(server.addresses[-1])
    other.write(build_request({"Host": "x"}, target="/other"))
    assert (await receive_answer(other)).body == b"here"
    await other.close()
    assert asked[0] == "/0"
    assert asked == [*dict.fromkeys(asked)]
