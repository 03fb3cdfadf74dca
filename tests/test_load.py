"""The load of the benchmarks on real servers, right ones and wrong ones, and what counts of it."""

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from certificates import server_context
from conftest import StartServer, echo

import sockwave

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the load is Linux's")

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
DEFLATE = "--deflate=permessage-deflate; client_max_window_bits"
COUNT = 300
"""Messages of a run: it ends with them."""

if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))


@pytest.fixture
def engine() -> str:
    """The one that measurements are made with: the load is under test, not the engines."""
    return "epoll"


async def load(port: int, *options: str) -> tuple[list[dict[str, Any]], str]:
    """Run the client to its end: what it printed, and its complaint, if it has one."""
    common = ["--connections=4", "--warmup=0", f"--messages={COUNT}", "--patience=1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BENCHMARKS / "load.py"),
        f"--port={port}",
        *common,
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate()
    assert (process.returncode == 0) == (not complaint), complaint.decode()
    return [json.loads(line) for line in said.splitlines()], complaint.decode()


def port_of(server: sockwave.Server) -> int:
    """The port that it listened on last."""
    address = server.addresses[-1]
    assert isinstance(address, tuple)
    return int(address[1])


def answer_wrongly(server: sockwave.Server, number: int, wrong: Any) -> None:
    """Echo, but do to the connection's message of that number what `wrong` does."""

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        numbers = itertools.count()

        @conn.on("message")
        def message(message: str | bytes) -> None:
            if next(numbers) == number:
                wrong(conn, message)
            else:
                conn.send(message)


# ---- right replies


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--depth=32"],
        ["--binary", "--size=0"],
        ["--size=70000", "--depth=2"],
        ["--every=0.01"],
    ],
)
async def test_load_finds_nothing_wrong_with_an_echo(
    echo_server: sockwave.Server, options: list[str]
) -> None:
    events, complaint = await load(port_of(echo_server), *options)
    assert complaint == ""
    assert [event["event"] for event in events] == ["open", "result"]
    result = events[1]
    assert result["messages"] >= COUNT
    assert 0 < result["latency_us"]["p50"] <= result["latency_us"]["p99.9"]
    assert result["latency_us"]["p99.9"] <= result["latency_us"]["max"]


