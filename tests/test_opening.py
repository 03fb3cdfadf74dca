"""An opening handshake that is cut short: by the server's end, its listeners, or the client."""

import asyncio
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from together import together
from wire import KEY3, Wire, build_request, hixie_headers, upgrade_headers, wait_until

import sockwave


class Undecided:
    """An `authorize` that never says anything."""

    def __init__(self) -> None:
        self.asked_count = 0
        self.cancelled_count = 0

    async def __call__(self, handshake: sockwave.Handshake) -> None:
        self.asked_count += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled_count += 1


async def test_a_server_that_closes_refuses_what_is_not_decided(start_server: StartServer) -> None:
    undecided = Undecided()
    server = await start_server(authorize=undecided)
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    await wait_until(lambda: undecided.asked_count)
    closed = asyncio.ensure_future(server.close())
    answer = await receive_answer(wire)
    assert answer.status == 503
    await wire.receive_end()
    await wire.close()
    await closed
    assert undecided.cancelled_count == 1


async def test_a_server_that_closes_waits_for_no_last_bytes_of_draft_76(
    start_server: StartServer,
) -> None:
    server = await start_server()
    waiting: list[sockwave.ReadyState] = []
    server.on("readyStateChange", lambda conn, state: waiting.append(state))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(hixie_headers(76)) + KEY3[:7])
    await wait_until(lambda: sockwave.ReadyState.WAITING in waiting)
    closed = asyncio.ensure_future(server.close())
    assert (await receive_answer(wire)).status == 503
    await wire.receive_end()
    await wire.close()
    await closed


async def test_a_client_that_stays_after_its_refusal_is_dropped_with_the_server(
    start_server: StartServer,
) -> None:
    undecided = Undecided()
    server = await start_server(authorize=undecided)
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    await wait_until(lambda: undecided.asked_count)
    await server.close(drain=0)  # the client has not answered the server's FIN
    assert undecided.cancelled_count == 1


@together
@pytest.mark.parametrize("verdict", [1, 0, "yes", {}])
async def test_a_verdict_that_is_none_is_an_error_and_500(
    start_server: StartServer, error_log: ErrorLog, verdict: object
) -> None:
    authorize: Any = lambda _: verdict  # noqa: E731
    server = await start_server(authorize=authorize)
    server.on("connection", lambda: pytest.fail("it was let in"))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    assert (await receive_answer(wire)).status == 500
    (error,) = error_log.take()
    assert isinstance(error, TypeError)
    assert repr(verdict) in str(error)


async def test_a_connection_aborted_as_it_shakes_hands_is_never_open(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.on("connection", lambda: pytest.fail("it was opened"))

    @server.on("readyStateChange")
    def changed(conn: sockwave.Connection, state: sockwave.ReadyState) -> None:
        if state is sockwave.ReadyState.HANDSHAKING:
            conn.abort()

    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    await wire.receive_end()


async def test_a_connection_aborted_by_its_hook_is_never_open(start_server: StartServer) -> None:
    async def authorize(handshake: sockwave.Handshake) -> bool:
        handshake.connection.abort()
        return True

    server = await start_server(authorize=authorize)
    server.on("connection", lambda: pytest.fail("it was opened"))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    await wire.receive_end()


async def test_a_refusal_may_carry_a_date_of_its_own(start_server: StartServer) -> None:
    date = "Thu, 01 Jan 1970 00:00:00 GMT"

    def authorize(handshake: sockwave.Handshake) -> None:
        handshake.refuse(410, "gone", [("Date", date)])

    server = await start_server(authorize=authorize)
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    answer = await receive_answer(wire)  # which allows one Date
    assert answer.headers["date"] == date


async def test_a_connection_closed_by_its_hook_is_never_open(start_server: StartServer) -> None:
    async def authorize(handshake: sockwave.Handshake) -> None:
        handshake.connection.close(4000, "not today")

    server = await start_server(authorize=authorize)
    server.on("connection", lambda: pytest.fail("it was opened"))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(upgrade_headers()))
    await wire.receive_end()  # no frame can be sent before the answer


async def test_a_hook_cannot_use_the_connection_yet(start_server: StartServer) -> None:
    errors: list[sockwave.ConnectionClosed] = []

    async def authorize(handshake: sockwave.Handshake) -> None:
        conn = handshake.connection
        for use in (conn.ping, lambda: conn.send("early")):
            with pytest.raises(sockwave.ConnectionClosed, match="not been completed") as raised:
                await use()
            errors.append(raised.value)

    server = await start_server(authorize=authorize)
    wire = await Wire.connect(server.addresses[0])
    assert [error.code for error in errors] == [1006, 1006]
    await wire.receive_nothing()


async def test_a_draft_76_client_that_ends_before_its_last_bytes_is_dropped(
    start_server: StartServer,
) -> None:
    server = await start_server()
    ends: list[int] = []
    server.on("readyStateChange", lambda conn, state: ends.append(state))
    wire = await Wire.open(server.addresses[0])
    wire.write(build_request(hixie_headers(76)) + KEY3[:7])
    await wait_until(lambda: sockwave.ReadyState.WAITING in ends)
    wire.write_eof()
    await wire.receive_end()


async def test_a_handshake_can_be_listened_to_once(start_server: StartServer) -> None:
    server = await start_server()
    heard: list[str] = []

    @server.once("handshake")
    def first(handshake: sockwave.Handshake) -> None:
        heard.append(handshake.request.path)

    for target in ("/1", "/2"):
        await Wire.connect(server.addresses[0], target=target)
    assert heard == ["/1"]
