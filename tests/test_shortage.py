"""When descriptors run out: no spinning, recovery, and one line in the log for each side of it."""

import contextlib
import itertools
import math
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import PATIENCE_S, Process, port_of, serving, stop
from reference import PING, PONG, Frame, serialize
from wire import ROUNDS, build_request, upgrade_headers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit and /proc are Linux's")

SPARE_COUNT = 5
REQUEST = build_request(upgrade_headers())


def descriptors(process: Process) -> set[int]:
    return set(map(int, os.listdir(f"/proc/{process.pid}/fd")))


def limit_descriptors(process: Process, spare_count: int) -> None:
    """Leave a process so many more descriptors than it has."""
    import resource

    used = descriptors(process)
    free = (number for number in itertools.count() if number not in used)
    last = next(itertools.islice(free, spare_count - 1, None))
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (last + 1, hard))


def cpu_s(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def expect_answer(client: socket.socket) -> None:
    """Check that a client that has asked is accepted."""
    client.settimeout(PATIENCE_S)
    assert client.recv(1000).startswith(b"HTTP/1.1 101")


def see_turns(client: socket.socket) -> None:
    """Have the server's loop turn, as often as it takes to accept whom it can."""
    for _ in range(ROUNDS):
        client.sendall(serialize(Frame(PING)))
        assert client.recv(1000) == serialize(Frame(PONG), None)


def use_at_rest(process: Process, allowed_s: float) -> float:
    """Give the least CPU time that a process uses in a second; of several, while that is too much.

    Who spins does so in each; what a neighbour costs comes and goes.
    """
    least = math.inf
    for _ in range(5):
        used = cpu_s(process)
        time.sleep(1)
        least = min(least, cpu_s(process) - used)
        if least < allowed_s:
            break
    return least


@pytest.mark.parametrize("engine", ["epoll", "asyncio"])
@pytest.mark.slow
def test_the_server_waits_for_descriptors_and_goes_on(engine: str) -> None:
    with (
        contextlib.ExitStack() as stack,
        serving("echo", "--port", "0", "--engine", engine) as (process, url),
    ):
        idle = descriptors(process)
        for _ in range(2):
            limit_descriptors(process, SPARE_COUNT)
            clients = []
            for _ in range(2 * SPARE_COUNT):
                client = socket.create_connection(("127.0.0.1", port_of(url)), PATIENCE_S)
                stack.callback(client.close)
                client.sendall(REQUEST)
                clients.append(client)
            for client in clients[:SPARE_COUNT]:
                expect_answer(client)
            assert process.stderr
            assert process.stderr.readline() == (
                "cannot accept: Too many open files; trying again all the time\n"
            )
            see_turns(clients[0])
            clients[-1].setblocking(False)
            with pytest.raises(BlockingIOError):
                clients[-1].recv(1)
            assert use_at_rest(process, 0.05) < 0.05, "it spins"
            for client in clients[:SPARE_COUNT]:
                client.close()
            # The others come in one after the other, as the first are gone.
            for client in clients[SPARE_COUNT:]:
                expect_answer(client)
            for client in clients[SPARE_COUNT:]:
                client.close()
            wait_until(lambda: descriptors(process) == idle)
            assert process.stderr.readline() == "accepting again\n"
        assert stop(process) == (0, "")
