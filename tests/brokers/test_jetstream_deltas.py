"""Deltas on their way to JetStream, and streams that end: whatever it answers, or does not.

What a server would be sent is read here, and answered as a server does.
"""

import base64
import json
from typing import Any

import pytest
from test_jetstream_answers import BUSY, CONFLICT, FULL, NO_MESSAGE, NO_STREAM, NOW, Script

from sockwave.brokers.interface import Appended, Key
from sockwave.brokers.nats_appends import NatsAppends
from sockwave.brokers.nats_deltas import DeltaStream
from sockwave.brokers.nats_ends import NatsEnds
from sockwave.brokers.nats_logs import Logs
from sockwave.brokers.nats_newest import NatsNewest
from sockwave.brokers.nats_stored import DeltaState

HOST, OTHER = b"0" * 15 + b"1", b"0" * 15 + b"2"
WORKER = 7


class Deltas(Script):
    """The other end, for streams."""

    def __init__(self) -> None:
        super().__init__()
        self.deltas = DeltaStream(self.requests, b"p", 1, None)
        self.producers: list[bytes] = []
        self.ends = NatsEnds(
            self.requests, self.deltas, NatsNewest(self.deltas), b"p.t.", self.producers.append
        )
        self.appended_: list[tuple[Key, int, int, bool]] = []
        self.codes: list[bytes] = []
        self.errors: list[str] = []
        self.appends = NatsAppends(
            self.requests, self.deltas, Logs(self.deltas.begin), self.stream, self, self.ends,
            HOST, 1 << 20, self.uploads, lambda delay_s, call: self.calls.append(call),
        )  # fmt: skip

    append_size = 100

    def appended(self, key: Key, epoch: int, offset: int, *, is_producer: bool) -> None:
        self.appended_.append((key, epoch, offset, is_producer))

    def not_appended(self, key: Key, code: bytes) -> None:
        self.codes.append(code)

    def delta_refused(self, key: Key, error: str) -> None:
        self.errors.append(error)

    def have_deltas(self) -> None:
        state = {"first_seq": 1, "last_seq": 9, "messages": 9}
        config = self.deltas.make_config((1, 1, 1))
        found = {"config": config, "created": NOW, "ts": NOW, "state": state}
        self.answer(found, expected="STREAM.INFO.p+streams")

    def append(
        self,
        *numbers: int,
        epoch: int = 5,
        begins: bool = True,
        has_come: bool = False,
        **fields: Any,
    ) -> None:
        deltas: list[Appended] = []
        for number in numbers:
            delta = {"placed": 0, "joins": True, "kind": b"t", "size": 1, "end": b"", **fields}
            placed, joins, kind, size, end = delta.values()
            key = (WORKER, number)
            is_first = begins and number == 1
            parcel = b"" if has_come else b"1t %016x.%d\nx" % key
            deltas.append((key, b"a", parcel, b"", epoch, placed, joins, is_first, kind, size, end))
        self.appends.submit(deltas)

    def tick(self) -> None:
        self.deltas.tick()
        self.appends.tick()
        self.ends.tick()


@pytest.fixture
def script() -> Deltas:
    return Deltas()


def tell(epoch: int, offset: int, sequence: int, **state: Any) -> Any:
    """Return a delta as JetStream tells it in JSON."""
    said = {"size": offset, "kind": b"t", "host": OTHER, "worker": 8, **state}
    head = b"NATS/1.0\r\n%b\r\n" % DeltaState(**said).pack()
    data = b"1s %016x %d\n1t\nx" % (epoch, offset)
    return {
        "message": {
            "subject": "p.a.a",
            "seq": sequence,
            "hdrs": base64.b64encode(head).decode(),
            "data": base64.b64encode(data).decode(),
            "time": NOW,
        }
    }


def begin(script: Deltas) -> None:
    """Answer up to where a stream begins."""
    script.have_deltas()
    script.answer(NO_MESSAGE, expected="MSG.GET.p+streams")
    script.answer(NO_MESSAGE, expected="MSG.GET.p")


def test_a_stream_begins_where_the_topic_has_nothing(script: Deltas) -> None:
    script.append(1)
    begin(script)
    subject, head, message = script.next()
    assert subject == "p.a.a"
    assert b"Sockwave-Stream: 1 t - %b %016x\r\n" % (HOST, WORKER) in head
    assert b"Nats-Expected-Last-Subject-Sequence: 0\r\n" in head
    assert message.startswith(b"1s %016x 1\n1t " % 5)
    script.answer({"seq": 10})
    assert script.appended_ == [((WORKER, 1), 5, 1, True)]
    script.append(2, begins=False, end=b"f", kind=b"", size=0)
    assert b"Sockwave-Stream: 1 t f" in script.next()[1]


