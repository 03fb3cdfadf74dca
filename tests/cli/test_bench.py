"""`sockwave bench` against real servers, right ones and wrong ones."""

import asyncio
import itertools
import json
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from certificates import AUTHORITY, server_context
from commands import run_here
from conftest import StartServer, echo
from hdrh.histogram import HdrHistogram
from test_load import ACCEPTED, port_of

import sockwave

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the load is Linux's")

SHORT = ("--connections=4", "--warmup=0", "--duration=0.2", "--timeout=5")
#: Ends with its messages, however slow the machine is.
COUNTED = (*SHORT, "--duration=20", "--count=100")


class Ended(NamedTuple):
    status: int | None
    figures: dict[str, Any]
    report: str
    errors: str


@pytest.fixture
def engine() -> str:
    """The server is not under test."""
    return "epoll"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sockwave", "bench", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def bench(*arguments: str) -> Ended:
    """Run the command to its end; the report goes to stderr where the figures go to stdout."""
    process = await start(*arguments, "--json=-")
    output, errors = await process.communicate()
    figures = json.loads(output) if output else {}
    report, _, complaint = errors.decode().partition("sockwave bench: ")
    return Ended(process.returncode, figures, report, complaint)


def url_of(server: sockwave.Server) -> str:
    return f"ws://127.0.0.1:{port_of(server)}/"


# ---- right servers


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--depth=8"],
        ["--binary", "--size=70000"],
        ["--rate=2000"],
        ["--rate=500", "--size=20KiB", "--ramp=0.1"],
    ],
)
async def test_replies_are_counted_and_timed(
    echo_server: sockwave.Server, options: list[str]
) -> None:
    ended = await bench(url_of(echo_server), *COUNTED, *options)
    assert (ended.status, ended.errors) == (0, "")
    figures = ended.figures
    assert figures["count"] > 0
    assert figures["count"] == sum(tick["count"] for tick in figures["ticks"])
    assert figures["bytes"] >= figures["count"] * figures["plan"]["size"]
    assert (figures["missing"], figures["interrupted"], figures["error"]) == (0, False, None)
    latency = figures["latency_us"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p99"] <= latency["max"]
    histogram = HdrHistogram.decode(figures["histogram"])
    assert histogram.get_total_count() == figures["count"]
    # The greatest is noted exactly, beside the histogram.
    greatest = histogram.get_max_value() / 1e3
    assert greatest == pytest.approx(latency["max"], rel=0.002)
    assert histogram.get_min_value() / 1e3 == pytest.approx(latency["min"], rel=0.002)
    assert f"{figures['count']:,} replies in " in ended.report
    assert "p99.9" in ended.report


@pytest.mark.slow
async def test_constant_rate_is_kept(echo_server: sockwave.Server) -> None:
    options = ("--rate=1000", "--duration=1", "--warmup=0.1", "--ramp=0.1")
    figures = (await bench(url_of(echo_server), *options)).figures
    # All that was due is answered, and it was due for the whole time: not for less, and for more by
    # no more than it took to see that the time was over.
    assert figures["count"] >= 1000
    assert figures["missing"] == 0


@pytest.mark.slow
async def test_rate_that_is_too_high_leaves_nothing_out(echo_server: sockwave.Server) -> None:
    rate = 10_000_000  # of which no server gets anywhere near
    options = (f"--rate={rate}", "--duration=0.5", "--timeout=0.5")
    ended = await bench(url_of(echo_server), *SHORT, *options)
    # What was due is answered, or missing: even what the load has had no time to send.
    assert ended.figures["count"] + ended.figures["missing"] >= rate / 2
    assert ended.figures["missing"] > 0
    assert ended.status == 1
    assert " replies are missing" in ended.report


@pytest.mark.slow
async def test_count_ends_it(echo_server: sockwave.Server) -> None:
    ended = await bench(url_of(echo_server), "--connections=1", "--warmup=0", "--count=10")
    assert (ended.status, ended.figures["count"]) == (0, 10)


@pytest.mark.slow
async def test_broadcast_is_counted_at_each_receiver(start_server: StartServer) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", server.broadcast)

    for options in ([], ["--rate=100"]):
        ended = await bench(url_of(server), *COUNTED, "--mode=broadcast", *options)
        assert (ended.status, ended.errors) == (0, "")
        assert ended.figures["count"] >= 4
        if options:  # then it is waited for the last ones
            assert ended.figures["count"] % 4 == 0


@pytest.mark.slow
async def test_handshakes_are_counted(start_server: StartServer) -> None:
    server = await start_server()
    count = 0

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        nonlocal count
        count += 1

    ended = await bench(url_of(server), *COUNTED, "--mode=handshake", "--count=50")
    assert (ended.status, ended.errors) == (0, "")
    assert 50 <= ended.figures["count"] <= count + 4
    assert " handshakes in " in ended.report


@pytest.mark.slow
async def test_idle_connections_are_held_and_answer_pings(start_server: StartServer) -> None:
    server = await start_server(ping_interval=0.05)
    codes: list[int] = []
    latencies: list[float | None] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("close", codes.append)
        conn.on("close", lambda: latencies.append(conn.latency))

    options = ("--connections=20", "--duration=1", "--ramp=0.1", "--mode=idle")
    ended = await bench(url_of(server), *options)
    assert (ended.status, ended.errors) == (0, "")
    assert "20 connections opened in " in ended.report
    assert codes == [1000] * 20
    assert None not in latencies


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--rate=50"], ["--mode=broadcast", "--rate=20"]])
async def test_who_says_nothing_yet_answers_pings(
    start_server: StartServer, options: list[str]
) -> None:
    server = await start_server(ping_interval=0.05)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", server.broadcast if "--mode=broadcast" in options else conn.send)

    times = ("--connections=5", "--duration=0.2", "--ramp=0.5")
    ended = await bench(url_of(server), *times, *options)
    assert (ended.status, ended.errors) == (0, "")


@pytest.mark.slow
async def test_a_ping_that_comes_with_the_answer_is_answered() -> None:
    """A server need not wait until it has heard of its client."""
    pongs = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal pongs
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ACCEPTED + b"\r\n\x89\x01a")
        await asyncio.sleep(0.1)
        writer.write(b"\x89\x01b")
        for _ in range(2):
            pong = await reader.readexactly(7)
            pongs += pong[:2] == b"\x8a\x81"
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        options = ("--connections=1", "--duration=0.5", "--mode=idle")
        ended = await bench(f"ws://127.0.0.1:{port}", *options)
    assert (ended.status, ended.errors) == (0, "")
    assert pongs == 2


