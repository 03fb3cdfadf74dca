"""`sockwave connect` without a terminal: arguments, pipes, and how it ends."""

import asyncio
import re
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from certificates import AUTHORITY, server_context
from commands import run_here
from conftest import StartServer, echo
from test_load import port_of

import sockwave
from sockwave.cli.connect.rendering import render


class Ended(NamedTuple):
    status: int | None
    output: str
    errors: str


@pytest.fixture
def engine() -> str:
    """The server is not under test."""
    return "auto"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sockwave",
        "connect",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def connect(*arguments: str, lines: str = "") -> Ended:
    """Run the command to its end."""
    process = await start(*arguments)
    output, errors = await process.communicate(lines.encode())
    return Ended(process.returncode, output.decode(), errors.decode())


def url_of(server: sockwave.Server) -> str:
    return f"ws://127.0.0.1:{port_of(server)}/"


# ---- messages


async def test_one_message_gets_one_answer(echo_server: sockwave.Server) -> None:
    assert await connect(url_of(echo_server), "-c", "hällo") == (0, "hällo\n", "")


async def test_each_of_several_messages_gets_an_answer(echo_server: sockwave.Server) -> None:
    ended = await connect(url_of(echo_server), "-c", "one", "-c", "two")
    assert ended == (0, "one\ntwo\n", "")


async def test_uri_without_a_scheme_is_ws(echo_server: sockwave.Server) -> None:
    assert (await connect(f"127.0.0.1:{port_of(echo_server)}", "-c", "x")).output == "x\n"


@pytest.mark.slow
async def test_lines_are_messages_and_answers_come_before_the_end(
    echo_server: sockwave.Server,
) -> None:
    lines = "".join(f"{number}\n" for number in range(5000)) + "\r\nlast"
    ended = await connect(url_of(echo_server), lines=lines)
    assert ended == (0, lines.replace("\r", "") + "\n", "")


async def test_file_can_be_the_input(echo_server: sockwave.Server, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("a\nb\n")
    with path.open("rb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sockwave", "connect", url_of(echo_server)),
            stdin=file,
            stdout=asyncio.subprocess.PIPE,
        )
        assert (await process.communicate())[0] == b"a\nb\n"


async def test_input_can_be_closed(echo_server: sockwave.Server) -> None:
    command = f"{sys.executable} -m sockwave connect {url_of(echo_server)} -v <&-"
    process = await asyncio.create_subprocess_shell(command, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0
    assert b"closed with 1000" in errors


async def test_output_can_end_before_the_input(echo_server: sockwave.Server) -> None:
    process = await start(url_of(echo_server))
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"first\n")
    assert await process.stdout.readline() == b"first\n"
    process.stdout._transport.close()  # type: ignore[attr-defined]  # as `head` does
    process.stdin.write(b"second\n")
    assert await process.wait() == 0
    assert process.stderr
    assert await process.stderr.read() == b""


async def test_listening_prints_what_comes_until_the_server_closes(
    start_server: StartServer,
) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.send("a")
        conn.send(b"\x00\xff")
        conn.close(1001, "restart")

    assert await connect(url_of(server), "--listen") == (0, "a\n00ff\n", "")


async def test_count_ends_it(start_server: StartServer) -> None:
    server = await start_server()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        for number in range(9):
            conn.send(str(number))

    assert await connect(url_of(server), "--listen", "-n", "2") == (0, "0\n1\n", "")


async def test_message_can_be_sent_without_waiting_for_an_answer(
    start_server: StartServer,
) -> None:
    server = await start_server()
    received: list[str] = []

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", received.append)
        conn.on("message", conn.send)

    assert await connect(url_of(server), "-c", "x", "-n", "0") == (0, "", "")
    assert received == ["x"]


async def test_bytes_are_given_and_printed_as_hexadecimal(echo_server: sockwave.Server) -> None:
    ended = await connect(url_of(echo_server), "--binary", lines="00 ff\n\n4a\n")
    assert ended == (0, "00ff\n\n4a\n", "")


async def test_json_is_printed_with_indentation_and_all_else_as_it_is(
    echo_server: sockwave.Server,
) -> None:
    ended = await connect(url_of(echo_server), "--json", lines='{"a":"ü"}\nno json\n')
    assert ended.output == '{\n  "a": "ü"\n}\nno json\n'


async def test_timestamps_are_the_time_of_day(echo_server: sockwave.Server) -> None:
    ended = await connect(url_of(echo_server), "-t", "-c", "x")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} x\n", ended.output)


def test_terminal_gets_a_dump_and_no_commands() -> None:
    assert render(b"", is_json=False, is_terminal=True) == "(empty)"
    assert render("\x9b2J\n\tü", is_json=False, is_terminal=True) == "\\x9b2J\n\tü"
    assert render(bytes(range(0x3E, 0x50)), is_json=False, is_terminal=True).splitlines() == [
        "00000000  3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d  >?@ABCDEFGHIJKLM",
        "00000010  4e 4f                                            NO",
    ]


# ---- the request


async def test_server_gets_headers_origin_and_subprotocols(start_server: StartServer) -> None:
    server = await start_server(subprotocol=["b"], origin=["https://a.example"])

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.send(f"{conn.request.headers['x-one']} {conn.request.headers['origin']}")

    ended = await connect(
        *(url_of(server), "-H", "X-One: 1: 2", "--origin", "https://a.example", "-n", "1"),
        *("--subprotocol", "a", "--subprotocol", "b", "--verbose", "--compression"),
    )
    assert (ended.status, ended.output) == (0, "1: 2 https://a.example\n")
    assert f"connected to {url_of(server)}, subprotocol b\n" in ended.errors
    assert "Sec-WebSocket-Accept: " in ended.errors


