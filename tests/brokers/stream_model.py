"""A model of shared streams: the real sequencer and bridge of one host, and a broker that is away
now and then.

Some workers append to a few topics, and subscribe to them. What is on its way to the broker, its
answers, and what comes by its channels wait until a step delivers them, and are lost with the
broker. A worker, its link, the broker or the sequencer may die between any two steps. At the end
all of it arrives: then every worker has its answers, and the streams of the dead have ended, but no
others.
"""

import itertools
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sockwave.brokers.interface import Appended, Key
from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.records import (
    ACK,
    DELTA,
    HELLO,
    LAST,
    MSG,
    NAME,
    PONG,
    PUB,
    REFUSED,
    SUB,
    TEXT,
    UNSUB,
    pack_record,
    unpack_records,
)
from sockwave.core.topics.sequencer import Sequencer

#: Ways to be wrong; each must be found out.
MISTAKES = (
    "the broker never says whose a stream is",
    "the broker says that every stream is a worker's own",
    "the loss of the broker is not told",
    "a refusal is not told",
    "the end of a worker is not seen",
)

#: What may happen, and how often it does.
WEIGHTS = {
    "append": 250,
    "flush": 150,
    "execute": 150,
    "answer": 150,
    "hear": 120,
    "turn": 40,
    "die": 20,
    "lose": 20,
    "find": 40,
    "restart": 5,
    "wait": 15,
    "begin_elsewhere": 3,
    "break_link": 12,
}

TOPICS = (b"t/1", b"t/2", b"t/3")
ABOUT = json.dumps({"pid": 1, "kind": "worker"}).encode()


@dataclass
class Stored:
    """A stream as the broker has it."""

    epoch: int
    host: str
    worker: int
    kind: bytes = b""
    end: bytes = b""
    deltas: list[tuple[Key, bytes]] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)  # of a worker's newest delta


@dataclass
class Worker:
    """A worker, which sends again what has no answer when its link is new."""

    incarnation: int
    sequence: int = 0
    is_alive: bool = True
    is_broken: bool = False  # its link was: then its streams may have ended
    link: Any = None
    subscribed: set[int] = field(default_factory=set)
    unanswered: dict[int, bytes] = field(default_factory=dict)


