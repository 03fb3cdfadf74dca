"""TLS on both engines, by OpenSSL's own functions and by the ssl module's memory BIOs.

RFC 8446; RFC 5246 for renegotiation; RFC 6455, section 7.1.5 for 1006.
"""

import _ssl
import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certificates import (
    AUTHORITY,
    client_context,
    common_name,
    issue,
    server_context,
    write_pem,
)
from conftest import ErrorLog, echo
from reference import BINARY, CLOSE, PING, PONG, Frame, close_payload, serialize
from tls_wire import TlsWire
from websockets.asyncio.client import connect
from wire import (
    Wire,
    build_request,
    count_descriptors,
    let_arrive,
    measure_resident_size,
    settle,
    upgrade_headers,
    wait_until,
)

import sockwave

StartTls = Callable[..., Awaitable[sockwave.Server]]
MIB = 2**20


@pytest.fixture(params=["direct", "portable"])
def data_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How OpenSSL is called: every test that takes it, or `start_tls`, runs on both."""
    name: str = request.param
    monkeypatch.setenv("SOCKWAVE_TLS", name)
    if name == "direct":
        openssl = pytest.importorskip("sockwave.core.tls.openssl")
        if not openssl.is_available():
            pytest.skip("the ssl module's OpenSSL cannot be called directly")
    return name


@pytest.fixture
async def start_tls(engine: str, data_path: str, error_log: ErrorLog) -> AsyncIterator[StartTls]:
    """`server = await start_tls(context, **options)`: an echo server that speaks TLS."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(context: ssl.SSLContext | None = None, **options: Any) -> sockwave.Server:
            server = sockwave.create_server(engine=engine, **options)
            server.listen(0, "127.0.0.1", ssl=context or server_context())
            echo(server)
            await stack.enter_async_context(server)
            return server

        yield start
        await Wire.close_all()


def url_of(server: sockwave.Server) -> str:
    return f"wss://localhost:{server.addresses[0][1]}/"


def record_ends(server: sockwave.Server) -> list[int]:
    """Give a list that grows with the close code of each connection."""
    codes: list[int] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("close", codes.append)

    return codes


def count_streams(server: sockwave.Server) -> list[sockwave.AcceptedSocket]:
    streams: list[sockwave.AcceptedSocket] = []
    server.on("stream", streams.append)
    return streams


# ---- ordinary clients


@pytest.mark.parametrize("size", [0, 1, 1024, 16384, 16385, 65537, MIB])
async def test_websockets_gets_every_size_back(start_tls: StartTls, size: int) -> None:
    server = await start_tls()
    message = os.urandom(size)
    async with connect(url_of(server), ssl=client_context(), max_size=None) as client:
        for _ in range(3):
            await client.send(message)
            assert await client.recv() == message


async def test_aiohttp_speaks_with_the_server(start_tls: StartTls) -> None:
    server = await start_tls()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url_of(server), ssl=client_context(), max_msg_size=0) as client,
    ):
        await client.send_str("wide " * 100_000)
        assert await client.receive_str() == "wide " * 100_000


async def test_https_requests_are_answered_on_one_connection(start_tls: StartTls) -> None:
    server = await start_tls()
    page = "x" * 300_000

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        res.end(page)

    url = url_of(server).replace("wss", "https")
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(url, ssl=client_context()) as response:
                assert await response.text() == page


async def test_tls_1_2_is_spoken_too(start_tls: StartTls) -> None:
    server = await start_tls()
    context = client_context(newest=ssl.TLSVersion.TLSv1_2)
    async with connect(url_of(server), ssl=context) as client:
        await client.send("old")
        assert await client.recv() == "old"


async def test_a_unix_socket_can_speak_tls(
    engine: str, data_path: str, error_log: ErrorLog, tmp_path: Any
) -> None:
    path = str(tmp_path / "socket")
    server = sockwave.create_server(engine=engine)
    server.listen(path=path, ssl=server_context())
    echo(server)
    async with server:
        client = await TlsWire.connect(path)
        client.send("local")
        assert await client.receive_message() == "local"
        await client.wire.close()


