"""`sockwave.connect`: a client's connections, against our own server."""

import asyncio
import contextlib
import gc
import socket
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer, echo
from wire import PATIENCE_S, case, count_descriptors, wait_until

import sockwave
import sockwave.sync
from sockwave import ClientConnection, Connection, ReadyState


def uri_of(server: sockwave.Server, target: str = "/") -> str:
    host, port = server.addresses[0]
    return f"ws://{host}:{port}{target}"


async def test_messages_go_both_ways(echo_server: sockwave.Server, engine: str) -> None:
    async with sockwave.connect(uri_of(echo_server), engine=engine) as conn:
        assert isinstance(conn, ClientConnection)
        assert isinstance(conn, Connection)
        for message in (
            "text",
            "",
            "ü" * 70,
            "a" * 126,
            b"bytes",
            b"",
            b"x" * 65536,
            "y" * 300_000,
        ):
            conn.send(message)
            assert await conn.receive() == message
    assert conn.ready_state is ReadyState.CLOSED
    assert (conn.close_code, conn.close_reason) == (1000, "")


async def test_awaited_connection_is_the_callers_to_close(
    echo_server: sockwave.Server, engine: str
) -> None:
    conn = await sockwave.connect(uri_of(echo_server), engine=engine)
    conn.send("hello")
    assert await conn.receive() == "hello"
    ends: list[tuple[int, str]] = []
    conn.on("close", lambda code, reason: ends.append((code, reason)))
    conn.close(4000, "enough")
    await wait_until(lambda: ends)
    assert ends == [(4000, "")]  # as the server has answered
    await wait_until(lambda: not echo_server.connections)


async def test_listeners_get_messages_and_the_end(
    echo_server: sockwave.Server, engine: str
) -> None:
    heard: list[object] = []
    async with sockwave.connect(uri_of(echo_server), engine=engine) as conn:
        conn.on("message", heard.append)
        conn.on("close", heard.append)
        for number in range(1000):
            conn.send(str(number))
        await wait_until(lambda: len(heard) == 1000)
    assert heard == [*map(str, range(1000)), 1000]


async def test_message_sent_with_the_answer_is_received(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.send("welcome"))
    async with sockwave.connect(uri_of(server), engine=engine) as conn:
        assert await conn.receive() == "welcome"


async def test_many_connections_share_an_engine(echo_server: sockwave.Server, engine: str) -> None:
    before = count_descriptors()
    conns = await asyncio.gather(
        *(sockwave.connect(uri_of(echo_server), engine=engine) for _ in range(50))
    )
    # Two ends of each, and the engine's own.
    assert count_descriptors() - before <= 102
    for number, conn in enumerate(conns):
        conn.send(str(number))
    assert [await conn.receive() for conn in conns] == [*map(str, range(50))]
    assert len({id(conn.request) for conn in conns}) == 50
    for conn in conns:
        conn.close()
    await wait_until(lambda: count_descriptors() == before, "nothing is left open")


async def test_request_says_what_was_asked_for(start_server: StartServer, engine: str) -> None:
    server = await start_server(subprotocol=["b", "c"])
    seen: list[Connection] = []
    server.on("connection", seen.append)
    connector = sockwave.connect(
        f"{uri_of(server)}rooms/ünï?q=a b&r=%20",
        engine=engine,
        subprotocol=["a", "b", "c"],
        origin="https://example.com",
        headers={"X-Token": "t", "User-Agent": "mine"},
        cookies={"name": "value", "other": '"v"'},
    )
    async with connector as conn:
        assert conn.subprotocol == "b"
        await wait_until(lambda: seen)
        request = seen[0].request
        assert request.target == "/rooms/%C3%BCn%C3%AF?q=a%20b&r=%20"
        assert request.origin == "https://example.com"
        assert request.headers["x-token"] == "t"
        assert request.headers.get_all("user-agent") == ["mine"]
        assert request.cookies == {"name": "value", "other": "v"}
        assert request.headers["host"] == "{}:{}".format(*server.addresses[0])
        # The client's connection has it too, and the server's answer.
        assert conn.request.raw == request.raw
        assert conn.response_headers["sec-websocket-protocol"] == "b"
        assert conn.version == "rfc6455"
        assert conn.remote_address == server.addresses[0]
        assert conn.local_address == seen[0].remote_address
        assert not conn.is_secure
        assert conn.tls is None