class World:
    """All of it, and what may happen next."""

    def __init__(self, seed: int, *, breaks_links: bool = False, mistake: str = "") -> None:
        self.drawn = random.Random(seed)
        self.mistake = mistake
        self.weights = dict(WEIGHTS, break_link=WEIGHTS["break_link"] * breaks_links)
        self.trace: list[str] = []
        self.now = 1000.0
        self.streams: dict[bytes, Stored] = {}
        self.incarnations = itertools.count(1001)
        self.workers = [Worker(next(self.incarnations)) for _ in range(3)]
        self.start()

    # ---- the host

    def start(self) -> None:
        """Have a sequencer follow the one that was there, if any was."""
        self.bridge = Bridge(lambda: None)
        self.sequencer = Sequencer(clock=lambda: self.now)
        self.sequencer.attach(self.bridge)
        self.lose()
        for worker in self.alive():
            self.connect(worker)

    def alive(self) -> list[Worker]:
        return [one for one in self.workers if one.is_alive]

    def connect(self, worker: Worker) -> None:
        worker.link = self.sequencer.connect()
        worker.link.take(pack_record(HELLO, request=1, epoch=worker.incarnation, payload=ABOUT))
        for number, name in enumerate(TOPICS, 1):
            worker.link.take(pack_record(NAME, topic=number, payload=name))
        for number in worker.subscribed:
            worker.link.take(pack_record(SUB, topic=number, request=1))
        for _, record in sorted(worker.unanswered.items()):
            worker.link.take(record)

    def read_links(self) -> None:
        for worker in self.alive():
            for type, _, by, _, _, _, _, sequence, _ in unpack_records(worker.link.read())[0]:
                if type in (ACK, REFUSED) or (type == MSG and by == worker.link.id):
                    worker.unanswered.pop(sequence, None)

    # ---- the broker

    def store(self, delta: Appended, host: str) -> tuple[Any, ...]:
        """Do what a broker does with a delta; return epoch, offset and whose it is, or a word."""
        (worker, sequence), name, parcel, _, epoch, placed, joins, begins, kind, _, end = delta
        stream = self.streams.get(name)
        if stream is None:
            if not begins:
                return (b"lost",)
            stream = Stored(epoch or self.drawn.getrandbits(63) | 1, host, worker)
            self.streams[name] = stream
        elif stream.epoch != epoch and not joins:
            return (b"lost",)
        assert stream.epoch != epoch or len(stream.deltas) >= placed, "a place that none has given"
        is_own = stream.worker == worker != 0
        if worker and stream.numbers.get(worker, 0) >= sequence:
            stream.host = host if is_own else stream.host
            places = {one: place for place, (one, _) in enumerate(stream.deltas, 1)}
            # Of one that was refused before a later one was taken, there is no place.
            return stream.epoch, places.get((worker, sequence), 0), is_own
        assert parcel, "a delta that is stored without what is in it"
        if stream.end:
            return (b"ended",)
        if kind and stream.kind and kind != stream.kind:
            return (b"kind",)
        stream.host = host if is_own else stream.host
        stream.kind, stream.end = stream.kind or kind, end
        stream.deltas.append(((worker, sequence), parcel))
        if worker:
            stream.numbers[worker] = sequence
        place = stream.epoch, len(stream.deltas)
        message = b"1s %016x %d\n%b" % (*place, parcel)
        self.channel.append(partial(self.bridge.take, name, message))
        return *place, is_own

    def tell(self, key: Key, outcome: tuple[Any, ...]) -> None:
        """Have the host learn what became of a delta."""
        if len(outcome) == 1:
            if self.mistake != "a refusal is not told":
                self.bridge.streams.refused(key, *outcome)
            return
        *place, is_own = outcome
        if self.mistake == "the broker never says whose a stream is":
            is_own = False
        elif self.mistake == "the broker says that every stream is a worker's own":
            is_own = True
        self.bridge.streams.answered(key, *place, is_producer=is_own)

    def take_delta(self, delta: Appended) -> None:
        outcome = self.store(delta, self.bridge.host)
        self.answers.append(partial(self.tell, delta[0], outcome))

    def look(self, name: bytes) -> None:
        is_stream = name in self.streams
        self.answers.append(lambda: self.bridge.streams.seen([name], [is_stream]))

    def read(self, name: bytes, number: int, epoch: int, offset: int) -> None:
        logs, stream = self.bridge.logs, self.streams.get(name)
        if stream is None:
            self.answers.append(partial(logs.gone, name, number))
            return
        after = offset if epoch == stream.epoch else 0
        page = [(at, 0.0, parcel) for at, (_, parcel) in enumerate(stream.deltas, 1) if at > after]
        top = len(stream.deltas)
        self.answers.append(partial(logs.read, name, number, stream.epoch, top, 0.0, page))

    def confirm(self, name: bytes) -> None:
        self.channel.append(partial(self.bridge.confirm, name))

    def leave(self, name: bytes) -> None:
        def unconfirm() -> None:
            if name not in self.bridge.wanted():
                self.bridge.unconfirm(name)

        self.channel.append(unconfirm)

    # ---- steps

    def flush(self) -> None:
        """Do as the broker's client: send what is new."""
        if not self.is_up:
            return
        bridge, commands = self.bridge, self.commands
        for name, is_wanted in bridge.take_changes().items():
            assert isinstance(name, bytes)
            commands.append(partial(self.confirm if is_wanted else self.leave, name))
        bridge.streams.take_messages()
        commands += [partial(self.look, name) for name in bridge.streams.take_looks()]
        commands += [partial(self.read, *page) for page in bridge.logs.take_stream_reads()]
        assert not bridge.logs.take_reads()
        commands += [partial(self.take_delta, delta) for delta in bridge.streams.take_deltas()]

    def execute(self) -> None:
        """Have the broker do the next thing that it was sent."""
        if self.commands:
            self.commands.pop(0)()

    def answer(self) -> None:
        if self.answers:
            self.answers.pop(0)()

    def hear(self) -> None:
        if self.channel:
            self.channel.pop(0)()

    def append(self) -> None:
        worker = self.drawn.choice(self.alive())
        worker.sequence += 1
        flags = DELTA | TEXT
        if is_last := self.drawn.random() < 0.05:
            flags |= LAST
        elif self.drawn.random() < 0.1:
            flags ^= TEXT  # which does not follow text
        record = pack_record(
            PUB,
            flags,
            topic=self.drawn.randint(1, len(TOPICS)),
            sequence=worker.sequence,
            payload=b"" if is_last else b"d%d" % worker.sequence,
        )
        worker.unanswered[worker.sequence] = record
        worker.link.take(record)

    def turn(self) -> None:
        """Have a worker subscribe to a topic, or do so no more."""
        worker, number = self.drawn.choice(self.alive()), self.drawn.randint(1, len(TOPICS))
        is_subscribed = number in worker.subscribed
        worker.subscribed ^= {number}
        worker.link.take(
            pack_record(UNSUB, topic=number)
            if is_subscribed
            else pack_record(SUB, topic=number, request=1)
        )

    def die(self) -> None:
        """Another worker takes the place of one that has died."""
        worker = self.drawn.choice(self.alive())
        worker.is_alive = False
        if self.mistake != "the end of a worker is not seen":
            worker.link.end()
        self.workers.append(Worker(next(self.incarnations)))
        self.connect(self.workers[-1])

    def break_link(self) -> None:
        worker = self.drawn.choice(self.alive())
        worker.is_broken = True
        worker.link.end()
        self.connect(worker)

    def lose(self) -> None:
        """Lose the broker, and all that is on its way."""
        self.is_up = False
        self.commands: list[Callable[[], object]] = []
        self.answers: list[Callable[[], object]] = []
        self.channel: list[Callable[[], object]] = []
        if self.mistake != "the loss of the broker is not told":
            self.bridge.lose()

    def find(self) -> None:
        """Find the broker again, and subscribe to all that is wanted."""
        if not self.is_up:
            self.is_up = True
            self.bridge.expect()
            self.bridge.presence.connected()
            self.bridge.take_changes()
            wanted = [one for one in self.bridge.wanted() if isinstance(one, bytes)]
            self.commands += [partial(self.confirm, name) for name in wanted]

    def restart(self) -> None:
        self.start()

    def wait(self) -> None:
        end = self.now + self.drawn.choice((0.5, 3, 12))
        while (due := self.sequencer.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.sequencer.tick()
            for worker in self.alive():
                worker.link.take(pack_record(PONG))
        self.now = end

    def begin_elsewhere(self) -> None:
        """A worker of another host begins a stream; this host hears nothing of it."""
        name = self.drawn.choice(TOPICS)
        if name not in self.streams:
            stream = self.streams[name] = Stored(self.drawn.getrandbits(63) | 1, "other", 5)
            stream.deltas.append(((5, 1), b"1t -\nf"))
            stream.numbers[5] = 1

    # ---- runs

    def run(self) -> None:
        """Do what is drawn, let everything arrive, and see that all is as it should be."""
        length = self.drawn.choice((60, 200, 500))
        for name in self.drawn.choices(list(self.weights), list(self.weights.values()), k=length):
            self.trace.append(name)
            getattr(self, name)()
            self.read_links()
        self.settle()
        self.check()

    def settle(self) -> None:
        self.find()
        is_moving = True
        while is_moving:
            self.flush()
            is_moving = bool(self.commands or self.answers or self.channel)
            while self.commands or self.answers or self.channel:
                self.execute()
                self.answer()
                self.hear()
            for name in TOPICS:
                if name not in self.bridge.wanted():
                    self.bridge.unconfirm(name)
        self.read_links()

    def check(self) -> None:
        workers = {one.incarnation: one for one in self.workers}
        for stream in self.streams.values():
            worker = workers.get(stream.worker)
            if worker is None or (worker.is_alive and not worker.is_broken):
                assert stream.end != b"a", f"a stream that has ended with no worker: {stream}"
            elif not worker.is_alive and stream.host == self.bridge.host:
                assert stream.end, f"a stream whose worker is dead, and that never ends: {stream}"
        for worker in self.alive():
            assert not worker.unanswered, f"a worker that waits for ever: {worker}"


def try_seeds(first: int, last: int, mistake: str = "") -> None:
    """Run the model with each seed; name the one that fails."""
    for seed in range(first, last):
        for breaks_links in (False, True):
            world = World(seed, breaks_links=breaks_links, mistake=mistake)
            try:
                world.run()
            except Exception as error:
                told = f"seed {seed}, breaks_links={breaks_links}, {len(world.trace)} steps"
                raise AssertionError(f"{told}: {error!r}") from error


if __name__ == "__main__":
    try_seeds(int(sys.argv[1]), int(sys.argv[2]))