async def test_plain_and_tls_ports_belong_to_one_server(start_tls: StartTls) -> None:
    server = await start_tls()
    server.listen(0, "127.0.0.1")
    await wait_until(lambda: len(server.addresses) == 2)
    tls = await TlsWire.connect(server.addresses[0])
    plain = await Wire.connect(server.addresses[1])
    assert server.broadcast("all") == 2
    assert await tls.receive_message() == "all"
    assert await plain.receive_message() == "all"


# ---- the user's context


async def test_the_facts_of_the_session_stand_on_the_connection(start_tls: StartTls) -> None:
    context = server_context()
    context.set_alpn_protocols(["chat", "http/1.1"])
    server = await start_tls(context)
    facts: list[sockwave.TLSInfo | None] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        facts.append(conn.tls)
        conn.on("close", lambda: facts.append(conn.tls))

    trusting = client_context()
    trusting.set_alpn_protocols(["http/1.1"])
    async with connect(url_of(server), ssl=trusting):
        pass
    await wait_until(lambda: len(facts) == 2)
    assert facts[0] == facts[1]
    assert facts[0] is not None
    assert facts[0].version == "TLSv1.3"
    assert facts[0].cipher.startswith("TLS_")
    assert facts[0].alpn == "http/1.1"
    assert facts[0].peer_certificate is None


async def test_a_plain_connection_has_no_tls(engine: str, error_log: ErrorLog) -> None:
    server = sockwave.create_server(engine=engine).listen(0, "127.0.0.1")
    facts: list[Any] = []
    server.on("connection", lambda conn: facts.append(conn.tls))
    async with server:
        wire = await Wire.connect(server.addresses[0])
        await wire.close()
    assert facts == [None]


def demanding_context() -> ssl.SSLContext:
    """Make a server's context that wants a certificate of its clients."""
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    return context


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_is_required_and_shown(
    start_tls: StartTls, newest: ssl.TLSVersion
) -> None:
    server = await start_tls(demanding_context())
    seen: list[Any] = []
    server.on("connection", lambda conn: seen.append(conn.tls))
    known = client_context(newest=newest)
    issue("client.example").configure_cert(known)
    async with connect(url_of(server), ssl=known) as client:
        await client.send("me")
        assert await client.recv() == "me"
    assert ("DNS", "client.example") in seen[0].peer_certificate["subjectAltName"]


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_without_the_certificate_is_turned_away_and_nobody_else(
    start_tls: StartTls, newest: ssl.TLSVersion
) -> None:
    server = await start_tls(demanding_context())
    known = client_context()
    issue("client.example").configure_cert(known)
    present = await TlsWire.connect(server.addresses[0], known)

    async def connect_without() -> None:
        stranger = await TlsWire.open(server.addresses[0], client_context(newest=newest))
        await stranger.receive_some()  # TLS 1.3 tells a client only after its own handshake

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect_without()
    assert len(server.connections) == 1
    present.send("still here")
    assert await present.receive_message() == "still here"


async def test_an_sni_callback_chooses_the_certificate(start_tls: StartTls) -> None:
    context = server_context()
    other = server_context(issue("other.example"))

    def choose(session: ssl.SSLObject, name: str | None, own: ssl.SSLContext) -> None:
        if name == "other.example":
            session.context = other

    context.sni_callback = choose  # type: ignore[assignment]
    server = await start_tls(context)
    for name in ("localhost", "other.example"):
        client = await TlsWire.open(server.addresses[0], server_hostname=name)
        assert name in common_name(client.session.getpeercert(binary_form=True))


