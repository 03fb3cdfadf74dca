"""Networks between clients and servers under test, which can be slow, stall and lose connections.

A network has a link for each connection, and a link two lanes, one for each direction.
"""

import asyncio
import contextvars
from collections import deque
from typing import Any, Protocol, TypeAlias

from sockwave.testing.transcript import Transcript, describe_both

#: What one lane holds, as a socket's buffers do: a writer that is ahead by more has to wait.
BUFFER_SIZE = 64 * 1024

# Of so many connections it is shown what was sent.
_SHOWN_COUNT = 10

# A slow lane delivers in pieces, each of which takes so long.
_PIECE_S = 0.05


class End(Protocol):
    """One end of a link: what lanes deliver to, and what writes to them."""

    #: The context variables that it is called with.
    context: contextvars.Context

    @property
    def can_take(self) -> bool:
        """Whether it takes bytes now; it calls `Lane._go_on` when it does again."""

    def take(self, data: bytes) -> int:
        """Take bytes; returns how many were taken."""

    def take_end(self) -> None:
        """Take note that the other end writes no more."""

    def take_reset(self) -> None:
        """Take note that the other end has reset the connection."""

    def go_on_writing(self) -> None:
        """Take note that the lane is no longer full."""


class _Mark:
    """What a lane brings besides bytes."""


_END = _Mark()
_RESET = _Mark()

_Item: TypeAlias = "bytes | _Mark"


