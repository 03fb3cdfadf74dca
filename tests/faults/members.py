"""Clients of rooms that speak `sockwave.1`, come back where they were, and lose no line: a ledger.

Published is what was acknowledged. Expected of a client is all that was published in its room since
it came; of all that each client must hear the same, in the same places.
"""

import asyncio
import json
import random
import time
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from faults.client import TEXT, Client
from faults.ledger import PATTERN, Ledger

SUBPROTOCOL = "Sec-WebSocket-Protocol: sockwave.1\r\n"
#: Who loses a connection comes back within so long, at random.
JITTER_S = 0.1
#: To a worker that has died a client may wait in vain.
ANSWER_S = 5.0
#: What a client may have under way; those that wait for their acknowledgement are few.
MOST_UNDER_WAY = 20


def make_text(mark: str) -> str:
    """Give the message of an id: so each of them can be told from all others."""
    sender, _, number = mark.partition(":")
    start = (int(sender) * 31 + int(number)) * 7 % 50000
    return f"{mark} {PATTERN[start : start + int(number) % 120].hex()}"


@dataclass
class Room:
    """One topic: what stands where, as its clients have heard it, and what was acknowledged."""

    name: str
    places: dict[tuple[str, int], str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    #: Sender → the newest of its numbers in a log, which are in order.
    newest: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)


