"""The workers of a service: which there are, which there should be, and their sockets.

Each place, from 1 to `count`, is to have one worker of the latest generation.
"""

import contextlib
import logging
import selectors
import signal
import time
from collections.abc import Iterator

from sockwave.workers.backoff import Backoff
from sockwave.workers.control import Kind
from sockwave.workers.processes import Launcher, Place
from sockwave.workers.sequencing import SequencerProcess
from sockwave.workers.sockets import ServiceSockets
from sockwave.workers.worker import State, Worker, start_worker

logger = logging.getLogger("sockwave")


class Fleet:
    """The workers of one supervisor."""

    def __init__(
        self,
        launcher: Launcher,
        sockets: ServiceSockets,
        count: int,
        sequencer: SequencerProcess | None,
    ) -> None:
        self._launcher = launcher
        self._sequencer = sequencer
        self.sockets = sockets
        #: How many workers there should be.
        self.count = count
        #: All whose processes run, also those that were ordered to end.
        self.workers: list[Worker] = []
        #: How often all were to be replaced.
        self.generation = 0
        #: Readable when a worker tells something; the workers are its data.
        self.selector = selectors.DefaultSelector()
        self._backoffs: dict[int, Backoff] = {}
        self._serial = 0

    # ---- who there is

    def serving(self, number: int) -> Iterator[Worker]:
        """Give the workers of a place that serve, or will."""
        return (
            worker
            for worker in self.workers
            if worker.number == number and worker.state is not State.DRAINING
        )

    def ready_numbers(self) -> set[int]:
        """Return the places where a worker accepts connections."""
        return {worker.number for worker in self.workers if worker.state is State.READY}

    def has(self, state: State) -> bool:
        """Tell whether there is a worker in this state."""
        return any(worker.state is state for worker in self.workers)

    @property
    def is_stale(self) -> bool:
        """Whether a worker is of an earlier generation."""
        return any(map(self._is_stale, self.workers))

    def _is_stale(self, worker: Worker) -> bool:
        """Tell whether another worker is to take the place of this one, which serves."""
        is_old = worker.generation < self.generation or worker.is_retiring
        return worker.state is State.READY and is_old

    def backoff(self, number: int) -> Backoff:
        """Return when the next worker of a place may start."""
        return self._backoffs.setdefault(number, Backoff())

    # ---- starting

    def start_due(self) -> list[int]:
        """Start the workers that are due; return the places where the system has refused to."""
        now = time.monotonic()
        due = [
            number
            for number in range(1, self.count + 1)
            if not any(self.serving(number)) and now >= self.backoff(number).due
        ]
        refused = [number for number in due if not self._start(number)]
        if not self.has(State.STARTING):
            # One after the other: so there is one worker more than there should be.
            stale = (worker.number for worker in self.workers if self._is_stale(worker))
            number = next((one for one in stale if now >= self.backoff(one).due), None)
            if number is not None and not self._start(number):
                refused.append(number)
        return refused

    def _start(self, number: int) -> bool:
        self._serial += 1
        path = None if self._sequencer is None else self._sequencer.path
        place = Place(number, self.count, self._serial, path)
        sockets = self.sockets.get(number)
        try:
            worker = start_worker(self._launcher, place, self.generation, sockets)
        except OSError as error:
            delay = self.backoff(number).note_death(time.monotonic(), 0.0, was_ready=False)
            logger.error(
                "worker %d cannot be started: %s; next attempt in %g s", number, error, delay
            )
            return False
        self.workers.append(worker)
        self.selector.register(worker.channel, selectors.EVENT_READ, worker)
        logger.debug("%s is started", worker)
        return True

    def find_next_start(self) -> float | None:
        """Return when, of a monotonic clock, the next worker is due; None: not by time alone."""
        now = time.monotonic()
        # What is due already waits for the start, or the end, of another worker.
        return min((one.due for one in self._backoffs.values() if one.due > now), default=None)

    def begin_generation(self) -> None:
        """Have all workers replaced, at once where an earlier failure made them wait."""
        self.generation += 1
        for backoff in self._backoffs.values():
            backoff.forget()

    def give_up_generation(self) -> None:
        """Have none replaced that is of an earlier generation."""
        for worker in self.workers:
            worker.generation = self.generation

    # ---- how many, and who gets connections

    def steer(self) -> None:
        """Have new connections come to the workers that are ready."""
        self.sockets.steer(self.ready_numbers())

    def resize(self, count: int, drain_s: float | None) -> None:
        """Have so many workers; those too many drain."""
        self.count = count
        if count > max((worker.number for worker in self.workers), default=0):
            self.sockets.resize(count)
        leaving = [worker for worker in self.workers if worker.number > count]
        self.sockets.steer(self.ready_numbers() - {worker.number for worker in leaving})
        for worker in leaving:
            self._backoffs.pop(worker.number, None)
            worker.drain(drain_s, is_last=True)
        for worker in self.workers:
            worker.place.total = count
            worker.channel.send(Kind.TOTAL, total=count)

    def close_unused_sockets(self) -> None:
        """Close the sockets of places that no worker has any more."""
        if not self.sockets.is_closed:
            numbers = (worker.number for worker in self.workers)
            self.sockets.resize(max([self.count, *numbers]))

    # ---- ending

    def unregister(self, worker: Worker) -> None:
        """Hear nothing more of a worker."""
        with contextlib.suppress(KeyError):
            self.selector.unregister(worker.channel)

    def remove(self, worker: Worker) -> None:
        """Forget a worker whose process has ended."""
        self.workers.remove(worker)
        self.unregister(worker)
        worker.channel.close()

    def kill_late(self) -> None:
        """Kill the workers that have not ended in time."""
        now = time.monotonic()
        for worker in self.workers:
            if worker.kill_at is not None and now >= worker.kill_at:
                logger.warning("%s has not ended in time, and is killed", worker)
                worker.kill_at = None
                worker.kill(signal.SIGKILL)

    def find_next_kill(self) -> float | None:
        """Return when, of a monotonic clock, the next worker is killed; None: none is."""
        times = (worker.kill_at for worker in self.workers if worker.kill_at is not None)
        return min(times, default=None)

    def kill_all(self) -> None:
        """Kill all workers."""
        for worker in self.workers:
            worker.kill(signal.SIGKILL)

    def abandon(self, number: int | None) -> None:
        """In a forked child, let go of what the worker of this place does not need.

        None: the child is no worker.
        """
        self.selector.close()
        self.sockets.abandon(number)
        for worker in self.workers:
            worker.channel.close()

    def close(self) -> None:
        """Kill what still runs, and close everything."""
        self.kill_all()
        for worker in self.workers:
            worker.channel.close()
            while worker.child.poll() is None:
                time.sleep(0.01)
        self.sockets.close()
        self.selector.close()