async def test_user_information_becomes_authorization(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    seen: list[Connection] = []
    server.on("connection", seen.append)
    uri = uri_of(server).replace("ws://", "ws://us%3Aer:p%40ss@")
    async with sockwave.connect(uri, engine=engine):
        await wait_until(lambda: seen)
    assert seen[0].request.headers["authorization"] == "Basic dXM6ZXI6cEBzcw=="


async def test_refusal_has_status_headers_and_body(start_server: StartServer, engine: str) -> None:
    def authorize(handshake: sockwave.Handshake) -> None:
        raise sockwave.Refused(403, "not you\n", {"X-Why": "because"})

    server = await start_server(authorize=authorize)
    with pytest.raises(sockwave.HandshakeRefused) as caught:
        await sockwave.connect(uri_of(server), engine=engine)
    assert caught.value.status == 403
    assert caught.value.headers["x-why"] == "because"
    assert caught.value.body == b"not you\n"
    assert "403 Forbidden: not you" in str(caught.value)
    assert isinstance(caught.value, sockwave.HandshakeError)


async def test_nobody_listens(engine: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{port}"):
            await sockwave.connect(f"ws://127.0.0.1:{port}", engine=engine)


async def test_name_that_is_not_known(engine: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        await sockwave.connect("ws://no-such-host.invalid", engine=engine)


async def test_localhost_is_tried_by_all_its_addresses(
    echo_server: sockwave.Server, engine: str
) -> None:
    # The server listens on 127.0.0.1 alone; the resolver may give ::1 first.
    uri = f"ws://localhost:{echo_server.addresses[0][1]}"
    async with sockwave.connect(uri, engine=engine) as conn:
        conn.send("found")
        assert await conn.receive() == "found"


async def test_unix_socket(engine: str, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = sockwave.create_server(engine=engine)
    echo(server)
    server.listen(0, path=path)
    async with server:
        async with sockwave.connect("ws://example.com/", engine=engine, path=path) as conn:
            conn.send("by path")
            assert await conn.receive() == "by path"
            assert conn.request.headers["host"] == "example.com"
        with pytest.raises(FileNotFoundError):
            await sockwave.connect("ws://example.com/", engine=engine, path=path + "no")


async def test_socket_that_is_connected_already(echo_server: sockwave.Server, engine: str) -> None:
    sock = socket.create_connection(echo_server.addresses[0])
    async with sockwave.connect("ws://example.com/", engine=engine, sock=sock) as conn:
        conn.send("by socket")
        assert await conn.receive() == "by socket"


async def test_compression_goes_both_ways(start_server: StartServer, engine: str) -> None:
    text = "all work and no play makes jack a dull boy " * 100
    for client in (
        sockwave.Deflate(),
        sockwave.Deflate(client_context_takeover=True, server_context_takeover=True),
        sockwave.Deflate(server_max_window_bits=15, client_max_window_bits=15),
        sockwave.Deflate(server_max_window_bits=9, client_max_window_bits=9, threshold=0),
    ):
        for ours in (
            sockwave.Deflate(),
            sockwave.Deflate(client_context_takeover=True, server_context_takeover=True),
        ):
            with case((client, ours)):
                server = await start_server(compression=ours)
                echo(server)
                connector = sockwave.connect(uri_of(server), engine=engine, compression=client)
                async with connector as conn:
                    assert "permessage-deflate" in conn.response_headers["sec-websocket-extensions"]
                    for message in (text, "short", text.encode(), text, text, b""):
                        conn.send(message)
                        assert await conn.receive() == message


async def test_streamed_messages_go_both_ways(start_server: StartServer, engine: str) -> None:
    server = await start_server()

    @server.on("connection")
    async def connected(conn: Connection) -> None:
        parts = [part async for part in conn.stream()]
        async with conn.stream_message("text") as out:
            for part in parts:
                await out.write(str(part))

    async with sockwave.connect(uri_of(server), engine=engine) as conn:
        async with conn.stream_message("text") as out:
            for number in range(100):
                await out.write(f"{number} " * 100)
            conn.send("behind it")
        received = ""
        async for part in conn.stream():
            received += str(part)
    assert received == "".join(f"{number} " * 100 for number in range(100))


async def test_pings_are_measured_and_answered(start_server: StartServer, engine: str) -> None:
    server = await start_server()
    seen: list[Connection] = []
    server.on("connection", seen.append)
    async with sockwave.connect(uri_of(server), engine=engine) as conn:
        assert await conn.ping() > 0
        assert conn.latency is not None
        await wait_until(lambda: seen)
        assert await seen[0].ping(b"from there") > 0


async def test_keepalive_pings_the_server(start_server: StartServer, engine: str) -> None:
    server = await start_server(ping_interval=None)
    pings: list[bytes] = []
    server.on("connection", lambda conn: conn.on("ping", pings.append))
    async with sockwave.connect(uri_of(server), engine=engine, ping_interval=0.05):
        await wait_until(lambda: len(pings) > 1)


async def test_message_over_max_size_ends_the_connection(
    echo_server: sockwave.Server, engine: str
) -> None:
    async with sockwave.connect(uri_of(echo_server), engine=engine, max_size=100) as conn:
        conn.send("x" * 100)
        assert await conn.receive() == "x" * 100
        conn.send("x" * 101)
        with pytest.raises(sockwave.ConnectionClosed) as caught:
            await conn.receive()
    assert caught.value.code == 1009
    assert conn.close_code == 1009


async def test_iteration_ends_with_the_connection(start_server: StartServer, engine: str) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: Connection) -> None:
        conn.send("one")
        conn.send("two")
        conn.close(1001, "going")

    async with sockwave.connect(uri_of(server), engine=engine) as conn:
        assert [message async for message in conn] == ["one", "two"]
    assert (conn.close_code, conn.close_reason) == (1001, "going")


async def test_abort_and_vanishing_servers(start_server: StartServer, engine: str) -> None:
    server = await start_server()
    seen: list[Connection] = []
    server.on("connection", seen.append)
    async with sockwave.connect(uri_of(server), engine=engine) as conn:
        await wait_until(lambda: seen)
        seen[0].abort()
        with pytest.raises(sockwave.ConnectionClosed):
            await conn.receive()
    assert conn.close_code == 1006
    async with sockwave.connect(uri_of(server), engine=engine) as conn:
        conn.abort()
    assert conn.close_code == 1006
    await wait_until(lambda: not server.connections)


async def test_messages_that_nobody_takes_hold_up_nothing(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()

    @server.on("connection")
    async def connected(conn: Connection) -> None:
        for _ in range(1000):
            conn.send("x" * 100)
        await conn.receive()
        conn.abort()

    for first in (False, True):
        with case(first):
            # The time that messages of a server that has gone are kept for is longer than a test.
            connector = sockwave.connect(uri_of(server), engine=engine, finish_timeout=1000)
            async with connector as conn:
                if first:
                    assert await conn.receive() == "x" * 100
                conn.send("go")
                await wait_until(lambda: not server.connections)
            assert conn.close_code == 1006


async def test_exception_in_the_block_is_told_to_the_server(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()
    codes: list[int] = []
    server.on("connection", lambda conn: conn.on("close", codes.append))
    with pytest.raises(ZeroDivisionError):
        async with sockwave.connect(uri_of(server), engine=engine):
            _ = 1 / 0
    await wait_until(lambda: codes)
    assert codes == [1011]


async def test_error_of_a_listener_closes_its_connection(
    echo_server: sockwave.Server, engine: str, error_log: Any
) -> None:
    async with sockwave.connect(uri_of(echo_server), engine=engine) as conn:

        @conn.on("message")
        def heard(message: object) -> None:
            raise ZeroDivisionError(message)

        conn.send("x")
        await wait_until(lambda: conn.ready_state is ReadyState.CLOSED)
    assert conn.close_code == 1011
    assert [type(error) for error in error_log.take()] == [ZeroDivisionError]


async def test_messages_of_json(echo_server: sockwave.Server, engine: str) -> None:
    async with sockwave.connect(uri_of(echo_server), engine=engine) as conn:
        conn.send_json({"a": [1, None]})
        assert await conn.receive_json() == {"a": [1, None]}
        conn.send_json("more")
        conn.send("{no JSON")
        assert [value async for value in conn.json()] == ["more"]
        await conn.wait_closed()
    assert conn.close_code == 1007


async def test_listener_of_json_that_gets_none(echo_server: sockwave.Server, engine: str) -> None:
    heard: list[object] = []
    async with sockwave.connect(uri_of(echo_server), engine=engine) as conn:
        conn.on("json", heard.append)
        conn.send_json([1])
        conn.send("{no JSON")
        await conn.wait_closed()
    assert heard == [[1]]
    assert conn.close_code == 1007


async def test_broadcasts_and_topics_are_a_servers(
    echo_server: sockwave.Server, engine: str
) -> None:
    async with sockwave.connect(uri_of(echo_server), engine=engine) as conn:
        for name in ("broadcast", "broadcast_json", "subscribe", "unsubscribe"):
            sentence = rf"conn\.{name}: expected a connection of a server"
            with pytest.raises(sockwave.SockwaveError, match=sentence):
                getattr(conn, name)("x")
        assert conn.topics == []


async def test_cancelled_attempt_leaves_nothing(engine: str) -> None:
    before = count_descriptors()
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        uri = "ws://{}:{}".format(*listener.getsockname())
        opening = asyncio.ensure_future(_open(uri, engine=engine))
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        accepted, _ = await loop.sock_accept(listener)
        with accepted:
            assert (await loop.sock_recv(accepted, 10000)).endswith(b"\r\n\r\n")
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert await loop.sock_recv(accepted, 1) == b""
    await wait_until(lambda: count_descriptors() == before, "nothing is left open")
    gc.collect()


async def _open(uri: str, **options: Any) -> Connection:
    return await sockwave.connect(uri, **options)


async def test_time_to_open_is_limited(engine: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = "ws://{}:{}".format(*listener.getsockname())
        with pytest.raises(TimeoutError, match=r"open within 0\.05 s \(open_timeout\)"):
            await sockwave.connect(uri, engine=engine, open_timeout=0.05)


async def test_client_of_a_loop_that_ended_is_forgotten(engine: str) -> None:
    from sockwave.client.host import _hosts

    def run() -> None:
        async def main() -> None:
            server = sockwave.create_server(engine=engine)
            server.listen(0, "127.0.0.1")
            async with server:
                await sockwave.connect(uri_of(server), engine=engine)

        asyncio.run(main())

    await asyncio.to_thread(run)
    server = sockwave.create_server(engine=engine)
    server.listen(0, "127.0.0.1")
    async with server, sockwave.connect(uri_of(server), engine=engine):
        assert [key[0].is_closed() for key in _hosts] == [False]


async def test_call_that_outlives_its_connection_is_waited_for(
    echo_server: sockwave.Server, engine: str
) -> None:
    from sockwave.client.host import _hosts

    goes_on, has_ended = asyncio.Event(), asyncio.Event()
    async with sockwave.connect(uri_of(echo_server), engine=engine) as conn:

        @conn.on("close")
        async def closed() -> None:
            await goes_on.wait()
            has_ended.set()

    assert not has_ended.is_set()
    assert len(_hosts) == 1
    goes_on.set()
    await wait_until(has_ended.is_set)
    await wait_until(lambda: not _hosts, "the engine has ended too")


WRONG = [
    ({"uri": "http://example.com"}, ValueError, "uri: expected ws:// or wss://"),
    ({"uri": "example.com"}, ValueError, "uri: expected ws:// or wss://"),
    ({"uri": "ws://"}, ValueError, "uri: expected a host"),
    ({"uri": "ws://exa mple.com"}, ValueError, "uri: expected a host"),
    ({"uri": f"ws://{'x' * 64}.com"}, ValueError, "at most 63"),
    ({"uri": "ws://[::g]/"}, ValueError, "."),
    ({"uri": "ws://a:65536"}, ValueError, "uri: expected ws://HOST"),
    ({"uri": "ws://a/#part"}, ValueError, "uri: expected no fragment"),
    ({"uri": "ws://a/#"}, ValueError, "uri: expected no fragment"),
    ({"uri": b"ws://a"}, TypeError, "uri: expected str, given bytes"),
    ({"max_sise": 1}, TypeError, "did you mean 'max_size'"),
    ({"max_connections": 1}, TypeError, "it is one of servers"),
    ({"subprotocol": ["a", "a"]}, ValueError, "subprotocol: expected each name once"),
    ({"subprotocol": "a b"}, ValueError, "subprotocol: expected tokens"),
    ({"origin": "a\r\nb"}, ValueError, "header Origin: expected no control characters"),
    ({"headers": {"Upgrade": "h2c"}}, ValueError, "headers: expected none of the handshake's own"),
    ({"headers": {"sec-websocket-key": "x"}}, ValueError, "headers: expected none of the"),
    ({"headers": {"Host": "a/b"}}, ValueError, "headers: expected a host"),
    ({"headers": {"X": "a\r\nB: c"}}, ValueError, "header X: expected no control characters"),
    ({"cookies": {"a b": "c"}}, ValueError, "cookies: expected a token"),
    ({"cookies": {"a": "b;c"}}, ValueError, "cookies: expected a value without"),
    ({"cookies": {"a": 1}}, TypeError, "cookies: expected names and values of str"),
    ({"cookies": ["ab"]}, TypeError, "cookies: expected"),
    ({"ssl": True, "uri": "wss://a"}, TypeError, "ssl: expected ssl.SSLContext"),
    ({"open_timeout": 0}, ValueError, "open_timeout: expected more than 0 seconds"),
    ({"open_timeout": "1"}, TypeError, "open_timeout: expected seconds"),
    ({"server_hostname": 1}, TypeError, "server_hostname: expected str"),
    ({"engine": "other"}, ValueError, "engine: expected"),
    ({"slow": "other"}, ValueError, "slow: expected"),
    ({"path": 3}, TypeError, "path: expected a path"),
    ({"path": "a", "sock": socket}, TypeError, "expected one of path and sock"),
    ({"max_size": 0}, ValueError, "max_size: expected"),
]


@pytest.mark.parametrize(
    ("connect", "way"),
    [(sockwave.connect, r"await connect\(...\)"), (sockwave.sync.connect, r"\.open\(\)")],
)
def test_who_takes_a_connector_for_a_connection_is_told(connect: Any, way: str) -> None:
    connector = connect("ws://127.0.0.1:1")
    for name in ("send", "subscribe"):
        expected = f"no attribute '{name}': .* gives one, by .*{way}"
        with pytest.raises(AttributeError, match=expected):
            getattr(connector, name)("hello")
    with pytest.raises(AttributeError, match=r"no attribute 'sent'$"):
        _ = connector.sent


def test_wrong_arguments_are_refused_at_once() -> None:
    for arguments, kind, sentence in WRONG:
        with case(arguments), pytest.raises(kind, match=sentence):
            sockwave.connect(**{"uri": "ws://a", **arguments})  # type: ignore[arg-type]


async def test_context_for_no_tls_is_refused() -> None:
    from certificates import client_context

    with pytest.raises(ValueError, match="ssl: expected a URI with wss://"):
        sockwave.connect("ws://a", ssl=client_context())


async def test_socket_of_another_kind_is_refused(engine: str) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        with pytest.raises(ValueError, match="sock: expected a stream socket"):
            await sockwave.connect("ws://a", sock=sock, engine=engine)
        with pytest.raises(TypeError, match=r"sock: expected a socket\.socket"):
            await sockwave.connect("ws://a", sock=3, engine=engine)  # type: ignore[arg-type]


async def test_a_task_may_send_more_than_all_buffers_hold_to_a_server_that_echoes(
    start_server: StartServer, engine: str
) -> None:
    server = await start_server()

    async def answer(conn: Connection) -> None:
        async for message in conn:
            await conn.send(message)

    server.on("connection", answer)
    messages = [bytes([number]) * 100_000 for number in range(200)]
    async with sockwave.connect(uri_of(server), engine=engine) as conn:

        async def send() -> None:
            for message in messages:
                await conn.send(message)

        task = asyncio.create_task(send())
        for message in messages:
            assert await conn.receive(timeout=PATIENCE_S) == message
        await task
