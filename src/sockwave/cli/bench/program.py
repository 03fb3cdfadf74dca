"""The process that loads the server, and nothing else: what draws and writes is another one.

It reads the plan from standard input, and prints a line of JSON for each event: `open`, `tick`,
`result` and `error`. SIGINT ends the load, with its figures so far. The command starts it with
SIGINT blocked, so that one which comes early waits until there is something that takes it. Its
argument is the command's process id: where that has gone, however it ended, so has the load.
"""

import argparse
import base64
import ctypes
import json
import os
import resource
import signal
import sys
import time
from typing import Any

from sockwave.cli.bench.plan import Plan, read_plan
from sockwave.cli.shell.client import make_context
from sockwave.client.options import default_context
from sockwave.loadgen import documents
from sockwave.loadgen.client import LoadError, Target
from sockwave.loadgen.exchange import Exchange
from sockwave.loadgen.latencies import Latencies
from sockwave.loadgen.load import Load
from sockwave.loadgen.open_load import OpenLoad

#: Descriptors beside those of the connections.
_SPARE_FILE_COUNT = 32
_NO_LIMIT = 2**63
#: How long is waited for what is missing when Ctrl-C ends the load, in seconds.
_PATIENCE_S = 1.0
#: One address has ports for so many connections to the same server; loopback has more addresses.
_COUNT_FROM_ADDRESS = 20_000


#: prctl(2): the signal that a process gets when the one that has started it is gone.
_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have the kernel end this process once that one has gone; ends it at once if it has."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def tell(event: str, **facts: Any) -> None:
    """Print an event."""
    print(json.dumps({"event": event, **facts}), flush=True)


def encode(latencies: Latencies) -> str:
    """Return latencies as HdrHistogram writes counts, in base64."""
    return base64.b64encode(latencies.encode()).decode()


class Recorder:
    """The figures of the load so far, told tick by tick."""

    def __init__(self, load: Load, exchange: Exchange | None) -> None:
        self._load = load
        self._exchange = exchange
        self._total = Latencies()
        self._count = 0
        self._begin = time.monotonic()
        self._last = self._begin
        self._first_size = self._last_size = exchange.received_size if exchange else 0
        self._first_cpu_s = time.process_time()
        self.missing = 0

    @property
    def count(self) -> int:
        """Replies, or handshakes, so far."""
        return self._count

    @property
    def elapsed(self) -> float:
        """Seconds since the load is measured."""
        return time.monotonic() - self._begin

    def record(self) -> None:
        """Add what the load has counted since the last call, and tell of it."""
        now = time.monotonic()
        size = self._exchange.received_size if self._exchange else 0
        latencies = self._load.latencies
        self._total.merge(latencies)
        self._count += self._load.count
        tell(
            "tick",
            at=self._last - self._begin,
            seconds=now - self._last,
            count=self._load.count,
            bytes=size - self._last_size,
            greatest_ns=latencies.greatest_ns,
            counts=encode(latencies),
        )
        self._last = now
        self._last_size = size

    def tell_result(self, **facts: Any) -> None:
        """Tell the figures of the whole load."""
        tell(
            "result",
            seconds=self._last - self._begin,
            count=self._count,
            bytes=self._last_size - self._first_size,
            missing=self.missing,
            cpu_s=time.process_time() - self._first_cpu_s,
            greatest_ns=self._total.greatest_ns,
            counts=encode(self._total),
            **facts,
        )


def make_target(plan: Plan) -> Target:
    """Make what the clients connect to."""
    words = argparse.Namespace(uri=plan.uri, ca=plan.ca, insecure=plan.insecure)
    context = make_context(words) or default_context() if plan.is_secure else None
    return Target(
        plan.address,
        plan.port,
        context,
        "permessage-deflate; client_max_window_bits" if plan.deflate else None,
        path=plan.path,
        authority=plan.authority,
        fields=plan.fields,
        server_name=plan.server_name if plan.is_secure else None,
    )


