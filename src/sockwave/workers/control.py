"""The control channel between the supervisor and one worker: small messages in frames.

A frame is a head of five bytes, little-endian (the size of the payload u32, the kind u8), and a
payload: a JSON object, empty where a kind needs no fields. Both ends close with their process, so
that each sees the other's end.
"""

import contextlib
import enum
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from sockwave.errors import SockwaveError

_HEAD = struct.Struct("<IB")

# A traceback and the settings of a service are some kilobytes.
MAX_PAYLOAD_SIZE = 1 << 20

# The other end reads at once, unless it is stopped; then a message is not worth waiting for.
_SEND_S = 5.0


class Kind(enum.IntEnum):
    """What a message says. Numbers below 16 go to the worker, the others to the supervisor."""

    BEGIN = 1  #: who the worker is, and what it serves
    DRAIN = 2  #: end, as `Server.close` does; `is_last`: nobody else accepts on the same sockets
    DROP = 3  #: drop what has not ended yet
    TOTAL = 4  #: the number of workers has changed
    READY = 16  #: the worker accepts connections
    RETIRING = 17  #: the worker wants to be replaced, and then to end
    CLOSING = 18  #: the application has closed the server: the whole service is to end
    FAILED = 19  #: the worker could not start, and why


_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    kind: Kind
    fields: dict[str, Any] = field(default_factory=dict)


class ControlChannel:
    """One end of a control channel; `is_ended` tells that the other end has gone."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._input = bytearray()
        self.is_ended = False

    def fileno(self) -> int:
        """Return the descriptor, which is readable when a message has come."""
        return self._socket.fileno()

    def send(self, kind: Kind, **fields: Any) -> None:
        """Send a message; do nothing if the other end has gone."""
        payload = json.dumps(fields).encode() if fields else b""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_SEND_S)
            try:
                self._socket.sendall(_HEAD.pack(len(payload), kind) + payload)
            finally:
                self._socket.setblocking(False)

    def receive(self) -> list[Message]:
        """Return the messages that have come; do not wait for any.

        Raises SockwaveError for a frame that no end of ours sends.
        """
        while not self.is_ended:
            try:
                data = self._socket.recv(1 << 16)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            self.is_ended = not data
            self._input += data
        return self._cut()

    def wait(self) -> list[Message]:
        """Wait for messages, and return them; none if the other end has gone."""
        found: list[Message] = []
        while not found and not self.is_ended:
            self._socket.setblocking(True)
            try:
                self._socket.recv(1, socket.MSG_PEEK)
            except OSError:
                pass
            finally:
                self._socket.setblocking(False)
            found = self.receive()
        return found

    def _cut(self) -> list[Message]:
        """Take the whole frames off the input."""
        found = []
        while len(self._input) >= _HEAD.size:
            size, kind = _HEAD.unpack_from(self._input)
            if size > MAX_PAYLOAD_SIZE or kind not in _KINDS:
                raise SockwaveError(f"control channel: expected a message, given {kind}, {size} B")
            end = _HEAD.size + size
            if len(self._input) < end:
                break
            payload = bytes(self._input[_HEAD.size : end])
            del self._input[:end]
            found.append(Message(_KINDS[kind], json.loads(payload) if payload else {}))
        return found

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
