"""Publishing by a broker from a program that is no host: one thread at a time, which waits."""

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sockwave.brokers.interface import Outcome, PublishingLink
from sockwave.brokers.sockets import make_waits
from sockwave.brokers.urls import hide_password, make_publishing_opener
from sockwave.core.topics.parts import PART_SIZE, split_message
from sockwave.errors import SockwaveError
from sockwave.forking import unwatch_forks, watch_forks

# So many bytes are sent before the broker's answers are waited for.
_BATCH_SIZE = 1 << 20


class Outgoing(NamedTuple):
    """A message that is to be published."""

    name: bytes
    parcel: bytes
    #: An id, or nothing.
    id: bytes
    #: Until when it may wait for the broker, of `time.monotonic`.
    until: float


class BrokerWay:
    """The way to one broker, which is found again when it was lost."""

    def __init__(self, url: str) -> None:
        """Note where the broker is. Raises ValueError and ImportError as `check_broker` does."""
        self._opener = make_publishing_opener(url)
        self._broker = hide_password(url)
        self._link: PublishingLink | None = None
        self._is_closed = False
        self._renew()
        watch_forks(self)

    def _renew(self) -> None:
        self._host = secrets.token_hex(8)
        self._serial = 0
        self._lock = threading.Lock()

    def forked(self, *, is_child: bool) -> None:
        """In a forked child, let go of what is the parent's: its link, and a lock it may hold."""
        if is_child:
            self._renew()
            link, self._link = self._link, None
            if link is not None:
                link.abandon()

    def publish(self, messages: Sequence[Outgoing]) -> Iterator[Outcome]:
        """Publish messages in their order; give what became of each, as it is known.

        What was sent and not answered is not sent again: it may have been published.
        """
        place = 0
        while place < len(messages):
            outcomes = self._publish_next(messages, place)
            yield from outcomes
            place += len(outcomes)

    def _publish_next(self, messages: Sequence[Outgoing], place: int) -> list[Outcome]:
        """Publish the messages behind a place, as many as go at once; or give up the first."""
        first = messages[place]
        if not self._lock.acquire(timeout=max(first.until - time.monotonic(), 0)):
            return [self._not_there("another thread waits for it")]
        try:
            link = self._reach(first.until, is_due=place > 0)
            return self._exchange(link, messages[place : place + count_batch(messages, place)])
        except SockwaveError as error:
            return [error]
        finally:
            self._lock.release()

    def _exchange(self, link: PublishingLink, batch: Sequence[Outgoing]) -> list[Outcome]:
        until = max(one.until for one in batch)
        try:
            if len(batch[0].parcel) > PART_SIZE:
                return [self._send_large(link, batch[0])]
            return link.publish([(one.name, one.parcel, one.id) for one in batch], until)
        except (OSError, SockwaveError) as error:
            self._let_go()
            lost = SockwaveError(
                f"the broker {self._broker} was lost, and had not acknowledged the message, which "
                f"may have been published: {error}"
            )
            return [lost] * len(batch)
        except BaseException:
            self._let_go()  # it owes answers, or has had half of a command
            raise

    def _send_large(self, link: PublishingLink, message: Outgoing) -> Outcome:
        """Send a large message: in one piece where hosts read it from a log, else in parts."""
        has_history = link.has_history(message.name, message.until)
        if isinstance(has_history, SockwaveError):
            return has_history
        if has_history:
            return link.publish([(message.name, message.parcel, message.id)], message.until)[0]
        self._serial += 1
        parts = split_message(message.parcel, self._host, self._serial)
        is_left = True
        while is_left:
            window: list[tuple[bytes, bytes]] = []
            for part in parts:
                window.append((message.name, part))
                if len(window) * PART_SIZE >= _BATCH_SIZE:
                    break
            else:
                is_left = False
            for outcome in link.publish_parts(window, message.until):
                if outcome is not None:
                    return outcome
        return None

    def _reach(self, until: float, *, is_due: bool) -> PublishingLink:
        """Connect, if need be as often as it takes; where it `is_due`, in time, or not at all.

        Raises SockwaveError: it was not in time, or it never will be.
        """
        if self._is_closed:
            raise SockwaveError("the publisher is closed: expected to publish before that")
        if self._link is not None and not self._link.is_alive():
            self._let_go()
        waits = make_waits()
        failure = "there was no time to look for it"
        while self._link is None:
            left = until - time.monotonic()
            if left <= 0 and is_due:
                raise self._not_there(failure)
            is_due = True
            try:
                self._link = self._opener.connect_publishing(max(left, 0.05))
            except SockwaveError as error:  # it is there, and will not have us
                raise self._not_there(str(error)) from None
            except Exception as error:  # of whatever kind the broker's client raises
                failure = str(error)
                time.sleep(max(min(waits.take(), until - time.monotonic()), 0))
        return self._link

    def _not_there(self, reason: str) -> SockwaveError:
        return SockwaveError(
            f"expected the broker {self._broker} to be there in time; nothing was published: "
            f"{reason}"
        )

    def _let_go(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def close(self) -> None:
        """Leave the broker for good."""
        with self._lock:
            self._is_closed = True
            self._let_go()
        unwatch_forks(self)


def count_batch(messages: Sequence[Outgoing], place: int) -> int:
    """Return how many messages are sent at once: a large one alone."""
    count, size = 0, 0
    for one in messages[place:]:
        size += len(one.parcel)
        is_large = len(one.parcel) > PART_SIZE
        if count and (size > _BATCH_SIZE or is_large):
            break
        count += 1
        if is_large:
            break
    return count
