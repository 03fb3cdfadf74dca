"""Whatever JetStream answers to the parts of large messages, or does not answer.

What a server would be sent is read here, and answered as a server does that has lost parts, or is
just starting.
"""

import base64
import json
import zlib
from typing import Any

import pytest
from test_jetstream_answers import BOUNDS, BUSY, FULL, NO_MESSAGE, NO_STREAM, NOW, Script, tell

from sockwave.brokers.nats_parts import PartStream, Reference, find_rows, read_reference
from sockwave.core.topics.parts import PART_SIZE


@pytest.fixture
def script() -> Script:
    return Script()


def test_what_stands_for_a_large_message_is_read_as_it_was_written() -> None:
    size = 5 * PART_SIZE - 1
    rows = find_rows([7, 8, 20, 21, 22])
    assert rows == [(7, 8), (20, 22)]
    reference = Reference(size, 0xAB, rows)
    assert read_reference(reference.pack()) == reference
    assert reference.pack() == b"1l 655359 000000ab 7-8,20-22\n"
    for wrong in (b"", b"1l 655359 000000ab 7-8\n", b"1l 655359 000000ab 7-8,20-23\n", b"1t\nx"):
        assert read_reference(wrong) is None


def test_parts_are_bound_by_what_their_topic_keeps() -> None:
    stream = PartStream(None, b"p", 1, None)  # type: ignore[arg-type]
    for bounds, count, age_s in (
        ((100, 4 << 20, 60.0), 64 + 2052, 960),
        ((1, (1 << 64) - 1, 0), 513 + 2052, 0),
    ):
        config = stream.make_config(bounds)
        assert config["max_msgs_per_subject"] == count
        assert config["max_age"] == age_s * 10**9
        assert config["subjects"] == ["p.l.>"]


# ---- parts that are stored


def begin_upload(script: Script, size: int = PART_SIZE + 1) -> list[tuple[bytes, str | None]]:
    """Begin to store a message of two parts, unless it is said otherwise."""
    done: list[tuple[bytes, str | None]] = []
    message = bytes(size)
    script.uploads.begin(b"a", message, b"id", BOUNDS, lambda *outcome: done.append(outcome))
    return done


def describe_state(config: dict[str, Any]) -> dict[str, Any]:
    state = {"first_seq": 1, "last_seq": 9, "messages": 9}
    return {"config": config, "created": NOW, "ts": NOW, "state": state}


def have_parts(script: Script) -> None:
    found = describe_state(script.parts.make_config(BOUNDS))
    script.answer(found, expected="STREAM.INFO.p+parts")


def stored(sequence: int) -> dict[str, Any]:
    return {"stream": "p+parts", "seq": sequence}


def test_parts_are_stored_and_looked_at_before_the_log_tells_of_them(script: Script) -> None:
    done = begin_upload(script)
    have_parts(script)
    names = [head for _, _, head, _ in script.sent]
    assert len({*names}) == 2
    for sequence in (7, 9):
        script.answer(stored(sequence), expected="p.l.a")
    assert json.loads(script.next()[2]) == {"seq": 7}
    script.answer({"message": {"seq": 7, "data": ""}}, expected="MSG.GET.p+parts")
    checksum = zlib.crc32(bytes(PART_SIZE + 1))
    assert done == [(b"1l 131073 %08x 7-7,9-9\n" % checksum, None)]
    assert script.sent == []


def test_few_parts_are_on_their_way_at_a_time(script: Script) -> None:
    done = begin_upload(script, 20 * PART_SIZE)
    other = begin_upload(script)
    have_parts(script)
    for sequence in range(1, 21):
        assert len(script.sent) <= 8
        script.answer(stored(sequence), expected="p.l.a")
    script.answer({"message": {"seq": 1, "data": ""}}, expected="MSG.GET")
    assert b" 1-20\n" in done[0][0]
    assert other == []
    assert len(script.sent) == 2  # the next message


