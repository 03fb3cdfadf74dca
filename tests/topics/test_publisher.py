"""Publishing from other processes of the host: `Publisher`, and `sockwave publish`."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import PATIENCE_S
from services import needs_workers
from topic_links import (
    ACK,
    HELLO,
    MSG,
    NAME,
    NAMED,
    PING,
    PONG,
    PUB,
    TEXT,
    WELCOME,
    Record,
    SocketLink,
    pack,
    unpack,
)

import sockwave
from sockwave.topics.outbox import Outbox
from sockwave.workers.sequencing import SequencerProcess

pytestmark = needs_workers


@pytest.fixture
def sequencer(tmp_path: Path) -> Iterator[SequencerProcess]:
    process = SequencerProcess(str(tmp_path / "sequencer"), options={"append_size": 100})
    process.open()
    process.start_due()
    yield process
    process.close()


def kill(process: SequencerProcess) -> None:
    """Kill the sequencer, and start another one as the supervisor does."""
    assert process._child is not None
    os.kill(process._child.pid, signal.SIGKILL)
    while process._child is not None:
        process.poll()
    process._backoff.forget()  # as if it had lived for long
    process.start_due()


@contextlib.contextmanager
def listening(process: SequencerProcess, topic: str = "news") -> Iterator[SocketLink]:
    """Be a worker that wants a topic; topics of rooms have a history."""
    with SocketLink(process.path) as link:
        link.tell(2, payload=b'[["room/*", {"history_count": 10}]]')
        link.subscribe(topic)
        yield link


def address(process: SequencerProcess) -> str:
    return f"unix:{process.path}"


# ---- in programs that wait


def test_publish_waits_until_the_message_has_been_taken(sequencer: SequencerProcess) -> None:
    with listening(sequencer) as link, sockwave.Publisher(address(sequencer)) as publisher:
        assert publisher.publish("news", "hé") == sockwave.Published(None, 0)
        assert publisher.publish("news", bytearray(b"\0\1")) == sockwave.Published(None, 0)
        heard = [link.hear(MSG) for _ in range(2)]
    assert [(one.flags, one.payload) for one in heard] == [(TEXT, "hé".encode()), (0, b"\0\1")]


def test_publish_tells_the_position_and_takes_an_id_once(sequencer: SequencerProcess) -> None:
    with listening(sequencer, "room/1") as link:
        with sockwave.Publisher(address(sequencer)) as publisher:
            first = publisher.publish("room/1", "a", id="x")
            assert publisher.publish("room/1", "b").position == (first.position[0], 2)
            assert publisher.publish("room/1", "a", id="x") == first
        assert [link.hear(MSG).offset for _ in range(2)] == [1, 2]
    assert first.position[1] == 1


def test_a_publisher_may_be_entered_again_and_not_used_outside(
    sequencer: SequencerProcess,
) -> None:
    publisher = sockwave.Publisher(address(sequencer))
    for _ in range(2):
        with publisher as entered:
            entered.publish("news", "a")
        with pytest.raises(sockwave.SockwaveError, match="is closed"):
            entered.publish("news", "b")


def test_what_is_refused_raises(sequencer: SequencerProcess) -> None:
    with SocketLink(sequencer.path) as link:
        link.name("answer")
        link.tell(PUB, 8, topic=1, sequence=1, payload=b"a stream")
        link.hear(ACK)
        with sockwave.Publisher(address(sequencer)) as publisher:
            with pytest.raises(sockwave.SockwaveError, match="is a stream"):
                publisher.publish("answer", "message")
            publisher.publish("news", "goes on")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("news", 1), TypeError),
        ((1, "a"), TypeError),
        (("", "a"), ValueError),
        (("a/*", "a"), ValueError),
        (("news", "a", ""), ValueError),
        (("news", "a", "x" * 256), ValueError),
        (("news", "a", 1), TypeError),
        (("news", bytes((64 << 20) + 1)), ValueError),
        (("news", "\ud800"), ValueError),
    ],
)
def test_what_cannot_be_published_raises_at_once(
    sequencer: SequencerProcess, arguments: tuple[object, ...], error: type[Exception]
) -> None:
    with sockwave.Publisher(address(sequencer)) as publisher:
        with pytest.raises(error, match="expected"):
            publisher.publish(*arguments)  # type: ignore[arg-type]
        publisher.publish("news", "a")


@pytest.mark.parametrize("where", ["", "unix:", "/path", "tcp:host:1", "http://a", "valkey:a"])
def test_an_address_is_a_unix_socket_or_a_broker(where: str) -> None:
    with pytest.raises(ValueError, match="expected 'unix:PATH' or the URL of a broker"):
        sockwave.Publisher(where)
    with pytest.raises(ValueError, match="more than 0 seconds"):
        sockwave.Publisher("unix:a", timeout=0)
    with pytest.raises(TypeError, match="expected str"):
        sockwave.Publisher(1)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_publisher_goes_on_with_the_next_sequencer(sequencer: SequencerProcess) -> None:
    with sockwave.Publisher(address(sequencer)) as publisher:
        for _ in range(3):
            publisher.publish("news", "a")
            kill(sequencer)
            with listening(sequencer) as link:
                publisher.publish("news", "b")
                assert link.hear(MSG).payload == b"b"


def test_a_message_waits_for_a_sequencer_that_is_not_there_yet(tmp_path: Path) -> None:
    process = SequencerProcess(str(tmp_path / "late"))
    published: list[sockwave.Published] = []

    def publish() -> None:
        with sockwave.Publisher(address(process)) as publisher:
            published.append(publisher.publish("news", "a"))

    thread = threading.Thread(target=publish)
    thread.start()
    process.open()
    process.start_due()
    thread.join()
    process.close()
    assert published == [sockwave.Published(None, 0)]


def test_a_message_that_nobody_takes_raises_in_time(tmp_path: Path) -> None:
    path = tmp_path / "nobody"
    with sockwave.Publisher(f"unix:{path}", timeout=0.05) as publisher:
        with pytest.raises(sockwave.SockwaveError, match="the last attempt to connect"):
            publisher.publish("news", "a")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            with pytest.raises(sockwave.SockwaveError, match="may have been published"):
                publisher.publish("news", "a")


def test_a_publisher_of_many_topics_keeps_the_names_of_some(sequencer: SequencerProcess) -> None:
    with listening(sequencer, "0") as link, sockwave.Publisher(address(sequencer)) as publisher:
        for number in range(1100):
            publisher.publish(f"{number}", "a")
        publisher.publish("0", "b")
        assert [link.hear(MSG).payload for _ in range(2)] == [b"a", b"b"]


def test_threads_may_share_a_publisher(sequencer: SequencerProcess) -> None:
    with listening(sequencer) as link, sockwave.Publisher(address(sequencer)) as publisher:
        threads = [
            threading.Thread(target=lambda: [publisher.publish("news", "a") for _ in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [link.hear(MSG).sequence for _ in range(200)] == list(range(1, 201))


@pytest.mark.slow
def test_a_forked_child_has_a_link_of_its_own(sequencer: SequencerProcess) -> None:
    program = f"""
