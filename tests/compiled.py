"""A small module that Cython compiles: its coroutines are not of CPython's own type."""

import importlib.util
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = """\
import asyncio

async def listen(conn, heard, message):
    heard.append(message)
    await asyncio.sleep(0)
    heard.append("waited")
    await conn.send(f"compiled: {message}")

async def answer(request, response):
    await asyncio.sleep(0)
    response.write_head(200, {})
    response.end("compiled")

async def handle(conn):
    async for message in conn:
        await conn.send(f"handled: {message}")

async def authorize(handshake):
    await asyncio.sleep(0)
    handshake.connection.data["seen"] = True

async def fail(message):
    raise LookupError("deliberate")

async def generate_async(message):
    yield message

def generate(message):
    yield message
"""


def compile_listeners(place: Path) -> ModuleType:
    """Compile the module in `place` and import it."""
    pytest.importorskip("Cython")
    source = place / "compiled_listeners.pyx"
    source.write_text(SOURCE)
    translated = source.with_suffix(".c")
    translate = [sys.executable, "-m", "cython", "-3", str(source), "-o", str(translated)]
    subprocess.run(translate, check=True, capture_output=True)
    module = source.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    include = sysconfig.get_path("include")
    options = ["-shared", "-fPIC", "-O0", f"-I{include}"]
    command = [*compiler, *options, str(translated), "-o", str(module)]
    subprocess.run(command, check=True, capture_output=True)
    spec = importlib.util.spec_from_file_location(source.stem, module)
    assert spec is not None
    assert spec.loader is not None
    compiled = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compiled)
    return compiled