class Member:
    """A client of one room, which publishes when it is told to, and goes on until it is over."""

    def __init__(self, run: "Crowd", room: Room, number: int) -> None:
        self.run = run
        self.room = room
        self.number = number
        self.sent_count = 0
        self.unacknowledged: dict[str, str] = {}
        self.published_at: dict[str, float] = {}
        #: The newest message that it has heard, or been told to have missed.
        self.epoch, self.offset = "", 0
        self.heard: set[str] = set()
        #: Where it came into each log, and the places that it was told to have missed.
        self.begun: dict[str, int] = {}
        self.client: Client | None = None
        #: Whether it has said what it wants, and whether it has that.
        self.is_talking = self.is_in = False
        self.has_come = asyncio.Event()
        self.left_at: float | None = None
        #: Log → where it left it, as it was told that the rest is missing.
        self.ended: dict[str, int] = {}
        #: The logs that it has been told of by a gap.
        self.gaps: list[str] = []
        self.pid = 0
        self.latencies: list[float] = []
        self.codes: list[int] = []

    # ---- its connections

    async def live(self) -> None:
        """Connect, and come back whenever the connection is lost, until the run is over."""
        while not self.run.is_over:
            client = self.client = Client(self.hear)
            try:
                await asyncio.wait_for(self._attend(client), None)
            except (OSError, TimeoutError):
                pass
            finally:
                self.client, self.is_talking, self.is_in = None, False, False
                if hasattr(client, "transport"):
                    client.reset()
            if not self.run.comes_back:
                return
            if self.left_at is None:
                self.left_at = time.perf_counter()
            await asyncio.sleep(random.uniform(0, self.run.jitter_s))

    async def _attend(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(ANSWER_S):
            await loop.create_connection(lambda: client, "127.0.0.1", self.run.port)
            client.open_with("/", more=SUBPROTOCOL)
            if await client.opened != 101:
                return
        self.say(send="who serves?")
        since = {"since": f"{self.epoch}-{self.offset}"} if self.epoch else {}
        self.say(subscribe=self.room.name, **since)
        self.is_talking = True
        for mark, message in self.unacknowledged.items():
            self.say(publish=self.room.name, message=message, id=mark)
        self.codes.append(await client.ended)

    def say(self, **fields: Any) -> None:
        """Say a command, while there is a connection."""
        if self.client is not None and hasattr(self.client, "transport"):
            self.client.send(json.dumps(fields).encode(), TEXT)

    def publish(self) -> None:
        """Publish the next message, unless too many wait to be acknowledged."""
        if len(self.unacknowledged) >= MOST_UNDER_WAY:
            return
        mark = f"{self.number}:{self.sent_count}"
        self.sent_count += 1
        message = self.unacknowledged[mark] = make_text(mark)
        self.published_at[mark] = time.perf_counter()
        if self.is_talking:
            self.say(publish=self.room.name, message=message, id=mark)
        # else: with all that are under way, once there is a connection

    # ---- what it hears

    def hear(self, opcode: int, payload: bytes) -> None:
        """Take a frame."""
        if opcode != TEXT:
            return
        said = json.loads(payload)
        if "message" in said:
            self._hear_message(said)
        elif "acknowledged" in said:
            self._hear_acknowledgement(said)
        elif "subscribed" in said:
            self._hear_subscribed(said)
        elif "gap" in said:
            self.run.gap_count += 1
            self._move_to(said["position"])
        elif "pid" in said:
            self.pid = said["pid"]
        elif said.get("refused") == "publish":
            self.run.refused_count += 1
            loop = asyncio.get_running_loop()
            loop.call_later(0.05, self._say_again, said["id"])
        else:
            self.run.note(f"{said}")

    def _say_again(self, mark: str) -> None:
        if mark in self.unacknowledged and self.is_talking:
            self.say(publish=self.room.name, message=self.unacknowledged[mark], id=mark)

    def _move_to(self, position: str) -> None:
        """Be told that messages up to a position are missing."""
        epoch, _, offset = position.partition("-")
        if epoch != self.epoch:
            self.ended[self.epoch] = self.offset
            self.begun[epoch] = int(offset)
        else:
            self.run.note(f"a gap within a log: {self.offset} to {position}")
        self.epoch, self.offset = epoch, int(offset)
        self.gaps.append(epoch)

    def _hear_subscribed(self, said: dict[str, Any]) -> None:
        epoch, _, offset = said["position"].partition("-")
        if not self.epoch:
            self.begun[epoch] = int(offset)
            self.epoch, self.offset = epoch, int(offset)
        elif not said["recovered"]:
            self.run.unrecovered_count += 1
            self._move_to(said["position"])
        elif (epoch, int(offset)) != (self.epoch, self.offset):
            self.run.note(f"recovered at {said['position']}, heard {self.epoch}-{self.offset}")
        self.is_in = True
        self.has_come.set()
        if self.left_at is not None:
            self.run.absences.append(time.perf_counter() - self.left_at)
            self.left_at = None

    def _hear_message(self, said: dict[str, Any]) -> None:
        ledger, room = self.run.ledger, self.room
        epoch, _, text = said["position"].partition("-")
        offset, mark = int(text), said["id"]
        if said["message"] != make_text(mark):
            ledger.corrupted += 1
            return
        if epoch != self.epoch:
            self.run.silent_count += 1
            self.run.note(f"another log in silence: {epoch} behind {self.epoch}")
            self.begun[epoch] = offset - 1
            self.epoch, self.offset = epoch, offset - 1
        if offset <= self.offset:
            ledger.duplicated += 1
            return
        if offset > self.offset + 1:
            self.run.silent_count += 1
            self.run.note(f"a hole in silence: {offset} behind {self.offset}")
        self.offset = offset
        if room.places.setdefault((epoch, offset), mark) != mark:
            ledger.reordered += 1
            self.run.note(f"{mark} where others heard {room.places[epoch, offset]}")
        if mark in self.heard:
            # After a gap a message may come again: its acknowledgement went with the log.
            self.run.repeated_count += 1
            if not self.gaps:
                ledger.duplicated += 1
        self.heard.add(mark)
        ledger.delivered += 1
        sender, number = map(int, mark.split(":"))
        before, at = room.newest.get((epoch, sender), (-1, 0))
        if offset > at:
            if number < before and not self.gaps:
                ledger.reordered += 1
                self.run.note(f"{mark} behind {sender}:{before}")
            room.newest[epoch, sender] = number, offset
        if sender == self.number and mark in self.published_at:
            self.latencies.append(time.perf_counter() - self.published_at.pop(mark))

    def _hear_acknowledgement(self, said: dict[str, Any]) -> None:
        mark = said["acknowledged"]
        if self.unacknowledged.pop(mark, None) is None:
            return  # of what was sent twice
        self.room.acknowledged[mark] = said["position"]
        self.run.ledger.published += 1

    # ---- the account

    def settle(self, due: Container[str] | None) -> None:
        """Compare what was heard with what its room has: everything behind where it began."""
        ledger = self.run.ledger
        for (epoch, offset), mark in self.room.places.items():
            if offset <= self.begun.get(epoch, 1 << 60) or (due is not None and mark not in due):
                continue
            if offset > self.ended.get(epoch, offset):
                self.run.told_count += 1
                continue
            ledger.expected += 1
            if mark not in self.heard:
                ledger.lost += 1
                self.run.note(f"{self.number} has not heard {mark} at {epoch}-{offset}")


class Crowd:
    """All clients of a run, a few of them in each room."""

    def __init__(
        self, port: int, ledger: Ledger, count: int, room_size: int, *, jitter_s: float = JITTER_S
    ) -> None:
        self.port = port
        self.ledger = ledger
        self.jitter_s = jitter_s
        self.is_over = False
        self.comes_back = True
        self.is_paused = False
        self.gap_count = self.unrecovered_count = self.silent_count = 0
        #: Messages that came once more behind a gap; those that were missed, and told to be.
        self.repeated_count = self.told_count = 0
        self.refused_count = 0
        #: How long clients were away, each time.
        self.absences: list[float] = []
        self.notes: list[str] = []
        self.rooms = [Room(f"room/{number}") for number in range(-(-count // room_size))]
        self.members = [
            Member(self, self.rooms[number // room_size], number) for number in range(count)
        ]
        self._living: list[asyncio.Task[None]] = []
        self._speaking: asyncio.Task[None] | None = None

    def note(self, sentence: str) -> None:
        """Note what nothing explains."""
        self.notes.append(sentence)

    async def come(self) -> None:
        """Have all connect, not all at once."""
        for place in range(0, len(self.members), 50):
            some = self.members[place : place + 50]
            self._living += [asyncio.ensure_future(one.live()) for one in some]
            await asyncio.gather(*(one.has_come.wait() for one in some))

    def begin(self, interval_s: float) -> None:
        """Have each client publish so often, one after the other."""
        self._speaking = asyncio.ensure_future(self._speak(interval_s))

    async def _speak(self, interval_s: float) -> None:
        loop = asyncio.get_running_loop()
        began, count = loop.time(), 0
        while True:
            # As many as are due by now: a loop that is late catches up.
            due = int((loop.time() - began) / interval_s * len(self.members))
            for number in range(max(count, due - len(self.members)), due):
                if not self.is_paused:
                    self.members[number % len(self.members)].publish()
            count = due
            await asyncio.sleep(0.005)

    async def fall_silent(self, patience_s: float = 30.0) -> bool:
        """Publish no more, and wait until all is acknowledged and heard; False: it never is."""
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.wait([self._speaking])
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if all(map(self.is_served, self.members)):
                return True
            await asyncio.sleep(0.02)
        return False

    def is_served(self, member: Member) -> bool:
        """Tell whether a client has its acknowledgements, and all that its room has."""
        if member.unacknowledged or not member.is_in:
            return False
        places = member.room.places
        return not places or (member.epoch, member.offset) == max(
            ((epoch, offset) for epoch, offset in places if epoch == member.epoch),
            default=(member.epoch, member.offset),
        )

    def is_near(self, member: Member) -> bool:
        """Tell whether a client hears nearly what is said just now."""
        newest = max((offset for _, offset in member.room.places), default=0)
        return member.is_in and newest - member.offset <= len(self.members)

    async def leave(self) -> None:
        """Have all leave."""
        self.is_over = True
        for member in self.members:
            if member.client is not None and hasattr(member.client, "transport"):
                member.client.reset()
        for one in self._living:
            one.cancel()
        await asyncio.gather(*self._living, return_exceptions=True)

    def list_acknowledged(self) -> set[str]:
        """Give the ids of what is acknowledged by now."""
        return {mark for room in self.rooms for mark in room.acknowledged}

    def settle(self, due: Container[str] | None = None) -> None:
        """Close the account: what was acknowledged has to stand somewhere, and each client has to
        have heard all of it, or those of it that are `due`."""
        for member in self.members:
            member.settle(due)
        for room in self.rooms:
            standing = set(room.places.values())
            missing = [mark for mark in room.acknowledged if mark not in standing]
            # Nobody has heard it: all of the room had been told of a gap, or it is lost.
            was_told = all(one.gaps for one in self.members if one.room is room)
            if missing and not was_told:
                self.ledger.lost += len(missing)
                self.note(f"acknowledged, and nobody has heard it: {missing[:3]}")
        self.ledger.unexplained += len(self.notes)