class Lane:
    """One direction of a link.

    `latency` is in seconds, and `bytes_per_second` may be None, for no limit; both may be changed
    at any time, and hold for what is written from then on.
    """

    def __init__(self, network: "Network", transcript: Transcript) -> None:
        self.latency = network.latency
        self.bytes_per_second = network.bytes_per_second
        self._transcript = transcript
        self._loop = asyncio.get_running_loop()
        self._source: End | None = None
        self._sink: End | None = None
        self._waiting: deque[tuple[float, _Item]] = deque()
        self._timer: asyncio.Handle | None = None
        self._free_at = 0.0  # when what was written before is through, at `bytes_per_second`
        self._size = 0
        self._is_stalled = False
        self._is_cut = False
        self._has_made_wait = False

    # ---- what tests do to it

    def stall(self) -> None:
        """Deliver nothing more, until `resume`: the reader at the end has stalled.

        The writer can go on for 64 KiB; then its own buffers fill.
        """
        self._is_stalled = True

    def resume(self) -> None:
        """Deliver again."""
        self._is_stalled = False
        self._go_on()

    def inject(self, data: bytes) -> None:
        """Deliver bytes as if the writer had written them, behind what it has written so far."""
        if not isinstance(data, bytes):
            raise TypeError(f"data: expected bytes, given {type(data).__name__}")
        self._push(data)

    @property
    def is_stalled(self) -> bool:
        """Whether `stall` holds it up."""
        return self._is_stalled

    # ---- what its ends call

    def _join(self, source: End | None = None, sink: End | None = None) -> None:
        """Note its ends, as they come."""
        self._source = source or self._source
        self._sink = sink or self._sink
        self._go_on()

    @property
    def _excess_size(self) -> int:
        """How many bytes wait beyond those that it holds."""
        return max(self._size - BUFFER_SIZE, 0)

    def _push(self, data: bytes) -> bool:
        """Deliver bytes in time; returns whether the writer can go on at once."""
        if data and not self._is_cut:
            self._transcript.add(data)
            self._size += len(data)
            for start in range(0, len(data), self._piece_size(len(data))):
                piece = data[start : start + self._piece_size(len(data))]
                self._put(piece, len(piece))
        self._has_made_wait = self._excess_size > 0
        return not self._has_made_wait

    def _push_end(self) -> None:
        """Deliver the end, behind all that was written."""
        if not self._is_cut:
            self._transcript.note("the end of the stream")
            self._put(_END, 0)

    def _push_reset(self, *, is_at_once: bool = False) -> None:
        """Deliver a reset in place of all that waits, as late as `latency` says, or at once."""
        if not self._is_cut:
            self._transcript.note("a reset")
            self._forget()
            latency = 0.0 if is_at_once else self.latency
            self._waiting.append((self._loop.time() + latency, _RESET))
            self._relieve()
            self._go_on()

    def _cut(self) -> None:
        """Deliver nothing any more, without telling an end."""
        self._is_cut = True
        self._forget()
        self._relieve()

    def _restore(self) -> None:
        """Deliver again what is written from now on."""
        self._is_cut = False

    def _drop(self) -> None:
        """Forget what waits, but for a reset, of which the end is still to be told."""
        resets = [entry for entry in self._waiting if entry[1] is _RESET]
        self._forget()
        self._waiting.extend(resets)
        self._relieve()
        self._go_on()

    def _forget(self) -> None:
        """Forget all that waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._size = 0
        self._free_at = 0.0

    def _go_on(self) -> None:
        """Deliver what is due: the end takes bytes, or something has come."""
        sink = self._sink
        if self._timer is not None or not self._waiting or sink is None:
            return
        due, item = self._waiting[0]
        # A kernel tells of a reset those as well who do not read; FIN waits behind the bytes.
        if item is not _RESET and (self._is_stalled or not sink.can_take):
            return
        if due <= self._loop.time():
            self._timer = self._loop.call_soon(self._deliver, context=sink.context)
        else:
            self._timer = self._loop.call_at(due, self._deliver, context=sink.context)

    def _piece_size(self, size: int) -> int:
        if self.bytes_per_second is None:
            return size
        return max(int(self.bytes_per_second * _PIECE_S), 1)

    def _put(self, item: _Item, size: int) -> None:
        now = self._loop.time()
        if self.bytes_per_second is not None:
            self._free_at = max(self._free_at, now) + size / self.bytes_per_second
        self._waiting.append((max(self._free_at, now) + self.latency, item))
        self._go_on()

    def _deliver(self) -> None:
        """Deliver the first of what waits, one piece in a turn of the loop."""
        self._timer = None
        sink = self._sink
        if not self._waiting or sink is None:
            return
        due, item = self._waiting[0]
        if item is _RESET:
            self._waiting.popleft()
            sink.take_reset()
        elif self._is_stalled:
            return
        elif sink.can_take and item is _END:
            self._waiting.popleft()
            sink.take_end()
        elif sink.can_take:
            assert isinstance(item, bytes)
            self._waiting.popleft()
            count = sink.take(item)
            if self._is_cut:
                return
            self._size = max(self._size - count, 0)
            if count < len(item):
                self._waiting.appendleft((due, item[count:]))
            self._relieve()
        self._go_on()

    def _relieve(self) -> None:
        """Tell the writer that it can go on."""
        if self._has_made_wait and not self._excess_size:
            self._has_made_wait = False
            if self._source is not None:
                self._loop.call_soon(self._source.go_on_writing, context=self._source.context)


class Link:
    """One connection of a network: `to_server` and `to_client` are its lanes."""

    def __init__(self, network: "Network") -> None:
        self._client = Transcript(is_client=True)
        self._server = Transcript(is_client=False)
        self.to_server = Lane(network, self._client)
        self.to_client = Lane(network, self._server)
        self._has_vanished = False

    def vanish(self) -> None:
        """Lose all that is under way and all that follows, and tell neither end: no FIN, no reset.

        So does a client whose battery is empty, or that has left the range of its network.
        """
        self._has_vanished = True
        self.to_server._cut()
        self.to_client._cut()

    def reset(self) -> None:
        """Reset the connection: both ends lose it at once, and what is under way with it.

        They are told past a stall, and in no time, whatever the latency and the rate.
        """
        self.to_server._push_reset(is_at_once=True)
        self.to_client._push_reset(is_at_once=True)

    @property
    def transcript(self) -> str:
        """What both sides have sent, in lines."""
        return describe_both(self._client, self._server)

    def _clear_faults(self) -> None:
        """Let both ends come to their end: the test is over."""
        for lane in (self.to_server, self.to_client):
            lane.resume()
            lane.latency, lane.bytes_per_second = 0.0, None
            if self._has_vanished:
                lane._restore()
                lane._push_reset()


class Network:
    """The network between the clients and the server of a test.

    `latency` is how many seconds bytes are on their way, in each direction, and `bytes_per_second`
    how many get through, None: as many as are written. `links` has a Link for each connection, in
    the order in which they were opened. Raises TypeError or ValueError for what is no such number.
    """

    def __init__(self, *, latency: float = 0.0, bytes_per_second: float | None = None) -> None:
        self.latency = _check("latency", latency, least=0.0)
        self.bytes_per_second = (
            None
            if bytes_per_second is None
            else _check("bytes_per_second", bytes_per_second, least=1.0)
        )
        self.links: list[Link] = []

    def _open_link(self) -> Link:
        """Add a link, for one more connection."""
        self.links.append(Link(self))
        return self.links[-1]

    def vanish(self) -> None:
        """Lose all connections that there are, without telling anybody: see `Link.vanish`."""
        for link in self.links:
            link.vanish()

    @property
    def transcript(self) -> str:
        """What both sides have sent on each connection, in lines."""
        parts = [
            f"connection {number}:\n{link.transcript}"
            for number, link in enumerate(self.links[:_SHOWN_COUNT], start=1)
        ]
        if (rest := len(self.links) - _SHOWN_COUNT) > 0:
            parts.append(f"{rest} more connections")
        return "\n".join(parts) or "no connection was opened"


def _check(name: str, value: Any, *, least: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}: expected int or float, given {type(value).__name__}")
    if not least <= value < float("inf"):
        raise ValueError(f"{name}: expected at least {least:g}, given {value}")
    return value
