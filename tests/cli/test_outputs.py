"""Standard output that is closed, full, slow, or read no more, or lacks a character."""

import asyncio
import os
import subprocess
import sys

import pytest
from commands import PATIENCE_S, serving
from conftest import StartServer
from test_load import port_of

import sockwave

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix shell")

SOCKWAVE = f"{sys.executable} -m sockwave"

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture
def engine() -> str:
    """The server is not under test."""
    return "auto"


@pytest.fixture(scope="module")
def echo() -> object:
    with serving("echo", "--port", "0") as (_, url):
        yield url


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=os.environ | variables,
    )


def load(url: str, count: int = 10) -> str:
    return f"{SOCKWAVE} bench {url} --connections 1 --warmup 0 --count {count}"


# ---- where it goes


@pytest.mark.parametrize("words", ["doctor", "doctor --json", "bench"])
def test_output_that_nobody_reads_is_141_without_a_traceback(echo: str, words: str) -> None:
    if words == "bench":
        words += f" {echo} --connections 1 --warmup 0 --count 10"
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "sockwave", *words.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (141, b"")


@pytest.mark.slow
@needs_linux
def test_output_that_is_full_is_told_in_a_line(echo: str) -> None:
    full = "No space left on device\n"
    for name, command in (
        ("doctor", f"{SOCKWAVE} doctor"),
        ("bench", load(echo)),
        ("connect", f"{SOCKWAVE} connect {echo} -c hi"),
    ):
        ended = shell(f"{command} >/dev/full")
        assert ended.returncode == 1
        assert ended.stderr.startswith(f"sockwave {name}: ")
        assert ended.stderr.endswith(full)
        assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_output_that_is_closed_takes_nothing(echo: str) -> None:
    assert shell(f"{SOCKWAVE} connect {echo} -c hi >&-").returncode == 0
    assert shell(f"{SOCKWAVE} doctor >&-").stderr == ""


# ---- what it can have


def test_half_of_a_pair_of_surrogates_is_printed_escaped(echo: str) -> None:
    ended = shell(f"{SOCKWAVE} connect {echo} --json -c '\"\\ud800\"'")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, '"\\ud800"\n', "")


def test_encoding_without_a_character_gets_it_escaped(echo: str) -> None:
    ended = shell(f"{SOCKWAVE} connect {echo} -c ☃", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "\\u2603\n", "")


@pytest.mark.slow
def test_argument_that_is_no_text_is_named_with_status_2(echo: str) -> None:
    ended = shell(f"{SOCKWAVE} connect {echo} -c $'a\\xff'")
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: expected UTF-8, got 'a\\udcff'\n")


@pytest.mark.slow
@needs_linux
def test_encoding_without_the_letter_gets_us(echo: str) -> None:
    # Of so many replies, some come within a millisecond on a loud machine, too.
    ended = shell(load(echo, 1000), PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert " us" in ended.stdout


# ---- who reads it


@pytest.mark.slow
async def test_slow_reader_keeps_its_connection(start_server: StartServer) -> None:
    """A server that pings gets its pongs while nobody reads what is printed, and loses nothing."""
    server = await start_server(ping_interval=0.05)
    has_answered = asyncio.Event()
    size = 1_000_000  # more than a pipe holds

    @server.on("connection")
    async def connected(conn: sockwave.Connection) -> None:
        conn.send("x" * size)
        for _ in range(20):
            await conn.ping()
        has_answered.set()
        conn.close(1000, "enough")

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sockwave", "connect", f"ws://127.0.0.1:{port_of(server)}/"),
        "--listen",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1,  # nothing is read ahead
    )
    await asyncio.wait_for(has_answered.wait(), PATIENCE_S)
    output, errors = await process.communicate()
    assert (process.returncode, output, errors) == (0, b"x" * size + b"\n", b"")
