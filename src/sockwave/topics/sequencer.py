"""The process of the sequencer: one loop over a listening Unix socket and its links.

A supervisor forks it, or starts it as `python -m sockwave.topics.sequencer DESCRIPTOR DESCRIPTOR
JSON`: with the listening socket, and one whose other end the supervisor holds.
"""

import contextlib
import gc
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from sockwave.core.topics.links import Link
from sockwave.core.topics.sequencer import Sequencer
from sockwave.errors import SockwaveError
from sockwave.topics.callbacks import Callbacks, Watch
from sockwave.topics.sockets import identify_peer

if TYPE_CHECKING:
    from sockwave.brokers.clients import HostClient

logger = logging.getLogger("sockwave")

# Where the system has no more descriptors, links wait so long to be accepted.
_ACCEPT_PAUSE_S = 1.0

# What is left to send when it ends: workers that read get it, others are not waited for.
_FAREWELL_S = 0.5


class Peer:
    """The other end of one link."""

    def __init__(self, sock: socket.socket, link: Link, pid: int) -> None:
        self.socket = sock
        self.descriptor = sock.fileno()
        self.link = link
        self.pid = pid
        #: Whether the kernel takes no more of its output for now.
        self.is_full = False

    def __str__(self) -> str:
        return f"link {self.link.id} (pid {self.pid})"


