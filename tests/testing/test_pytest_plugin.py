"""The plugin, in runs of pytest of its own: with pytest-asyncio, with anyio, and with neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prepared import EXECUTED

TESTS = """
import asyncio
import pytest
import sockwave
from sockwave import testing

PLUGIN

async def echo(conn):
    async for message in conn:
        await conn.send(message)

MARK
async def test_talk(sockwave_server, sockwave_client):
    url = await sockwave_server(echo)
    conn = await sockwave_client(url, subprotocol=None)
    await conn.send("hello")
    assert await conn.receive() == "hello"
    test_talk.conn = conn

MARK
async def test_first_has_ended_and_tasks_go_on(sockwave_server):
    assert test_talk.conn.close_code == 1000
    async with asyncio.timeout(5):
        await asyncio.sleep(0)

MARK
@pytest.mark.sockwave(timeout=60)
async def test_hang(sockwave_server, sockwave_client, monkeypatch):
    conn = await sockwave_client(await sockwave_server(echo))
    loop = asyncio.get_running_loop()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + 1000)  # nobody is to wait for it
    await conn.receive()  # never

MARK
async def test_after_a_hang(sockwave_server, sockwave_client):
    conn = await sockwave_client(await sockwave_server(echo))
    async with asyncio.timeout(5):
        await conn.send("hello")
        assert await conn.receive() == "hello"

@testing.virtual_clock
async def test_virtual(sockwave_server, sockwave_client):
    network = testing.Network(latency=1)
    conn = await sockwave_client(await sockwave_server(echo, network=network))
    await conn.send("hello")
    assert await conn.receive() == "hello"
    await asyncio.sleep(100)

def test_port(sockwave_port):
    assert 0 < sockwave_port < 65536
"""

SCOPE = ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function"]
PLUGINS = {
    "asyncio": ("", "@pytest.mark.asyncio", SCOPE),
    "asyncio-auto": ("", "", [*SCOPE, "-o", "asyncio_mode=auto"]),
    "anyio": (
        '@pytest.fixture\ndef anyio_backend(): return "asyncio"',
        "@pytest.mark.anyio",
        ["-p", "anyio.pytest_plugin"],
    ),
}


def run_pytest(folder: Path, source: str, *options: str, finds_plugins: bool = False) -> str:
    """Run pytest in a process of its own; give what it says. To find all plugins takes a second."""
    (folder / "test_application.py").write_text(source, "utf-8")
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "no:cacheprovider"]
    environment = os.environ | EXECUTED  # what brings sockwave into a test run is asked for, too
    if not finds_plugins:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command += ["-p", "pytest_sockwave"]
    found = subprocess.run(
        [*command, "-W", "error", *options, "test_application.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return found.stdout + found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_fixtures_serve_and_end_with_the_test(name: str, tmp_path: Path) -> None:
    plugin, mark, options = PLUGINS[name]
    source = TESTS.replace("PLUGIN", plugin).replace("MARK", mark)
    said = run_pytest(tmp_path, source, *options)
    assert "5 passed" in said, said
    assert "1 failed" in said, said
    assert "not gone on within 60 s" in said, said
    assert "in test_hang: await conn.receive()  # never" in said, said
    assert "the client has sent:" in said, said


ENDED = """
import pytest
from sockwave import testing

async def echo(conn): ...

@pytest.mark.asyncio
async def test_fails(sockwave_server):
    await sockwave_server(echo)
    assert 1 == 2

@pytest.mark.asyncio
async def test_skips(sockwave_server):
    await sockwave_server(echo)
    pytest.skip("not here")

@testing.virtual_clock
async def test_raises(sockwave_server):
    await sockwave_server(echo)
    raise ValueError
"""


@pytest.mark.slow
def test_test_that_fails_or_skips_ends_what_it_has_opened(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, ENDED, *SCOPE)
    assert "2 failed, 1 skipped in" in said, said


@pytest.mark.slow
def test_plain_test_that_opens_something_is_told_so(tmp_path: Path) -> None:
    source = """
import asyncio
async def echo(conn): ...
def test_plain(sockwave_server):
    async def main():
        await sockwave_server(echo)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
"""
    said = run_pytest(tmp_path, source)
    assert "expected an async test, or one under sockwave.testing.virtual_clock" in said, said


WAYS = """
import asyncio
import pytest
import pytest_asyncio
import sockwave
from hypothesis import HealthCheck, given, settings, strategies
from sockwave import testing

urls = []

async def echo(conn):
    async for message in conn:
        await conn.send(message)

async def talk(url):
    urls.append(url)
    async with sockwave.connect(url, proxy=False) as conn:
        await conn.send("hello")
        assert await conn.receive() == "hello"

@pytest.fixture
def serving(sockwave_server):
    async def serve():
        return await sockwave_server(echo)
    return serve

@pytest_asyncio.fixture
async def url(sockwave_server):
    return await sockwave_server(echo)

@pytest_asyncio.fixture
async def broken(sockwave_server):
    urls.append(await sockwave_server(echo))
    raise ValueError("broken")

