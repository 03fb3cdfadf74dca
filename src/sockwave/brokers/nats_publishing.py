"""Publishing on subjects of NATS, by one connection whose caller waits."""

import re
import socket
from collections.abc import Sequence

from sockwave.brokers.interface import Outcome
from sockwave.brokers.nats_subjects import subject_of
from sockwave.brokers.sockets import receive_now, set_deadline
from sockwave.errors import SockwaveError

_READ_SIZE = 64 << 10

# What the server says of a subject that we may not publish on.
_REFUSED_SUBJECT = re.compile(rb'Publish to "([^"]*)"', re.IGNORECASE)


class NatsPublishing:
    """One connection to one server."""

    def __init__(self, sock: socket.socket, prefix: str) -> None:
        self._socket = sock
        self._topics = prefix.encode() + b".t."
        self._input = b""

    def is_alive(self) -> bool:
        """Tell whether the server has not closed the connection; answer it if it has asked us."""
        while data := receive_now(self._socket):
            try:
                lines = self._take(data)
            except OSError:
                return False
            if any(line.startswith(b"-ERR") for line in lines):
                return False
        return data is not None

    def publish(
        self, messages: Sequence[tuple[bytes, bytes, bytes]], until: float
    ) -> list[Outcome]:
        """Publish messages, all on plain topics."""
        return self.publish_parts([(name, message) for name, message, _ in messages], until)

    def has_history(self, name: bytes, until: float) -> bool:
        """Tell that no topic has a history."""
        return False

    def publish_parts(self, messages: Sequence[tuple[bytes, bytes]], until: float) -> list[Outcome]:
        """Publish messages in one write; a PONG says that they have been taken."""
        subjects = [self._topics + subject_of(name) for name, _ in messages]
        set_deadline(self._socket, until)
        self._socket.sendall(
            b"".join(
                b"PUB %b %d\r\n%b\r\n" % (subject, len(message), message)
                for subject, (_, message) in zip(subjects, messages, strict=True)
            )
            + b"PING\r\n"
        )
        refusals: dict[bytes, SockwaveError] = {}
        while True:
            set_deadline(self._socket, until)
            data = self._socket.recv(_READ_SIZE)
            if not data:
                raise ConnectionResetError("it has closed the connection")
            lines = self._take(data)
            for line in lines:
                if not line.startswith(b"-ERR"):
                    continue
                reason = line[5:].decode("utf-8", "replace")
                found = _REFUSED_SUBJECT.search(line)
                if found is None:  # it closes the connection next
                    raise ConnectionResetError(f"it says {reason}")
                refusals[found[1]] = SockwaveError(f"the broker refuses it: {reason}")
            if b"PONG" in lines:
                return [refusals.get(subject) for subject in subjects]

    def _take(self, data: bytes) -> list[bytes]:
        """Return the lines that have come, each whole. Answers a PING."""
        *lines, self._input = (self._input + data).split(b"\r\n")
        for line in lines:
            if line == b"PING":
                self._socket.sendall(b"PONG\r\n")
        return lines

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self._socket.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