async def test_origin_and_location_of_a_draft_say_wss(start_tls: StartTls) -> None:
    server = await start_tls(origin="same-origin")
    host = f"localhost:{server.addresses[0][1]}"
    context = client_context()
    async with connect(url_of(server), ssl=context, origin=f"https://{host}"):  # type: ignore[arg-type]
        pass
    client = await TlsWire.open(server.addresses[0], context)
    client.write(
        f"GET /a HTTP/1.1\r\nHost: {host}\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
        f"Origin: https://{host}\r\n\r\n".encode()
    )
    head = await client.receive_some()
    assert f"WebSocket-Location: wss://{host}/a\r\n".encode() in head


async def test_an_origin_without_tls_is_not_the_same_origin(start_tls: StartTls) -> None:
    server = await start_tls(origin="same-origin")
    client = await TlsWire.open(server.addresses[0])
    host = f"localhost:{server.addresses[0][1]}"
    headers = upgrade_headers() | {"Host": host, "Origin": f"http://{host}"}
    client.write(build_request(headers))
    assert (await client.receive_some()).startswith(b"HTTP/1.1 403")


# ---- what is not a context


@pytest.mark.parametrize("wrong", [True, "cert.pem", object()])
def test_listen_takes_nothing_but_a_context(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"expected an ssl\.SSLContext, given"):
        sockwave.create_server().listen(0, "127.0.0.1", ssl=wrong)


def test_listen_refuses_a_context_for_clients() -> None:
    with pytest.raises(ValueError, match="expected a context for servers"):
        sockwave.create_server().listen(0, "127.0.0.1", ssl=client_context())


def test_listen_turns_renegotiation_off_and_changes_nothing_else_of_the_context() -> None:
    context = server_context()
    before = context.options, context.verify_mode, context.minimum_version
    server = sockwave.create_server().listen(0, "127.0.0.1", ssl=context)
    after = before[0] | ssl.OP_NO_RENEGOTIATION, *before[1:]
    assert (context.options, context.verify_mode, context.minimum_version) == after
    server.close()


# ---- bytes in odd portions


async def test_records_of_one_byte_are_put_together(start_tls: StartTls) -> None:
    server = await start_tls()
    client = await TlsWire.connect(server.addresses[0])
    message = os.urandom(300)
    client.send(message, record_size=1)
    assert await client.receive_message() == message


async def test_segments_of_one_byte_are_put_together(start_tls: StartTls) -> None:
    server = await start_tls()
    client = await TlsWire.begin(server.addresses[0])
    await client.wire.write_slowly(client.first_flight())
    await client.shake_hands()
    await client.wire.write_slowly(client.seal(build_request(upgrade_headers())))
    assert (await client.receive_head()).status == 101


async def test_request_frames_and_close_in_one_segment_are_all_read(start_tls: StartTls) -> None:
    server = await start_tls()
    codes = record_ends(server)
    client = await TlsWire.open(server.addresses[0])
    sealed = client.seal(build_request(upgrade_headers()))
    for number in range(50):
        client.session.write(b"\x81\x82\0\0\0\0%02d" % number)
    sealed += client.seal(serialize(Frame(CLOSE, close_payload(1000, ""))))
    client.wire.write(sealed)
    await client.receive_head()
    for number in range(50):
        assert await client.receive_message() == f"{number:02}"
    assert await client.receive_close() == 1000
    await client.receive_notify()
    await wait_until(lambda: codes == [1000])


async def test_many_small_messages_leave_in_few_records(start_tls: StartTls) -> None:
    server = await start_tls()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("ping")
        def ping() -> None:
            for number in range(1000):
                conn.send(f"{number:04}")

    client = await TlsWire.connect(server.addresses[0])
    client.write_frame(PING)
    assert (await client.receive_frame()).opcode == PONG
    assert [await client.receive_message() for _ in range(1000)] == [
        f"{number:04}" for number in range(1000)
    ]