def test_fewer_parts_are_on_a_way_that_is_slow(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = begin_upload(script, 4 * PART_SIZE)
    have_parts(script)
    assert len(script.sent) == 4
    monkeypatch.setattr("time.monotonic", lambda: 1e12)
    script.requests.time_out()
    script.sent.clear()
    script.tick()
    for sequence in range(1, 5):
        assert len(script.sent) == 1
        script.answer(stored(sequence), expected="p.l.a")
    script.answer({"message": {"seq": 1, "data": ""}}, expected="MSG.GET")
    assert done[0][1] is None


@pytest.mark.parametrize("answer", [BUSY, None])
def test_a_part_that_is_not_taken_is_sent_again(script: Script, answer: Any) -> None:
    done = begin_upload(script)
    have_parts(script)
    again = script.sent[0]
    script.answer(answer, status=b"" if answer else b"408 Timeout")
    script.answer(stored(8))
    assert script.sent == []
    script.tick()
    assert script.sent[0][2:] == again[2:]
    script.answer(stored(9))
    script.answer(BUSY, expected="MSG.GET")
    script.tick()
    assert script.sent[0][2] != again[2]  # the last part, which is known
    script.answer(stored(8) | {"duplicate": True})
    script.answer({"message": {"seq": 8, "data": ""}}, expected="MSG.GET")
    assert b" 9-9,8-8\n" in done[0][0]


def test_a_stream_of_parts_that_has_gone_is_made_again(script: Script) -> None:
    done = begin_upload(script)
    have_parts(script)
    for _ in range(2):
        script.answer(status=b"503")
    script.tick()
    script.answer(NO_STREAM, expected="STREAM.INFO.p+parts")
    script.answer(describe_state(json.loads(script.next()[2])), expected="CREATE.p+parts")
    for sequence in (1, 2):
        script.answer(stored(sequence), expected="p.l.a")
    script.answer({"message": {"seq": 1, "data": ""}})
    assert done[0][1] is None


def test_parts_that_go_before_all_are_stored_are_sent_anew_and_then_refused(script: Script) -> None:
    done = begin_upload(script)
    names: set[bytes] = set()
    for _ in range(3):
        have_parts(script)
        for sequence in (1, 2):
            names.add(script.sent[0][2])
            script.answer(stored(sequence), expected="p.l.a")
        assert done == []
        script.answer(NO_MESSAGE, expected="MSG.GET")
    assert len(names) == 6  # they are not taken for those that have gone
    assert done == [(b"", "its first parts went before its last ones were stored")]


@pytest.mark.parametrize("what", ["part", "look"])
def test_what_jetstream_says_against_a_part_is_told(script: Script, what: str) -> None:
    done = begin_upload(script)
    have_parts(script)
    if what == "look":
        for sequence in (1, 2):
            script.answer(stored(sequence))
    script.answer(FULL)
    assert done == [(b"", "JetStream: maximum bytes exceeded")]
    if script.sent:
        script.answer(stored(2))  # which nobody waits for
    assert len(done) == 1


# ---- parts that are read

WHOLE = bytes(range(256)) * 600  # two parts


def begin_read(script: Script, reference: Reference | None = None) -> None:
    """Read a log, whose last message but one is large, up to where its parts are asked for."""
    reference = reference or Reference(len(WHOLE), zlib.crc32(WHOLE), [(7, 7), (9, 9)])
    script.pages.read(b"a", 1, 5, 2, BOUNDS)
    script.have_stream()
    script.answer(tell(5, 4, 40), expected="MSG.GET.p")
    give(script, 39, b"1o %016x 3\n%b" % (5, reference.pack()))
    give(script, 40, b"1o %016x 4\n1t\nx" % 5)
    script.answer(status=b"204 EOB", expected="DIRECT.GET.p")
    if script.sent:
        have_parts(script)


def give(script: Script, sequence: int, message: bytes) -> None:
    """Answer a request for many messages with one."""
    head = b"NATS/1.0\r\nNats-Sequence: %d\r\nNats-Time-Stamp: %b\r\n\r\n"
    _, reply, _, _ = script.sent[0]
    script.requests.take(reply, head % (sequence, NOW.encode()), message)


def test_parts_are_put_together_and_the_page_ends_behind_them(script: Script) -> None:
    begin_read(script)
    for sequence, part in ((7, WHOLE[:PART_SIZE]), (9, WHOLE[PART_SIZE:])):
        asked = json.loads(script.next()[2])
        assert (asked["seq"], asked["batch"], asked["next_by_subj"]) == (sequence, 1, "p.l.a")
        give(script, sequence, part)
        script.answer(status=b"204 EOB", expected="DIRECT.GET.p+parts")
    ((epoch, top, _, entries),) = script.pages_
    assert (epoch, top) == (5, 4)
    assert [(offset, message) for offset, _, message in entries] == [(3, WHOLE)]
    assert script.sent == []


def test_a_part_that_a_replica_does_not_have_the_leader_tells(script: Script) -> None:
    begin_read(script)
    script.answer(status=b"404 Message Not Found", expected="DIRECT.GET.p+parts")
    script.answer(BUSY, expected="MSG.GET.p+parts")
    script.tick()
    script.answer(status=b"408 Timeout", expected="DIRECT.GET.p+parts")
    script.tick()
    script.answer(status=b"404 Message Not Found", expected="DIRECT.GET.p+parts")
    script.answer(tell_part(7, WHOLE[:PART_SIZE]), expected="MSG.GET.p+parts")
    give(script, 9, WHOLE[PART_SIZE:])
    script.answer(status=b"204 EOB", expected="DIRECT.GET.p+parts")
    assert script.pages_[0][3][0][2] == WHOLE


def tell_part(sequence: int, part: bytes) -> dict[str, Any]:
    data = base64.b64encode(part).decode()
    return {"message": {"seq": sequence, "data": data, "time": NOW}}


@pytest.mark.parametrize("lost", ["gone", "other", "changed"])
def test_a_log_goes_on_behind_a_message_of_which_a_part_is_lost(script: Script, lost: str) -> None:
    begin_read(script)
    if lost == "gone":
        script.answer(status=b"404 Message Not Found")
        script.answer(NO_MESSAGE, expected="MSG.GET.p+parts")
    else:
        give(script, 7 if lost == "changed" else 8, bytes(PART_SIZE))
        script.answer(status=b"204 EOB", expected="DIRECT.GET.p+parts")
    if lost == "changed":
        give(script, 9, WHOLE[PART_SIZE:])
        script.answer(status=b"204 EOB", expected="DIRECT.GET.p+parts")
    assert json.loads(script.next()[2])["seq"] == 40
    give(script, 40, b"1o %016x 4\n1t\nx" % 5)
    script.answer(status=b"204 EOB", expected="DIRECT.GET.p")
    assert [offset for offset, _, _ in script.pages_[0][3]] == [4]


def test_a_stream_of_parts_that_goes_while_it_is_read_is_looked_for(script: Script) -> None:
    begin_read(script)
    script.answer(status=b"503", expected="DIRECT.GET.p+parts")
    script.tick()
    script.answer(NO_STREAM, expected="STREAM.INFO.p+parts")
    script.answer(describe_state(script.parts.make_config(BOUNDS)), expected="CREATE.p+parts")
    script.answer(status=b"404 Message Not Found", expected="DIRECT.GET.p+parts")
    script.answer(NO_MESSAGE, expected="MSG.GET.p+parts")
    assert script.next()[0] == "$JS.API.DIRECT.GET.p"  # the log goes on


@pytest.mark.parametrize("at", ["stream", "parts", "leader"])
def test_what_jetstream_says_against_reading_parts_is_told(script: Script, at: str) -> None:
    begin_read(script)
    if at == "stream":
        script.answer(status=b"503")
        script.tick()
    elif at == "leader":
        script.answer(status=b"404 Message Not Found")
    if at == "parts":
        assert script.requests.forbid(b"$JS.API.DIRECT.GET.p+parts", b"'Permissions Violation'")
    else:
        script.answer(FULL)
    expected = (
        "NATS: 'Permissions Violation'" if at == "parts" else "JetStream: maximum bytes exceeded"
    )
    assert script.failed_ == [expected]


def test_few_large_messages_are_read_at_a_time(script: Script) -> None:
    taken: list[Any] = []
    for number in range(5):
        reference = Reference(PART_SIZE, zlib.crc32(bytes(PART_SIZE)), [(7, 7)])
        script.downloads.begin(b"a", reference, BOUNDS, lambda *outcome: taken.append(outcome))
        if not number:
            have_parts(script)
        assert len(script.sent) == min(number + 1, 2)
    for left in (2, 2, 2, 1, 0):
        give(script, 7, bytes(PART_SIZE))
        script.answer(status=b"204 EOB")
        assert len(script.sent) == left
    assert taken == [(bytes(PART_SIZE), "")] * 5