@pytest.mark.asyncio
async def test_asked_for(request):
    await talk(await request.getfixturevalue("sockwave_server")(echo))

@testing.virtual_clock
async def test_asked_for_under_the_clock(request):
    await talk(await request.getfixturevalue("sockwave_server")(echo))

@testing.virtual_clock
async def test_wrapped(serving):
    await talk(await serving())

@pytest.mark.asyncio
async def test_served_by_a_fixture(url):
    await talk(url)

class TestMethods:
    @testing.virtual_clock
    async def test_method(self, sockwave_server):
        await talk(await sockwave_server(echo))

@pytest.mark.asyncio
@settings(max_examples=3, suppress_health_check=list(HealthCheck), database=None, deadline=None)
@given(number=strategies.integers())
async def test_given(number, sockwave_server):
    await talk(await sockwave_server(echo))

@pytest.mark.asyncio
async def test_broken(broken):
    pass

@pytest.mark.asyncio
async def test_all_have_ended():
    assert len(urls) >= 7
    for url in urls:
        with pytest.raises(OSError):
            await sockwave.connect(url, proxy=False)
"""


@pytest.mark.slow
def test_kit_is_found_however_a_test_comes_by_it(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, WAYS, *SCOPE)
    assert "7 passed, 1 error in" in said, said
    assert "ValueError: broken" in said, said


MARKED = """
import asyncio
import pytest
from sockwave import testing

@pytest.mark.sockwave(timeout=5)
@testing.virtual_clock
async def test_short():
    await asyncio.sleep(100)

@pytest.mark.sockwave(timeout=5000)
@testing.virtual_clock
async def test_long():
    await asyncio.sleep(4000)

@pytest.mark.sockwave(0.01)
@pytest.mark.asyncio
async def test_real():
    await asyncio.Event().wait()
"""


@pytest.mark.slow
def test_mark_is_for_every_async_test(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, MARKED, *SCOPE)
    assert "2 failed, 1 passed in" in said, said
    assert "not gone on within 5 s" in said, said
    assert "not gone on within 0.01 s" in said, said


@pytest.mark.slow
@pytest.mark.parametrize("given", ["timout=1", "", "1, 2", "timeout='1'", "timeout=0"])
def test_mark_that_says_something_else_is_refused(given: str, tmp_path: Path) -> None:
    source = f"import pytest\n@pytest.mark.sockwave({given})\ndef test_nothing(): pass"
    said = run_pytest(tmp_path, source)
    expected = f"expected sockwave(timeout=SECONDS), given sockwave({given})"
    assert "check_timeout" not in said
    assert f"test_application.py::test_nothing: the mark sockwave: {expected}" in said, said


# The common form: a fixture that serves across its yield. The first test takes most of the time
# that a block may take, and is ended by the second, which hangs.
ACROSS = """
import asyncio
import pytest
import sockwave
from sockwave import testing

PLUGIN

async def echo(conn):
    async for message in conn:
        await conn.send(message)

FIXTURE
async def url():
    async with testing.serve(echo, timeout=0.3) as url:
        yield url

MARK
async def test_first(url):
    async with sockwave.connect(url, proxy=False) as conn:
        await asyncio.sleep(0.2)

MARK
async def test_second(url):
    async with sockwave.connect(url, proxy=False) as conn:
        await asyncio.sleep(0.2)

MARK
async def test_hang(url):
    async with sockwave.connect(url, proxy=False) as conn:
        await conn.receive()  # never

MARK
async def test_last(url):
    async with sockwave.connect(url, proxy=False) as conn:
        await conn.send("hello")
        assert await conn.receive() == "hello"

MARK
async def test_of_something_else():
    await asyncio.sleep(0.35)
"""
ANYIO = """
@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["asyncio", "anyio"])
def test_block_across_a_fixtures_yield_watches_the_test_that_runs(
    name: str, tmp_path: Path
) -> None:
    plugin, fixture, mark, options = {
        "asyncio": (
            "import pytest_asyncio",
            "@pytest_asyncio.fixture",
            "@pytest.mark.asyncio",
            SCOPE,
        ),
        "anyio": (
            ANYIO,
            '@pytest.fixture(scope="module")',
            "@pytest.mark.anyio",
            ["-p", "anyio.pytest_plugin"],
        ),
    }[name]
    source = ACROSS.replace("PLUGIN", plugin).replace("MARK", mark).replace("FIXTURE", fixture)
    said = run_pytest(tmp_path, source, *options)
    assert "1 failed, 4 passed in" in said, said
    assert "in test_hang: await conn.receive()  # never" in said, said
    assert "the client has sent:" in said, said


@pytest.mark.slow
def test_plugin_is_found_and_imports_nothing_of_sockwave_by_itself(tmp_path: Path) -> None:
    source = """
import sys
def test_nothing():
    assert "pytest_sockwave" in sys.modules
    assert "sockwave" not in sys.modules
    import sockwave
    assert "rewrite" not in type(sockwave.__loader__).__name__.lower()
"""
    said = run_pytest(tmp_path, source, "-p", "no:asyncio", finds_plugins=True)
    assert "1 passed" in said, said
