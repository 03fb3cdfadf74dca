"""A model of the protocol: the real sequencer, workers as they should be, and some that are wrong.

One topic with history and presence, two workers, one client that comes, goes and comes back with
its position. What is on its way waits in both directions until an action delivers it, and is lost
with the link. Any link, worker or the sequencer may die between any two records.
"""

import contextlib
import itertools
import json
import random
import struct
from collections.abc import Iterable
from typing import Any

from topic_links import (
    ACK,
    DIFF,
    END,
    GAP,
    HEAD,
    HELLO,
    JOIN,
    LEAVE,
    MEMBERS,
    MORE,
    MSG,
    NAME,
    NAMED,
    PING,
    PONG,
    PUB,
    RECOVERED,
    REPLAY,
    SETTINGS,
    SINCE,
    SUB,
    UNSUB,
    WATCH,
    WELCOME,
    Clock,
    Record,
    pack,
    unpack,
)

from sockwave.core.topics.sequencer import Sequencer
from sockwave.errors import SockwaveError

#: Ways to be wrong; each must be found out.
MISTAKES = (
    "replay and subscribe in two steps",
    "a gap is not acted upon",
    "a gap does not bring the members anew",
    "answers of another request are taken",
    "an epoch is used again",
    "the end of a worker is not seen",
    "what is sent again has a new number",
    "a worker delivers by itself first",
)

#: What may happen, and how often it does.
WEIGHTS = {
    "publish": 6,
    "burst": 2,
    "send": 8,
    "deliver": 8,
    "subscribe": 4,
    "leave": 2,
    "join": 2,
    "part": 2,
    "kill_worker": 1,
    "cut_link": 1,
    "kill_sequencer": 1,
    "wait": 2,
}

TOPIC = 1
Position = tuple[int, int]
Action = tuple[Any, ...]


def draw_run(drawn: random.Random, length: int) -> list[Action]:
    """Draw a run of actions; what kills is rarer than what goes on."""
    run: list[Action] = []
    for name in drawn.choices(list(WEIGHTS), list(WEIGHTS.values()), k=length):
        number = drawn.randrange(2)
        arguments: dict[str, tuple[Any, ...]] = {
            "send": (number, drawn.choice((1, 2, 5, 100))),
            "deliver": (number, drawn.choice((-1, 50, 100, 200, 400))),
            "join": (number, drawn.choice("ab")),
            "part": (number, drawn.choice("ab")),
            "leave": (),
            "kill_sequencer": (),
            "wait": (),
        }
        run.append((name, *arguments.get(name, (number,))))
    return run


