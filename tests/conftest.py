"""What the tests share: both engines, and servers that end with the test that started them."""

import contextlib
import gc
import itertools
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from prepared import CLONE, Preparation
from wire import Wire, connect_both

import sockwave

# Fixtures of servers that several folders test with.
pytest_plugins = ["valkey_server", "valkey_cluster", "log_brokers"]

StartServer = Callable[..., Awaitable[sockwave.Server]]
BothEnds = tuple[Wire, sockwave.Connection]

# An example takes what the machine lets it take: pytest's timeout is the only one.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ENGINES = ["epoll", "asyncio"]

# The files that take longest: they begin first, in this order. One that began last would be waited
# for by processes that have nothing left to do.
LONG_FILES = (
    "test_forking.py",
    "brokers/test_shared_streams.py",
    "test_chat_page.py",
    "test_autobahn.py",
    "test_client_script.py",
    "attacks/test_deflate.py",
    "test_workers.py",
    "test_threads.py",
    "test_http_early_answer.py",
    "test_tls.py",
    "test_serve.py",
    "attacks/test_http.py",
    "test_load.py",
    "test_keepalive.py",
    "attacks/test_tls.py",
    "topics/test_publisher.py",
    "faults/test_requests.py",
    "test_signals.py",
    "test_listen_timeout.py",
    "attacks/test_framing.py",
    "testing/test_pytest_plugin.py",
    "faults/test_brokers.py",
    "faults/test_asgi_requests.py",
    "topics/test_sequencer_process.py",
)

# What starts servers is set up last: they end while the brokers that they use are still there.
SERVERS = ("start_server", "both_ends", "echo_server")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sample",
        action="store_true",
        help="run each test once, with the first of its cases on one engine, and none that is slow",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make no more than one case where a sample is asked for: to make thousands takes longer than
    to run it."""
    if not metafunc.config.getoption("--sample"):
        return
    if cases := getattr(metafunc.function, "cases", None):
        del cases.all[1:]
    for mark in metafunc.definition.iter_markers("parametrize"):
        names, values, *rest = mark.args
        if names != "engine":
            object.__setattr__(mark, "args", (names, list(values)[:1], *rest))
            if isinstance(ids := mark.kwargs.get("ids"), Iterable):
                mark.kwargs["ids"] = list(ids)[:1]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files without a test that runs alone, where only such are asked for: to make
    thousands of tests takes longer than to run those few."""
    if config.option.markexpr != "alone" or collection_path.suffix != ".py":
        return None
    return True if b"mark.alone" not in collection_path.read_bytes() else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Hide the tests from the collector of garbage: they stay to the end, and to look through
    thousands of them takes longer than most tests that have garbage collected."""
    gc.disable()
    try:
        result = yield
    finally:
        gc.enable()
    gc.collect()
    gc.freeze()
    return result


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the files that take longest begin first, and leave out what is not in the sample, where
    that is asked for."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
    for item in items:
        if isinstance(item, pytest.Function):
            item.fixturenames.sort(key=SERVERS.__contains__)
    if not config.getoption("--sample"):
        return
    cases: dict[tuple[Path, str], dict[object, pytest.Item]] = {}
    for item in items:
        if any(map(item.get_closest_marker, ("slow", "alone"))):
            continue
        engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
        name = item.path, item.nodeid.partition("[")[0]
        cases.setdefault(name, {}).setdefault(engine, item)
    # The engines take turns, from test to test of a file.
    turns: dict[Path, Iterator[int]] = {}
    sample = set()
    for (path, _), by_engine in cases.items():
        turn = next(turns.setdefault(path, itertools.count())) if len(by_engine) > 1 else 0
        sample.add(list(by_engine.values())[turn % len(by_engine)])
    others = [item for item in items if item not in sample]
    items[:] = [item for item in items if item in sample]
    config.hook.pytest_deselected(items=others)


def pytest_configure() -> None:
    """Let the environment of the tests be the same everywhere.

    Hear the signals that a shell makes its background jobs, or nohup its command, deaf to: what the
    tests start would inherit that. Connect to the tests' own servers by no proxy of the machine's.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the programs of the tests start quickly, in a process that will run some."""
    if CLONE is not None:
        preparation = Preparation()
        preparation.install()
        session.config.add_cleanup(preparation.remove)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The engine under test: every test that takes it, or `start_server`, runs on both."""
    name: str = request.param
    if name == "epoll" and sys.platform != "linux":
        pytest.skip("epoll is Linux's")
    return name


class ErrorLog(logging.Handler):
    """What was logged as an error: a test fails unless it takes what it expects."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def take(self) -> list[BaseException]:
        """Give the exceptions logged since the last call, and forget them."""
        found = [record.exc_info[1] for record in self.records if record.exc_info]
        self.records.clear()
        return [error for error in found if error is not None]


@pytest.fixture
def error_log() -> Iterator[ErrorLog]:
    """The errors logged by anyone during the test; those not taken fail it."""
    log = ErrorLog()
    logging.getLogger().addHandler(log)
    try:
        yield log
    finally:
        logging.getLogger().removeHandler(log)
    if log.records:
        formatter = logging.Formatter()
        lines = "\n".join(formatter.format(record) for record in log.records)
        pytest.fail(f"unexpected errors were logged:\n{lines}")


@pytest.fixture
async def start_server(engine: str, error_log: ErrorLog) -> AsyncIterator[StartServer]:
    """`server = await start_server(**options)`: a server listening on 127.0.0.1, any port."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**options: Any) -> sockwave.Server:
            server = sockwave.create_server(engine=engine, **options)
            server.listen(0, "127.0.0.1")
            await server.start()
            # What a test leaves running is not waited for.
            stack.push_async_callback(server.close, drain=1.0)
            return server

        yield start
        await Wire.close_all()


@pytest.fixture
async def both_ends(start_server: StartServer) -> BothEnds:
    """`wire, conn = both_ends`: a client and its connection, on a server with the defaults."""
    return await connect_both(await start_server())


@pytest.fixture
async def echo_server(start_server: StartServer) -> sockwave.Server:
    """A server that sends every message back."""
    server = await start_server()
    echo(server)
    return server


def echo(server: sockwave.Server) -> None:
    """Make a server send every message back."""

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", conn.send)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Turn skips into failures where SOCKWAVE_NO_SKIPS=1 says that all can be run."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and os.environ.get("SOCKWAVE_NO_SKIPS") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, and SOCKWAVE_NO_SKIPS=1: {report.longrepr}"
    return report
