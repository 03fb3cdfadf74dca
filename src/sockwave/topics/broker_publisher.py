"""Publishing through a broker, from programs that are no host: one that waits, one of asyncio."""

import asyncio
import contextlib
import json
import queue
import threading
import time
from typing import NamedTuple

from sockwave.brokers.interface import Outcome
from sockwave.brokers.publishing import BrokerWay, Outgoing
from sockwave.core.topics.wildcards import check_topic_name
from sockwave.deliveries import Published
from sockwave.errors import SockwaveError
from sockwave.messages import Message
from sockwave.topics.outbox import check_open, encode_id, encode_message

# So many messages are handed to the broker in one go at most.
_BATCH_COUNT = 1000


def make_outgoing(topic: str, message: Message, id: str | None, timeout: float) -> Outgoing:
    """Make what is sent. Raises TypeError or ValueError for a wrong topic, message or id."""
    name = check_topic_name(topic).encode()
    is_text, payload = encode_message(message)
    head = b"1t -" if is_text else b"1b -"
    encoded = b""
    if id is not None:
        encoded = encode_id(id)
        head += b" " + json.dumps({"id": id}).encode()
    return Outgoing(name, head + b"\n" + payload, encoded, time.monotonic() + timeout)


class BlockingBrokerPublisher:
    """Publishes, and waits until the broker has taken it. It may be used from several threads."""

    def __init__(self, url: str, timeout: float) -> None:
        self._way = BrokerWay(url)
        self._timeout = timeout

    def publish(self, topic: str, message: Message, id: str | None = None) -> Published:
        """Publish a str (text) or bytes-like (binary), and wait until the broker has taken it.

        Returns its position, None for a topic without any; a second message with the same `id`
        within five minutes is not published then, and gets the position of the first. Whether any
        host hears the topic is not known.

        Raises TypeError or ValueError for a wrong topic, message or id, SockwaveError where the
        broker refuses it, is not there in time, or goes before it has answered.
        """
        outgoing = make_outgoing(topic, message, id, self._timeout)
        (outcome,) = self._way.publish([outgoing])
        if isinstance(outcome, SockwaveError):
            raise outcome
        return Published(outcome, 0)

    def close(self) -> None:
        """Leave the broker."""
        self._way.close()


class _Waiting(NamedTuple):
    """A message that was not acknowledged."""

    outgoing: Outgoing
    future: "asyncio.Future[Published]"


class AsyncBrokerPublisher:
    """Publishes in a loop of asyncio: one thread waits for the broker, for all messages at once."""

    def __init__(self, url: str, timeout: float) -> None:
        self._way = BrokerWay(url)
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._futures: set[asyncio.Future[Published]] = set()
        self._waiting_size = 0
        self._is_closed = False

    def publish(
        self, topic: str, message: Message, id: str | None = None
    ) -> "asyncio.Future[Published]":
        """Queue a str (text) or bytes-like (binary) at once; return an awaitable of a Published.

        Awaited, it raises SockwaveError where the broker refuses the message, is not there in time,
        or goes before it has answered.

        Raises TypeError or ValueError for a wrong topic, message or id, and SockwaveError where
        8 MiB wait already.
        """
        check_open(is_closed=self._is_closed, waiting_size=self._waiting_size)
        outgoing = make_outgoing(topic, message, id, self._timeout)
        future: asyncio.Future[Published] = self._loop.create_future()
        self._futures.add(future)
        self._waiting_size += len(outgoing.parcel)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._publish_all, name="sockwave-publisher", daemon=True
            )
            self._thread.start()
        self._queue.put(_Waiting(outgoing, future))
        return future

    def _publish_all(self) -> None:
        """In the thread: publish what comes, all that waits at a time."""
        is_open = True
        while is_open:
            taken = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(taken) < _BATCH_COUNT:
                    taken.append(self._queue.get_nowait())
            is_open = None not in taken
            batch = [one for one in taken if one is not None]
            outcomes = self._way.publish([one.outgoing for one in batch])
            for waiting, outcome in zip(batch, outcomes, strict=True):
                try:
                    self._loop.call_soon_threadsafe(self._settle, waiting, outcome)
                except RuntimeError:  # the loop has ended
                    return
        self._way.close()

    def _settle(self, waiting: _Waiting, outcome: Outcome) -> None:
        self._waiting_size -= len(waiting.outgoing.parcel)
        self._futures.discard(waiting.future)
        if waiting.future.done():
            return  # cancelled
        if isinstance(outcome, SockwaveError):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(Published(outcome, 0))

    async def close(self) -> None:
        """Wait for the acknowledgements that are owed, and leave the broker."""
        self._is_closed = True
        if self._futures:
            await asyncio.wait(self._futures)
        if self._thread is not None:
            self._queue.put(None)
            await self._loop.run_in_executor(None, self._thread.join)