class Client:
    """A subscriber: it must hear everything once, in order, or be told that it has not."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.position: Position | None = None
        self.worker: Worker | None = None

    def receive(self, epoch: int, offset: int, message: bytes) -> None:
        expected = self.position and (self.position[0], self.position[1] + 1)
        assert (epoch, offset) == expected, "a hole, or a message once more"
        assert self._world.log.get((epoch, offset)) == message, "another message than others heard"
        self.position = epoch, offset

    def recover(self, epoch: int) -> None:
        """Hear that nothing is missing."""
        assert self.position is not None
        assert self.position[0] == epoch, "recovered, and what was missed is gone"

    def reset(self, position: Position) -> None:
        """Hear that something may be missing."""
        self.position = position


class Worker:
    """A worker, as its side of the protocol says it is."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.incarnation = next(world.incarnations)
        self.sequence = 0
        self.unacknowledged: dict[int, bytes] = {}
        self.joined: set[str] = set()
        self.request = 0
        self.is_live = False
        self.connect()

    def is_wrong(self, mistake: str) -> bool:
        return self.world.mistake == mistake

    # ---- its link

    def connect(self) -> None:
        self.link = self.world.sequencer.connect()
        self.id = self.link.id
        self.inbox = b""
        self.known: dict[str, Any] | None = None
        settings = [["topic", {"history_count": 4, "presence": True}]]
        self.outbox = [
            pack(HELLO, request=1, epoch=self.incarnation, payload=b'{"pid":1,"kind":"worker"}'),
            pack(SETTINGS, payload=json.dumps(settings).encode()),
            pack(NAME, topic=TOPIC, payload=b"topic"),
            pack(WATCH, topic=TOPIC, request=1),
        ]
        for key in sorted(self.joined):
            self._write_join(key)
        if self.world.client.worker is self:
            self.ask()
        again = list(self.unacknowledged.items())
        if self.is_wrong("what is sent again has a new number"):
            self.unacknowledged = {}
            for _, message in again:
                self.publish(message)
        else:
            for sequence, message in again:
                self.outbox.append(pack(PUB, topic=TOPIC, sequence=sequence, payload=message))

    def publish(self, message: bytes) -> None:
        self.sequence += 1
        self.unacknowledged[self.sequence] = message
        self.outbox.append(pack(PUB, topic=TOPIC, sequence=self.sequence, payload=message))
        if self.is_wrong("a worker delivers by itself first") and self.is_live:
            epoch, offset = self.world.client.position or (0, 0)
            self.world.client.receive(epoch, offset + 1, message)

    def ask(self) -> None:
        """Subscribe for the client, from where it was."""
        self.request += 1
        self.is_live = False
        position = self.world.client.position
        if position is None:
            self.outbox.append(pack(SUB, topic=TOPIC, request=self.request, sequence=100))
            return
        epoch, offset = position
        if self.is_wrong("an epoch is used again"):
            epoch = self.world.witness.epoch
        self.outbox.append(
            pack(
                SUB,
                SINCE,
                topic=TOPIC,
                request=self.request,
                epoch=epoch,
                offset=offset,
                sequence=100,
            )
        )
        if self.is_wrong("replay and subscribe in two steps"):
            self.outbox.append(pack(UNSUB, topic=TOPIC))
            self.outbox.append(pack(SUB, topic=TOPIC))

    def leave(self) -> None:
        self.is_live = False
        self.request += 1
        self.outbox.append(pack(UNSUB, topic=TOPIC))

    def _write_join(self, key: str) -> None:
        name = key.encode()
        payload = struct.pack("<H", len(name)) + name + b"{}"
        self.outbox.append(pack(JOIN, topic=TOPIC, payload=payload))

    def join(self, key: str) -> None:
        self.joined.add(key)
        self._write_join(key)

    def part(self, key: str) -> None:
        if key in self.joined:
            self.joined.discard(key)
            self.outbox.append(pack(LEAVE, topic=TOPIC, payload=key.encode()))

    # ---- what comes

    def take(self, size: int) -> None:
        """Take so many bytes of what waits."""
        self.inbox += self.link.read(size)
        while len(self.inbox) >= HEAD.size:
            length = HEAD.unpack_from(self.inbox)[0]
            if len(self.inbox) < length:
                break
            (record,) = unpack(self.inbox[:length])
            self.inbox = self.inbox[length:]
            self.handle(record)

    def handle(self, record: Record) -> None:
        client = self.world.client
        is_for_client = client.worker is self and (
            record.request == self.request or self.is_wrong("answers of another request are taken")
        )
        if record.type == MSG and record.flags & REPLAY:
            if is_for_client and not self.is_live:
                client.receive(record.epoch, record.offset, record.payload)
        elif record.type == MSG:
            if record.worker == self.id and record.sequence in self.unacknowledged:
                del self.unacknowledged[record.sequence]
                if self.is_wrong("a worker delivers by itself first"):
                    return
            if self.is_live:
                client.receive(record.epoch, record.offset, record.payload)
        elif record.type == END and is_for_client and record.request:
            self._handle_end(record)
        elif record.type == ACK:
            for sequence in [one for one in self.unacknowledged if one <= record.sequence]:
                del self.unacknowledged[sequence]
        elif record.type == GAP:
            if client.worker is self and not self.is_wrong("a gap is not acted upon"):
                self.ask()
            if not self.is_wrong("a gap does not bring the members anew"):
                self.outbox.append(pack(WATCH, topic=TOPIC, request=1))
        elif record.type == MEMBERS:
            self.known = json.loads(record.payload)
        elif record.type == DIFF and self.known is not None:
            difference = json.loads(record.payload)
            self.known |= difference["join"]
            for key in difference["leave"]:
                self.known.pop(key, None)
        elif record.type == PING:
            self.outbox.append(pack(PONG))
        else:
            assert record.type in (WELCOME, NAMED, END, DIFF, MEMBERS)

    def _handle_end(self, record: Record) -> None:
        client = self.world.client
        if not record.flags & RECOVERED:
            client.reset((record.epoch, record.offset))
        else:
            client.recover(record.epoch)
        if record.flags & MORE:
            self.ask()
        else:
            self.is_live = True