async def test_vectors_of_every_size_arrive_in_their_order(start_tls: StartTls) -> None:
    server = await start_tls(max_backlog=64 * MIB)
    sizes = [1, 8000, 9000, 16384, 20_000, 3, 70_000, 16_370, 200_000, 5]
    async with connect(url_of(server), ssl=client_context(), max_size=None) as client:
        await wait_until(lambda: len(server.connections) == 1)
        sent = [os.urandom(size) for size in sizes * 5]
        for message in sent:  # outside of a turn: queued as segments, and gathered
            server.broadcast(message)
        assert [await client.recv() for _ in sent] == sent


async def test_a_reader_that_stops_gets_everything_when_it_goes_on(start_tls: StartTls) -> None:
    server = await start_tls(max_backlog=64 * MIB)
    client = await TlsWire.connect(server.addresses[0])
    client.wire.pause_reading()
    await wait_until(lambda: len(server.connections) == 1)
    conn = next(iter(server.connections))
    parts = [os.urandom(MIB) for _ in range(12)]
    for part in parts:
        conn.send(part)
    assert await settle(lambda: conn.backlog_size) > MIB
    client.wire.resume_reading()
    for part in parts:
        assert await client.receive_message() == part


async def test_a_full_queue_stops_reading_and_loses_nothing(start_tls: StartTls) -> None:
    server = await start_tls(queue_count=2)
    received: list[str | bytes] = []
    go_on = asyncio.Event()

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        conn.remove_listener("message", conn.send)
        await go_on.wait()
        async for message in conn:
            received.append(message)  # noqa: PERF401 - looked at before all have come

    client = await TlsWire.connect(server.addresses[0])
    sent = [f"{number} " * 300 for number in range(2000)]
    for message in sent:
        client.send(message)
    await let_arrive()
    go_on.set()
    await wait_until(lambda: len(received) == len(sent))
    assert received == sent


async def test_both_sides_send_at_once(start_tls: StartTls) -> None:
    server = await start_tls(max_backlog=64 * MIB)
    async with connect(url_of(server), ssl=client_context(), max_size=None) as client:
        messages = [os.urandom(size) for size in (MIB, 10, 30_000, MIB, 1)] * 4

        async def send() -> None:
            for message in messages:
                await client.send(message)

        sending = asyncio.create_task(send())
        for message in messages:
            assert await client.recv() == message
        await sending


# ---- the end


async def test_an_orderly_end_says_close_notify(start_tls: StartTls) -> None:
    server = await start_tls()
    codes = record_ends(server)
    client = await TlsWire.connect(server.addresses[0])
    client.write_frame(CLOSE, close_payload(1000, ""))
    assert await client.receive_close() == 1000
    await client.receive_notify()
    await wait_until(lambda: codes == [1000])


async def test_a_close_notify_of_the_client_is_answered(start_tls: StartTls) -> None:
    server = await start_tls()
    codes = record_ends(server)
    client = await TlsWire.connect(server.addresses[0])
    client.notify()
    await client.receive_notify()
    await wait_until(lambda: codes == [1006])  # the stream ended, but no close frame came


async def test_a_failed_connection_is_closed_in_order(start_tls: StartTls) -> None:
    server = await start_tls()
    codes = record_ends(server)
    client = await TlsWire.connect(server.addresses[0])
    client.write(b"\xff\xff")
    assert await client.receive_close() == 1002
    assert await client.receive_some() == b""
    client.notify()
    assert await client.wire.receive_rest() == b""
    await wait_until(lambda: codes == [1002])


async def test_a_refused_request_ends_with_close_notify(start_tls: StartTls) -> None:
    server = await start_tls()
    client = await TlsWire.open(server.addresses[0])
    client.write(b"BREW / HTTP/9.9\r\n\r\n")
    assert (await client.receive_rest()).startswith(b"HTTP/1.1 ")


async def test_a_fin_without_close_notify_is_1006(start_tls: StartTls) -> None:
    server = await start_tls()
    codes = record_ends(server)
    client = await TlsWire.connect(server.addresses[0])
    client.wire.write_eof()
    assert await client.receive_end() == b""
    await wait_until(lambda: codes == [1006])