@pytest.mark.parametrize(("trust", "status"), [(["--insecure"], 0), (["--ca", "ours"], 0), ([], 1)])
async def test_certificate_is_trusted_where_it_is_said(
    start_server: StartServer, tmp_path: Path, trust: list[str], status: int
) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_bytes(AUTHORITY.cert_pem.bytes())
    server = await start_server()
    echo(server)
    server.listen(0, "127.0.0.1", ssl=server_context())
    words = [str(authority) if word == "ours" else word for word in trust]
    uri = f"wss://localhost:{port_of(server)}/"
    ended = await connect(uri, "-c", "sealed", *words)
    assert (ended.status, ended.output) == (status, "" if status else "sealed\n")
    assert ("certificate" in ended.errors.lower()) == bool(status)


async def test_unix_socket_is_connected_to(start_server: StartServer, tmp_path: Path) -> None:
    server = await start_server()
    echo(server)
    path = str(tmp_path / "echo")
    server.listen(path=path)
    assert (await connect("ws://host/", "--unix", path, "-c", "x")).output == "x\n"


# ---- the end


async def test_refusal_is_told_with_its_body_and_status_1(start_server: StartServer) -> None:
    def authorize(handshake: sockwave.Handshake) -> None:
        handshake.refuse(403, "not today\nnor tomorrow")

    server = await start_server(authorize=authorize)
    ended = await connect(url_of(server), "-c", "x")
    assert (ended.status, ended.output) == (1, "")
    assert ended.errors == (
        "sockwave connect: the server refuses the handshake with 403 Forbidden\n"
        "not today\nnor tomorrow\n"
    )


async def test_nobody_who_answers_is_told_with_status_1() -> None:
    ended = await connect("ws://127.0.0.1:1/", "-c", "x")
    assert (ended.status, ended.output) == (1, "")
    assert "cannot connect to 127.0.0.1:1" in ended.errors
    assert ended.errors.count("\n") == 1


@pytest.mark.parametrize(("code", "status"), [(1000, 0), (1001, 0), (1011, 3), (4000, 3)])
async def test_status_says_how_the_server_has_closed(
    start_server: StartServer, code: int, status: int
) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.close(code, "so be it"))
    ended = await connect(url_of(server), "--listen")
    assert (ended.status, ended.output) == (status, "")
    assert (f"closed with {code}" in ended.errors) == bool(status)
    assert ended.errors.count("\n") == bool(status)


async def test_lost_connection_has_status_3(start_server: StartServer) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", lambda message: conn.abort()))
    ended = await connect(url_of(server), "-c", "x")
    assert (ended.status, ended.output) == (3, "")
    assert "closed with 1006" in ended.errors


@pytest.mark.slow
async def test_answer_that_does_not_come_has_status_4(start_server: StartServer) -> None:
    server = await start_server()
    server.on("connection", lambda conn: conn.on("message", lambda message: None))
    ended = await connect(url_of(server), "-c", "x", "--timeout", "3")
    assert ended == (4, "", "sockwave connect: no answer within 3 s\n")


async def test_ctrl_c_closes_normally(start_server: StartServer) -> None:
    server = await start_server()
    closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.send("ready")
        conn.on("close", closed.set_result)

    process = await start(url_of(server), "--listen")
    assert process.stdout
    assert await process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0
    assert await closed == 1001


async def test_lost_connection_is_followed_by_another_and_no_line_is_lost(
    start_server: StartServer,
) -> None:
    server = await start_server()
    count = 0

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        nonlocal count
        count += 1
        conn.on("message", conn.send)
        conn.send(f"connection {count}")
        if count == 1:
            conn.close(1012, "restarting")

    process = await start(url_of(server), "--reconnect")
    assert process.stdout
    assert await process.stdout.readline() == b"connection 1\n"
    assert await process.stdout.readline() == b"connection 2\n"
    output, errors = await process.communicate(b"kept\n")
    assert (process.returncode, output) == (0, b"kept\n")
    assert b"closed with 1012" in errors


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "URI"),
        (["ftp://a"], "ftp"),
        (["ws://a", "-H", "none"], "--header"),
        (["ws://a", "-H", "Upgrade: x"], "Upgrade"),
        (["ws://a", "--subprotocol", "a b"], "subprotocol"),
        (["ws://a", "--timeout", "0"], "--timeout"),
        (["ws://a", "--timeout", "1e300"], "--timeout"),
        (["ws://a", "--ping", "-1"], "--ping"),
        (["ws://a", "--max-size", "big"], "--max-size"),
        (["ws://a", "-n", "-1"], "--count"),
        (["ws://a", "--binary", "-c", "0g"], "0g"),
        (["ws://a", "-c", "x", "--reconnect"], "--reconnect"),
    ],
)
def test_wrong_arguments_are_named_with_status_2(arguments: list[str], named: str) -> None:
    ended = run_here("connect", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert named in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "lines", "named"),
    [([], "ok\n\udcff\n", "line 2: expected UTF-8"), (["--binary"], "0\n", "line 1: expected hex")],
)
async def test_line_that_is_no_message_is_named_with_status_2(
    echo_server: sockwave.Server, arguments: list[str], lines: str, named: str
) -> None:
    process = await start(url_of(echo_server), *arguments)
    _, errors = await process.communicate(lines.encode("utf-8", "surrogateescape"))
    assert process.returncode == 2
    assert named in errors.decode()


async def test_authorities_that_are_not_there_are_told_with_status_1(tmp_path: Path) -> None:
    ended = await connect("wss://a", "-c", "x", "--ca", str(tmp_path / "none.pem"))
    assert ended.status == 1
    assert "none.pem" in ended.errors