class Witness:
    """A link that hears everything at once, and so knows the order of all messages."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._link = world.sequencer.connect()
        self.seen: set[bytes] = set()
        settings = [["topic", {"history_count": 4, "presence": True}]]
        for record in (
            pack(HELLO, request=1, epoch=1 << 63, payload=b'{"pid":1,"kind":"worker"}'),
            pack(SETTINGS, payload=json.dumps(settings).encode()),
            pack(NAME, topic=TOPIC, payload=b"topic"),
            pack(SUB, topic=TOPIC, request=1),
        ):
            self._link.take(record)
        end = unpack(self._link.read())[-1]
        self.epoch, self.top = end.epoch, end.offset
        assert self.epoch not in world.epochs, "an epoch once more"
        world.epochs.add(self.epoch)

    def look(self) -> None:
        for record in unpack(self._link.read()):
            if record.type == MSG:
                assert (record.epoch, record.offset) == (self.epoch, self.top + 1)
                assert record.payload not in self.seen, "a message in two places"
                self.seen.add(record.payload)
                self.top += 1
                self._world.log[self.epoch, self.top] = record.payload
        self._link.take(pack(PONG))


class World:
    """All of it, and what may happen next."""

    def __init__(self, mistake: str = "") -> None:
        self.mistake = mistake
        self.incarnations = itertools.count(1)
        self.messages = itertools.count(1)
        self.clock = Clock()
        self.log: dict[Position, bytes] = {}
        self.epochs: set[int] = set()
        self.client = Client(self)
        self._begin_sequencer()
        self.workers = [Worker(self, number) for number in range(2)]

    def _begin_sequencer(self) -> None:
        self.sequencer = Sequencer(clock=self.clock, link_cap=600)
        self.witness = Witness(self)

    # ---- actions

    def publish(self, number: int) -> None:
        self.workers[number].publish(b"message %d" % next(self.messages))

    def burst(self, number: int) -> None:
        """Publish more than a link takes that is not read, and than the history keeps."""
        for _ in range(12):
            self.publish(number)
        self.send(number, 100)

    def send(self, number: int, count: int) -> None:
        """Have the sequencer take records of a worker."""
        worker = self.workers[number]
        taken = worker.outbox[:count]
        del worker.outbox[:count]
        with contextlib.suppress(SockwaveError):  # it reads too little, and is closed
            for record in taken:
                worker.link.take(record)
                self.witness.look()

    def deliver(self, number: int, size: int) -> None:
        self.workers[number].take(size)

    def subscribe(self, number: int) -> None:
        self.leave()
        self.client.worker = self.workers[number]
        self.workers[number].ask()

    def leave(self) -> None:
        if self.client.worker is not None:
            self.client.worker.leave()
            self.client.worker = None

    def join(self, number: int, key: str) -> None:
        self.workers[number].join(key)

    def part(self, number: int, key: str) -> None:
        self.workers[number].part(key)

    def kill_worker(self, number: int) -> None:
        """Another process takes the place of a worker that has died."""
        old = self.workers[number]
        if self.mistake != "the end of a worker is not seen":
            old.link.end()
        if self.client.worker is old:
            self.client.worker = None
        self.workers[number] = Worker(self, number)

    def cut_link(self, number: int) -> None:
        self.workers[number].link.end()
        self.workers[number].connect()

    def kill_sequencer(self) -> None:
        self._begin_sequencer()
        for worker in self.workers:
            worker.connect()

    def wait(self) -> None:
        self.clock.now += 0.1
        self.sequencer.tick()
        self.witness.look()

    # ---- runs

    def run(self, actions: Iterable[Action]) -> None:
        """Do what is said, let everything arrive, and see that all is as it should be."""
        for name, *arguments in actions:
            getattr(self, name)(*arguments)
            self._mend()
        self._settle()
        self._check()

    def _mend(self) -> None:
        """Have workers connect anew whose link has failed, as those do that find it closed."""
        for number, worker in enumerate(self.workers):
            if worker.link.failure is not None:
                self.cut_link(number)

    def _settle(self) -> None:
        is_moving = True
        while is_moving:
            is_moving = False
            for number, worker in enumerate(self.workers):
                is_moving |= bool(worker.outbox or worker.link.output_size)
                self.send(number, len(worker.outbox))
                self.deliver(number, -1)
            self._mend()
            if not is_moving:
                for _ in range(2):
                    self.wait()
                is_moving = any(worker.link.output_size for worker in self.workers)

    def _check(self) -> None:
        here = {key: {} for worker in self.workers for key in worker.joined}
        for worker in self.workers:
            assert not worker.unacknowledged, "a message that nobody has acknowledged"
            assert worker.known == here, "other members than there are"
        if self.client.worker is not None:
            assert self.client.worker.is_live, "a client that waits for ever"
            expected = self.witness.epoch, self.witness.top
            assert self.client.position == expected, "a client that misses the end"
