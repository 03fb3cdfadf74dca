"""The streams in which JetStream keeps what hosts need, and the one of the logs of all topics.

https://docs.nats.io/nats-concepts/jetstream/streams
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeAlias

from sockwave.brokers.interface import Bounds
from sockwave.brokers.nats_answers import (
    NO_STREAM,
    OTHER_STREAM,
    PASSING_ERRORS,
    SECOND,
    NoLogs,
    describe,
    find_refusal,
    forbidden,
    read_answer,
    read_time,
)
from sockwave.brokers.nats_requests import Answer, NatsRequests
from sockwave.brokers.nats_state import (
    State,
    find_largest,
    find_state,
    has_lost,
    has_room,
    larger,
    note_heard,
)
from sockwave.brokers.nats_subjects import subject_of

#: For so long a message that is sent again is known, and an id: seconds.
ID_LIFE_S = 300

# A topic's last position outlives its messages: who has read all of them has missed none.
_EPOCH_LIFE_S = 24 * 3600


# Of one answer of the server that has the newest messages of several subjects.
_NEWEST_SIZE = 1 << 20


#: Called with None once the stream is there, else with why it is not.
Then: TypeAlias = Callable[[str | None], object]


class KeptStream(ABC):
    """A stream of a service: it is made, and it grows, when a host needs it to."""

    #: What its name, and its subjects, have behind the prefix of the service; and what it is for.
    suffix: ClassVar[bytes] = b""
    branch: ClassVar[bytes]
    description: ClassVar[str]
    #: Whether who is no host has it made, too.
    is_made_by_all: ClassVar[bool] = False

    def __init__(
        self,
        requests: NatsRequests,
        prefix: bytes,
        replica_count: int,
        refusal: NoLogs | None,
        *,
        is_host: bool = True,
    ) -> None:
        """Note where the stream is, or why there is none.

        Who `is_host` has it made where it is not there, and keep as much as is wanted.
        """
        self._requests = requests
        #: Why it keeps nothing for us, if that is so.
        self.refusal = refusal
        self._prefix = prefix
        self.name = prefix + self.suffix
        #: What its subjects begin with.
        self.begin = prefix + self.branch
        #: How many servers are to keep it, where we make it.
        self.replica_count = replica_count
        self._is_host = is_host
        #: Whether it is made where it is not there.
        self.makes = is_host or self.is_made_by_all
        self._config: dict[str, Any] | None = None
        #: Who waits for it, and for how much; None: for whatever there is.
        self._waiting: list[tuple[Bounds | None, Then]] = []
        self._is_asking = False
        self._later = False
        self._is_looking = self._is_doubtful = False
        #: What the stream had when it was last looked at; None: it was not there.
        self._seen: State | None = None
        #: The sequence of the last message that was heard since; 0: none was.
        self._heard_sequence = 0
        self._clock_ms = 0.0
        #: Whether messages that are to be stored together are stored in one step.
        self.has_batches = False

    @property
    def is_used(self) -> bool:
        """Whether the stream was found, or made."""
        return self._config is not None

    @property
    def is_there(self) -> bool:
        """Whether the stream was there a moment ago: then its end is to be seen."""
        return self._seen is not None or self._heard_sequence > 0

    def now_ms(self) -> float:
        """Return the server's time in milliseconds."""
        return self._clock_ms + time.monotonic() * 1000

    def refuse(self, error: bytes) -> None:
        """Note that the server sends us no answers, and why: there are no logs for us."""
        self.refusal = forbidden(error)

    def forget(self) -> None:
        """Look for the stream again: it was not there."""
        self._config = None

    def want(self, bounds: Bounds, then: Then) -> None:
        """Have the stream keep so much of a topic at least, and call `then`, perhaps at once."""
        if self.refusal is not None or (self._config is not None and self._is_enough(bounds)):
            then(self.refusal)
            return
        self._waiting.append((bounds, then))
        self._go()

    def find(self, then: Then) -> None:
        """Look for the stream, and call `then`, perhaps at once: it is not made."""
        if self.refusal is not None or self._config is not None:
            then(self.refusal)
            return
        self._waiting.append((None, then))
        self._go()

    def _is_enough(self, bounds: Bounds | None) -> bool:
        assert self._config is not None
        return (
            bounds is None
            or not self._is_host
            or has_room(self._config, self.bound_fields(bounds))
        )  # fmt: skip

    def _find_wanted(self) -> Bounds:
        """Return what covers all that is waited for."""
        return find_largest([one for one, _ in self._waiting if one is not None])

    # ---- what each kind of stream is

    def subject_of(self, name: bytes) -> bytes:
        """Return the subject of what is of a topic, or of a pattern."""
        return self.begin + subject_of(name)

    def make_config(self, bounds: Bounds) -> dict[str, Any]:
        """Return how it is made, for so much of each topic.

        Its sequences begin with the time, so that those of a stream which follows one that was
        deleted are none of its sequences.
        """
        return {
            "name": self.name.decode(),
            "subjects": [f"{self.begin.decode()}>"],
            "description": self.description,
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "num_replicas": self.replica_count,
            "allow_direct": True,
            "first_seq": time.time_ns() // 1000,
            **self.bound_fields(bounds),
            **self._other_fields(),
        }

    @abstractmethod
    def bound_fields(self, bounds: Bounds) -> dict[str, int]:
        """Return what of its configuration bounds what it keeps."""

    def _other_fields(self) -> dict[str, Any]:
        return {}

    # ---- what it has

    def ask_from(
        self,
        sequence: int,
        subject: bytes,
        count: int,
        size: int,
        taker: Callable[[Answer], object],
    ) -> None:
        """Ask for messages of a subject from a sequence on: so many, or so many bytes, at most.

        Each is an answer, and an answer with a status is behind the last one. A replica may answer,
        which does not have yet what the leader has.
        """
        request = json.dumps({
            "seq": sequence,
            "next_by_subj": subject.decode(),
            "batch": count,
            "max_bytes": size,
        })  # fmt: skip
        self._requests.ask(
            b"$JS.API.DIRECT.GET." + self.name, request.encode(), taker, is_many=True
        )

    def ask_newest(self, subjects: list[bytes], taker: Callable[[Answer], object]) -> None:
        """Ask for the newest message of each subject, some hundreds at most, as by `ask_from`."""
        request = json.dumps({
            "multi_last": [subject.decode() for subject in subjects],
            "batch": len(subjects),
            "max_bytes": _NEWEST_SIZE,
        })  # fmt: skip
        self._requests.ask(
            b"$JS.API.DIRECT.GET." + self.name, request.encode(), taker, is_many=True
        )

    def ask_leader(self, taker: Callable[[Answer], object], **which: int | str) -> None:
        """Ask the stream's leader, who knows it, for a message: `seq`, `next_by_subj`, and so on.

        https://docs.nats.io/reference/reference-protocols/nats_api_reference
        """
        subject = b"$JS.API.STREAM.MSG.GET." + self.name
        self._requests.ask(subject, json.dumps(which).encode(), taker)

    # ---- asking for it

    def _go(self) -> None:
        if not self._is_asking and self._waiting:
            self._is_asking = True
            self._ask(b"INFO", b"", self._take_info)

    def _ask(self, what: bytes, message: bytes, taker: Callable[[Answer], object]) -> None:
        """Ask JetStream something about the stream."""
        self._requests.ask(b"$JS.API.STREAM.%b.%b" % (what, self.name), message, taker)

    def tick(self) -> None:
        """Try again what was not possible a moment ago, once a tick."""
        if self._later:
            self._later = False
            self._go()

    def _finish(self, error: str | None) -> None:
        """Tell those who wait: why the stream is not there, or that it is."""
        self._is_asking = False
        waiting, self._waiting = self._waiting, []
        for bounds, then in waiting:
            if error is None and not self._is_enough(bounds):
                self._waiting.append((bounds, then))
            else:
                then(error)
        self._go()

    def _read(self, answer: Answer) -> tuple[dict[str, Any], int]:
        """Return what was answered, and the number of an error, or 0; or have all wait, or fail."""
        refusal = find_refusal(answer)
        if refusal is not None:
            self._finish(refusal)
            return {}, -1
        found, error = read_answer(answer)
        if error in PASSING_ERRORS or answer.status:
            self._is_asking = False
            self._later = True
            return {}, -1
        return found, error

    def _take_info(self, answer: Answer) -> None:
        found, error = self._read(answer)
        is_wanted = self.makes and any(bounds is not None for bounds, _ in self._waiting)
        if error == NO_STREAM and not is_wanted:
            self._finish(NoLogs("NATS: no host has made the stream"))
        elif error == NO_STREAM:
            config = self.make_config(self._find_wanted())
            self._ask(b"CREATE", json.dumps(config).encode(), self._take_created)
        elif error > 0:
            self._finish(describe(found))
        elif not error:
            self._take_found(found)

    def _take_created(self, answer: Answer) -> None:
        found, error = self._read(answer)
        if error == OTHER_STREAM:  # another host has made it meanwhile
            self._ask(b"INFO", b"", self._take_info)
        elif error > 0:
            self._finish(describe(found))
        elif not error:
            self._take_found(found)

    def _take_found(self, found: dict[str, Any]) -> None:
        """Take the stream as it is, or have it keep more first."""
        config = found["config"]
        if not self._is_ours(config):
            self._finish(
                f"NATS: expected the stream {self.name.decode()} to be as sockwave makes it, given "
                "another one of this name: delete it, or take another prefix"
            )
            return
        self._note_clock(found)
        self._seen = self._seen or find_state(found)
        self.has_batches = bool(config.get("allow_atomic"))
        fields = self.bound_fields(self._find_wanted())
        is_wanted = self._is_host and any(bounds is not None for bounds, _ in self._waiting)
        if not is_wanted or has_room(config, fields):
            self._config = config
            self._finish(None)
            return
        for name, value in fields.items():
            config[name] = larger(config[name], value)
        self._ask(b"UPDATE", json.dumps(config).encode(), self._take_updated)

    def _is_ours(self, config: dict[str, Any]) -> bool:
        """Tell whether a stream stores, and publishes anew, what hosts expect it to."""
        expected = self.make_config((1, 1, 1))
        again = config.get("republish") or {}
        said = {name: again.get(name) for name in expected.get("republish", ())}
        return (
            config.get("subjects") == expected["subjects"]
            and bool(config.get("allow_direct"))
            and said == expected.get("republish", again)
            and not again.get("headers_only")
        )

    def _take_updated(self, answer: Answer) -> None:
        found, error = self._read(answer)
        if error > 0:
            self._finish(describe(found))
        elif not error:
            self._take_found(found)

    def _note_clock(self, found: dict[str, Any]) -> None:
        self._clock_ms = read_time(found["ts"]) - time.monotonic() * 1000

    # ---- whether it is still the same

    def heard(self, sequence: int) -> None:
        """Note that a message was heard, which the stream had when it published it anew."""
        self._heard_sequence = sequence

    def doubt(self) -> None:
        """Note that something may have been lost on its way to us: a cluster has changed."""
        self._is_doubtful = True

    def look(self, looked: Callable[[bool], object]) -> None:
        """See how the stream is; `looked` is called with whether logs are to be read again.

        They are where it has lost what it had, and where it has another leader: what is stored
        while one follows the other is perhaps published by neither. That it has gone may have been
        found out before, by whoever asked it for something else, and is told all the same.
        """
        if self.is_there and not self._is_looking:
            self._is_looking = True
            self._seen = note_heard(self._seen, self._heard_sequence)
            self._heard_sequence = 0
            self._ask(b"INFO", b"", partial(self._compare, looked))

    def _compare(self, looked: Callable[[bool], object], answer: Answer) -> None:
        self._is_looking = False
        found, error = read_answer(answer)
        if answer.status or (error and error != NO_STREAM):
            return
        before = self._seen
        assert before is not None
        if error:
            self._config = self._seen = None
        else:
            is_ours = self._is_ours(found["config"])
            self._is_doubtful |= not is_ours
            self._config = found["config"] if is_ours else None  # all are told with the next read
            self._note_clock(found)
            self._seen = find_state(found)
        is_doubtful, self._is_doubtful = self._is_doubtful, False
        looked(is_doubtful or has_lost(before, self._seen))