@pytest.mark.slow
async def test_load_counts_the_bytes_of_replies_with_their_headers(
    echo_server: sockwave.Server,
) -> None:
    (_, result), _ = await load(port_of(echo_server), "--size=200")
    assert result["reply_bytes"] == 204 * result["messages"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--depth=3", "--size=20000"], [DEFLATE, "--size=1024"]])
async def test_load_speaks_tls(start_server: StartServer, options: list[str]) -> None:
    server = await start_server(compression=True)
    echo(server)
    server.listen(0, "127.0.0.1", ssl=server_context())
    events, complaint = await load(port_of(server), "--tls", *options)
    assert complaint == ""
    assert events[1]["messages"] >= COUNT


@pytest.mark.parametrize("takeover", [False, True])
async def test_load_inflates_what_is_compressed(start_server: StartServer, takeover: bool) -> None:
    server = await start_server(
        compression=sockwave.Deflate(threshold=0, server_context_takeover=takeover)
    )
    echo(server)
    events, complaint = await load(port_of(server), DEFLATE, "--size=1024", "--depth=2")
    assert complaint == ""
    assert events[1]["reply_bytes"] < 1024 * events[1]["messages"]


async def test_load_counts_what_one_says_once_for_each_that_hears_it(
    start_server: StartServer,
) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", server.broadcast)

    events, complaint = await load(port_of(server), "--speaker", "--depth=8", "--messages=64")
    assert complaint == ""
    assert events[1]["messages"] >= 64


@pytest.mark.slow
async def test_load_opens_connections_again_and_again(echo_server: sockwave.Server) -> None:
    options = ["--handshakes", "--connections=8", "--depth=4", "--seconds=0.05"]
    (result,), complaint = await load(port_of(echo_server), *options)
    assert complaint == ""
    assert result["messages"] % 8 == 0
    assert result["messages"] > 0


async def test_load_takes_a_pong_for_the_answer_of_a_silent_server(
    start_server: StartServer,
) -> None:
    server = await start_server(control_rate=None)
    server.on("connection", lambda conn: conn.on("message", lambda: None))
    events, complaint = await load(port_of(server), "--silent", "--depth=4")
    assert complaint == ""
    assert events[1]["messages"] >= COUNT


async def test_load_holds_idle_connections_until_its_input_ends(
    echo_server: sockwave.Server,
) -> None:
    (opened,), complaint = await load(port_of(echo_server), "--idle=60", "--talk")
    assert complaint == ""
    assert opened["event"] == "open"
    assert opened["connections"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--tls"]])
async def test_load_writes_on_when_its_server_takes_bytes_again(
    start_server: StartServer, options: list[str]
) -> None:
    server = await start_server(max_size=8_000_000, max_backlog=64_000_000)
    if options:
        server.listen(0, "127.0.0.1", ssl=server_context())
    echo(server)
    large = ["--size=4000000", "--depth=3", "--connections=1", "--messages=6"]
    events, complaint = await load(port_of(server), *large, *options)
    assert complaint == ""
    assert events[1]["messages"] >= 6


async def test_load_takes_another_local_address_when_one_is_full(
    start_server: StartServer,
) -> None:
    server = await start_server()
    echo(server)
    hosts: list[str] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        assert conn.remote_address is not None
        hosts.append(str(conn.remote_address[0]))

    _, complaint = await load(port_of(server), "--per-address=2")
    assert complaint == ""
    assert sorted(hosts) == ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"]


# ---- wrong ones

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
"""The right answer to the load's request, as RFC 6455 has it in section 1.3, but for its end."""


async def load_on(answer: bytes, *options: str) -> str:
    """The complaint about a server that gives this answer to every opening, and hangs up."""

    async def answer_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(answer_it, "127.0.0.1")
    async with server:
        _, complaint = await load(server.sockets[0].getsockname()[1], *options)
    return complaint


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", "closed before the opening was answered; so far: b''"),
        (ACCEPTED, "closed before the opening was answered"),
        (ACCEPTED + b"X: " + b"x" * 70_000, "the opening answer is longer than 65536 bytes"),
        (ACCEPTED.replace(b"s3pP", b"S3pP") + b"\r\n", "expected Sec-WebSocket-Accept"),
        (
            ACCEPTED.replace(b" 101 ", b" 200 ") + b"\r\n\x81\x00",
            "expected 101, got b'HTTP/1.1 200",
        ),
        (
            ACCEPTED + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "the server's answer to the offer is 'permessage-deflate'",
        ),
    ],
)
async def test_load_notices_a_wrong_answer_to_its_opening(answer: bytes, expected: str) -> None:
    assert expected in await load_on(answer)


async def test_load_notices_that_what_it_offers_is_refused() -> None:
    complaint = await load_on(ACCEPTED + b"\r\n", DEFLATE)
    assert "the server's answer to the offer is None" in complaint


@pytest.mark.parametrize("options", [[], ["--depth=8"], ["--size=70000"], ["--binary"]])
async def test_load_notices_a_wrong_byte(start_server: StartServer, options: list[str]) -> None:
    server = await start_server()

    def wrong(conn: sockwave.Connection, message: str | bytes) -> None:
        last = "!" if isinstance(message, str) else b"!"
        conn.send(message[:-1] + last)  # type: ignore[operator]

    answer_wrongly(server, 20, wrong)
    _, complaint = await load(port_of(server), *options)
    assert "reply 20 differs from its message" in complaint


async def test_load_notices_a_reply_of_another_kind(start_server: StartServer) -> None:
    server = await start_server()
    answer_wrongly(server, 20, lambda conn, message: conn.send(message.encode()))
    _, complaint = await load(port_of(server))
    assert "reply 20 differs from its message" in complaint


