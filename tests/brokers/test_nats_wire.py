"""What a server of NATS sends, read whole and in pieces."""

from typing import Any

import pytest

import sockwave
from sockwave.brokers.nats_wire import (
    MAX_LINE_SIZE,
    MAX_RECEIVED_SIZE,
    NatsReader,
    find_header,
    find_refused,
    find_status,
    pack_message,
)

HEAD = b"NATS/1.0\r\nA: 1\r\nNats-Sequence: 7\r\nNats-Sequence: 8\r\n\r\n"

STREAM = (
    b"PING\r\nMSG a.b 3 5\r\n\r\nMSG\r\nMSG a 4  0\r\n\r\n+OK\r\nMSG a 4 reply 2\r\nhi\r\n"
    + b"HMSG a 9 %d %d\r\n%bhello\r\n" % (len(HEAD), len(HEAD) + 5, HEAD)
    + b"HMSG a 9 r 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\n"
)

EXPECTED = [
    b"PING", (b"a.b", b"3", b"", b"\r\nMSG"), (b"a", b"4", b"", b""), b"+OK",
    (b"a", b"4", b"", b"hi"), (b"a", b"9", HEAD, b"hello"),
    (b"a", b"9", b"NATS/1.0 503\r\n\r\n", b""), b"PONG",
]  # fmt: skip


def read(*pieces: bytes) -> list[Any]:
    found: list[Any] = []
    reader = NatsReader(found.append, lambda *message: found.append(message))
    for piece in pieces:
        reader.take(piece)
    return found


def test_what_comes_is_read_whole_and_in_pieces() -> None:
    assert read(STREAM) == EXPECTED
    assert read(*(STREAM[place : place + 1] for place in range(len(STREAM)))) == EXPECTED
    for place in range(len(STREAM)):
        assert read(STREAM[:place], STREAM[place:]) == EXPECTED
    assert read(STREAM + STREAM[:-1]) == EXPECTED + EXPECTED[:-1]


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 3\r\n", b"MSG a 3 -1\r\n", b"MSG a 3 x\r\n", b"MSG a 3 1234567890\r\n",
        b"MSG a 3 r r 1\r\n", b"HMSG a 3 5\r\n", b"HMSG a 3 6 5\r\n", b"HMSG a 3 x 5\r\n",
        b"MSG a 3 %d\r\n" % (MAX_RECEIVED_SIZE + 1), b"x" * (MAX_LINE_SIZE + 1),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_no_server_sends_is_refused(line: bytes) -> None:
    with pytest.raises(sockwave.SockwaveError, match="NATS: expected"):
        read(line)


def test_the_longest_line_and_the_largest_message_are_taken() -> None:
    longest = b"x" * (MAX_LINE_SIZE - 2)
    assert read(longest + b"\r\n") == [longest]
    assert read(b"MSG a 3 %d\r\n" % MAX_RECEIVED_SIZE) == []


def test_headers_are_looked_up() -> None:
    assert find_header(HEAD, b"A") == b"1"
    assert find_header(HEAD, b"Nats-Sequence") == b"8"
    assert find_header(HEAD, b"Nats") == b""
    assert find_header(b"", b"A") == b""
    assert find_status(HEAD) == find_status(b"") == find_status(b"NATS/1.0 xyz\r\n\r\n") == 0
    assert find_status(b"NATS/1.0 404 Message Not Found\r\n\r\n") == 404


def test_messages_are_packed() -> None:
    assert pack_message(b"a", b"hi") == b"PUB a 2\r\nhi\r\n"
    assert pack_message(b"a", b"", b"r") == b"PUB a r 0\r\n\r\n"
    packed = pack_message(b"a", b"hi", b"r", b"A: 1\r\n")
    assert packed == b"HPUB a r 20 22\r\nNATS/1.0\r\nA: 1\r\n\r\nhi\r\n".replace(b"20 22", b"18 20")


def test_the_subject_that_is_forbidden_is_found() -> None:
    assert find_refused(b"'Permissions Violation for Publish to \"a.b\"'") == b"a.b"
    assert find_refused(b"'Permissions Violation for Subscription to \"a.>\"'") == b"a.>"
    assert find_refused(b"'Maximum Payload Violation'") == b""
