"""The framing of drafts 75 and 76, where a length without end is the known attack.

Byte 0 chooses draft, limit and who takes the messages, byte 1 how the stream is cut.
"""

import functools

import reference

from fuzz.conversation import Witness, check_anyhow, expect_events, feed
from fuzz.memory import MemoryServer
from fuzz.targets.frames import receive_all, stream_all

SIZES = (16, 300, 70_000, 1 << 20)


@functools.cache
def server(size: int) -> MemoryServer:
    """Give the server with that limit."""
    return MemoryServer(max_size=size, queue_count=4)


def run(data: bytes) -> None:
    """Hold one stream of bytes against the reference."""
    if len(data) < 2:
        return
    max_size = SIZES[data[0] & 3]
    draft = 76 if data[0] & 4 else 75
    front = server(max_size)
    peer = front.open(f"draft{draft}")
    wire = data[2:]
    outcome = reference.decode_hixie(wire, max_size=max_size, draft=draft)
    if data[0] & 8:
        received: list[str | bytes] = []
        peer.connection._expect_handler()
        take = stream_all if data[0] & 16 else receive_all
        front.server._host.hub.start_task(take(peer.connection, received), peer.connection)
        feed(front, peer, wire, data[1])
        front.end(peer)
        messages = outcome.messages
        if take is stream_all:
            # A length in front of a frame is held to the limit of the moment.
            assert len(received) >= len(messages), f"received {received!r}, sent {messages!r}"
            messages = reference.decode_hixie(wire, max_size=1 << 62, draft=draft).messages
            messages = messages[: len(received)]
        assert received == messages, f"received {received!r}, sent {messages!r}"
        return
    witness = Witness(peer, echoes=True)
    feed(front, peer, wire, data[1])
    front.end(peer)
    check_anyhow(witness, max_size)
    heard = list(witness.events)
    expected = expect_events(outcome)
    if outcome.failure is not None:
        heard[-1] = ("close", heard[-1][1], "")
    elif draft == 75 and expected[-1][1] == reference.ABNORMAL:
        expected[-1] = ("close", reference.NO_STATUS, "")  # its only end is that of the stream
    assert heard == expected, f"heard {heard!r}, expected {expected!r}"
    said = b"".join(reference.serialize_hixie(message) for message in outcome.messages)
    if draft == 76 and (outcome.failure is not None or expected[-1][1] == reference.NO_STATUS):
        said += b"\xff\x00"
    assert bytes(peer.output) == said, f"said {bytes(peer.output)!r}, expected {said!r}"
