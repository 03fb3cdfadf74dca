"""Broadcasts: who gets them, and in which order."""

import pytest
from conftest import StartServer
from together import together
from wire import (
    Wire,
    connect_both,
    wait_until,
)


@together
@pytest.mark.parametrize("message", ["", "text", "größer", b"bytes", "x" * 70_000])
async def test_broadcast_reaches_everybody_and_counts_them(
    start_server: StartServer, message: str | bytes
) -> None:
    server = await start_server()
    assert server.broadcast(message) == 0
    wires = [await Wire.connect(server.addresses[0]) for _ in range(7)]
    await wait_until(lambda: len(server.connections) == 7)
    assert server.broadcast(message) == 7
    for wire in wires:
        assert await wire.receive_message() == message
    await wires[0].shake_close()
    await wait_until(lambda: len(server.connections) == 6)
    assert server.broadcast(message) == 6
    for wire in wires[1:]:
        assert await wire.receive_message() == message
    for wire in wires:
        await wire.close()


async def test_broadcast_of_a_connection_leaves_itself_out(start_server: StartServer) -> None:
    server = await start_server()
    one, first = await connect_both(server)
    two, _ = await connect_both(server)
    three, _ = await connect_both(server)
    assert first.broadcast("from the first") == 2
    assert await two.receive_message() == "from the first"
    assert await three.receive_message() == "from the first"
    await one.receive_nothing()
    for wire in (one, two, three):
        await wire.close()


async def test_broadcast_keeps_its_order_among_sends(start_server: StartServer) -> None:
    server = await start_server()
    wire, conn = await connect_both(server)
    for i in range(50):
        conn.send(f"send {i}")
        server.broadcast(f"broadcast {i}")
    for i in range(50):
        assert await wire.receive_message() == f"send {i}"
        assert await wire.receive_message() == f"broadcast {i}"
    await wire.close()


async def test_broadcast_leaves_out_those_who_are_closing(start_server: StartServer) -> None:
    server = await start_server()
    one, first = await connect_both(server)
    two, _ = await connect_both(server)
    first.close()
    assert server.broadcast("for the other") == 1
    assert await two.receive_message() == "for the other"
    assert (await one.receive_close())[0] == 1000
    await one.receive_nothing()
    await one.close()
    await two.close()


async def test_wrong_broadcast_raises_whoever_listens(start_server: StartServer) -> None:
    server = await start_server()
    for clients in (0, 1):
        for wrong in (1.5, 5, None, ["list"], object()):
            with pytest.raises(TypeError, match=type(wrong).__name__):
                server.broadcast(wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="surrogate"):
            server.broadcast("\udc80")
        if not clients:
            wire, _ = await connect_both(server)
    await wire.receive_nothing()
    await wire.close()