async def test_load_notices_a_reply_that_comes_twice(start_server: StartServer) -> None:
    server = await start_server()

    def wrong(conn: sockwave.Connection, message: str | bytes) -> None:
        conn.send(message)
        conn.send(message)

    answer_wrongly(server, 20, wrong)
    _, complaint = await load(port_of(server))
    assert "nobody has asked for" in complaint or "reply 21 differs" in complaint


async def test_load_notices_a_lost_reply_by_the_next(start_server: StartServer) -> None:
    server = await start_server()
    answer_wrongly(server, 20, lambda conn, message: None)
    _, complaint = await load(port_of(server), "--depth=32")
    assert "reply 20 differs from its message" in complaint


@pytest.mark.slow
async def test_load_notices_a_lost_reply_that_nothing_follows(start_server: StartServer) -> None:
    server = await start_server()
    answer_wrongly(server, 20, lambda conn, message: None)
    _, complaint = await load(port_of(server), "--connections=1")
    assert "nothing has come for 1 s" in complaint


@pytest.mark.slow
async def test_load_notices_at_the_end_that_one_of_many_lost_a_reply(
    start_server: StartServer,
) -> None:
    server = await start_server()
    first: list[sockwave.Connection] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        first.append(conn)
        conn.on("message", lambda message: conn is first[0] or conn.send(message))

    _, complaint = await load(port_of(server))
    assert "1 replies are missing" in complaint


@pytest.mark.slow
async def test_load_notices_that_one_of_many_has_not_heard_what_was_said(
    start_server: StartServer,
) -> None:
    server = await start_server()
    everybody: list[sockwave.Connection] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        everybody.append(conn)

        @conn.on("message")
        def message(message: str | bytes) -> None:
            for other in everybody[:-1]:
                other.send(message)

    _, complaint = await load(port_of(server), "--speaker")
    assert "nothing has come for 1 s" in complaint


async def test_load_notices_a_document_that_is_another(start_server: StartServer) -> None:
    server = await start_server(compression=True)
    answer_wrongly(server, 20, lambda conn, message: conn.send(message[::-1]))
    _, complaint = await load(port_of(server), DEFLATE, "--size=1024")
    assert "reply 20 is not its document" in complaint


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"binary", "reply 20: expected a whole message with a first byte of 81 or c1, got 82"),
        ("x" * 5_000, "reply 20 differs from its message"),
    ],
)
async def test_load_notices_what_is_no_echo_of_a_document(
    start_server: StartServer, reply: str | bytes, expected: str
) -> None:
    server = await start_server(compression=True)
    answer_wrongly(server, 20, lambda conn, message: conn.send(reply, compress=False))
    _, complaint = await load(port_of(server), DEFLATE, "--size=1024")
    assert expected in complaint


async def test_load_of_documents_notices_a_closed_connection(start_server: StartServer) -> None:
    server = await start_server(compression=True)
    answer_wrongly(server, 20, lambda conn, message: conn.close(4000, "enough"))
    _, complaint = await load(port_of(server), DEFLATE, "--size=1024")
    assert "closed by the server after 20 replies, code 4000, reason 'enough'" in complaint


def test_documents_have_to_be_as_large_as_their_messages() -> None:
    from sockwave.loadgen.deflated import DeflatedExchange

    with pytest.raises(ValueError, match="expected documents of 20 bytes"):
        DeflatedExchange(20, documents=[b"x" * 19], bodies=[b""])


@pytest.mark.parametrize("options", [[], ["--tls"]])
async def test_load_notices_a_closed_connection(
    start_server: StartServer, options: list[str]
) -> None:
    server = await start_server()
    if options:
        server.listen(0, "127.0.0.1", ssl=server_context())
    answer_wrongly(server, 20, lambda conn, message: conn.close(4000, "enough"))
    _, complaint = await load(port_of(server), *options)
    assert "closed by the server after 20 replies, code 4000, reason 'enough'" in complaint


async def test_load_notices_a_broken_connection(start_server: StartServer) -> None:
    server = await start_server()
    answer_wrongly(server, 20, lambda conn, message: conn.abort())
    _, complaint = await load(port_of(server))
    assert "Connection reset by peer" in complaint or "closed by the server" in complaint


