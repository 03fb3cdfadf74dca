"""What a server of Valkey sends, cut anywhere, is read as the client `valkey` reads it."""

import random
from typing import Any

import pytest
from together import together

from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.resp import RespError, RespReader, pack_command
from sockwave.errors import SockwaveError


def encode(value: Any) -> bytes:
    """Write a reply as a server does."""
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, str):
        return b"+%b\r\n" % value.encode()
    if isinstance(value, Exception):
        return b"-%b\r\n" % str(value).encode()
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"$-1\r\n"
    return b"*%d\r\n%b" % (len(value), b"".join(map(encode, value)))


def make_reply(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(6 if depth < 3 else 5)
    if kind == 0:
        return chance.randbytes(chance.choice([0, 1, 2, 100, 5000]))
    if kind == 1:
        return "".join(chance.choices("abc :$*-", k=chance.randrange(5)))
    if kind == 2:
        return chance.choice([0, 1, -1, 10**17, -(10**16)])
    if kind == 3:
        return None
    if kind == 4:
        return RespError(f"ERR {chance.random()}")
    return [make_reply(chance, depth + 1) for _ in range(chance.randrange(4))]


def plain(value: Any) -> Any:
    """Return a reply so that it can be compared: errors as their texts, status as bytes."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, Exception):
        return ("error", str(value).removeprefix("ERR "))
    return value.encode() if isinstance(value, str) else value


class Fed:
    """A socket for the library's parser, that has all bytes at once."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def recv(self, size: int) -> bytes:
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def settimeout(self, seconds: float | None) -> None:
        pass


def read_by_library(data: bytes, count: int) -> list[Any]:
    """Read replies by the parser of the package `valkey`."""
    from valkey._parsers.encoders import Encoder
    from valkey._parsers.resp2 import _RESP2Parser

    class Connection:
        _sock = Fed(data)
        encoder = Encoder("utf-8", "strict", decode_responses=False)
        socket_timeout = None

    parser = _RESP2Parser(65536)
    parser.on_connect(Connection())
    found = []
    for _ in range(count):
        try:
            found.append(parser.read_response(disable_decoding=True))
        except Exception as error:  # the library raises an error that is a reply of its own
            found.append(error)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_replies_are_read_as_the_library_reads_them(seed: int) -> None:
    chance = random.Random(seed)
    replies = [make_reply(chance) for _ in range(50)]
    data = b"".join(map(encode, replies))
    expected = [plain(one) for one in replies]
    assert [plain(one) for one in RespReader().take(data)] == expected
    assert [plain(one) for one in read_by_library(data, len(replies))] == expected
    reader, found = RespReader(), []
    place = 0
    while place < len(data):
        size = chance.choice([1, 2, 3, 10, 1000])
        found += reader.take(data[place : place + size])
        place += size
    assert [plain(one) for one in found] == expected


def test_a_reply_in_single_bytes_is_read_with_the_last_one() -> None:
    data = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n:5\r\n"
    reader = RespReader()
    found = [reader.take(data[place : place + 1]) for place in range(len(data))]
    assert [one for one in found if one] == [[[b"message", b"c", b"hello"]], [5]]


def test_messages_of_a_shard_go_to_the_bridge_by_the_names_of_their_topics() -> None:
    bridge = Bridge(lambda: None)
    others: list[Any] = []
    reader = RespReader(bridge, b"p:{", others.append, tag_size=2, tail=b"}:t:")
    pushes = [
        [b"smessage", b"p:{5f}:t:room/7", b"no parcel"],
        [b"smessage", b"p:{5f}:t:", b"no parcel"],
        [b"smessage", b"p:{5f}:c:host", b"a canary"],
        [b"smessage", b"p:{5f}:t", b"too short"],
        [b"smessage", b"q:{5f}:t:room/7", b"of others"],
        [b"message", b"p:{5f}:t:room/7", b"of no shard"],
    ]
    data = encode(pushes)[4:]
    for place in range(len(data)):
        reader.take(data[place : place + 1])
    assert (reader.message_count, bridge.bad_count) == (2, 2)
    assert others == pushes[2:]


@together
@pytest.mark.parametrize(
    "data",
    [
        b"?1\r\n", b":\r\n", b":1x\r\n", b":-\r\n", b":9999999999999999999\r\n", b"$-2\r\n",
        b"$99999999999\r\n", b"$3\r\nabcde", b"$3\r\nabc\r\r", b"*-2\r\n", b"*1048577\r\n",
        b"*1\r\n" * 9, b":1\r:", b"+" + b"x" * 65536, b"*1\r\n?",
    ],
)  # fmt: skip
def test_what_no_server_sends_is_refused(data: bytes) -> None:
    with pytest.raises(SockwaveError, match="Valkey: expected"):
        RespReader().take(data)


def test_a_command_is_of_bulk_strings() -> None:
    assert RespReader().take(pack_command(b"PUBLISH", b"a b", b"")) == [[b"PUBLISH", b"a b", b""]]
