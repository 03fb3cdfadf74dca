"""Publishing from other processes, of the same host or of another: a task queue, a script."""

import asyncio
import contextlib
import os
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from sockwave.brokers.urls import SCHEMES, hide_password, make_publishing_opener
from sockwave.deliveries import Published
from sockwave.errors import SockwaveError
from sockwave.messages import Message
from sockwave.topics.outbox import Outbox, check_open
from sockwave.topics.sockets import connect, make_waits

if TYPE_CHECKING:
    from sockwave.topics.broker_publisher import AsyncBrokerPublisher, BlockingBrokerPublisher

_READ_SIZE = 1 << 16

_Trace: TypeAlias = TracebackType | None


class Publisher:
    """Publishes on topics from a program that is none of the service's.

    `address` is "unix:PATH", with the path of `sockwave serve --sequencer PATH`, of a service of
    the same host; or the URL of the broker that its hosts share: "valkey://…", "nats://…", see
    docs/scaling.md. In a program of threads, it is entered with `with`, and `publish` waits; in one
    of asyncio with `async with`, and `publish` returns an awaitable:

        with Publisher("unix:/run/chat/topics") as publisher:
            publisher.publish("news", "hello")

    `timeout` is for how many seconds a message may wait for its acknowledgement. Meanwhile a lost
    sequencer comes back, and messages are sent again to it, and taken once; a broker that is not
    there is waited for, and what it has not acknowledged when it goes is not sent again. It may be
    entered again.

    Raises ValueError for another address, ImportError, which names the extra, where the broker's
    client is not installed.
    """

    def __init__(self, address: str, *, timeout: float = 30.0) -> None:
        if not isinstance(address, str):
            raise TypeError(f"address: expected str, given {type(address).__name__}")
        scheme, _, path = address.partition(":")
        self._path = path if scheme == "unix" else ""
        if not self._path:
            if scheme.lower() not in SCHEMES or not path.startswith("//"):
                raise ValueError(
                    f"address: expected 'unix:PATH' or the URL of a broker, such as "
                    f"'valkey://HOST', given {hide_password(address)!r}"
                )
            make_publishing_opener(address)  # raises for a setting that does not exist
        if not timeout > 0:
            raise ValueError(f"timeout: expected more than 0 seconds, given {timeout!r}")
        self._address = address
        self._timeout = timeout
        self._entered: BlockingPublisher | BlockingBrokerPublisher | None = None
        self._entered_async: AsyncPublisher | AsyncBrokerPublisher | None = None

    def __enter__(self) -> "BlockingPublisher | BlockingBrokerPublisher":
        if self._path:
            self._entered = BlockingPublisher(self._path, self._timeout)
        else:
            # Few have a broker: what they need is not imported with the package.
            from sockwave.topics.broker_publisher import BlockingBrokerPublisher

            self._entered = BlockingBrokerPublisher(self._address, self._timeout)
        return self._entered

    def __exit__(self, kind: object, error: object, trace: _Trace) -> None:
        if self._entered is not None:
            self._entered.close()

    async def __aenter__(self) -> "AsyncPublisher | AsyncBrokerPublisher":
        if self._path:
            self._entered_async = AsyncPublisher(self._path, self._timeout)
        else:
            from sockwave.topics.broker_publisher import AsyncBrokerPublisher

            self._entered_async = AsyncBrokerPublisher(self._address, self._timeout)
        return self._entered_async

    async def __aexit__(self, kind: object, error: object, trace: _Trace) -> None:
        if self._entered_async is not None:
            await self._entered_async.close()


def _no_answer(timeout: float, error: OSError | None) -> SockwaveError:
    why = "" if error is None else f"; the last attempt to connect: {error}"
    return SockwaveError(
        f"expected an acknowledgement within {timeout:g} s, and there was none{why}: the message "
        f"may have been published"
    )