@pytest.mark.parametrize("is_cut_off", [True, False])
async def test_a_draft_75_stream_that_was_cut_off_is_no_orderly_end(
    start_tls: StartTls, is_cut_off: bool
) -> None:
    server = await start_tls()
    codes = record_ends(server)
    client = await TlsWire.open(server.addresses[0])
    client.write(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
        b"Origin: https://localhost\r\n\r\n"
    )
    assert (await client.receive_some()).startswith(b"HTTP/1.1 101")
    if is_cut_off:
        client.wire.write_eof()
    else:
        client.notify()
    await wait_until(lambda: codes == [1006 if is_cut_off else 1005])


async def test_an_abort_sends_no_close_notify(start_tls: StartTls) -> None:
    server = await start_tls()
    client = await TlsWire.connect(server.addresses[0])
    await wait_until(lambda: len(server.connections) == 1)
    next(iter(server.connections)).abort()
    assert await client.receive_end() == b""


async def test_a_reset_ends_one_connection(start_tls: StartTls) -> None:
    server = await start_tls()
    codes = record_ends(server)
    client = await TlsWire.connect(server.addresses[0])
    client.wire.reset()
    await wait_until(lambda: codes == [1006])


async def test_a_record_that_was_tampered_with_ends_the_connection(start_tls: StartTls) -> None:
    server = await start_tls()
    codes = record_ends(server)
    client = await TlsWire.connect(server.addresses[0])
    sealed = bytearray(client.seal(b"\x81\x80\0\0\0\0"))
    sealed[-1] ^= 1
    client.wire.write(bytes(sealed))
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        await client.receive_some()
    await wait_until(lambda: codes == [1006])


@pytest.mark.skipif(sys.platform != "linux", reason="finds OpenSSL as Linux's loader does")
@pytest.mark.parametrize("data_path", ["direct"], indirect=True)
async def test_what_others_have_left_in_the_queue_of_errors_is_no_error_of_ours(
    start_tls: StartTls, data_path: str
) -> None:
    openssl = ctypes.CDLL(_ssl.__file__)
    openssl.ERR_peek_error.restype = ctypes.c_ulong

    def leave_error() -> None:
        openssl.BIO_new_file(b"/nowhere/at/all", b"r")
        assert openssl.ERR_peek_error()

    server = await start_tls()
    server.on("connection", lambda conn: conn.on("message", leave_error))
    client = await TlsWire.connect(server.addresses[0])
    sealed = client.seal(serialize(Frame(BINARY, b"x" * 100)))
    for part in (sealed[:3], sealed[3:50], sealed[50:]):
        client.wire.write(part)
        leave_error()
        await let_arrive()
    openssl.ERR_clear_error()  # the client is in the same thread
    assert await client.receive_message() == b"x" * 100


async def test_closing_the_server_closes_everybody_in_order(start_tls: StartTls) -> None:
    server = await start_tls()
    client = await TlsWire.connect(server.addresses[0])
    unfinished = await Wire.open(server.addresses[0])
    await wait_until(lambda: len(server.connections) == 1)
    closing = server.close(1001)
    assert await client.receive_close() == 1001
    client.write_frame(CLOSE, close_payload(1001, ""))
    await client.receive_notify()
    await closing
    await unfinished.receive_end()


# ---- peers that do not speak TLS


async def test_a_silent_peer_is_dropped_at_the_handshake_deadline(start_tls: StartTls) -> None:
    server = await start_tls(handshake_timeout=0.3)
    wire = await Wire.open(server.addresses[0])
    await wire.receive_nothing()
    await wire.receive_end()
    assert not server.connections


async def test_the_deadline_covers_tls_and_the_request_together(start_tls: StartTls) -> None:
    server = await start_tls(handshake_timeout=0.4)
    client = await TlsWire.open(server.addresses[0])
    client.write(b"GET / HTTP/1.1\r\n")
    assert (await client.receive_rest()).startswith(b"HTTP/1.1 408")


