"""The newest deltas of topics: which of them are streams is asked of many at a time."""

from collections.abc import Callable, Iterable
from functools import partial

from sockwave.brokers.nats_deltas import DeltaStream, split_subjects
from sockwave.brokers.nats_requests import FORBIDDEN, NOBODY, Answer
from sockwave.brokers.nats_stored import Delta, read_given_delta
from sockwave.brokers.nats_subjects import name_of
from sockwave.brokers.nats_wire import find_header

#: Called with the newest delta of each topic that has one; None: the server does not tell now.
Told = Callable[[dict[bytes, Delta] | None], object]


class _Question:
    def __init__(self, subjects: Iterable[bytes], then: Told) -> None:
        self.groups = list(split_subjects(subjects))
        self.then = then
        self.found: dict[bytes, Delta] = {}
        #: Of the group that is being asked for, those that have not come.
        self.left: list[bytes] = []
        self.came = False


class NatsNewest:
    """What is asked of the stream of deltas, by which nothing is made."""

    def __init__(self, stream: DeltaStream) -> None:
        self._stream = stream
        #: Whether the server lets us ask.
        self._is_forbidden = False

    def ask(self, names: Iterable[bytes], then: Told) -> None:
        """Ask for the newest deltas of topics, and call `then`, perhaps at once."""
        self.ask_subjects((self._stream.subject_of(name) for name in names), then)

    def ask_subjects(self, subjects: Iterable[bytes], then: Told) -> None:
        """Do the same of subjects."""
        question = _Question(subjects, then)
        if self._is_forbidden or self._stream.refusal is not None:
            question.groups.clear()
        self._ask_next(question)

    def _ask_next(self, question: _Question) -> None:
        if not question.left:
            if not question.groups:
                question.then(question.found)
                return
            question.left = question.groups.pop(0)
        question.came = False
        self._stream.ask_newest(question.left, partial(self._take, question))

    def _take(self, question: _Question, answer: Answer) -> None:
        """Take a delta, or the end of those that were asked for."""
        if not answer.status:
            subject = find_header(answer.head, b"Nats-Subject")
            if subject not in question.left:
                return
            question.left.remove(subject)
            question.came = True
            delta = read_given_delta(answer)
            if delta is not None:
                question.found[name_of(subject.removeprefix(self._stream.begin))] = delta
        elif answer.status in (204, 404):
            has_more = find_header(answer.head, b"Nats-Num-Pending") not in (b"", b"0")
            if not has_more or not question.came:
                question.left.clear()
            self._ask_next(question)
        elif answer.status == FORBIDDEN:
            self._is_forbidden = True  # once is enough for the server's log of what was refused
            question.then(question.found)
        elif answer.status == NOBODY:
            self._stream.forget()
            self._stream.find(partial(self._looked_for, question))
        else:
            question.then(None)

    def _looked_for(self, question: _Question, error: str | None) -> None:
        """Tell that there is nothing, where there is no stream for us; else nobody leads it now."""
        question.then(None if error is None else question.found)
