"""Clients in loops of other kinds, in `server.run`, and in a process that forks."""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from certificates import AUTHORITY, LOCALHOST, write_pem

PATIENCE_S = 60

TALK = """
import asyncio, os, ssl, sys
import sockwave

engine, place, cert, key, authority = sys.argv[1:]

def serve(**options):
    server = sockwave.create_server(engine=engine)
    server.on("connection", lambda conn: conn.on("message", conn.send))
    return server.listen(**options)

async def echo(uri, **options):
    async with sockwave.connect(uri, engine=engine, **options) as conn:
        for message in ("hello", "x" * 300_000, b"bytes"):
            await conn.send(message)
            assert await conn.receive() == message
    assert conn.close_code == 1000

async def talk():
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(cert, key)
    theirs = ssl.create_default_context(cafile=authority)
    async with serve(port=0, host="127.0.0.1") as server:
        await echo(f"ws://localhost:{server.addresses[0][1]}")
    async with serve(port=0, host="127.0.0.1", ssl=ours) as server:
        await echo(f"wss://localhost:{server.addresses[0][1]}", ssl=theirs)
    async with serve(port=0, path=place) as server:
        await echo("ws://localhost/", path=place)
    print("done")
"""


def run(program: str, engine: str, directory: Path) -> str:
    """Run a program behind TALK, and give what it prints."""
    cert, key = write_pem(LOCALHOST, directory, "cert")
    authority = directory / "authority.pem"
    authority.write_bytes(AUTHORITY.cert_pem.bytes())
    arguments = [engine, str(directory / "socket"), cert, key, str(authority)]
    done = subprocess.run(
        [sys.executable, "-c", TALK + textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")
def test_uvloop(engine: str, tmp_path: Path) -> None:
    assert run("import uvloop\nuvloop.run(talk())", engine, tmp_path) == "done\n"


def test_debug_mode_of_asyncio(engine: str, tmp_path: Path) -> None:
    program = """
    async def main():
        # Said of a callback that a busy machine has held up, too.
        asyncio.get_running_loop().slow_callback_duration = 60
        await talk()

    asyncio.run(main(), debug=True)
    """
    assert run(program, engine, tmp_path) == "done\n"


def test_within_a_server_that_runs_its_own_loop(engine: str, tmp_path: Path) -> None:
    program = """
    server = serve(port=0, host="127.0.0.1")

    @server.on("listening")
    async def listening():
        await talk()
        await echo(f"ws://localhost:{server.addresses[0][1]}")
        server.close()

    server.run()
    """
    assert run(program, engine, tmp_path) == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_leaves_connections_to_its_parent(engine: str, tmp_path: Path) -> None:
    program = """
    async def main():
        async with serve(port=0, host="127.0.0.1") as server:
            uri = f"ws://127.0.0.1:{server.addresses[0][1]}"
            async with sockwave.connect(uri, engine=engine) as conn:
                await conn.send("before")
                assert await conn.receive() == "before"
                child = os.fork()
                if child == 0:
                    try:
                        conn.send("from the child")
                    except sockwave.SockwaveError as error:
                        os._exit(7)
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                await conn.send("behind")
                assert await conn.receive() == "behind"
        print("done")

    asyncio.run(main())
    """
    assert run(program, engine, tmp_path) == "done\n"
