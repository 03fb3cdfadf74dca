"""A log that fails while it is told of an error: that changes nothing for anybody."""

import logging
from collections.abc import Iterator
from typing import NoReturn

import pytest
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from wire import Wire, connect_both

import sockwave


class BrokenLog(logging.Handler):
    """A log that cannot be written, and says so in an exception."""

    def emit(self, record: logging.LogRecord) -> NoReturn:
        raise OSError("no space left on device")


@pytest.fixture
def broken_log() -> Iterator[BrokenLog]:
    log = BrokenLog(logging.ERROR)
    logger = logging.getLogger("sockwave")
    logger.addHandler(log)
    yield log
    logger.removeHandler(log)


def take_failures(log: ErrorLog) -> list[str]:
    """Give what the loop was told, by way of its own log."""
    failures = [record.getMessage() for record in log.records]
    assert all(isinstance(error, OSError) for error in log.take())
    return failures


async def test_a_failing_listener_closes_its_connection_though_the_log_fails(
    start_server: StartServer, error_log: ErrorLog, broken_log: BrokenLog
) -> None:
    server = await start_server()
    other, _ = await connect_both(server)
    wire, conn = await connect_both(server)

    @conn.on("message")
    def fail(message: str) -> NoReturn:
        raise LookupError(message)

    wire.send("fail")
    await wire.expect_failure(1011)
    (failure,) = take_failures(error_log)
    assert "an error was not logged: LookupError('fail')" in failure
    server.broadcast("still here")
    assert await other.receive_message() == "still here"


async def test_a_failing_request_listener_is_answered_for_though_the_log_fails(
    start_server: StartServer, error_log: ErrorLog, broken_log: BrokenLog
) -> None:
    server = await start_server()

    @server.on("request")
    def fail(req: sockwave.Request, res: sockwave.Response) -> NoReturn:
        raise LookupError(req.path)

    wire = await Wire.open(server.addresses[0])
    wire.write(b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await receive_answer(wire)).status == 500
    (failure,) = take_failures(error_log)
    assert "an error was not logged: LookupError('/missing')" in failure


def test_a_log_that_fails_is_seen_where_no_loop_runs(
    error_log: ErrorLog, broken_log: BrokenLog
) -> None:
    server = sockwave.create_server()

    @server.on("close")
    def fail() -> NoReturn:
        raise LookupError("closed")

    with pytest.raises(OSError, match="no space left"):
        server.close()