class SequencerLoop:
    """Runs a sequencer: brings its links what they receive, and sends what they have to send."""

    def __init__(self, listener: socket.socket, lifeline: socket.socket, **options: Any) -> None:
        """Take over both sockets; the other end of `lifeline` closes with the supervisor."""
        self._sequencer = Sequencer(**options)
        self._listener = listener
        self._lifeline = lifeline
        self._selector = selectors.DefaultSelector()
        self._peers: dict[Link, Peer] = {}
        self._is_ending = False
        self._is_orphaned = False
        self._accepts_again: float | None = None
        #: The way to other hosts, once a worker has said which; None: there is none.
        self._broker: HostClient | None = None
        self._calls: Callbacks | None = None

    def run(self) -> None:
        """Run until SIGTERM, or until the supervisor and all workers have gone."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._lifeline, selectors.EVENT_READ, self._note_orphaned)
        reader, writer = socket.socketpair()
        with reader, writer:
            writer.setblocking(False)
            self._selector.register(reader, selectors.EVENT_READ, lambda: None)
            signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            signal.signal(signal.SIGTERM, self._terminate)
            gc.freeze()  # what a fork shares with its parent stays shared
            try:
                while not self._is_ending and not (self._is_orphaned and not self._has_workers()):
                    self._turn()
            finally:
                signal.set_wakeup_fd(-1)
        self._end()

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        self._is_ending = True

    def _note_orphaned(self) -> None:
        """Note that the supervisor has gone: its workers drain, and need us until they end."""
        self._selector.unregister(self._lifeline)
        self._is_orphaned = True

    def _has_workers(self) -> bool:
        return any(link.is_worker for link in self._peers)

    # ---- one turn

    def _turn(self) -> None:
        """Wait for what happens next, and handle it: read first, then write."""
        sequencer = self._sequencer
        for key, events in self._selector.select(self._find_timeout()):
            peer = key.data
            if not isinstance(peer, Peer):
                if isinstance(peer, Watch):
                    peer.ready(events)
                else:
                    peer()
                continue
            if events & selectors.EVENT_READ:
                self._read(peer)
            if events & selectors.EVENT_WRITE and peer.link in self._peers:
                self._go_on(peer)
        now = time.monotonic()
        due = sequencer.next_due()
        if due is not None and due <= now:
            sequencer.tick()
        if self._accepts_again is not None and self._accepts_again <= now:
            self._accepts_again = None
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        if self._calls is not None:
            self._calls.run_due()
        elif sequencer.broker is not None:
            self._reach_hosts(sequencer.broker)
        self._send_all()

    def _reach_hosts(self, broker: Mapping[str, Any]) -> None:
        """Connect to the broker that a worker has told us of."""
        from sockwave.brokers.clients import make_client  # most services have no broker

        self._calls = Callbacks(self._selector)
        try:
            self._broker = make_client(broker["url"], self._calls, keeps=broker["keeps"])
        except (ImportError, KeyError, TypeError, ValueError) as error:
            logger.error("sequencer: messages do not reach other hosts: %s", error)
            return
        self._sequencer.attach(self._broker.bridge)
        self._broker.start()
        self._calls.run_due()

    def _find_timeout(self) -> float | None:
        """Return for how many seconds nothing is due; None: until something happens."""
        due = self._sequencer.next_due()
        called = None if self._calls is None else self._calls.find_due()
        if called is not None:
            due = called if due is None else min(due, called)
        if self._accepts_again is not None:
            due = self._accepts_again if due is None else min(due, self._accepts_again)
        return None if due is None else max(due - time.monotonic(), 0.0)

    # ---- links

    def _accept(self) -> None:
        """Take the links that wait, unless they are of another user."""
        while True:
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                logger.error("sequencer: no link is accepted for a while: %s", error)
                self._selector.unregister(self._listener)
                self._accepts_again = time.monotonic() + _ACCEPT_PAUSE_S
                return
            self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        pid, is_allowed = identify_peer(sock)
        try:
            if not is_allowed:
                raise SockwaveError(f"expected a process of user {os.geteuid()}")
            link = self._sequencer.connect()
        except SockwaveError as error:
            logger.warning("sequencer: pid %d is refused: %s", pid, error)
            sock.close()
            return
        sock.setblocking(False)
        peer = self._peers[link] = Peer(sock, link, pid)
        self._selector.register(sock, selectors.EVENT_READ, peer)

    def _read(self, peer: Peer) -> None:
        """Take what a link has sent; its end, or an error in it, is its own end alone."""
        try:
            if peer.link.receive(peer.descriptor):
                return
        except SockwaveError as error:
            logger.warning("sequencer: %s is closed: %s", peer, error)
        except OSError as error:
            logger.debug("sequencer: %s has broken: %s", peer, error)
        except Exception:
            logger.exception("sequencer: %s is closed for an error of ours", peer)
        self._close(peer)

    def _close(self, peer: Peer) -> None:
        del self._peers[peer.link]
        self._selector.unregister(peer.socket)
        peer.socket.close()
        peer.link.end()

    # ---- sending

    def _send_all(self) -> None:
        """Send what links have got in this turn, one write for each."""
        while links := self._sequencer.take_dirty():  # the end of one may be told to others
            for link in links:
                peer = self._peers.get(link)
                if peer is None:
                    continue
                if link.failure is not None:
                    logger.warning("sequencer: %s is closed: %s", peer, link.failure)
                    self._close(peer)
                elif not peer.is_full:
                    self._send(peer)

    def _send(self, peer: Peer) -> None:
        try:
            if peer.link.send(peer.descriptor):
                return
        except OSError as error:
            logger.debug("sequencer: %s has broken: %s", peer, error)
            self._close(peer)
            return
        peer.is_full = True
        self._selector.modify(peer.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, peer)

    def _go_on(self, peer: Peer) -> None:
        """Send more to a link whose socket has room again."""
        peer.is_full = False
        self._selector.modify(peer.socket, selectors.EVENT_READ, peer)
        self._send(peer)

    # ---- the end

    def _end(self) -> None:
        """Send what is left to those who take it, and close everything."""
        self._listener.close()
        self._lifeline.close()
        if self._broker is not None:
            self._broker.close()
        if self._calls is not None:
            self._calls.close()
        until = time.monotonic() + _FAREWELL_S
        self._send_all()
        for peer in list(self._peers.values()):
            with contextlib.suppress(OSError):
                while peer.link.output_size and time.monotonic() < until:
                    with selectors.DefaultSelector() as selector:
                        selector.register(peer.socket, selectors.EVENT_WRITE)
                        selector.select(until - time.monotonic())
                    peer.link.send(peer.descriptor)
            peer.socket.close()
        self._selector.close()


def run(
    listener: socket.socket,
    lifeline: socket.socket,
    options: Mapping[str, Any],
    remove: Mapping[str, str],
) -> int:
    """Run the sequencer to its end, and return the exit status.

    Where the supervisor has died before, what it would have removed is removed here: `remove` has
    the path of the socket, and of its directory.
    """
    loop = make_loop(listener, lifeline, options)
    loop.run()
    if loop._is_orphaned:
        with contextlib.suppress(OSError):
            os.unlink(remove["path"])
            if "directory" in remove:
                os.rmdir(remove["directory"])
    return 0


def make_loop(
    listener: socket.socket, lifeline: socket.socket, options: Mapping[str, Any]
) -> SequencerLoop:
    """Make the loop of a sequencer that goes on from the log, or begins it anew."""
    try:
        return SequencerLoop(listener, lifeline, **options)
    except (MemoryError, ValueError) as error:
        logger.error("sequencer: what topics have kept is lost: %r", error)
    os.ftruncate(options["log"], 0)
    try:
        return SequencerLoop(listener, lifeline, **options)
    except MemoryError:
        return SequencerLoop(listener, lifeline, **{**options, "log": None})


def main(arguments: list[str]) -> int:
    """Run the sequencer in an interpreter of its own, and return the exit status."""
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    listener, lifeline = (socket.socket(fileno=int(one)) for one in arguments[:2])
    said = json.loads(arguments[2])
    return run(listener, lifeline, said["options"], said["remove"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
