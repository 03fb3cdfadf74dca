"""The control channel between a supervisor and a worker, and what a supervisor does by time."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import APPLICATION, ask, needs_workers, receive_all, serving_application

from sockwave.errors import SockwaveError
from sockwave.workers.backoff import Backoff
from sockwave.workers.control import MAX_PAYLOAD_SIZE, ControlChannel, Kind, Message
from sockwave.workers.signals import describe_end

pytestmark = needs_workers

Ends = tuple[socket.socket, ControlChannel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A socket, and the channel at its other end."""
    mine, theirs = socket.socketpair()
    channel = ControlChannel(theirs)
    with mine:
        yield mine, channel
    channel.close()


def test_messages_come_in_their_order_with_their_fields(ends: Ends) -> None:
    mine, channel = ends
    other = ControlChannel(mine)
    other.send(Kind.READY)
    other.send(Kind.FAILED, text="ünï\n" * 1_000)
    other.send(Kind.TOTAL, total=3)
    assert channel.receive() == [
        Message(Kind.READY),
        Message(Kind.FAILED, {"text": "ünï\n" * 1_000}),
        Message(Kind.TOTAL, {"total": 3}),
    ]
    assert channel.receive() == []
    assert not channel.is_ended


def test_frame_may_come_in_any_pieces(ends: Ends) -> None:
    mine, channel = ends
    frame = b'\x0b\0\0\0\x04{"total":3}\0\0\0\0\x10'
    for cut in range(len(frame)):
        mine.sendall(frame[:cut])
        found = channel.receive()
        mine.sendall(frame[cut:])
        found += channel.receive()
        assert found == [Message(Kind.TOTAL, {"total": 3}), Message(Kind.READY)]


@pytest.mark.parametrize(
    "frame", [b"\0\0\0\0\x63", (MAX_PAYLOAD_SIZE + 1).to_bytes(4, "little") + b"\x10"]
)
def test_frame_that_no_end_sends_raises(ends: Ends, frame: bytes) -> None:
    mine, channel = ends
    mine.sendall(frame)
    with pytest.raises(SockwaveError, match="control channel: expected a message"):
        channel.receive()


def test_end_of_the_other_side_is_seen_behind_its_messages(ends: Ends) -> None:
    mine, channel = ends
    mine.sendall(b"\0\0\0\0\x10")
    mine.close()
    assert channel.receive() == [Message(Kind.READY)]
    assert channel.is_ended
    assert channel.wait() == []
    channel.send(Kind.READY)  # nobody hears it


def test_worker_is_replaced_later_and_later_while_it_dies_early() -> None:
    backoff = Backoff()
    now = time.monotonic()
    delays = [backoff.note_death(now, 0.1, was_ready=True) for _ in range(10)]
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff.due == now + 30
    # After a long life it begins again; what could not start waits from the first time on.
    assert backoff.note_death(now, 1e6, was_ready=True) == 0
    assert backoff.note_death(now, 0.1, was_ready=False) == 0.5
    backoff.forget()
    assert backoff.due == 0
    assert backoff.note_death(now, 0.0, was_ready=False) == 0.5
    assert backoff.note_death(now, 0.1, was_ready=True) == 0.5


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, "has ended with exit status 0"),
        (7, "has ended with exit status 7"),
        (-9, "was killed by SIGKILL"),
        (-64, "was killed by SIGRTMAX"),
        (-99, "was killed by signal 99"),
    ],
)
def test_end_of_a_process_is_said(status: int, said: str) -> None:
    assert describe_end(status) == said


@pytest.mark.slow
def test_worker_that_tells_nonsense_is_replaced(tmp_path: Path) -> None:
    application = APPLICATION.replace(
        "os._exit(7)", "os.write(server._link._channel.fileno(), b'\\0\\0\\0\\0\\x63')"
    )
    with serving_application(tmp_path, "--workers", "1", application=application) as service:
        service.wait_ready(1)
        first = int(service.get())
        with service.open() as client, contextlib.suppress(ConnectionResetError):
            ask(client, "/exit")
            receive_all(client)
        service.wait_for("is killed for what it tells: control channel: expected a message")
        service.wait_ready(2)
        assert int(service.get()) != first
