"""Examples under the virtual clock: their servers, imported, with our client."""

import asyncio
import hashlib
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pytest

import sockwave
from sockwave import testing

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> Any:
    """Import an example anew: a server runs once."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@testing.virtual_clock
async def test_cursors_of_the_others_are_seen_and_go() -> None:
    async with (
        testing.serve(load("cursors").server) as url,
        sockwave.connect(f"{url}/board/lobby") as ada,
        sockwave.connect(f"{url}/board/other") as other,
    ):
        async with sockwave.connect(f"{url}/board/lobby") as bo:
            bo.send_json({"x": 0.25, "y": 0.5})
            seen = await ada.receive_json()
            assert (seen["x"], seen["y"]) == (0.25, 0.5)
        assert await ada.receive_json() == {"who": seen["who"], "gone": True}
        other.send_json({"x": 1})  # no place
        await other.wait_closed()
        assert other.close_code == 1007


@testing.virtual_clock
async def test_slow_viewer_of_cursors_gets_the_newest_place_of_each() -> None:
    network = testing.Network()
    async with (
        testing.serve(load("cursors").server, network=network) as url,
        sockwave.connect(f"{url}/board/lobby") as ada,
        sockwave.connect(f"{url}/board/lobby") as bo,
    ):
        network.links[0].to_client.stall()
        for number in range(4000):
            if number % 100 == 0:
                await asyncio.sleep(0.5)  # its message_rate
            await bo.send(json.dumps({"x": number, "y": 0}))
        await bo.ping()
        network.links[0].to_client.resume()
        places = []
        while not places or places[-1] != 3999:
            places.append((await ada.receive_json())["x"])
        assert places == sorted(places)
        assert len(places) < 4000


@testing.virtual_clock
async def test_json_rpc_is_called_and_calls_back() -> None:
    example = load("json_rpc")
    asked = []

    async def confirm(amount: float) -> bool:
        asked.append(amount)
        return amount < 100

    async with testing.serve(example.server) as url, sockwave.connect(f"{url}/rpc") as conn:
        peer = example.Peer(conn, confirm=confirm)
        running = asyncio.create_task(peer.run())
        answers = await asyncio.gather(
            *(peer.call("transfer", amount) for amount in (20, 70, 200)), return_exceptions=True
        )
        assert answers[:2] == ["transferred 20", "transferred 70"]
        assert str(answers[2]) == "(-32000, 'PermissionError: not confirmed')"
        assert asked == [70, 200]
        with pytest.raises(example.RemoteError, match="-32601"):
            await peer.call("steal")
        peer.notify("transfer", 1)  # is answered by nothing
        assert await peer.call("transfer", 2) == "transferred 2"
        waiting = asyncio.create_task(peer.call("transfer", 3))
        await asyncio.sleep(0)
        await conn.close()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await running


@testing.virtual_clock
async def test_answer_that_nobody_hears_any_more_is_given_up() -> None:
    example = load("tokens")
    async with testing.serve(example.server) as url:
        name = "answer/one"
        task = asyncio.create_task(example.answer(name, "word " * 10_000))
        example.answering[name] = task
        async with sockwave.connect(f"{url}/{name}?since=0-0") as conn:
            assert "You" in json.loads(await conn.receive())["delta"]
            assert not task.done()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not example.answering


@testing.virtual_clock
async def test_ticker_gives_a_slow_client_the_newest_of_each() -> None:
    network = testing.Network()
    example = load("ticker")
    async with (
        testing.serve(example.server, network=network) as url,
        sockwave.connect(f"{url}/prices/ACME,INIT") as conn,
    ):
        network.links[0].to_client.stall()
        await asyncio.sleep(20)  # for less than the times of keepalive
        network.links[0].to_client.resume()
        newest = {f"{name} {price:.2f}" for name, price in example.prices.items()}
        while newest:
            newest.discard(await conn.receive())


@testing.virtual_clock
async def test_file_is_sent_in_pieces_and_a_part_of_one_is_not_kept() -> None:
    example, network = load("send_file"), testing.Network(latency=0.1, bytes_per_second=2_000_000)
    content = bytes(range(256)) * 20_000
    digest = hashlib.sha256(content).hexdigest()
    async with testing.serve(example.server, network=network) as url:
        told = await example.send(f"{url}/files", "film", io.BytesIO(content))
        assert told == {"name": "film", "size": len(content), "sha256": digest}
        assert (example.FOLDER / digest).read_bytes() == content
        async with sockwave.connect(f"{url}/files") as conn:
            conn.send_json({"name": "part"})
            await asyncio.sleep(1)
            part = testing.frame(2, content[:100_000], fin=False)
            network.links[-1].to_server.inject(part)
            await asyncio.sleep(1)
            assert len(list(example.FOLDER.iterdir())) == 2
            network.links[-1].reset()
            await conn.wait_closed()
        await asyncio.sleep(1)
        assert [one.name for one in example.FOLDER.iterdir()] == [digest]