async def test_load_notices_a_connection_that_ends_while_idle(start_server: StartServer) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str | bytes) -> None:
            conn.send(message)
            conn.close()

    _, complaint = await load(port_of(server), "--idle=60", "--talk")
    assert "nobody has asked for" in complaint


async def test_load_notices_that_it_was_refused(start_server: StartServer) -> None:
    server = await start_server(authorize=lambda handshake: False)
    _, complaint = await load(port_of(server))
    assert "expected 101" in complaint


# ---- what counts


def make_run(client_share: float, server_share: float) -> Any:
    from harness.rounds import read_run

    latencies = {"p50": 1.0, "p99": 1.0, "p99.9": 1.0}
    return read_run(
        {
            "messages": 100,
            "seconds": 1.0,
            "client_cpu_s": client_share,
            "server_cpu_s": server_share,
            "server_user_s": server_share / 2,
            "server_system_s": server_share / 2,
            "server_waited_s": 0.0,
            "server_rss_bytes": 1,
            "reply_bytes": 200,
            "latency_us": latencies,
        }
    )


def test_harness_refuses_a_row_where_the_client_was_the_bottleneck(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from harness import Answer, Question, Row, print_answer, to_json

    bound, sound = make_run(0.99, 0.5), make_run(0.5, 0.99)
    answer = Answer(
        Question("a question", ()),
        {"judged": Row([sound]), "refused": Row([bound, sound, bound])},
    )
    assert answer.rows["judged"].median == sound
    assert answer.rows["refused"].median is None
    print_answer(answer)
    said = capsys.readouterr().out
    assert "client-bound" in said
    assert "REFUSED refused: the client was the bottleneck (client 99% busy, server 50%)" in said
    assert "cpu_us" not in to_json(answer)["servers"]["refused"]


@pytest.mark.parametrize(
    ("client_share", "server_share", "is_bound"),
    [(0.95, 0.89, True), (0.94, 0.89, False), (0.95, 0.90, False)],
)
def test_harness_takes_a_busy_client_for_the_bottleneck_unless_the_server_is_too(
    client_share: float, server_share: float, is_bound: bool
) -> None:
    assert make_run(client_share, server_share).is_client_bound is is_bound


def test_harness_counts_only_the_runs_that_the_client_did_not_bound() -> None:
    from harness import Row

    runs = [make_run(0.99, 0.5), make_run(0.5, 0.96), make_run(0.5, 0.98), make_run(0.5, 1.0)]
    median = Row(runs).median
    assert median is not None
    assert median.server_share == 0.98


# ---- requests of HTTP

GREETING = b"We can handle normal http connections too!\n"
HTTP = ("--http", f"--reply={len(GREETING)}")


def answer_requests(server: sockwave.Server, number: int = -1, wrong: Any = None) -> list[Any]:
    """Greet, but answer the request of that number wrongly; gives the requests, as they come."""
    requests: list[Any] = []

    @server.on("request")
    def request(request: sockwave.Request, response: sockwave.Response) -> None:
        requests.append(request)
        if len(requests) - 1 == number:
            wrong(response)
        else:
            response.write_head(200, {"Content-Type": "text/plain"})
            response.end(GREETING)

    return requests


@pytest.mark.parametrize(
    "options", [[], ["--depth=16"], ["--browser"], ["--close"], ["--path=/a?b"], ["--tls"]]
)
async def test_load_finds_nothing_wrong_with_answers_to_requests(
    start_server: StartServer, options: list[str]
) -> None:
    server = await start_server()
    answer_requests(server)
    if "--tls" in options:
        server.listen(0, "127.0.0.1", ssl=server_context())
    events, complaint = await load(port_of(server), *HTTP, *options)
    assert complaint == ""
    assert [event["event"] for event in events] == ["open", "result"]
    assert events[1]["messages"] >= COUNT
    assert events[1]["reply_bytes"] > len(GREETING) * events[1]["messages"]


async def test_load_posts_json_of_the_size_that_was_asked_for(start_server: StartServer) -> None:
    server = await start_server()
    bodies: list[bytes] = []

    @server.on("request")
    async def request(request: sockwave.Request, response: sockwave.Response) -> None:
        bodies.append(await request.body())
        response.end(GREETING)

    _, complaint = await load(port_of(server), *HTTP, "--body=1024")
    assert complaint == ""
    assert {len(body) for body in bodies} == {1024}
    assert json.loads(bodies[0])["name"] == "sockwave"


async def test_load_sends_what_browsers_send(start_server: StartServer) -> None:
    server = await start_server()
    requests = answer_requests(server)
    _, complaint = await load(port_of(server), *HTTP, "--browser")
    assert complaint == ""
    assert len(requests[0].headers) == 17  # Host, and the sixteen
    assert "Chrome" in requests[0].headers["User-Agent"]


async def test_load_notices_a_body_of_another_size(start_server: StartServer) -> None:
    server = await start_server()
    answer_requests(server)
    _, complaint = await load(port_of(server), "--http", "--reply=7")
    assert f"expected 200 and 7 bytes, got 200 and {len(GREETING)}" in complaint


def answer_short(response: sockwave.Response) -> None:
    response.write_head(200, {"Content-Type": "text/plain"})
    response.end(GREETING[:-1])


def answer_with_another_byte(response: sockwave.Response) -> None:
    response.write_head(200, {"Content-Type": "text/plain"})
    response.end(GREETING[:-1] + b"!")


def answer_in_chunks(response: sockwave.Response) -> None:
    response.write(GREETING)
    response.end()


def answer_with_an_error(response: sockwave.Response) -> None:
    response.write_head(404, {"Content-Type": "text/plain"})
    response.end(GREETING)


@pytest.mark.parametrize("options", [[], ["--depth=16"], ["--close"]])
@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (answer_short, "expected HTTP/1.1 200 and one Content-Length, 43, got"),
        (answer_with_another_byte, "the body differs from the expected one"),
        (answer_in_chunks, "expected HTTP/1.1 200 and one Content-Length, 43, got"),
        (answer_with_an_error, "HTTP/1.1 404 Not Found"),
    ],
)
async def test_load_notices_a_wrong_answer_to_a_request(
    start_server: StartServer, wrong: Any, expected: str, options: list[str]
) -> None:
    server = await start_server()
    answer_requests(server, 60, wrong)
    _, complaint = await load(port_of(server), *HTTP, *options)
    assert expected in complaint