def test_a_stream_that_another_host_begins_meanwhile_is_joined(script: Deltas) -> None:
    script.append(1, 2)
    begin(script)
    script.answer(CONFLICT)
    script.answer(tell(9, 3, 12), expected="MSG.GET")
    script.answer({"seq": 13}, expected="p.a.a")
    assert script.appended_ == [((WORKER, 1), 9, 4, False)]
    assert b"Sockwave-Stream: 5 t - %b" % OTHER in script.next()[1]


@pytest.mark.parametrize(
    ("state", "fields", "code"),
    [
        ({"end": b"f"}, {}, b"ended"),
        ({"kind": b"b"}, {}, b"kind"),
        ({"size": 98}, {"size": 3}, b"size"),
    ],
)
def test_what_cannot_follow_is_refused_unless_it_was_taken(
    script: Deltas, state: dict[str, Any], fields: dict[str, Any], code: bytes
) -> None:
    script.append(1, 2, 3, epoch=9, joins=False, **fields)
    script.have_deltas()
    script.answer(tell(9, 3, 12, **state))
    script.answer({"seq": 11, "duplicate": True}, expected="p.a.a")
    script.answer(tell(9, 2, 11, worker=WORKER), expected="MSG.GET")
    assert script.appended_ == [((WORKER, 1), 9, 2, True)]
    script.answer(tell(9, 3, 12, **state), expected="MSG.GET")
    script.answer(BUSY, expected="p.a.a")
    assert not script.sent
    script.tick()
    script.answer(tell(9, 3, 12, **state), expected="MSG.GET")
    script.answer({"error": {"err_code": 10070, "description": "wrong last msg ID: a"}})
    assert script.codes == [code]
    # Of another, nobody knows any more where it stood.
    script.answer(tell(9, 3, 12, **state), expected="MSG.GET")
    script.answer({"seq": 1, "duplicate": True})
    script.answer(NO_MESSAGE, expected="MSG.GET")
    assert script.appended_[1:] == [((WORKER, 3), 9, 0, False)]


def test_of_a_delta_that_has_come_only_its_producer_is_told(script: Deltas) -> None:
    script.append(1, 2, epoch=9, placed=3, joins=False, has_come=True)
    script.append(3, epoch=8, placed=3, joins=False, has_come=True)
    script.have_deltas()
    script.answer(tell(9, 4, 12, worker=WORKER))
    assert script.appended_ == [((WORKER, 1), 9, 3, True), ((WORKER, 2), 9, 3, True)]
    assert script.codes == [b"lost"]
    assert not script.sent
    script.append(4, epoch=9, joins=False)
    assert b"Nats-Expected-Last-Subject-Sequence: 12\r\n" in script.next()[1]


def test_a_delta_that_has_come_goes_in_no_batch(script: Deltas) -> None:
    script.append(1, epoch=9)
    for number in range(2, 80):
        script.append(number, epoch=9, placed=3, begins=False, has_come=number == 60)
    script.have_deltas()
    script.deltas.has_batches = True
    script.answer(tell(9, 4, 12))
    assert len(script.sent) == 59
    script.sent[:-1] = []
    script.answer({"seq": 71, "batch": "x", "count": 59})
    assert [one[1] for one in script.appended_] == [9] * 60
    assert [one[2] for one in script.appended_] == [*range(5, 64), 3]
    assert all(message for *_, message in script.sent)


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_topic_that_has_a_history_is_no_stream(script: Deltas, is_allowed: bool) -> None:
    script.append(1)
    script.have_deltas()
    script.answer(NO_MESSAGE)
    if is_allowed:
        script.answer(BUSY, expected="MSG.GET.p")
        script.tick()
        script.answer(NO_MESSAGE, expected="MSG.GET.p+streams")
        script.answer({"message": {"seq": 1, "data": ""}}, expected="MSG.GET.p")
        assert script.codes == [b"messages"]
    else:  # who may not ask for histories has none
        script.requests.forbid(b"$JS.API.STREAM.MSG.GET.p", b"no")
        script.sent.pop(0)
        script.answer({"seq": 10}, expected="p.a.a")
        assert len(script.appended_) == 1


