"""The programs of docs/migrating.md: both of a pair answer the same."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
from commands import PATIENCE_S, end, find_port, running
from websockets.asyncio.client import connect

import sockwave
from sockwave import testing

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "migrating.md").read_text("utf-8")
NODE = shutil.which("node")

# uvicorn serves those of FastAPI, as their documentation says.
SERVED = """
import uvicorn
uvicorn.run(app, host="127.0.0.1", port=8000, log_level="warning")
"""


def programs(heading: str) -> list[tuple[str, str]]:
    """Give the programs of a part of the page, each with its language, in their order."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```(py|python|js)\n(.+?)```", part, re.DOTALL)


def has_ws() -> bool:
    """Tell whether Node is there, with the package ws: in `NODE_PATH`, say."""
    if NODE is None:
        return False
    return (
        subprocess.run([NODE, "-e", 'require("ws")'], capture_output=True, check=False).returncode
        == 0
    )


@contextmanager
def run_node(program: str) -> Iterator[str]:
    """Run a program of Node's that listens on port 8000, on a free one."""
    assert NODE
    address = f"127.0.0.1:{find_port()}"
    with subprocess.Popen(
        [NODE, "-e", program.replace("8000", address.rpartition(":")[2])],
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client:
                client.get(f"http://{address}/")
            yield address
        finally:
            end(process)  # type: ignore[arg-type]


def check_syntax(program: str) -> None:
    """Raise for what is no program of Node's, without running it."""
    check = "new Function('require', process.argv[1])"
    subprocess.run([NODE or "", "-e", check, program], check=True)


def run_program(language: str, program: str) -> AbstractContextManager[str]:
    """Run a program of the page, and give its host and port."""
    if language == "js":
        return run_node(program)
    if "FastAPI()" in program:
        program += SERVED
    return running(program, status=None if language == "py" else (0,))


async def ask_chat(address: str) -> None:
    """Ask a chat in which everybody hears every message."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{address}/health")
        assert (answer.status_code, answer.text) == (200, "OK\n")
    async with connect(f"ws://{address}/") as ada, connect(f"ws://{address}/") as bo:
        for message in ("hello", b"\0\1", "x" * 65536):
            await bo.send(message)
            assert await ada.recv() == message
            assert await bo.recv() == message
        await bo.send("x" * 65537)
        await bo.wait_closed()
        assert bo.close_code == 1009
        await ada.send("alone")
        assert await ada.recv() == "alone"


async def ask_others(address: str) -> None:
    """Ask a chat in which the others hear a message."""
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://{address}/")).text == "hello\n"
    async with connect(f"ws://{address}/chat") as ada, connect(f"ws://{address}/chat") as bo:
        await bo.send("hello")
        assert await ada.recv() == "hello"
        await ada.send(b"hi")
        assert await bo.recv() == b"hi"


async def ask_ancestor(address: str) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://{address}/")).text == "hello\n"
    async with connect(f"ws://{address}/") as ada, connect(f"ws://{address}/") as bo:
        await bo.send("hello")
        assert await ada.recv() == await bo.recv() == "hello"


async def ask_rooms(address: str) -> None:
    async def count(room: str) -> object:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://{address}/rooms/{room}/count")).json()

    url = f"ws://{address}/rooms"
    assert await count("lobby") == {"count": 0}
    async with connect(f"{url}/lobby") as ada, connect(f"{url}/cellar") as other:
        for client, text in ((ada, "one"), (other, "other")):
            await client.send(text)
            assert await client.recv() == text
        async with connect(f"{url}/lobby") as bo:
            await bo.send("two")
            assert await ada.recv() == await bo.recv() == "two"
            assert await count("lobby") == {"count": 2}
        await other.send("again")
        assert await other.recv() == "again"  # and nothing of the lobby


Ask = Callable[[str], Awaitable[None]]

SERVERS: list[tuple[str, Ask]] = [
    ("From `websockets`", ask_chat),
    ("From `ws`", ask_others),
    ("From websocket.io", ask_ancestor),
    ("From FastAPI and Starlette", ask_rooms),
]


def cases() -> Iterator[object]:
    for heading, ask in SERVERS:
        for language, program in programs(heading)[:2]:
            # Node is not everywhere, and no Node of today runs websocket.io.
            if language != "js" or ('require("ws")' in program and has_ws()):
                yield pytest.param(language, program, ask, id=f"{heading}-{language}")
            elif NODE:
                yield pytest.param("js", program, None, id=f"{heading}-{language}")


@pytest.mark.slow
@pytest.mark.parametrize(("language", "program", "ask"), list(cases()))
async def test_both_servers_of_a_pair_answer_the_same(
    language: str, program: str, ask: Ask | None
) -> None:
    if ask is None:
        check_syntax(program)
        return
    with run_program(language, program) as address:
        await ask(address)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3], ids=["websockets", "sockwave"])
async def test_both_clients_of_a_pair_come_back(number: int) -> None:
    seen = []

    async def prices(conn: sockwave.Connection) -> None:
        seen.append((conn.request.path, conn.request.headers["authorization"]))
        await conn.send(f"price {len(seen)}")
        await conn.close(1012, "retry=0")

    _, program = programs("From `websockets`")[number]
    async with testing.serve(prices, timeout=PATIENCE_S) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program.replace("ws://127.0.0.1:8000", url),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"no_proxy": "*"},
        )
        try:
            assert process.stdout
            for expected in (b"price 1\n", b"price 2\n"):
                assert await process.stdout.readline() == expected
        finally:
            process.kill()
            await process.wait()
    assert seen[:2] == [("/prices", "Bearer token")] * 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [4, 5], ids=["websockets", "sockwave"])
async def test_both_clients_for_threads_say_the_same(number: int) -> None:
    async def prices(conn: sockwave.Connection) -> None:
        assert conn.request.path == "/prices"
        token = conn.request.headers["authorization"]
        await conn.send(f"{token}: {await conn.receive()}")

    _, program = programs("From `websockets`")[number]
    async with testing.serve(prices, timeout=PATIENCE_S) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program.replace("ws://127.0.0.1:8000", url),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
    assert said == b"Bearer token: ACME\n"
    assert process.returncode == 0
