"""What log records say besides their text: which connection, from where, at which path."""

import asyncio
import logging
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from wire import Wire, build_request, connect_both, upgrade_headers, wait_until

import sockwave
from sockwave.log import FIELDS, peers


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no line be omitted for those of an earlier test."""
    monkeypatch.setattr(peers, "_periods", {})


def fields(record: logging.LogRecord) -> list[object]:
    return [getattr(record, name) for name in FIELDS]


@pytest.mark.parametrize("kind", ["plain", "async", "asgi"])
async def test_line_of_a_request_that_failed_names_method_and_path(
    kind: str, start_server: StartServer, error_log: ErrorLog
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("asgi")

    server = await start_server(
        **({"asgi": application, "lifespan": "off"} if kind == "asgi" else {})
    )
    if kind == "plain":

        @server.on("request")
        def plain(request: sockwave.Request, response: sockwave.Response) -> None:
            raise KeyError("plain")

    elif kind == "async":

        @server.on("request")
        async def later(request: sockwave.Request, response: sockwave.Response) -> None:
            await asyncio.sleep(0)
            raise KeyError("async")

    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request({"Host": "a"}, target="/re%0aport?secret=1", method="DELETE"))
        assert (await wire.receive_head()).status == 500
        address = "{}:{}".format(*wire.writer.get_extra_info("sockname"))
        await wait_until(lambda: error_log.records)
    record = error_log.records[0]
    assert [error.args for error in error_log.take()] == [(kind,)]
    assert record.getMessage() == "error in DELETE /re%0aport"
    assert fields(record) == [None, address, "/re%0aport"]


async def test_line_of_a_request_that_was_not_answered_has_its_path(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    server.on("request", lambda request, response: None)
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request({"Host": "a"}, target="/report"))
        assert (await wire.receive_head()).status == 500
        await wait_until(lambda: error_log.records)
    record = error_log.records[0]
    assert record.getMessage() == "error in GET /report"
    assert fields(record)[2] == "/report"
    assert "no answer to GET /report" in str(error_log.take()[0])


async def test_line_about_a_connection_tells_which_it_is(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    server = await start_server()
    wire, conn = await connect_both(server, target="/chat/a?b=c")

    @conn.on("message")
    def fail(message: str) -> None:
        raise KeyError(message)

    wire.send("m")
    await wire.expect_failure(1011)
    address = "{}:{}".format(*conn.remote_address)
    record = error_log.records[0]
    assert fields(record) == [conn.id, address, "/chat/a"]
    error_log.take()


async def test_line_about_a_refused_handshake_has_its_path(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockwave")
    server = await start_server(origin="same-origin")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(upgrade_headers(), target="/private?token=1"))
        assert (await wire.receive_head()).status == 403
        address = "{}:{}".format(*wire.writer.get_extra_info("sockname"))
    found = [record for record in caplog.records if record.name == "sockwave.peers"]
    assert fields(found[0]) == [None, address, "/private"]


async def test_line_of_the_access_log_has_them(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sockwave")
    server = await start_server(access_log=True)
    server.on("request", lambda request, response: response.end("ok"))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request({"Host": "a"}, target="/page?a=b"))
        assert (await wire.receive_head()).status == 200
        address = "{}:{}".format(*wire.writer.get_extra_info("sockname"))
    (record,) = [record for record in caplog.records if record.name == "sockwave.access"]
    assert fields(record) == [None, address, "/page"]


def test_each_record_of_ours_has_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    formatter = logging.Formatter("%(connection_id)s %(address)s %(path)s %(message)s")
    for name in ("sockwave", "sockwave.peers", "sockwave.access"):
        logging.getLogger(name).warning("said by a part that knows nothing of a client")
    for record in caplog.records:
        assert formatter.format(record).startswith("None None None said")
    assert len(caplog.records) == 3
