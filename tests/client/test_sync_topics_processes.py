"""Topics of `sockwave.sync` in processes that are interrupted, fork, exit, lose their server."""

import itertools
import os
import signal
import sys
import textwrap
from collections.abc import Iterator

import pytest
from commands import running, started
from test_sync_processes import INTERRUPTED, PATIENCE_S, run_program

from sockwave import ConnectionClosed
from sockwave.sync import connect

needs_timers = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system has no such timers"
)

numbers = itertools.count()

SERVER = """
import sockwave

server = sockwave.create_server(subprotocol="sockwave.1")
server.topic("kept/*", history=sockwave.History(count=10_000))
server.on("subscribe", lambda conn, topic: True)
server.on("publish", lambda conn, topic: True)
server.on("connection", lambda conn: conn.on("message", conn.send))
server.listen(8000, "127.0.0.1")
server.run()
"""

BEGIN = """
import os, signal, sys, threading
import sockwave
from sockwave.sync import connect

uri, engine, topic = sys.argv[1:]
conn = connect(uri, subprotocol="sockwave.1", engine=engine).open()
conn.subscribe(topic).result(30)
conn.publish(topic, "before").result(30)
assert conn.receive_delivery(30).message == "before"
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(SERVER) as found:
        yield found


def run(address: str, engine: str, program: str) -> str:
    """Run a program behind BEGIN, with a topic of its own, and give what it prints."""
    topic = f"kept/{next(numbers)}"
    return run_program(BEGIN + textwrap.dedent(program), f"ws://{address}/", engine, topic)


def test_program_may_exit_with_a_connection_open(address: str, engine: str) -> None:
    assert run(address, engine, "print('end')") == "end\n"


@pytest.mark.slow
@needs_timers
def test_interrupts_lose_no_delivery(address: str, engine: str) -> None:
    program = INTERRUPTED + textwrap.dedent(
        """
    from itertools import islice

    heard = []
    deliveries = conn.deliveries()
    signal.setitimer(signal.ITIMER_REAL, 3e-4, 3e-4)
    for round in range(1, 41):
        for number in range(len(heard), 50 * round):
            conn.publish(topic, f"{number:>500}")
        while len(heard) < 50 * round:
            # No code of Python's is between the delivery and the list.
            call(heard.extend, islice(deliveries, 1))
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert [int(delivery.message) for delivery in heard] == list(range(2000))
    assert interrupts > 10, interrupts
    conn.publish(topic, "behind")
    print(conn.receive_delivery(timeout=10).message)
    """
    )
    assert run(address, engine, program) == "behind\n"


@pytest.mark.slow
@needs_timers
def test_interrupts_leave_publishes_whole_and_in_order(address: str, engine: str) -> None:
    program = INTERRUPTED + textwrap.dedent(
        """
    certain, heard = [], []

    def receive():
        for delivery in conn.deliveries():
            heard.append(int(delivery.message))
            if heard[-1] == 999:
                return

    receiver = threading.Thread(target=receive)
    receiver.start()
    signal.setitimer(signal.ITIMER_REAL, 3e-4, 3e-4)
    for number in range(999):
        outcome = call(conn.publish, topic, str(number))
        if outcome is not Interrupt:
            certain.append(number)
            if number % 20 == 0:
                call(outcome.result)
    signal.setitimer(signal.ITIMER_REAL, 0)
    conn.publish(topic, "999").result(30)
    receiver.join(30)
    assert not receiver.is_alive()
    assert heard == sorted(set(heard))
    assert not set(certain) - set(heard)
    assert interrupts > 10, interrupts
    conn.close()
    print(conn.close_code)
    """
    )
    assert run(address, engine, program) == "1000\n"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_handler_of_a_signal_may_publish(address: str, engine: str) -> None:
    program = """
    def handle(*_):
        print(conn.publish(topic, "by the handler").result(30).position is not None)

    def interrupt():
        conn.ping()
        os.kill(os.getpid(), signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    thread.start()
    print(conn.receive_delivery(30).message)
    thread.join()
    conn.close()
    """
    assert run(address, engine, program) == "True\nby the handler\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_has_no_topics(address: str, engine: str) -> None:
    program = """
    child = os.fork()
    if child == 0:
        for call in (
            lambda: conn.publish(topic, "child"),
            lambda: conn.subscribe("other"),
            lambda: conn.members(topic),
            lambda: conn.receive_delivery(),
        ):
            try:
                call()
            except sockwave.SockwaveError as error:
                assert "forked" in str(error), error
            else:
                os._exit(1)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    conn.publish(topic, "parent")
    print(conn.receive_delivery(30).message)
    conn.close()
    """
    assert run(address, engine, program) == "parent\n"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_a_server_that_is_killed_is_told_of(engine: str) -> None:
    program = SERVER.replace("8000", "0").replace(
        "server.run()", "print(server.addresses[0][1], flush=True)\nserver.run()"
    )
    with started("-c", program) as process:
        assert process.stdout is not None
        uri = f"ws://127.0.0.1:{process.stdout.readline().strip()}/"
        conn = connect(uri, subprotocol="sockwave.1", engine=engine).open()
        conn.subscribe("kept/a").result(PATIENCE_S)
        process.send_signal(signal.SIGSTOP)  # so that it does not answer any more
        outcome = conn.publish("kept/a", "x")
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        for call in (outcome.result, conn.receive_delivery):
            with pytest.raises(ConnectionClosed) as caught:
                call(PATIENCE_S)
            assert caught.value.code == 1006
        assert list(conn.deliveries()) == []
        conn.close()
        with pytest.raises(OSError, match="refused"):
            connect(uri, subprotocol="sockwave.1", engine=engine).open()
        process.communicate()