async def test_newcomer_to_a_full_server_is_hung_up_on_before_any_handshake(
    start_tls: StartTls,
) -> None:
    server = await start_tls(max_connections=1)
    present = await TlsWire.connect(server.addresses[0])
    with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
        await TlsWire.open(server.addresses[0])
    assert server.limit_hits["max_connections"] == 1
    present.send("undisturbed")
    assert await present.receive_message() == "undisturbed"


async def test_stalled_tls_handshakes_make_room_for_quick_ones(start_tls: StartTls) -> None:
    server = await start_tls(max_handshakes=2)
    stalled = [await Wire.open(server.addresses[0]) for _ in range(2)]
    for wire in stalled:
        wire.write(b"\x16\x03\x01")
    await stalled[0].receive_nothing()
    quick = await TlsWire.connect(server.addresses[0])
    await stalled[0].receive_end()
    await stalled[1].receive_nothing()
    assert server.limit_hits["max_handshakes"] == 1
    quick.send("and is served")
    assert await quick.receive_message() == "and is served"


async def test_plain_http_on_the_tls_port_is_one_sentence_in_the_log(
    start_tls: StartTls, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_tls()
    present = await TlsWire.connect(server.addresses[0])
    caplog.set_level(logging.INFO)
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request({"Host": "localhost"}))
    await wire.receive_rest()
    await wait_until(lambda: bool(caplog.records))
    assert [record.name for record in caplog.records] == ["sockwave.peers"]
    assert caplog.records[0].message.endswith("speaks plain HTTP to a TLS port")
    assert caplog.records[0].exc_info is None
    present.send("undisturbed")
    assert await present.receive_message() == "undisturbed"


@pytest.mark.parametrize(
    "junk", [b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 300, b"SSH-2.0-x\r\n", os.urandom(4096)]
)
async def test_junk_on_the_tls_port_ends_that_connection_quietly(
    start_tls: StartTls, caplog: pytest.LogCaptureFixture, junk: bytes
) -> None:
    server = await start_tls(handshake_timeout=1)
    caplog.set_level(logging.INFO)
    wire = await Wire.open(server.addresses[0])
    wire.write(junk)
    with contextlib.suppress(ConnectionError):
        await wire.receive_rest()
    assert not caplog.records
    client = await TlsWire.connect(server.addresses[0])
    client.send("next")
    assert await client.receive_message() == "next"


async def test_a_stream_listener_turns_away_before_tls(start_tls: StartTls) -> None:
    server = await start_tls()
    server.on("stream", lambda stream: stream.close())
    with pytest.raises(ConnectionError):
        await TlsWire.open(server.addresses[0])


# ---- contexts and sockets of other kinds


class Hidden:
    """An SSLObject of the application's own, behind which nobody finds OpenSSL's."""

    def __init__(self, inner: ssl.SSLObject) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "_sslobj":
            raise AttributeError(name)
        return getattr(self.inner, name)


class HidingContext(ssl.SSLContext):
    def wrap_bio(self, *arguments: Any, **options: Any) -> Any:
        return Hidden(super().wrap_bio(*arguments, **options))


async def test_a_context_that_makes_its_own_kind_of_objects_serves_all_the_same(
    start_tls: StartTls,
) -> None:
    context = HidingContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = issue("localhost")
    certificate.configure_cert(context)
    server = await start_tls(context)
    client = await TlsWire.connect(server.addresses[0], client_context())
    for size in (1, 70_000, 500_000):
        client.send("m" * size)
        assert await client.receive_message() == "m" * size
    (conn,) = server.connections
    assert conn.tls is not None
    assert conn.tls.version == "TLSv1.3"
    client.send("last")
    assert await client.receive_message() == "last"


