"""The supervisor: it holds the listening sockets, and keeps so many workers serving them.

It runs in one thread, without a loop of asyncio, and knows nothing of the application. It waits for
signals, for messages of its workers and for their ends, and after each does what is due (`_act`):
each place, from 1 to the number of workers, is to have one worker of the latest generation.
"""

import contextlib
import logging
import selectors
import signal
import time
from collections.abc import Iterator
from typing import Protocol

from sockwave.listening.socket_activation import notify
from sockwave.workers.backoff import Backoff
from sockwave.workers.control import Kind, Message
from sockwave.workers.processes import BOOT_FAILURE, Launcher, Place
from sockwave.workers.signals import SignalQueue, describe_end
from sockwave.workers.sockets import ServiceSockets
from sockwave.workers.worker import GRACE_S, State, Worker, start_worker

logger = logging.getLogger("sockwave")

# With reload, a programmer waits for the new code: what the old one has not ended is dropped.
_RELOAD_DRAIN_S = 0.5

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGTTIN", "SIGTTOU", "SIGCHLD")


class Changes(Protocol):
    """Changes of the application's files."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are changes."""

    def take(self) -> list[str]:
        """Return the names of the files that have changed since the last call."""

    def close(self) -> None:
        """Stop watching."""


class Supervisor:
    """Runs the workers of one service."""

    def __init__(
        self,
        launcher: Launcher,
        sockets: ServiceSockets,
        count: int,
        *,
        drain_s: float | None,
        changes: Changes | None = None,
    ) -> None:
        """Take over the sockets; a worker ends within `drain_s` seconds and some grace.

        With `changes`, all workers are started anew after each of them.
        """
        self._launcher = launcher
        self._sockets = sockets
        self._count = count
        self._drain_s = drain_s
        self._changes = changes
        self._workers: list[Worker] = []
        self._backoffs: dict[int, Backoff] = {}
        self._serial = 0
        self._generation = 0
        #: Whether all workers have been ready once: until then, a failure to start ends all.
        self._has_started = False
        self._is_rolling = False
        self._is_ending = False
        self._end_count = 0
        # With reload, after a failure: until the next change, nothing is started.
        self._awaits_change = False
        self._status = 0

    def run(self) -> int:
        """Run until a signal, or a worker, ends the service; return the exit status.

        Only the main thread can. Raises ValueError elsewhere.
        """
        self._selector = selectors.DefaultSelector()
        self._launcher.abandon = self._abandon
        with SignalQueue(_SIGNALS) as self._signals, self._selector:
            self._selector.register(self._signals, selectors.EVENT_READ)
            if self._changes is not None:
                self._selector.register(self._changes, selectors.EVENT_READ)
            try:
                self._sockets.resize(self._count)
                while self._workers or not self._is_ending:
                    self._act()
                    self._wait()
            finally:
                self._kill_rest()
                self._sockets.close()
                if self._changes is not None:
                    self._changes.close()
        return self._status

    def _abandon(self, place: Place) -> None:
        """In a forked child, let go of what the worker of this place does not need."""
        self._signals.restore()
        self._selector.close()
        self._sockets.abandon(place.number)
        for worker in self._workers:
            worker.channel.close()

    # ---- what is to be done

    def _act(self) -> None:
        """Start, replace and end workers, as far as that is due."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.kill_at is not None and now >= worker.kill_at:
                logger.warning("%s has not ended in time, and is killed", worker)
                worker.kill_at = None
                worker.kill(signal.SIGKILL)
        if self._is_ending or self._awaits_change:
            return
        if self._changes is not None and any(map(_is_draining, self._workers)):
            return  # the old ones end first: what they hold, the new ones may need
        for number in range(1, self._count + 1):
            if not any(self._serving(number)) and now >= self._backoff(number).due:
                self._start(number)
        if not any(worker.state is State.STARTING for worker in self._workers):
            for worker in self._workers:
                if self._is_stale(worker) and now >= self._backoff(worker.number).due:
                    self._start(worker.number)
                    break  # one after the other: so there is one worker more than there should be

    def _serving(self, number: int) -> Iterator[Worker]:
        """Give the workers of a place that serve, or will."""
        return (
            worker
            for worker in self._workers
            if worker.number == number and worker.state is not State.DRAINING
        )

    def _is_stale(self, worker: Worker) -> bool:
        """Tell whether another worker is to take the place of this one, which serves."""
        is_old = worker.generation < self._generation or worker.is_retiring
        return worker.state is State.READY and is_old

    def _backoff(self, number: int) -> Backoff:
        return self._backoffs.setdefault(number, Backoff())

    def _start(self, number: int) -> None:
        self._serial += 1
        place = Place(number, self._count, self._serial)
        sockets = self._sockets.get(number)
        worker = start_worker(self._launcher, place, self._generation, sockets)
        self._workers.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        logger.debug("%s is started", worker)

    # ---- what happens

    def _wait(self) -> None:
        """Wait for what happens next, and handle it."""
        events = self._selector.select(self._find_timeout())
        for number in self._signals.take():
            self._handle_signal(number)
        if self._changes is not None and not self._is_ending:
            self._reload(self._changes.take())
        for key, _ in events:
            if isinstance(key.data, Worker):
                self._read(key.data)
        for worker in list(self._workers):
            status = worker.child.poll()
            if status is not None:
                self._read(worker)  # what it has told before its end
                self._remove(worker)
                self._handle_end(worker, status)

    def _find_timeout(self) -> float | None:
        """Return for how many seconds nothing is due; None: until something happens."""
        now = time.monotonic()
        times = [worker.kill_at for worker in self._workers if worker.kill_at is not None]
        if not self._is_ending and not self._awaits_change:
            # What is due already waits for the start, or the end, of another worker.
            waiting = (backoff.due for backoff in self._backoffs.values())
            times += [due for due in waiting if due > now]
        return max(min(times) - now, 0.0) if times else None

    def _read(self, worker: Worker) -> None:
        """Handle what a worker tells."""
        for message in worker.channel.receive():
            self._handle_message(worker, message)
        if worker.channel.is_ended and worker in self._workers:
            # It ends, as `poll` tells, or its application has closed the channel.
            self._unregister(worker)

    def _handle_message(self, worker: Worker, message: Message) -> None:
        if message.kind is Kind.READY:
            self._handle_ready(worker)
        elif message.kind is Kind.RETIRING:
            worker.is_retiring = True
        elif message.kind is Kind.FAILED:
            worker.failure = str(message.fields["text"])
        elif message.kind is Kind.CLOSING and not self._is_ending:
            logger.info("%s: the application has closed the server, and the service ends", worker)
            worker.state = State.DRAINING
            self._end(0)

    def _handle_ready(self, worker: Worker) -> None:
        """Drain the workers before in the same place, and send clients to the new one."""
        if worker.state is not State.STARTING:
            return
        worker.state = State.READY
        logger.info("%s is ready", worker)
        for other in list(self._serving(worker.number)):
            if other is not worker:
                other.drain(self._drain_s, is_last=False)
        ready = {one.number for one in self._workers if one.state is State.READY}
        if not self._has_started and len(ready) == self._count:
            self._has_started = True
            notify("READY=1")
        if self._has_started:
            self._steer()
        if self._is_rolling and not any(map(self._is_stale, self._workers)):
            self._is_rolling = False
            logger.info("all workers have been replaced")
            notify("READY=1")

    def _steer(self) -> None:
        """Have new connections come to the workers that are ready.

        Until the first time that all are, they wait for the others, as they would all go to the
        first worker otherwise.
        """
        self._sockets.steer({one.number for one in self._workers if one.state is State.READY})

    def _remove(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._unregister(worker)
        worker.channel.close()

    def _unregister(self, worker: Worker) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.channel)

    # ---- ends of workers

    def _handle_end(self, worker: Worker, status: int) -> None:
        """Say what a worker has died of, and see what follows from it."""
        end = describe_end(status)
        if self._is_ending or worker.state is State.DRAINING:
            is_expected = status in (0, BOOT_FAILURE, -signal.SIGTERM)
            logger.log(logging.INFO if is_expected else logging.WARNING, "%s %s", worker, end)
            if worker.number > self._count:
                self._shrink_sockets()
            return
        if worker.state is State.STARTING:
            self._handle_boot_failure(worker, end)
            return
        if self._has_started:
            self._steer()
        lifetime = time.monotonic() - worker.started
        delay = 0.0
        if not worker.is_retiring:
            delay = self._backoff(worker.number).note_death(
                time.monotonic(), lifetime, was_ready=True
            )
        when = f"in {delay:g} s" if delay else "now"
        level = logging.INFO if worker.is_retiring else logging.ERROR
        logger.log(level, "%s %s; another is started %s", worker, end, when)

    def _shrink_sockets(self) -> None:
        """Close the sockets of places that no worker has any more."""
        if self._sockets.is_closed:
            return
        self._sockets.resize(max([self._count, *(one.number for one in self._workers)]))

    def _handle_boot_failure(self, worker: Worker, end: str) -> None:
        failure = worker.failure.rstrip()
        separator = ":\n" if "\n" in failure else ": "
        reason = f"{separator}{failure}" if failure else ""
        backoff = self._backoff(worker.number)
        delay = backoff.note_death(time.monotonic(), 0.0, was_ready=False)
        if self._changes is not None:
            self._awaits_change = True
            logger.error("%s could not start, and %s%s", worker, end, reason)
            logger.info("waiting for a change of the files")
        elif not self._has_started:
            logger.error("%s could not start, and %s%s", worker, end, reason)
            self._end(BOOT_FAILURE)
        elif self._is_rolling and any(self._serving(worker.number)):
            self._is_rolling = False
            for other in self._workers:
                other.generation = self._generation
            backoff.forget()
            logger.error(
                "%s could not start, and %s; the workers before it go on%s", worker, end, reason
            )
            notify("READY=1")
        else:
            what = f"another is started in {delay:g} s"
            logger.error("%s could not start, and %s; %s%s", worker, end, what, reason)

    # ---- signals

    def _handle_signal(self, number: int) -> None:
        if number in (signal.SIGINT, signal.SIGTERM):
            logger.info("%s: the service ends", signal.Signals(number).name)
            self._end(0)
        elif self._is_ending:
            return
        elif number == signal.SIGHUP:
            self._roll()
        elif number == signal.SIGTTIN:
            self._resize(self._count + 1)
        elif number == signal.SIGTTOU:
            self._resize(self._count - 1)

    def _roll(self) -> None:
        """Have each worker replaced by a new one."""
        logger.info("SIGHUP: all workers are replaced, one after the other")
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}")
        self._generation += 1
        self._is_rolling = True
        for backoff in self._backoffs.values():
            backoff.forget()

    def _resize(self, count: int) -> None:
        """Have one worker more or less."""
        if count < 1:
            logger.warning("SIGTTOU: there is one worker only, which stays")
            return
        self._count = count
        logger.info("there are to be %d workers", count)
        if count > len({worker.number for worker in self._workers}):
            self._sockets.resize(count)
        leaving = [one for one in self._workers if one.number > count]
        self._backoffs.pop(count + 1, None)
        serving = {one.number for one in self._workers if one.state is State.READY}
        self._sockets.steer(serving - {one.number for one in leaving})
        for worker in leaving:
            worker.drain(self._drain_s, is_last=True)
        for worker in self._workers:
            worker.place.total = count
            worker.channel.send(Kind.TOTAL, total=count)

    def _reload(self, changed: list[str]) -> None:
        """Start all workers anew: the old ones end first."""
        if not changed:
            return
        logger.info("%s changed: starting anew", ", ".join(changed))
        self._awaits_change = False
        self._generation += 1
        for backoff in self._backoffs.values():
            backoff.forget()
        for worker in self._workers:
            worker.drain(_RELOAD_DRAIN_S, is_last=False)

    # ---- the end

    def _end(self, status: int) -> None:
        """End all workers; drop what is left the second time, and kill them the third time."""
        self._end_count += 1
        if not self._is_ending:
            self._is_ending = True
            self._status = status
            notify("STOPPING=1")
            self._sockets.close()
            for worker in self._workers:
                worker.drain(self._drain_s, is_last=True)
        elif self._end_count == 2:
            for worker in self._workers:
                worker.channel.send(Kind.DROP)
                worker.kill_within(GRACE_S)
        else:
            self._kill_all()

    def _kill_all(self) -> None:
        for worker in self._workers:
            worker.kill(signal.SIGKILL)

    def _kill_rest(self) -> None:
        """Kill what still runs where the supervisor itself has failed."""
        self._kill_all()
        for worker in self._workers:
            worker.channel.close()
            while worker.child.poll() is None:
                time.sleep(0.01)


def _is_draining(worker: Worker) -> bool:
    return worker.state is State.DRAINING
