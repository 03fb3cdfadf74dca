"""Whatever JetStream answers, or does not answer: messages wait, or are refused, and none is lost.

What a server would be sent is read here, and answered as a server does that has no leader, is just
starting, or has lost what it had.
"""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from sockwave.brokers.interface import Bounds, Key, Page, Submitted
from sockwave.brokers.nats_answers import NoLogs
from sockwave.brokers.nats_downloads import NatsDownloads
from sockwave.brokers.nats_logs import Logs
from sockwave.brokers.nats_pages import NatsPages
from sockwave.brokers.nats_parts import PartStream
from sockwave.brokers.nats_places import NatsPlaces
from sockwave.brokers.nats_requests import NatsRequests
from sockwave.brokers.nats_stream import LogStream
from sockwave.brokers.nats_uploads import NatsUploads

BOUNDS: Bounds = (100, 1 << 20, 60.0)
BUSY = {"error": {"err_code": 10008, "description": "temporarily unavailable"}}
NO_STREAM = {"error": {"err_code": 10059, "description": "stream not found"}}
NO_MESSAGE = {"error": {"err_code": 10037, "description": "no message found"}}
CONFLICT = {"error": {"err_code": 10071, "description": "wrong last sequence: 1"}}
FULL = {"error": {"err_code": 10077, "description": "maximum bytes exceeded"}}
NOW = "2026-01-01T00:00:00Z"