async def test_a_plain_request_to_a_unix_socket_with_tls_is_logged(
    start_tls: StartTls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_tls()
    path = str(tmp_path / "tls.sock")
    server.listen(path=path, ssl=server_context())
    await wait_until(lambda: path in server.addresses)
    wire = await Wire.open(path)
    wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        await wire.receive_rest()
    assert "a peer on a Unix socket speaks plain HTTP to a TLS port" in caplog.text


async def test_a_peer_that_ends_before_its_handshake_is_let_go(start_tls: StartTls) -> None:
    server = await start_tls()
    streams = count_streams(server)
    wire = await Wire.open(server.addresses[0])
    await wait_until(lambda: streams)
    wire.write_eof()
    await wire.receive_end()


# ---- attacks on the layer itself


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.measures
@pytest.mark.slow
async def test_a_thousand_connections_leave_nothing_behind(
    start_tls: StartTls, data_path: str
) -> None:
    server = await start_tls()
    context = client_context()

    async def visit(number: int) -> None:
        client = await TlsWire.connect(server.addresses[0], context)
        client.send("hello")
        assert await client.receive_message() == "hello"
        if number % 3 == 0:
            client.write_frame(CLOSE, close_payload(1000, ""))
            await client.receive_close()
        elif number % 3 == 1:
            client.wire.reset()
        await client.wire.close()

    async def visit_many(count: int) -> None:
        for first in range(0, count, 10):
            await asyncio.gather(*(visit(first + number) for number in range(10)))
        await wait_until(lambda: not server.connections)
        gc.collect()

    await visit_many(200)
    descriptors, resident = count_descriptors(), measure_resident_size()
    await visit_many(1000)
    await wait_until(lambda: count_descriptors() <= descriptors)
    assert measure_resident_size() - resident < 4 * MIB


# ---- new certificates


async def test_reload_tls_changes_the_certificate_for_new_connections(
    start_tls: StartTls, tmp_path: Any
) -> None:
    server = await start_tls()
    old = await TlsWire.connect(server.addresses[0])
    renewed = issue("localhost", "renewed.example")
    server.reload_tls(*write_pem(renewed, tmp_path, "renewed"))
    new = await TlsWire.connect(server.addresses[0])
    names = common_name(new.session.getpeercert(binary_form=True))
    assert "renewed.example" in names
    old.send("still here")
    assert await old.receive_message() == "still here"


async def test_reload_tls_reads_the_same_files_again(start_tls: StartTls, tmp_path: Any) -> None:
    server = await start_tls()
    server.reload_tls(*write_pem(issue("localhost", "first.example"), tmp_path, "pair"))
    write_pem(issue("localhost", "second.example"), tmp_path, "pair")
    server.reload_tls()
    client = await TlsWire.open(server.addresses[0])
    assert "second.example" in common_name(client.session.getpeercert(binary_form=True))


async def test_reload_tls_leaves_the_old_one_where_the_files_are_wrong(
    start_tls: StartTls, tmp_path: Any
) -> None:
    server = await start_tls()
    cert, _ = write_pem(issue("localhost"), tmp_path, "one")
    _, key = write_pem(issue("localhost"), tmp_path, "two")
    with pytest.raises(ssl.SSLError):
        server.reload_tls(cert, key)
    with pytest.raises(FileNotFoundError):
        server.reload_tls(str(tmp_path / "missing.pem"))
    client = await TlsWire.connect(server.addresses[0])
    client.send("as before")
    assert await client.receive_message() == "as before"


def test_reload_tls_says_what_it_lacks() -> None:
    server = sockwave.create_server().listen(0, "127.0.0.1")
    with pytest.raises(sockwave.SockwaveError, match="there is no TLS here"):
        server.reload_tls("cert.pem")
    server.listen(0, "127.0.0.1", ssl=server_context())
    with pytest.raises(sockwave.SockwaveError, match="there is no certificate yet"):
        server.reload_tls()
    server.close()
