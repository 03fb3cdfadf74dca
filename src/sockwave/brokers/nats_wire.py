"""The protocol of NATS: what a server sends, and how messages are published.

https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import re
from collections.abc import Callable

from sockwave.errors import SockwaveError

# INFO is the longest line: a cluster lists its servers there.
MAX_LINE_SIZE = 64 << 10

# A message of another program may be larger than any of ours, as far as the server lets it.
MAX_RECEIVED_SIZE = 65 << 20

# A sequence of JetStream has 64 bits.
_MOST_DIGITS = 20

# What the server says of a subject that we may not publish on, or not hear.
_REFUSED_SUBJECT = re.compile(rb'(?:Publish|Subscription) to "([^"]*)"', re.IGNORECASE)


class NatsReader:
    """Reads what a server sends, as it comes."""

    def __init__(
        self,
        took_line: Callable[[bytes], object],
        took_message: Callable[[bytes, bytes, bytes, bytes], object],
    ) -> None:
        """Note who takes a line that is no message, and who takes a message.

        Of a message these are its subject, the number of the subscription, its headers (b"": none)
        and itself.
        """
        self._took_line, self._took_message = took_line, took_message
        self._input: list[bytes] = []
        self._input_size = 0
        #: So much has to be there before anything more can be read.
        self._wanted_size = 0

    def take(self, data: bytes) -> None:
        """Take what has come. Raises SockwaveError for what no server sends."""
        if self._input_size:
            self._input.append(data)
            self._input_size += len(data)
            if self._input_size < self._wanted_size:
                return
            data = b"".join(self._input)
        place = 0
        self._wanted_size = 0
        while (end := data.find(b"\r\n", place, place + MAX_LINE_SIZE)) >= 0:
            has_head = data.startswith(b"HMSG ", place)
            if not has_head and not data.startswith(b"MSG ", place):
                self._took_line(data[place:end])
                place = end + 2
                continue
            words = data[place:end].split(b" ")
            head_size, size = read_sizes(words, has_head=has_head)
            begin = end + 2
            if len(data) < begin + size + 2:
                self._wanted_size = begin + size + 2 - place
                break
            middle = begin + head_size
            self._took_message(words[1], words[2], data[begin:middle], data[middle : begin + size])
            place = begin + size + 2
        else:
            if len(data) - place >= MAX_LINE_SIZE:
                raise SockwaveError("NATS: expected a line to end")
        rest = data[place:]
        self._input, self._input_size = [rest], len(rest)


def read_sizes(words: list[bytes], *, has_head: bool) -> tuple[int, int]:
    """Return the size of the headers, and of these and the message, as a line announces them.

    Raises SockwaveError.
    """
    count = 5 if has_head else 4
    sizes = words[-2:] if has_head else words[-1:]
    if not count <= len(words) <= count + 1 or not all(
        one.isdigit() and len(one) <= 9 for one in sizes
    ):
        raise SockwaveError("NATS: expected the line of a message")
    head_size, size = int(sizes[0]) if has_head else 0, int(sizes[-1])
    if size > MAX_RECEIVED_SIZE:
        raise SockwaveError(f"NATS: expected up to {MAX_RECEIVED_SIZE} bytes, given {size}")
    if head_size > size:
        raise SockwaveError("NATS: expected headers that are a part of their message")
    return head_size, size


def pack_message(subject: bytes, message: bytes, reply: bytes = b"", head: bytes = b"") -> bytes:
    """Return what publishes a message; `head` is a line for each header, each with its end."""
    if reply:
        subject += b" " + reply
    if not head:
        return b"PUB %b %d\r\n%b\r\n" % (subject, len(message), message)
    head = b"NATS/1.0\r\n%b\r\n" % head
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (
        subject, len(head), len(head) + len(message), head, message,
    )  # fmt: skip


def find_status(head: bytes) -> int:
    """Return the status that headers begin with; 0: none."""
    status = head[9:12]
    return int(status) if head[8:9] == b" " and status.isdigit() else 0


def find_header(head: bytes, name: bytes) -> bytes:
    """Return the value of the last header of a name: the server's own; b"": there is none."""
    begin = head.rfind(b"\r\n%b: " % name)
    if begin < 0:
        return b""
    begin += len(name) + 4
    return head[begin : head.find(b"\r\n", begin)]


def find_sequence(head: bytes) -> int:
    """Return the sequence of a message in its stream; 0: none. Anybody may send headers."""
    digits = find_header(head, b"Nats-Sequence")
    sequence = int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else 0
    return sequence if sequence < 1 << 64 else 0


def find_refused(error: bytes) -> bytes:
    """Return the subject that an error of a server forbids us; b"": it is about something else."""
    found = _REFUSED_SUBJECT.search(error)
    return found[1] if found else b""
