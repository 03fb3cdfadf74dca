from typing import TypeAlias

_Bytes: TypeAlias = bytes | bytearray | memoryview

HELLO: int
SETTINGS: int
NAME: int
FORGET: int
PUB: int
SUB: int
UNSUB: int
JOIN: int
LEAVE: int
WATCH: int
UNWATCH: int
COUNT: int
COUNTING: int
BROADCAST: int
PONG: int

WELCOME: int
NAMED: int
MSG: int
ACK: int
END: int
GAP: int
MEMBERS: int
DIFF: int
COUNTED: int
COUNT_ASKED: int
UNWATCHED: int
FORGOTTEN: int
PING: int
REFUSED: int
BROKER: int

TEXT: int
META: int
ID: int
DELTA: int
REPLAY: int
MORE: int
SINCE: int
IS_PATTERN: int
RECOVERED: int
ABORTED: int
DUPLICATE: int
LAST: int
SNAPSHOT: int

# type, flags, worker, topic, request, epoch, offset, sequence, payload
_Record: TypeAlias = tuple[int, int, int, int, int, int, int, int, bytes]

def pack_record(
    type: int,
    flags: int = 0,
    worker: int = 0,
    topic: int = 0,
    request: int = 0,
    epoch: int = 0,
    offset: int = 0,
    sequence: int = 0,
    payload: bytes = b"",
) -> bytes: ...
def unpack_records(data: _Bytes) -> tuple[list[_Record], int]: ...