import os, sockwave
with sockwave.Publisher({address(sequencer)!r}) as publisher:
    publisher.publish("news", "parent")
    if not (pid := os.fork()):
        publisher.publish("news", "child")
        os._exit(0)
    assert not os.waitpid(pid, 0)[1]
    publisher.publish("news", "parent again")
"""
    with listening(sequencer) as link:
        subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE_S)
        heard = [link.hear(MSG) for _ in range(3)]
    assert [one.payload for one in heard] == [b"parent", b"child", b"parent again"]
    assert heard[0].worker == heard[2].worker != heard[1].worker


# ---- in programs of asyncio


async def test_messages_are_queued_at_once_and_acknowledged_later(
    sequencer: SequencerProcess,
) -> None:
    with listening(sequencer, "room/1") as link:
        async with sockwave.Publisher(address(sequencer)) as publisher:
            futures = [publisher.publish("room/1", f"{number}") for number in range(100)]
            assert not futures[-1].done()
            published = await asyncio.gather(*futures)
        assert [one.position[1] for one in published] == list(range(1, 101))
        assert [link.hear(MSG).payload for _ in range(100)] == [b"%d" % n for n in range(100)]


async def test_the_end_of_the_block_waits_for_acknowledgements(
    sequencer: SequencerProcess,
) -> None:
    async with sockwave.Publisher(address(sequencer)) as publisher:
        future = publisher.publish("news", "a")
    assert (await future) == sockwave.Published(None, 0)
    with pytest.raises(sockwave.SockwaveError, match="is closed"):
        publisher.publish("news", "b")


@pytest.mark.slow
async def test_messages_on_their_way_reach_the_next_sequencer(
    sequencer: SequencerProcess,
) -> None:
    async with sockwave.Publisher(address(sequencer)) as publisher:
        for _ in range(3):
            await publisher.publish("news", "a")
            futures = [publisher.publish("news", "x" * 1000) for _ in range(100)]
            kill(sequencer)
            assert await asyncio.gather(*futures) == [sockwave.Published(None, 0)] * 100


async def test_what_fails_in_a_loop_raises_where_it_is_awaited(
    sequencer: SequencerProcess, tmp_path: Path
) -> None:
    with SocketLink(sequencer.path) as link:
        link.name("answer")
        link.tell(PUB, 8, topic=1, sequence=1, payload=b"a stream")
        link.hear(ACK)
        async with sockwave.Publisher(address(sequencer)) as publisher:
            with pytest.raises(sockwave.SockwaveError, match="is a stream"):
                await publisher.publish("answer", "message")
    async with sockwave.Publisher(f"unix:{tmp_path}/nobody", timeout=0.05) as publisher:
        with pytest.raises(sockwave.SockwaveError, match="the last attempt to connect"):
            await publisher.publish("news", "a")


async def test_what_waits_is_bounded(tmp_path: Path) -> None:
    async with sockwave.Publisher(f"unix:{tmp_path}/nobody", timeout=0.5) as publisher:
        futures = [publisher.publish("news", bytes(1 << 20)) for _ in range(9)]
        with pytest.raises(sockwave.SockwaveError, match="expected to wait"):
            publisher.publish("news", "a")
        for future in futures:
            future.cancel()
        await asyncio.sleep(0)
        publisher.publish("news", "a").cancel()


# ---- without a socket


def test_messages_are_sent_again_with_the_numbers_that_they_had() -> None:
    outbox = Outbox()
    first, record = outbox.add("a", "1", None)
    second, _ = outbox.add("b", "2", "id")
    begun = unpack(outbox.begin())
    assert [(one.type, one.sequence) for one in begun] == [
        (HELLO, 0),
        (NAME, 0),
        (PUB, first),
        (NAME, 0),
        (PUB, second),
    ]
    outbox.take(pack(WELCOME) + pack(NAMED, topic=9, request=1, payload=b"a"))
    outcomes, _ = outbox.take(pack(ACK, topic=9, epoch=5, offset=6, sequence=first))
    assert outcomes == [(first, sockwave.Published(sockwave.Position(5, 6), 0))]
    again = unpack(outbox.begin())
    assert again[0] == begun[0]
    assert [(one.type, one.topic, one.sequence) for one in again[1:]] == [
        (NAME, 1, 0),
        (PUB, 1, second),
    ]
    assert unpack(record)[-1].payload == b"1"


def test_acknowledgements_may_be_cut_anywhere_and_come_twice() -> None:
    said = b"".join(
        (
            pack(WELCOME),
            pack(PING),
            pack(ACK, topic=9, epoch=5, offset=6, sequence=2),
            pack(ACK, sequence=3),
            pack(ACK, sequence=3),
            pack(78, sequence=4, payload=b"no"),
        )
    )
    for cut in range(len(said) + 1):
        outbox = Outbox()
        for number in range(5):
            outbox.add("a", f"{number}", None)
        outcomes, answer = outbox.take(said[:cut])
        more, again = outbox.take(said[cut:])
        assert [one for one, _ in outcomes + more] == [2, 1, 3, 4]
        assert unpack(answer + again) == [Record(PONG)]
        assert outbox.waiting_size == 1


def test_what_no_sequencer_sends_is_an_error() -> None:
    with pytest.raises(sockwave.SockwaveError, match="expected a record of the sequencer"):
        Outbox().take(pack(1))


# ---- the command


def publish(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sockwave", "publish", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE_S, check=False)


@pytest.mark.slow
def test_command_publishes_a_message(sequencer: SequencerProcess) -> None:
    to = ("--to", address(sequencer))
    with listening(sequencer) as link:
        for arguments, data in (
            (("news", "text"), b""),
            (("news", "-"), "süd".encode()),
            (("news", "-", "--binary"), b"\xff\0"),
        ):
            done = publish(*arguments, *to, data=data)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        heard = [link.hear(MSG) for _ in range(3)]
    assert [(one.flags, one.payload) for one in heard] == [
        (TEXT, b"text"),
        (TEXT, "süd".encode()),
        (0, b"\xff\0"),
    ]


@pytest.mark.slow
def test_command_prints_the_position(sequencer: SequencerProcess) -> None:
    with listening(sequencer, "room/1"):
        first, again = (
            publish("room/1", "a", "--id", "x", "--to", address(sequencer)) for _ in range(2)
        )
    assert first.stdout == again.stdout
    assert first.stdout.endswith(b"-1\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("a", "b"), 2, "--to"),
        (("a", "b", "--to", "here"), 2, "expected 'unix:PATH'"),
        (("a/*", "b", "--to", "unix:here"), 2, "without wildcards"),
        (("a", "b", "--binary", "--to", "unix:here"), 2, "expected - as MESSAGE"),
        (("a", "-", "--to", "unix:here"), 2, "utf-8"),
        (("a", "b", "--to", "unix:here", "--timeout", "0"), 2, "above 0"),
        (("a", "b", "--to", "unix:here", "--timeout", "0.01"), 1, "No such file"),
    ],
)
def test_command_tells_failures_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = publish(*arguments, data=b"\xff")
    assert done.returncode == status
    assert text in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_command_begins_its_help_with_an_example() -> None:
    lines = publish("--help").stdout.decode().splitlines()
    assert lines[0].strip().startswith("$ sockwave publish")
