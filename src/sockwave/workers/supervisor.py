"""The supervisor: it holds the listening sockets, and keeps so many workers serving them.

It runs in one thread, without a loop of asyncio, and knows nothing of the application. It waits for
signals, for messages of its workers and for their ends, and after each does what is due.
"""

import logging
import selectors
import signal
import time
from typing import Protocol

from sockwave.errors import SockwaveError
from sockwave.listening.socket_activation import notify
from sockwave.workers.control import Kind, Message
from sockwave.workers.fleet import Fleet
from sockwave.workers.processes import BOOT_FAILURE, Launcher, Place
from sockwave.workers.sequencing import SequencerProcess
from sockwave.workers.signals import SignalQueue, describe_end
from sockwave.workers.sockets import ServiceSockets
from sockwave.workers.worker import GRACE_S, State, Worker

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
        sequencer: SequencerProcess | None = None,
    ) -> None:
        """Take over the sockets; a worker ends within `drain_s` seconds and some grace.

        With `changes`, all workers are started anew after each of them.
        """
        launcher.abandon = self._abandon
        self._sequencer = sequencer or SequencerProcess()
        self._sequencer.abandon_others = self._abandon_all
        self._fleet = Fleet(launcher, sockets, count, self._sequencer)
        self._drain_s = drain_s
        self._changes = changes
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
        fleet = self._fleet
        try:
            with SignalQueue(_SIGNALS) as self._signals:
                fleet.selector.register(self._signals, selectors.EVENT_READ)
                if self._changes is not None:
                    fleet.selector.register(self._changes, selectors.EVENT_READ)
                self._sequencer.open()
                fleet.sockets.resize(fleet.count)
                while fleet.workers or not self._is_ending:
                    self._act()
                    self._wait()
        finally:
            fleet.close()
            self._sequencer.close()
            if self._changes is not None:
                self._changes.close()
        return self._status

    def _abandon(self, place: Place) -> None:
        """In a forked child, let go of what the worker of this place does not need."""
        self._signals.restore()
        self._sequencer.abandon()
        self._fleet.abandon(place.number)

    def _abandon_all(self) -> None:
        """In a forked child, which is the sequencer, let go of what is the supervisor's."""
        self._signals.restore()
        self._fleet.abandon(None)

    # ---- what is to be done

    def _act(self) -> None:
        """Start, replace and kill workers, as far as that is due."""
        fleet = self._fleet
        fleet.kill_late()
        self._sequencer.start_due()
        if self._is_ending or self._awaits_change:
            return
        if self._changes is not None and fleet.has(State.DRAINING):
            return  # the old ones end first: what they hold, the new ones may need
        if fleet.start_due() and not self._has_started:
            self._end(BOOT_FAILURE)

    def _wait(self) -> None:
        """Wait for what happens next, and handle it."""
        fleet = self._fleet
        events = fleet.selector.select(self._find_timeout())
        for number in self._signals.take():
            self._handle_signal(number)
        if self._changes is not None and not self._is_ending:
            self._reload(self._changes.take())
        for key, _ in events:
            if isinstance(key.data, Worker):
                self._read(key.data)
        self._sequencer.poll()
        for worker in list(fleet.workers):
            status = worker.child.poll()
            if status is not None:
                self._read(worker)  # what it has told before its end
                fleet.remove(worker)
                self._handle_end(worker, status)

    def _find_timeout(self) -> float | None:
        """Return for how many seconds nothing is due; None: until something happens."""
        times = [self._fleet.find_next_kill(), self._sequencer.find_next_start()]
        if not self._is_ending and not self._awaits_change:
            times.append(self._fleet.find_next_start())
        known = [at for at in times if at is not None]
        return max(min(known) - time.monotonic(), 0.0) if known else None

    # ---- what workers tell

    def _read(self, worker: Worker) -> None:
        """Handle what a worker tells."""
        try:
            for message in worker.channel.receive():
                self._handle_message(worker, message)
        except (SockwaveError, LookupError, ValueError) as error:
            logger.error("%s is killed for what it tells: %s", worker, error)
            self._fleet.unregister(worker)
            worker.kill(signal.SIGKILL)
        if worker.channel.is_ended:
            # It ends, as `poll` tells, or its application has closed the channel.
            self._fleet.unregister(worker)

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
        fleet = self._fleet
        worker.state = State.READY
        logger.info("%s is ready", worker)
        for other in list(fleet.serving(worker.number)):
            if other is not worker:
                other.drain(self._drain_s, is_last=False)
        if not self._has_started and len(fleet.ready_numbers()) == fleet.count:
            self._has_started = True
            notify("READY=1")
        if self._has_started:
            # Not before: they would all go to the worker that is ready first.
            fleet.steer()
        if self._is_rolling and not fleet.is_stale:
            self._is_rolling = False
            logger.info("all workers have been replaced")
            notify("READY=1")

    # ---- ends of workers

    def _handle_end(self, worker: Worker, status: int) -> None:
        """Say what a worker has died of, and see what follows from it."""
        end = describe_end(status)
        if self._is_ending or worker.state is State.DRAINING:
            is_expected = status in (0, BOOT_FAILURE, -signal.SIGTERM)
            logger.log(logging.INFO if is_expected else logging.WARNING, "%s %s", worker, end)
            self._fleet.close_unused_sockets()
        elif worker.state is State.STARTING:
            self._handle_boot_failure(worker, end)
        else:
            self._handle_death(worker, end, is_expected=worker.is_retiring and status == 0)

    def _handle_death(self, worker: Worker, end: str, *, is_expected: bool) -> None:
        """Say when another worker takes the place of one that served."""
        if self._has_started:
            self._fleet.steer()
        delay = 0.0
        if not is_expected:
            now = time.monotonic()
            backoff = self._fleet.backoff(worker.number)
            delay = backoff.note_death(now, now - worker.started, was_ready=True)
        when = f"in {delay:g} s" if delay else "now"
        level = logging.INFO if is_expected else logging.ERROR
        logger.log(level, "%s %s; another is started %s", worker, end, when)

    def _handle_boot_failure(self, worker: Worker, end: str) -> None:
        """Say why a worker could not start; end all if that was the first start."""
        failure = worker.failure.rstrip()
        separator = ":\n" if "\n" in failure else ": "
        reason = f"{separator}{failure}" if failure else ""
        backoff = self._fleet.backoff(worker.number)
        delay = backoff.note_death(time.monotonic(), 0.0, was_ready=False)
        what = f"; another is started in {delay:g} s"
        if self._changes is not None:
            self._awaits_change = True
            what = "; waiting for a change of the files"
        elif not self._has_started:
            what = ""
            self._end(BOOT_FAILURE)
        elif self._is_rolling and any(self._fleet.serving(worker.number)):
            self._is_rolling = False
            self._fleet.give_up_generation()
            backoff.forget()
            what = "; the workers before it go on"
            notify("READY=1")
        logger.error("%s could not start, and %s%s%s", worker, end, what, reason)

    # ---- signals

    def _handle_signal(self, number: int) -> None:
        if number in (signal.SIGINT, signal.SIGTERM):
            name = signal.Signals(number).name
            logger.info("%s: the service ends", name)
            self._end(0, name)
        elif self._is_ending:
            return
        elif number == signal.SIGHUP:
            self._roll()
        elif number == signal.SIGTTIN:
            self._resize(self._fleet.count + 1)
        elif number == signal.SIGTTOU:
            self._resize(self._fleet.count - 1)

    def _roll(self) -> None:
        """Have each worker replaced by a new one."""
        logger.info("SIGHUP: all workers are replaced, one after the other")
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}")
        self._fleet.begin_generation()
        self._is_rolling = True

    def _resize(self, count: int) -> None:
        """Have one worker more or less."""
        if count < 1:
            logger.warning("SIGTTOU: there is one worker only, which stays")
            return
        logger.info("there are to be %d workers", count)
        self._fleet.resize(count, self._drain_s)

    def _reload(self, changed: list[str]) -> None:
        """Start all workers anew: the old ones end first."""
        if not changed:
            return
        logger.info("%s changed: starting anew", ", ".join(changed))
        self._awaits_change = False
        self._fleet.begin_generation()
        for worker in self._fleet.workers:
            worker.drain(_RELOAD_DRAIN_S, is_last=False)

    # ---- the end

    def _end(self, status: int, cause: str = "close") -> None:
        """End all workers; drop what is left the second time, and kill them the third time."""
        self._end_count += 1
        workers = self._fleet.workers
        if not self._is_ending:
            self._is_ending = True
            self._status = status
            notify("STOPPING=1")
            self._fleet.sockets.close()
            for worker in workers:
                worker.drain(self._drain_s, is_last=True, cause=cause)
        elif self._end_count == 2:
            for worker in workers:
                worker.channel.send(Kind.DROP)
                worker.kill_within(GRACE_S)
        else:
            self._fleet.kill_all()
