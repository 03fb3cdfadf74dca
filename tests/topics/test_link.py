"""A worker's end of its link: what it does when the sequencer comes back with another log."""

import json
from typing import Any

from conftest import ErrorLog, StartServer
from wire import Wire, connect_both

import sockwave
from sockwave import History
from sockwave.core.topics.link import SequencerLink
from sockwave.core.topics.links import Link
from sockwave.core.topics.sequencer import Sequencer


class Carrier:
    """Carries what a server's link and a sequencer say to each other, when it is told to."""

    def __init__(self, server: sockwave.Server) -> None:
        self._topics = server._host.topics
        self.link = SequencerLink(self._topics.table, self._topics, lambda: None)
        self.link.is_remote = True
        self._topics.reach._link = self._topics.table.uplink = self.link
        self._end: Link | None = None

    def meet(self, sequencer: Sequencer) -> None:
        """Link the server with a sequencer, in place of the one before."""
        if self._end is not None:
            self._end.end()
            self.link.lost()
        self._end = sequencer.connect()
        greeting = json.dumps({"pid": 1, "kind": "worker"}).encode()
        self.link.greet(greeting, self._topics.declarations.encode())
        self.carry()

    def carry(self) -> None:
        """Carry all, both ways, until nothing is left."""
        assert self._end is not None
        while self.link.output.size or self._end.output_size:
            self._end.take(self.link.output.read())
            self.link.take(self._end.read())


async def receive_json(wire: Wire) -> dict[str, Any]:
    message = await wire.receive_message()
    assert isinstance(message, str)
    found = json.loads(message)
    assert isinstance(found, dict)
    return found


async def fill(start_server: StartServer, count: int) -> tuple[Sequencer, str]:
    """Give a sequencer whose log of "room" has so many messages, and the epoch of that."""
    server = await start_server()
    server.topic("room", history=History(count=5))
    sequencer = Sequencer()
    carrier = Carrier(server)
    carrier.meet(sequencer)
    _, conn = await connect_both(server)
    conn.subscribe("room")
    for number in range(1, count + 1):
        server.publish("room", f"new {number}")
    carrier.carry()
    position = (await conn.subscribe("room")).position
    assert position is not None
    return sequencer, f"{position.epoch:x}"


async def test_of_a_new_log_all_that_is_kept_comes_behind_the_gap(
    start_server: StartServer,
) -> None:
    for count, first in ((0, 1), (3, 1), (8, 4)):
        server = await start_server()
        server.topic("room", history=History(count=5))
        carrier = Carrier(server)
        carrier.meet(Sequencer())
        wire, conn = await connect_both(server)
        conn.subscribe("room")
        carrier.carry()
        server.publish("room", "old")
        carrier.carry()
        assert (await receive_json(wire))["message"] == "old"
        sequencer, epoch = await fill(start_server, count)
        carrier.meet(sequencer)
        assert await receive_json(wire) == {"gap": "room", "position": f"{epoch}-{first - 1}"}
        for number in range(first, count + 1):
            said = await receive_json(wire)
            assert (said["message"], said["position"]) == (f"new {number}", f"{epoch}-{number}")
        server.publish("room", "live")
        carrier.carry()
        assert (await receive_json(wire))["message"] == "live"
        await wire.receive_nothing()


async def test_what_is_published_meanwhile_waits_for_the_sequencer(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.topic("room", history=History())
    carrier = Carrier(server)
    wire, conn = await connect_both(server)
    subscribed = conn.subscribe("room")
    published = [server.publish("room", str(number)) for number in range(3)]
    carrier.meet(Sequencer())
    assert not (await subscribed).recovered
    assert [(await one).local_count for one in published] == [1, 1, 1]
    assert [(await receive_json(wire))["message"] for _ in range(3)] == ["0", "1", "2"]


async def test_a_stream_whose_log_is_lost_is_aborted(start_server: StartServer) -> None:
    server = await start_server()
    topic = server.topic("answer")
    carrier = Carrier(server)
    carrier.meet(Sequencer())
    wire, conn = await connect_both(server)
    conn.subscribe("answer")
    carrier.carry()
    topic.append("one")
    carrier.carry()
    assert (await receive_json(wire))["delta"] == "one"
    carrier.meet(Sequencer())
    assert (await receive_json(wire))["end"] == "aborted"


async def test_clients_that_cannot_be_told_of_a_gap_have_to_come_back(
    start_server: StartServer,
) -> None:
    server = await start_server()
    server.topic("bare", history=History(), envelope=None)
    carrier = Carrier(server)
    carrier.meet(Sequencer())
    wire, conn = await connect_both(server)
    conn.subscribe("bare")
    server.publish("bare", "one")
    carrier.carry()
    assert await wire.receive_message() == "one"
    carrier.meet(Sequencer())
    assert await wire.receive_close() == (1013, "retry=1")


async def test_an_error_of_the_application_costs_one_message_and_not_the_link(
    start_server: StartServer, error_log: ErrorLog
) -> None:
    def key(message: str) -> str:
        if message == "bad":
            raise RuntimeError("no key")
        return message

    sequencer = Sequencer()
    server, other = await start_server(), await start_server()
    server.topic("ticks", slow="conflate", key=key)
    carriers = [Carrier(server), Carrier(other)]
    for carrier in carriers:
        carrier.meet(sequencer)
    wire, conn = await connect_both(server)
    conn.subscribe("ticks")
    carriers[0].carry()
    for message in ("one", "bad", "two"):
        other.publish("ticks", message)
    carriers[1].carry()
    carriers[0].carry()
    assert [await wire.receive_message() for _ in range(2)] == ["one", "two"]
    assert [str(error) for error in error_log.take()] == ["no key"]
