"""What the tests share: both engines, and servers that end with the test that started them."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import hypothesis
import pytest
from wire import Wire, connect_both

import sockwave

StartServer = Callable[..., Awaitable[sockwave.Server]]
BothEnds = tuple[Wire, sockwave.Connection]

# An example takes what the machine lets it take: pytest's timeout is the only one.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ENGINES = ["epoll", "asyncio"]


def pytest_configure() -> None:
    """Hear the signals that a shell makes its background jobs, or nohup its command, deaf to: what
    the tests start would inherit that."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


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
            await stack.enter_async_context(server)
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