async def load_answers(send: Any, *options: str) -> str:
    """The complaint about a server whose answer to each read, `send` writes; the first is right."""
    right = b"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n" + GREETING
    count = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(right) if next(count) == 0 else await send(writer, right)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, complaint = await load(port, *HTTP, "--connections=1", *options)
    return complaint


async def test_load_reads_an_answer_that_comes_byte_by_byte() -> None:
    async def send(writer: asyncio.StreamWriter, right: bytes) -> None:
        for place in range(len(right)):
            writer.write(right[place : place + 1])
            await writer.drain()

    assert await load_answers(send, "--messages=3") == ""


async def test_load_notices_an_answer_that_nothing_asked_for() -> None:
    async def send(writer: asyncio.StreamWriter, right: bytes) -> None:
        writer.write(right + right)

    assert "nobody has asked for" in await load_answers(send)


async def test_load_notices_a_head_without_an_end() -> None:
    async def send(writer: asyncio.StreamWriter, right: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000)

    assert "the head of an answer is longer than 16384 bytes" in await load_answers(send)


async def test_load_notices_a_connection_that_ends_too_early() -> None:
    async def send(writer: asyncio.StreamWriter, right: bytes) -> None:
        writer.write(right)
        writer.close()

    complaint = await load_answers(send)
    assert "closed by the server after" in complaint or "reset by peer" in complaint


@pytest.mark.slow
async def test_load_notices_a_connection_that_goes_on_where_it_should_end() -> None:
    async def send(writer: asyncio.StreamWriter, right: bytes) -> None:
        writer.write(right)

    assert "nothing has come for 1 s" in await load_answers(send, "--close")