@pytest.mark.parametrize("size", [100, 101])
def test_a_stream_does_not_begin_with_a_delta_that_is_too_large(script: Deltas, size: int) -> None:
    script.append(1, size=size)
    script.append(2, begins=False)
    script.have_deltas()
    script.answer(NO_MESSAGE, expected="MSG.GET.p+streams")
    if size <= script.append_size:
        script.answer(NO_MESSAGE, expected="MSG.GET.p")
        script.answer({"seq": 10}, expected="p.a.a")
        assert script.appended_ == [((WORKER, 1), 5, 1, True)]
    else:
        unknown = {"err_code": 10070, "description": "wrong last msg ID: a"}
        script.answer({"error": unknown}, expected="p.a.a")
        script.answer(NO_MESSAGE, expected="MSG.GET.p+streams")
        assert script.codes == [b"size", b"lost"]
        assert not script.appended_


def test_a_stream_that_the_server_does_not_take_has_not_begun(script: Deltas) -> None:
    script.append(1)
    begin(script)
    script.answer(FULL)
    assert script.errors == ["JetStream: maximum bytes exceeded"]
    script.append(2, begins=False)
    script.answer(NO_MESSAGE, expected="MSG.GET.p+streams")
    assert script.codes == [b"lost"]
    assert script.next()[0] == "p.t.a"  # hosts are to look


def test_a_stream_that_has_less_than_was_known_is_lost(script: Deltas) -> None:
    script.append(1, epoch=9, placed=4)
    script.have_deltas()
    script.answer(tell(9, 3, 12))
    assert script.codes == [b"lost"]
    assert json.loads(script.next()[2]) == {"filter": "p.a.a", "seq": 13}
    script.answer({"success": True}, expected="PURGE.p+streams")
    assert script.next()[0] == "p.t.a"


def test_what_was_there_before_goes_when_another_stream_begins(script: Deltas) -> None:
    script.append(1)
    script.have_deltas()
    script.deltas._clock_ms += 61_000  # a minute behind what is told
    script.answer(tell(9, 3, 12, end=b"f"))
    script.answer(NO_STREAM, expected="MSG.GET.p")
    assert b"Nats-Expected-Last-Subject-Sequence: 12\r\n" in script.next()[1]
    script.answer({"seq": 13})
    assert script.appended_ == [((WORKER, 1), 5, 1, True)]
    assert json.loads(script.next()[2]) == {"filter": "p.a.a", "seq": 13}


# ---- hosts that have gone


def give_newest(script: Deltas, host: bytes = OTHER, sequence: int = 12) -> None:
    script.answer({"state": {"subjects": {"p.a.a": 3}}, "total": 1}, expected="STREAM.INFO")
    _, reply, _, _ = script.sent[0]
    head = b"NATS/1.0\r\n%bNats-Subject: p.a.a\r\nNats-Sequence: %d\r\nNats-Time-Stamp: %b\r\n\r\n"
    state = DeltaState(3, b"t", b"", host, 8).pack()
    script.requests.take(reply, head % (state, sequence, NOW.encode()), b"1s %016x 3\n1t\nx" % 9)
    script.answer(status=b"204 EOB", expected="DIRECT.GET.p+streams")


def test_streams_of_a_host_that_has_gone_are_aborted(script: Deltas) -> None:
    script.ends.abort(OTHER)
    script.answer(BUSY, expected="STREAM.INFO")
    script.tick()
    script.have_deltas()
    script.answer(status=b"408", expected="STREAM.INFO")
    script.tick()
    give_newest(script)
    # Something has come meanwhile: it is looked at again, with the next tick.
    script.answer(CONFLICT, expected="p.a.a")
    assert not script.sent
    script.tick()
    give_newest(script, sequence=13)
    _, head, message = script.next()
    assert b"Nats-Expected-Last-Subject-Sequence: 13\r\n" in head
    assert b"Sockwave-Stream: 3 t a %b" % OTHER in head
    assert message == b'1s %016x 4\n1t - {"end":"aborted"}\n' % 9
    script.answer({"seq": 14})
    script.tick()
    assert not script.sent


def test_streams_of_others_are_left_alone(script: Deltas) -> None:
    script.ends.abort(HOST)
    script.have_deltas()
    give_newest(script)
    assert script.producers == [OTHER]
    script.tick()
    assert not script.sent


def test_who_may_not_abort_a_stream_tries_it_once(script: Deltas) -> None:
    script.ends.abort(OTHER)
    script.have_deltas()
    give_newest(script)
    script.requests.forbid(b"p.a.a", b"no")
    script.sent.clear()
    script.tick()
    assert not script.sent