class Script:
    """The other end: it reads what is asked for, and answers as the test says."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes, bytes, bytes]] = []
        self.requests = NatsRequests(self.take, b"p")
        self.stream = LogStream(self.requests, b"p", 1, None)
        self.logs: Logs[Submitted] = Logs(self.stream.begin)
        self.parts = PartStream(self.requests, b"p", 1, None)
        self.uploads = NatsUploads(self.requests, self.parts)
        self.downloads = NatsDownloads(self.parts)
        self.calls: list[Callable[[], object]] = []
        self.places = NatsPlaces(
            self.requests, self.stream, self.logs, self, b"h" * 16, 1 << 20, self.uploads,
            lambda delay_s, call: self.calls.append(call),
        )  # fmt: skip
        self.placed_: list[tuple[Key, int, int]] = []
        self.refused_: list[tuple[Key, str]] = []
        self.pages_: list[Page] = []
        self.failed_: list[str] = []
        self.pages = NatsPages(
            self.requests, self.stream, self.logs, self.downloads,
            lambda name, number, page: self.pages_.append(page),
            lambda name, number, error: self.failed_.append(error),
        )  # fmt: skip

    def placed(self, key: Key, epoch: int, offset: int) -> None:
        self.placed_.append((key, epoch, offset))

    def refused(self, key: Key, error: str) -> None:
        self.refused_.append((key, error))

    def take(self, data: bytes) -> None:
        """Read commands, as a server does."""
        while data:
            line, _, data = data.partition(b"\r\n")
            command, subject, *words = line.split(b" ")
            head_size = int(words[-2]) if command == b"HPUB" else 0
            size = int(words[-1])
            reply = words[0] if len(words) == (3 if head_size else 2) else b""
            self.sent.append((subject, reply, data[:head_size], data[head_size:size]))
            data = data[size + 2 :]

    def next(self) -> tuple[str, bytes, bytes]:
        """Return the subject of the next request, its headers and itself."""
        subject, _, head, message = self.sent[0]
        return subject.decode(), head, message

    def answer(self, answer: Any = None, *, expected: str = "", status: bytes = b"") -> None:
        """Answer the next request: with JSON, or with a status."""
        subject, reply, _, _ = self.sent.pop(0)
        assert expected in subject.decode()
        head = b"NATS/1.0 %b\r\n\r\n" % status if status else b""
        self.requests.take(reply, head, b"" if status else json.dumps(answer).encode())

    def have_stream(self, **fields: Any) -> None:
        self.answer(describe_stream(**fields), expected="STREAM.INFO")

    def submit(self, *texts: str, id: bytes = b"") -> None:
        messages = [
            ((7, number), b"a", b"1t\n" + text.encode(), id, BOUNDS)
            for number, text in enumerate(texts, 1)
        ]
        self.places.submit(messages)

    def tick(self) -> None:
        self.stream.tick()
        self.places.tick()
        self.pages.tick()


@pytest.fixture
def script() -> Script:
    return Script()


def describe_stream(**fields: Any) -> Any:
    config = LogStream(None, b"p", 1, None).make_config(BOUNDS) | fields  # type: ignore[arg-type]
    state = {"first_seq": 1, "last_seq": 9, "messages": 9}
    return {"config": config, "created": NOW, "ts": NOW, "state": state}


def tell(epoch: int, offset: int, sequence: int, text: str = "x") -> Any:
    """Return a message as JetStream tells it in JSON."""
    data = base64.b64encode(b"1o %016x %d\n1t\n%b" % (epoch, offset, text.encode())).decode()
    return {"message": {"subject": "p.s.a", "seq": sequence, "data": data, "time": NOW}}


def give(script: Script, *messages: tuple[int, int, int], pending: bool = True) -> None:
    """Answer a request for many messages, without its end."""
    _, reply, _, _ = script.sent[0]
    for epoch, offset, sequence in messages:
        head = (
            b"NATS/1.0\r\nNats-Sequence: %d\r\nNats-Time-Stamp: %b\r\nNats-Num-Pending: 1\r\n\r\n"
            % (sequence, NOW.encode())
        )
        script.requests.take(reply, head, b"1o %016x %d\n1t\nx" % (epoch, offset))


# ---- the stream


def test_a_stream_is_made_once_by_one_of_two_hosts(script: Script) -> None:
    script.submit("a")
    script.answer(NO_STREAM, expected="STREAM.INFO.p")
    assert json.loads(script.next()[2])["max_msgs_per_subject"] == 100
    script.answer({"error": {"err_code": 10058, "description": "in use"}}, expected="CREATE")
    script.have_stream()
    assert script.next()[0] == "$JS.API.STREAM.MSG.GET.p"


@pytest.mark.parametrize("has_no_answer", [True, False])
def test_a_stream_without_a_leader_is_waited_for(
    script: Script, monkeypatch: pytest.MonkeyPatch, has_no_answer: bool
) -> None:
    monkeypatch.setattr("sockwave.brokers.nats_requests._PATIENCE_S", 0.0)
    script.submit("a")
    if has_no_answer:
        script.requests.time_out()
        script.sent.clear()
    else:
        script.answer(BUSY)
    assert script.sent == []
    script.tick()
    script.have_stream()
    assert "MSG.GET" in script.next()[0]
    assert script.refused_ == []


@pytest.mark.parametrize("what", ["INFO", "CREATE", "UPDATE"])
def test_what_jetstream_says_against_a_stream_is_told(script: Script, what: str) -> None:
    script.submit("a", "b")
    if what == "CREATE":
        script.answer(NO_STREAM)
    elif what == "UPDATE":
        script.have_stream(max_msgs_per_subject=99)
    script.answer({"error": {"err_code": 10047, "description": "no storage"}}, expected=what)
    assert script.refused_ == [((7, number), "JetStream: no storage") for number in (1, 2)]


def test_jetstream_that_is_not_for_this_account_is_told(script: Script) -> None:
    script.submit("a")
    script.answer({"error": {"err_code": 10039, "description": "not enabled for account"}})
    ((_, error),) = script.refused_
    assert isinstance(error, NoLogs)
    assert "-js" in error


# ---- places


def begin(script: Script, *texts: str, **fields: Any) -> None:
    """Submit messages to a log whose last place is 4."""
    script.submit(*texts)
    script.have_stream(**({"allow_atomic": False} | fields))
    script.answer(tell(5, 4, 40), expected="MSG.GET")


def test_messages_go_one_by_one_behind_the_last(script: Script) -> None:
    begin(script, "a", "b")
    subject, head, message = script.next()
    assert (subject, message) == ("p.s.a", b"1o 0000000000000005 5\n1t\na")
    assert b"Nats-Expected-Last-Subject-Sequence: 40\r\n" in head
    assert b"Nats-Msg-Id: 0000000000000007.1\r\n" in head
    script.answer({"stream": "p", "seq": 43})
    _, head, message = script.next()
    assert message == b"1o 0000000000000005 6\n1t\nb"
    assert b"Nats-Expected-Last-Subject-Sequence: 43\r\n" in head
    script.answer({"stream": "p", "seq": 44})
    assert script.placed_ == [((7, 1), 5, 5), ((7, 2), 5, 6)]
    assert script.sent == []


def test_a_message_that_is_not_answered_is_sent_again_and_known(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(script, "a")
    monkeypatch.setattr("time.monotonic", lambda: 1e12)
    script.requests.time_out()
    script.sent.clear()
    script.tick()
    script.answer(tell(5, 5, 41), expected="MSG.GET")
    assert script.next()[2] == b"1o 0000000000000005 6\n1t\na"
    script.answer({"stream": "p", "seq": 41, "duplicate": True})
    assert json.loads(script.next()[2]) == {"seq": 41}
    script.answer(BUSY)
    script.tick()
    script.answer(tell(5, 5, 41))
    script.answer({"stream": "p", "seq": 41, "duplicate": True})
    script.answer(tell(5, 5, 41))
    assert script.placed_ == [((7, 1), 5, 5)]


@pytest.mark.parametrize("answer", [BUSY, None])
def test_a_log_that_cannot_be_asked_for_is_asked_for_later(script: Script, answer: Any) -> None:
    script.submit("a")
    script.have_stream()
    script.answer(answer, status=b"" if answer else b"408 Timeout")
    assert script.sent == []
    script.tick()
    assert "MSG.GET" in script.next()[0]


def test_a_log_that_jetstream_does_not_tell_is_refused(script: Script) -> None:
    script.submit("a")
    script.have_stream()
    script.answer(FULL)
    assert script.refused_ == [((7, 1), "JetStream: maximum bytes exceeded")]


def test_a_stream_that_has_gone_is_made_again(script: Script) -> None:
    begin(script, "a")
    script.answer(status=b"503")
    script.tick()
    script.answer(NO_STREAM, expected="STREAM.INFO")
    script.answer(describe_stream(), expected="STREAM.CREATE")
    script.answer(NO_STREAM, expected="MSG.GET")  # again
    script.have_stream()
    script.answer(NO_MESSAGE, expected="MSG.GET")
    _, head, message = script.next()
    assert b"Nats-Expected-Last-Subject-Sequence: 0\r\n" in head
    assert message.split()[2] == b"1"
    assert message.split()[1] != b"0000000000000005"


def test_a_full_stream_refuses_one_message_and_takes_the_next(script: Script) -> None:
    begin(script, "a", "b")
    script.answer(FULL)
    assert script.refused_ == [((7, 1), "JetStream: maximum bytes exceeded")]
    assert script.next()[2] == b"1o 0000000000000005 5\n1t\nb"


def test_who_is_never_the_fastest_gives_up(script: Script) -> None:
    begin(script, "a", "b")
    count = 0
    while not script.refused_:
        count += 1
        script.answer(CONFLICT, expected="p.s.a")
        if script.calls:
            script.calls.pop()()
        if not script.refused_:
            script.answer(tell(5, 4 + count, 40 + count), expected="MSG.GET")
    assert count == 201
    assert script.refused_ == [((7, 1), "other hosts were faster, again and again")]
    script.answer(tell(5, 400, 900), expected="MSG.GET")
    assert script.next()[2] == b"1o 0000000000000005 401\n1t\nb"


def test_what_was_heard_meanwhile_is_not_asked_for(script: Script) -> None:
    begin(script, "a")
    assert not script.logs.heard(b"a", 5, 5, 41)
    script.answer(CONFLICT)
    assert script.next()[2] == b"1o 0000000000000005 6\n1t\na"


def test_a_log_that_ends_before_what_was_known_is_another_one(script: Script) -> None:
    begin(script, "a")
    script.answer(CONFLICT)
    script.answer(tell(5, 3, 30), expected="MSG.GET")
    _, head, message = script.next()
    assert b"Nats-Expected-Last-Subject-Sequence: 30\r\n" in head
    assert message.split()[1:3] != [b"0000000000000005", b"4"]
    assert message.split()[2] == b"1"


@pytest.mark.parametrize(
    ("error", "goes_on"), [(10174, False), (10177, False), (10201, True), (10210, True)]
)
def test_a_batch_that_is_not_taken_goes_one_by_one(
    script: Script, monkeypatch: pytest.MonkeyPatch, error: int, goes_on: bool
) -> None:
    monkeypatch.setattr("sockwave.brokers.nats_placing._BATCH_S", 0.0)
    script.places = NatsPlaces(
        script.requests, script.stream, script.logs, script, b"h" * 16, 1 << 20, script.uploads,
        lambda *_: None,
    )  # fmt: skip
    begin(script, "a", "b", "c", allow_atomic=True)
    assert [b"Nats-Batch-Commit: 1\r\n" in head for _, _, head, _ in script.sent] == [0, 0, 1]
    del script.sent[:2]
    script.answer({"error": {"err_code": error, "description": "batch"}})
    for number, text in enumerate(("a", "b", "c"), 5):
        _, head, message = script.next()
        assert b"Batch" not in head
        assert message == b"1o 0000000000000005 %d\n1t\n%b" % (number, text.encode())
        script.answer({"stream": "p", "seq": 40 + number})
    assert [offset for _, _, offset in script.placed_] == [5, 6, 7]
    assert script.stream.has_batches is goes_on


def test_few_logs_are_remembered(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    monkeypatch.setattr("sockwave.brokers.nats_logs._LOG_COUNT", 2)
    busy = script.logs.provide(b"busy")
    busy.is_busy = True
    for name in (b"a", b"b", b"c"):
        script.logs.provide(name)
    assert script.logs.provide(b"busy") is busy
    assert script.logs.heard(b"a", 1, 1, 1)  # nothing is known of it
    assert not script.logs.heard(b"c", 0, 1, 1)


# ---- pages


def begin_read(script: Script, epoch: int = 0, offset: int = 0) -> None:
    """Read a log whose last place is 4."""
    script.pages.read(b"a", 1, epoch, offset, BOUNDS)
    script.have_stream()
    script.answer(tell(5, 4, 40), expected="MSG.GET")


def offsets(script: Script) -> list[int]:
    ((epoch, top, _, entries),) = script.pages_
    assert (epoch, top) == (5, 4)
    assert all(message == b"1t\nx" for _, _, message in entries)
    return [offset for offset, _, _ in entries]


def test_a_page_is_what_is_of_the_log_and_behind_the_place(script: Script) -> None:
    begin_read(script, 5, 1)
    assert json.loads(script.next()[2])["next_by_subj"] == "p.s.a"
    give(script, (4, 9, 10), (5, 1, 11), (5, 2, 12), (5, 3, 13), (5, 4, 40), (5, 5, 41))
    script.answer(status=b"204 EOB", expected="DIRECT.GET")
    assert offsets(script) == [2, 3, 4]


def test_what_the_server_gives_in_several_goes_is_one_page(script: Script) -> None:
    begin_read(script)
    give(script, (5, 1, 11), (5, 2, 12))
    script.answer(status=b"204 EOB")
    assert json.loads(script.next()[2])["seq"] == 13
    give(script, (5, 3, 13), (5, 4, 40))
    script.answer(status=b"204 EOB")
    assert offsets(script) == [1, 2, 3, 4]


def test_what_a_replica_does_not_have_the_leader_tells(script: Script) -> None:
    begin_read(script, 5, 2)
    script.answer(status=b"404 Message Not Found", expected="DIRECT.GET")
    script.answer(tell(5, 3, 13), expected="MSG.GET")
    script.answer(BUSY, expected="MSG.GET")
    script.tick()
    script.answer(tell(5, 4, 40), expected="MSG.GET")
    give(script)
    script.answer(status=b"404 Message Not Found", expected="DIRECT.GET")
    script.answer(tell(5, 4, 40), expected="MSG.GET")
    assert offsets(script) == [3, 4]


def test_what_has_gone_meanwhile_is_in_no_page(script: Script) -> None:
    begin_read(script)
    give(script, (5, 2, 12))
    script.answer(status=b"204 EOB")
    script.answer(status=b"404 Message Not Found")
    script.answer(NO_MESSAGE, expected="MSG.GET")
    assert offsets(script) == [2]


def test_a_stream_that_goes_while_it_is_read_is_read_again(script: Script) -> None:
    begin_read(script)
    script.answer(status=b"503", expected="DIRECT.GET")
    script.tick()
    script.have_stream()
    script.answer(NO_STREAM, expected="MSG.GET")
    script.have_stream()
    script.answer(tell(5, 4, 40), expected="MSG.GET")
    give(script, (5, 4, 40))
    script.answer(status=b"204 EOB")
    assert offsets(script) == [4]


def test_a_page_that_jetstream_does_not_tell_has_failed(script: Script) -> None:
    script.pages.read(b"a", 1, 0, 0, BOUNDS)
    script.have_stream()
    script.answer(FULL)
    assert script.failed_ == ["JetStream: maximum bytes exceeded"]


def test_an_empty_log_begins_once_for_all_hosts(script: Script) -> None:
    script.pages.read(b"a", 1, 0, 0, BOUNDS)
    script.have_stream()
    for _ in range(7):
        script.answer(NO_MESSAGE, expected="MSG.GET")
        script.answer(CONFLICT, expected="p.s.a")
    assert script.sent == []
    script.tick()
    script.answer(NO_MESSAGE, expected="MSG.GET")
    script.answer(BUSY, expected="p.s.a")
    script.tick()
    script.answer(NO_MESSAGE, expected="MSG.GET")
    _, head, message = script.next()
    assert b"Nats-Expected-Last-Subject-Sequence: 0\r\n" in head
    assert message.endswith(b" 0\n")
    script.answer({"stream": "p", "seq": 50})
    ((epoch, top, _, entries),) = script.pages_
    assert (b"%016x" % epoch, top, entries) == (message.split()[1], 0, [])


def test_who_may_not_begin_a_log_has_no_page(script: Script) -> None:
    script.pages.read(b"a", 1, 0, 0, BOUNDS)
    script.have_stream()
    script.answer(NO_MESSAGE)
    assert script.requests.forbid(b"p.s.a", b"'Permissions Violation'")
    assert script.failed_ == ["NATS: 'Permissions Violation'"]


def test_a_log_is_read_while_it_is_written_to(script: Script) -> None:
    begin(script, "a")
    script.pages.read(b"a", 1, 5, 9, BOUNDS)  # the reader knows more than there is
    written = script.sent.pop(0)
    script.answer(tell(5, 4, 40), expected="MSG.GET")
    _, head, message = script.next()
    assert b"Nats-Expected-Last-Subject-Sequence: 40\r\n" in head
    assert message.endswith(b" 0\n")
    script.answer(CONFLICT)
    script.sent.insert(0, written)
    script.answer({"stream": "p", "seq": 41})
    assert script.placed_ == [((7, 1), 5, 5)]


def test_few_pages_are_read_at_a_time(script: Script) -> None:
    for number in range(40):
        script.pages.read(b"%d" % number, number, 5, 4, BOUNDS)
    script.have_stream()
    assert len(script.sent) == 32
    while script.sent:
        script.answer(tell(5, 4, 40), expected="MSG.GET")
    assert len(script.pages_) == 40


# ---- whether it is the same


def look(script: Script, **state: Any) -> list[bool]:
    looked: list[bool] = []
    script.stream.look(looked.append)
    found = describe_stream()
    found["state"] |= state
    script.answer(found, expected="STREAM.INFO")
    return looked


def test_what_a_stream_has_lost_is_seen(script: Script) -> None:
    script.submit("a")
    script.have_stream()
    script.sent.clear()
    assert look(script) == [False]
    assert look(script, last_seq=10, first_seq=2) == [False]
    assert look(script, last_seq=9) == [True]
    assert look(script, last_seq=20, first_seq=10) == [True]
    assert look(script, last_seq=20, first_seq=21, messages=0) == [True]
    assert look(script, last_seq=20, first_seq=21, messages=0) == [False]
    script.stream.doubt()
    assert look(script, last_seq=20, first_seq=21, messages=0) == [True]
    looked: list[bool] = []
    script.stream.look(looked.append)
    script.stream.look(looked.append)  # once at a time
    script.answer(BUSY)
    assert (looked, script.sent) == ([], [])
    script.stream.look(looked.append)
    script.answer(NO_STREAM)
    assert looked == [True]
    assert not script.stream.is_used
    script.stream.look(looked.append)  # it is told once
    assert (looked, script.sent) == ([True], [])


def test_what_a_stream_has_lost_before_it_was_looked_at_is_seen(script: Script) -> None:
    script.stream.look([].append)
    assert script.sent == []  # nobody has heard of it
    script.stream.heard(9)
    assert look(script, last_seq=9, first_seq=3, messages=2) == [False]
    script.stream.heard(10)
    assert look(script, last_seq=10, first_seq=11, messages=0) == [True]
    script.stream.heard(11)  # nothing was there when it was looked at
    assert look(script, last_seq=11, first_seq=12, messages=0) == [True]


@pytest.mark.parametrize("is_found", [False, True])
def test_a_stream_that_goes_before_it_is_looked_at_is_missed(
    script: Script, *, is_found: bool
) -> None:
    if is_found:
        script.submit("a")
        script.have_stream()
        script.sent.clear()
        script.stream.forget()  # somebody has asked it for something else
    else:
        script.stream.heard(9)
    looked: list[bool] = []
    script.stream.look(looked.append)
    script.answer(NO_STREAM, expected="STREAM.INFO")
    assert looked == [True]