def make_exchange(plan: Plan, load: Load) -> Exchange:
    """Make what is said, which with compression depends on what was agreed on."""
    sender_count = 1 if plan.mode == "broadcast" else plan.connections
    agreement = load.agreement
    if agreement is None:
        return Exchange(plan.size, plan.depth, plan.binary, sender_count)
    return documents.make_exchange(agreement, plan.size, plan.depth, plan.binary, sender_count)


def allow_descriptors(plan: Plan) -> None:
    """Raise the limit of the process, as far as it may; LoadError where that is too little."""
    need = plan.connections + _SPARE_FILE_COUNT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= need:
        return
    if hard != resource.RLIM_INFINITY and hard < need:
        raise LoadError(f"{plan.connections} connections need {need} descriptors: ulimit -n {need}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def count_from_address(plan: Plan) -> int:
    """Return how many connections come from one address of this machine."""
    return _COUNT_FROM_ADDRESS if plan.address.startswith("127.") else plan.connections


def open_all(load: Load, plan: Plan) -> None:
    """Open the connections, and tell how long the handshakes took."""
    begin = time.monotonic()
    load.open(address_count=count_from_address(plan), over_s=0.0 if plan.rate else plan.ramp)
    tell(
        "open",
        connections=plan.connections,
        seconds=time.monotonic() - begin,
        extension=load.agreement,
        greatest_ns=load.latencies.greatest_ns,
        counts=encode(load.latencies),
    )


def run_ticks(load: Load, recorder: Recorder, plan: Plan) -> None:
    """Run the load for its time, or until enough has come."""
    most = _NO_LIMIT if plan.count is None else plan.count
    while (left := plan.duration - recorder.elapsed) > 0 and recorder.count < most:
        if plan.mode == "handshake":
            seconds, count = min(plan.tick, left), most - recorder.count
            load.shake_hands(seconds, count, count_from_address(plan))
        else:
            load.run(min(plan.tick, left), most - recorder.count)
        recorder.record()


def drain(load: Load, recorder: Recorder, seconds: float) -> None:
    """Wait at the end of an open loop for what is missing, which counts too."""
    if isinstance(load, OpenLoad):
        load.stop()
        recorder.missing = load.drain(seconds)
        recorder.record()


def run(plan: Plan) -> None:
    """Do what the plan says."""
    allow_descriptors(plan)
    target = make_target(plan)
    load = (OpenLoad if plan.rate else Load)(target, plan.connections, plan.timeout)
    exchange = None
    if plan.mode != "handshake":
        open_all(load, plan)
        exchange = make_exchange(plan, load)
    if exchange is not None:
        if isinstance(load, OpenLoad):
            assert plan.rate is not None
            one_sends = plan.mode == "broadcast"
            times = {"ramp_s": plan.ramp, "warmup_s": plan.warmup}
            load.begin_at(exchange, plan.rate, one_sends=one_sends, **times)
            load.run(plan.ramp + plan.warmup)
        elif plan.mode != "idle":
            load.begin(exchange, one_sends=plan.mode == "broadcast")
            load.run(plan.warmup)
    recorder = Recorder(load, exchange)
    try:
        run_ticks(load, recorder, plan)
        drain(load, recorder, plan.timeout)
    except KeyboardInterrupt:
        recorder.record()
        drain(load, recorder, _PATIENCE_S)
        recorder.tell_result(interrupted=True, error=None)
    except (LoadError, OSError) as error:
        recorder.record()
        recorder.tell_result(interrupted=False, error=str(error))
    else:
        recorder.tell_result(interrupted=False, error=None)
    if plan.mode != "handshake":
        load.send_close()
    load.close()


def main() -> int:
    """Run the plan; returns the exit status."""
    end_with(int(sys.argv[1]))
    try:
        return run_told()
    except BrokenPipeError:  # nobody reads any more: the command has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def run_told() -> int:
    """Run the plan, and tell what was in its way; returns the exit status."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        run(read_plan(sys.stdin.read()))
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        tell("error", error="interrupted before the load began", interrupted=True)
        return 1
    except MemoryError:
        tell("error", error="too much for the memory: fewer --connections, --size, --depth")
        return 1
    except (LoadError, OSError, ValueError) as error:
        tell("error", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