class HeardStream(KeptStream):
    """A stream that publishes anew what it has stored, where hosts hear topics."""

    def _other_fields(self) -> dict[str, Any]:
        begin = self.begin.decode()
        return {
            "republish": {"src": f"{begin}>", "dest": f"{self._prefix.decode()}.t.>"},
            "duplicate_window": ID_LIFE_S * SECOND,
            "allow_atomic": True,
        }


class LogStream(HeardStream):
    """The stream of the messages of all topics that have a history or presence."""

    branch = b".s."
    description = "Topics of sockwave that have a history or presence"

    @property
    def bounds(self) -> Bounds:
        """What is kept of a topic, as far as the stream says: who is no host knows no more."""
        config = self._config or {}
        life_s = config.get("max_age", 0) / SECOND
        count = config.get("max_msgs_per_subject", 1)
        return max(count, 1), 1, max(life_s - _EPOCH_LIFE_S, 1.0) if life_s else 0

    @property
    def kept_replica_count(self) -> int:
        """How many servers keep it, as far as the stream says."""
        return int((self._config or {}).get("num_replicas", 1))

    def bound_fields(self, bounds: Bounds) -> dict[str, int]:
        """Return what of its configuration bounds what it keeps."""
        count, _, ttl_s = bounds
        return {
            "max_msgs_per_subject": count,
            "max_age": int((ttl_s + _EPOCH_LIFE_S) * SECOND) if ttl_s else 0,
        }