class BlockingPublisher:
    """Publishes, and waits for each acknowledgement. It may be used from several threads."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._outbox = Outbox()
        self._socket: socket.socket | None = None
        self._pid = os.getpid()
        self._is_closed = False

    def publish(self, topic: str, message: Message, id: str | None = None) -> Published:
        """Publish a str (text) or bytes-like (binary), and wait until the sequencer has taken it.

        Returns its position, None for a topic without any. Of a topic with a history, a second
        message with the same `id` within five minutes is not published, and gets the position of
        the first.

        Raises TypeError or ValueError for a wrong topic, message or id, SockwaveError where the
        message is refused, or no acknowledgement has come in time.
        """
        with self._lock:
            check_open(is_closed=self._is_closed)
            self._notice_fork()
            self._notice_end()
            sequence, record = self._outbox.add(topic, message, id)
            try:
                return self._exchange(sequence, record)
            finally:
                self._outbox.drop(sequence)

    def _exchange(self, sequence: int, record: bytes) -> Published:
        """Send a message, over as many links as it takes; wait for what becomes of it."""
        until = time.monotonic() + self._timeout
        waits = make_waits()
        failure: OSError | None = None
        while (left := until - time.monotonic()) > 0:
            try:
                if self._socket is None:
                    self._socket = connect(self._path)
                    record = self._outbox.begin()  # which has the message, too
                self._socket.settimeout(left)
                self._socket.sendall(record)
                return self._wait(self._socket, sequence, until)
            except TimeoutError:
                break
            except OSError as error:
                failure = error
                self._let_go()
                time.sleep(max(min(waits.take(), until - time.monotonic()), 0.0))
        self._let_go()  # half a record may have gone
        raise _no_answer(self._timeout, failure)

    def _wait(self, sock: socket.socket, sequence: int, until: float) -> Published:
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            data = sock.recv(_READ_SIZE)
            if not data:
                raise ConnectionResetError("the sequencer has closed the link")
            outcomes, answer = self._outbox.take(data)
            if answer:
                sock.sendall(answer)
            for one, outcome in outcomes:
                if one == sequence:
                    if isinstance(outcome, SockwaveError):
                        raise outcome
                    return outcome

    def _notice_fork(self) -> None:
        """In a forked child, be another publisher: the link is the parent's."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._outbox = Outbox()
            self._let_go()

    def _notice_end(self) -> None:
        """Connect anew if the sequencer has gone since the last message."""
        if self._socket is not None:
            self._socket.setblocking(False)
            try:
                data = self._socket.recv(_READ_SIZE)
                self._outbox.take(data)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._let_go()

    def _let_go(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Close the link; nothing waits on it."""
        with self._lock:
            self._is_closed = True
            self._let_go()


class AsyncPublisher(asyncio.Protocol):
    """Publishes in a loop of asyncio, where many messages may wait for their acknowledgements."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox()
        self._futures: dict[int, asyncio.Future[Published]] = {}
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._failure: OSError | None = None
        self._is_closed = False

    def publish(
        self, topic: str, message: Message, id: str | None = None
    ) -> "asyncio.Future[Published]":
        """Queue a str (text) or bytes-like (binary) at once; return an awaitable of a Published.

        It has the position of the message, None for a topic without any. Of a topic with a history,
        a second message with the same `id` within five minutes is not published, and gets the
        position of the first. Awaited, it raises SockwaveError where the message is refused, or no
        acknowledgement has come in time.

        Raises TypeError or ValueError for a wrong topic, message or id, and SockwaveError where
        8 MiB wait already.
        """
        check_open(is_closed=self._is_closed, waiting_size=self._outbox.waiting_size)
        sequence, record = self._outbox.add(topic, message, id)
        future: asyncio.Future[Published] = self._loop.create_future()
        self._futures[sequence] = future
        timer = self._loop.call_later(self._timeout, self._give_up, sequence)

        def done(_: "asyncio.Future[Published]") -> None:
            timer.cancel()
            self._futures.pop(sequence, None)
            self._outbox.drop(sequence)

        future.add_done_callback(done)
        if self._transport is not None:
            self._transport.write(record)
        elif self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
        return future

    def _give_up(self, sequence: int) -> None:
        future = self._futures.get(sequence)
        if future is not None and not future.done():
            future.set_exception(_no_answer(self._timeout, self._failure))

    # ---- the link

    async def _connect(self) -> None:
        """Connect, as often as it takes while messages wait."""
        waits = make_waits()
        try:
            while self._futures and self._transport is None:
                try:
                    sock = connect(self._path)
                except OSError as error:
                    self._failure = error
                    await asyncio.sleep(waits.take())
                    continue
                await self._loop.create_unix_connection(lambda: self, sock=sock)
        finally:
            self._connecting = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send all that waits."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._outbox.begin())

    def data_received(self, data: bytes) -> None:
        """Take acknowledgements."""
        assert self._transport is not None
        try:
            outcomes, answer = self._outbox.take(data)
        except SockwaveError:
            self._transport.abort()
            return
        if answer:
            self._transport.write(answer)
        for sequence, outcome in outcomes:
            future = self._futures.get(sequence)
            if future is None or future.done():
                continue
            if isinstance(outcome, SockwaveError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def connection_lost(self, exc: Exception | None) -> None:
        """Connect anew where messages wait; else with the next one."""
        self._transport = None
        if self._futures:  # also while `close` waits
            self._connecting = self._loop.create_task(self._connect())

    async def close(self) -> None:
        """Wait for the acknowledgements that are owed, and close the link."""
        self._is_closed = True
        waiting = list(self._futures.values())
        if waiting:
            await asyncio.wait(waiting)
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        if self._transport is not None:
            self._transport.close()