@pytest.mark.slow
async def test_pings_between_replies_are_answered(start_server: StartServer) -> None:
    server = await start_server(ping_interval=0.05)
    latencies: list[float | None] = []
    echo(server)
    server.on("connection", lambda conn: conn.on("close", lambda: latencies.append(conn.latency)))
    server.listen(0, "127.0.0.1", ssl=server_context())
    uri = f"wss://127.0.0.1:{port_of(server)}/"
    for address in (f"ws://127.0.0.1:{server.addresses[0][1]}", uri):
        options = (*SHORT, "--duration=0.6", "--rate=50", "--insecure")
        ended = await bench(address, *options)
        assert (ended.status, ended.errors) == (0, "")
        assert ended.figures["missing"] == 0
    assert len(latencies) == 8
    assert None not in latencies


@pytest.mark.slow
async def test_compression_and_tls(start_server: StartServer, tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_bytes(AUTHORITY.cert_pem.bytes())
    server = await start_server(compression=True)
    echo(server)
    server.listen(0, "127.0.0.1", ssl=server_context())
    uri = f"wss://localhost:{port_of(server)}/"
    for options in (["--deflate", "--size=1KiB"], ["--deflate", "--rate=100", "--size=1KiB"], []):
        ended = await bench(uri, *COUNTED, "--ca", str(authority), *options)
        assert (ended.status, ended.errors) == (0, "")
        assert (ended.figures["extension"] is None) == (not options)
    untrusted = await bench(uri, *COUNTED)
    assert untrusted.status == 1
    assert "CERTIFICATE_VERIFY_FAILED" in untrusted.errors


@pytest.mark.slow
async def test_request_is_what_was_asked_for(start_server: StartServer) -> None:
    server = await start_server(subprotocol=["b"])
    seen: set[tuple[str | None, ...]] = set()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        names = ("host", "x-one", "origin", "authorization", "sec-websocket-protocol")
        seen.add((conn.request.path, *map(conn.request.headers.get, names)))
        conn.on("message", conn.send)

    words = ("-H", "X-One: 1", "--origin", "https://a.example", "--subprotocol", "b")
    uri = f"ws://me:secret@127.0.0.1:{port_of(server)}/a"
    ended = await bench(uri, *COUNTED, *words)
    assert ended.status == 0
    host = f"127.0.0.1:{port_of(server)}"
    assert seen == {("/a", host, "1", "https://a.example", "Basic bWU6c2VjcmV0", "b")}
    assert "secret" not in json.dumps(ended.figures)


# ---- wrong ones


@pytest.mark.slow
async def test_wrong_reply_ends_it_with_the_figures_so_far(start_server: StartServer) -> None:
    server = await start_server()
    numbers = itertools.count()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", lambda message: conn.send(message if next(numbers) != 100 else "no"))

    ended = await bench(url_of(server), *SHORT, "--duration=9")
    assert ended.status == 1
    assert "differs from its message" in ended.errors
    # Each of the other three may have its next reply before the wrong one.
    assert 90 <= ended.figures["count"] <= 103
    assert ended.figures["error"] in ended.errors


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--rate=100"]])
async def test_server_that_says_nothing_is_told(
    start_server: StartServer, options: list[str]
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", lambda message: None))
    ended = await bench(url_of(server), *SHORT, "--timeout=0.3", "--duration=0.5", *options)
    assert ended.status == 1
    assert ended.figures["count"] == 0


@pytest.mark.slow
async def test_missing_replies_count_as_late_as_they_are(start_server: StartServer) -> None:
    server = await start_server()
    numbers = itertools.count()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", lambda message: next(numbers) < 20 and conn.send(message))

    options = ("--rate=100", "--duration=0.5", "--timeout=0.5")
    ended = await bench(url_of(server), *SHORT, *options)
    assert ended.status == 1
    assert ended.figures["missing"] + 20 >= 50
    assert f"{ended.figures['missing']} replies are missing" in ended.errors
    # Those that are missing have been due for half a second, and some for a whole one.
    assert ended.figures["latency_us"]["p90"] >= 500_000


@pytest.mark.slow
async def test_connection_that_the_server_closes_is_told(start_server: StartServer) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", lambda message: conn.close(4000, "no")))
    ended = await bench(url_of(server), *SHORT)
    assert ended.status == 1
    assert "closed by the server after 0 replies, code 4000, reason 'no'" in ended.errors


@pytest.mark.slow
async def test_refusal_and_nobody_who_answers_are_told(start_server: StartServer) -> None:
    def authorize(handshake: sockwave.Handshake) -> None:
        handshake.refuse(403)

    server = await start_server(authorize=authorize)
    refused = await bench(url_of(server), *SHORT)
    assert (refused.status, refused.figures) == (1, {})
    assert "HTTP/1.1 403" in refused.errors
    nobody = await bench("ws://127.0.0.1:1", *SHORT)
    assert (nobody.status, nobody.errors) == (
        1,
        "cannot connect to 127.0.0.1:1: Connection refused\n",
    )


@pytest.mark.slow
async def test_more_connections_than_descriptors_are_refused(echo_server: sockwave.Server) -> None:
    ended = await bench(url_of(echo_server), "--connections=100000000")
    assert ended.status == 1
    assert "ulimit -n 100000032" in ended.errors


# ---- the end, and what is written


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--rate=1000"], ["--mode=handshake"]])
async def test_ctrl_c_gives_the_figures_so_far(
    start_server: StartServer, options: list[str]
) -> None:
    server = await start_server()
    is_going = asyncio.Event()
    numbers = itertools.count()

    def count() -> None:
        if next(numbers) == 200:
            is_going.set()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        if "--mode=handshake" in options:
            count()

        @conn.on("message")
        def message(message: str) -> None:
            conn.send(message)
            count()

    process = await start(url_of(server), *SHORT, "--duration=60", "--json=-", *options)
    await is_going.wait()
    process.send_signal(signal.SIGINT)
    output, errors = await process.communicate()
    assert process.returncode == 0
    figures = json.loads(output)
    assert figures["interrupted"]
    assert figures["count"] >= 100
    assert b"Interrupted" in errors


@pytest.mark.slow
async def test_page_is_one_file_that_fetches_nothing(
    echo_server: sockwave.Server, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    options = ("--rate=500", "--duration=0.5", "--html", str(page))
    assert (await bench(url_of(echo_server), *COUNTED, *options)).status == 0
    text = page.read_text("utf-8")
    assert text.count("<svg") == text.count("</svg>") == 4
    assert "default-src 'none'" in text
    assert not any(word in text for word in ("<script", "src=", "href=", "url(", "@import"))


@pytest.mark.slow
async def test_page_of_each_mode_is_written(echo_server: sockwave.Server, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    for mode, plots in (("idle", 0), ("handshake", 4)):
        options = (f"--mode={mode}", "--html", str(page))
        assert (await bench(url_of(echo_server), *SHORT, *options)).status == 0
        assert page.read_text("utf-8").count("<svg") == plots


@pytest.mark.slow
async def test_short_load_has_a_page_and_a_log(
    echo_server: sockwave.Server, tmp_path: Path
) -> None:
    page, log = tmp_path / "report.html", tmp_path / "report.hdr"
    options = ("--connections=1", "--warmup=0", "--html", str(page), "--hdr", str(log))
    for end in ("--count=10", "--duration=0.1"):
        assert (await bench(url_of(echo_server), *options, end)).errors == ""
        text = page.read_text("utf-8")
        assert text.count("<svg") == text.count("</svg>") >= 2
        assert "Latency by percentile" in text
        assert log.read_text("utf-8").startswith("#")
        page.unlink()
        log.unlink()


@pytest.mark.slow
async def test_file_that_cannot_be_written_is_told(echo_server: sockwave.Server) -> None:
    process = await start(url_of(echo_server), *SHORT, "--html", "/nowhere/report.html")
    output, errors = await process.communicate()
    assert process.returncode == 1
    assert b" replies in " in output
    assert b"/nowhere/report.html" in errors


@pytest.mark.slow
async def test_pipe_gets_no_colours_and_no_bar(echo_server: sockwave.Server) -> None:
    process = await start(url_of(echo_server), *SHORT)
    output, errors = await process.communicate()
    assert b"\x1b" not in output + errors
    assert errors == b""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "URI"),
        (["ws://a", "--mode", "sleep"], "--mode"),
        (["ws://a", "--connections", "0"], "--connections"),
        (["ws://a", "--rate", "0"], "--rate"),
        (["ws://a", "--rate", "100000001"], "--rate"),
        (["ws://a", "--count", "1" + "0" * 20], "--count"),
        (["ws://a", "--depth", "1000001"], "--depth"),
        (["ws://a", "--depth", "2", "--size", "1024MiB"], "--size"),
        (["ws://a", "--timeout", "1e300"], "--timeout"),
        (["ws://a", "--duration", "0"], "--duration"),
        (["ws://a", "--rate", "1", "--depth", "2"], "--depth"),
        (["ws://a", "--rate", "1", "--mode", "idle"], "--rate"),
        (["ws://a", "--deflate", "--mode", "handshake"], "--deflate"),
        (["ws://a", "--count", "1", "--mode", "idle"], "--count"),
        (["ws://a", "--ramp", "1", "--mode", "handshake"], "--ramp"),
        (["ws://a", "-H", "Upgrade: x"], "Upgrade"),
        (["http://a"], "ws://"),
    ],
)
def test_wrong_arguments_are_named_with_status_2(arguments: list[str], named: str) -> None:
    ended = run_here("bench", *arguments, "--json=-")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert named in ended.stderr.partition("sockwave bench: ")[2]
    assert "Traceback" not in ended.stderr
