"""`sockwave.sync` in processes that fork, are interrupted, exit, and lose their server."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest
from commands import find_port, running, started

import sockwave
from sockwave.sync import connect

PATIENCE_S = 60

SERVER = """
import sockwave

server = sockwave.create_server()
server.on("connection", lambda conn: conn.on("message", conn.send))
server.listen(8000, "127.0.0.1")
server.run()
"""

BEGIN = """
import os, signal, sys, threading
import sockwave
from sockwave.sync import connect

uri, engine = sys.argv[1:]
conn = connect(uri, engine=engine).open()
conn.send("before")
assert conn.recv() == "before"
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(SERVER) as found:
        yield found


def run(address: str, engine: str, program: str) -> str:
    """Run a program behind BEGIN, and give what it prints."""
    return run_program(BEGIN + textwrap.dedent(program), f"ws://{address}/", engine)


def run_program(program: str, *arguments: str) -> str:
    """Run a program, which warns of nothing, to its end; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_program_may_exit_with_a_connection_open(address: str, engine: str) -> None:
    assert run(address, engine, "print('end')") == "end\n"


def test_asyncio_is_not_run(address: str) -> None:
    program = """
    import asyncio
    print([thread.name for thread in threading.enumerate()])
    """
    assert run(address, "auto", program) == "['MainThread', 'sockwave-sync']\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_leaves_connections_to_its_parent_and_opens_its_own(
    address: str, engine: str
) -> None:
    program = """
    def receive():
        print(conn.recv(), flush=True)

    thread = threading.Thread(target=receive)
    thread.start()
    child = os.fork()
    if child == 0:
        for call in (lambda: conn.send("from the child"), conn.recv, conn.ping):
            try:
                call()
            except sockwave.SockwaveError as error:
                assert "forked" in str(error), error
            else:
                os._exit(1)
        with connect(uri, engine=engine) as own:
            own.send("child")
            assert own.recv() == "child"
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    conn.send("parent")
    thread.join()
    conn.close()
    print(conn.close_code)
    """
    assert run(address, engine, program) == "parent\n1000\n"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_interrupt_ends_what_waits(address: str, engine: str) -> None:
    program = """
    def interrupt():
        conn.ping()
        os.kill(os.getpid(), signal.SIGINT)

    try:
        threading.Thread(target=interrupt).start()
        conn.recv()
    except KeyboardInterrupt:
        print("interrupted")
    conn.send("behind")
    print(conn.recv())
    """
    assert run(address, engine, program) == "interrupted\nbehind\n"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_interrupt_ends_a_wait_between_two_attempts(address: str, engine: str) -> None:
    program = """
    import logging

    class Interrupting(logging.Handler):
        # The wait comes behind this line.
        def emit(self, record):
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()

    logging.getLogger("sockwave").addHandler(Interrupting())
    logging.getLogger("sockwave").setLevel("INFO")
    conn.close()
    backoff = sockwave.Backoff(first=3600, most=3600)
    try:
        for conn in connect("ws://127.0.0.1:1", engine=engine, backoff=backoff):
            pass
    except KeyboardInterrupt:
        print("interrupted")
    """
    assert run(address, engine, program) == "interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_handler_of_a_signal_may_end_a_loop(address: str, engine: str) -> None:
    program = """
    conn.close()
    conns = connect(uri, engine=engine)
    signal.signal(signal.SIGTERM, lambda *_: conns.close())
    for conn in conns:
        conn.ping()
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()
        print(list(conn), conn.close_code)
    print(threading.active_count())
    """
    assert run(address, engine, program) == "[] 1001\n2\n"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_a_loop_comes_back_to_a_server_that_was_killed_and_restarted(engine: str) -> None:
    port = find_port()
    program = SERVER.replace("8000", str(port)).replace(
        "server.run()", "print('ready', flush=True)\nserver.run()"
    )
    uri, backoff = f"ws://127.0.0.1:{port}/", sockwave.Backoff(first=0.01, most=0.05)
    processes = contextlib.ExitStack()

    def start() -> subprocess.Popen[str]:
        process = processes.enter_context(started("-c", program))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    with processes:
        process = start()
        for number, conn in enumerate(connect(uri, engine=engine, backoff=backoff)):
            conn.send("alive")
            assert conn.recv(PATIENCE_S) == "alive"
            if number == 2:
                break
            process.kill()
            process.wait(PATIENCE_S)
            assert list(conn) == []
            assert conn.close_code == 1006
            process = start()
        assert conn.close_code == 1001


def test_connections_of_two_threads_do_not_wait_for_each_other(address: str, engine: str) -> None:
    program = """
    def talk():
        with connect(uri, engine=engine) as other:
            for number in range(200):
                other.send(str(number))
                assert other.recv() == str(number)

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done")
    """
    assert run(address, engine, program) == "done\n"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_server_that_is_killed(engine: str) -> None:
    program = SERVER.replace("8000", "0").replace(
        "server.run()", "print(server.addresses[0][1], flush=True)\nserver.run()"
    )
    with started("-c", program) as process:
        assert process.stdout is not None
        conn = connect(f"ws://127.0.0.1:{process.stdout.readline().strip()}/", engine=engine).open()
        conn.send("hello")
        assert conn.recv() == "hello"
        process.send_signal(signal.SIGKILL)
        with pytest.raises(sockwave.ConnectionClosed) as caught:
            conn.recv()
        assert caught.value.code == 1006
        conn.close()
        process.communicate()


def test_interrupt_while_a_socket_is_taken_over(address: str, engine: str) -> None:
    program = """
    import socket

    detach = socket.socket.detach

    def interrupted(sock):
        signal.raise_signal(signal.SIGINT)
        return detach(sock)

    socket.socket.detach = interrupted
    try:
        connect(uri, engine=engine).open().close()
    except KeyboardInterrupt:
        pass
    socket.socket.detach = detach
    conn.send("behind")
    print(conn.recv())
    """
    assert run(address, engine, program) == "behind\n"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timers")
def test_interrupts_at_any_moment_cost_their_own_connection_alone(
    address: str, engine: str
) -> None:
    program = """
    import warnings

    class Interrupt(BaseException):
        pass

    def interrupt(*_):
        if may_interrupt:
            raise Interrupt

    signal.signal(signal.SIGALRM, interrupt)
    sys.unraisablehook = lambda _: None  # what is raised in a callback of a weak reference
    warnings.simplefilter("ignore")  # a socket that no name has yet is closed by its end
    for step in range(100):
        try:
            may_interrupt = True
            signal.setitimer(signal.ITIMER_REAL, 1e-5 + step * 3e-5)
            with connect(uri, engine=engine) as other:
                other.send("x" * 200_000)
                assert len(other.recv()) == 200_000
        except Interrupt:
            pass
        finally:
            may_interrupt = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        conn.send(str(step))
        assert conn.recv(timeout=10) == str(step)
    print("whole")
    """
    assert run(address, engine, program) == "whole\n"


@pytest.mark.parametrize(
    "end",
    [
        """
        class Owner:
            def __del__(self):
                conn.send("last")
                conn.close()
                print("closed")

        owner = Owner()
        """,
        """
        def receive():
            with conn:
                yield "begun"
                print("closed")

        messages = receive()
        print(next(messages))
        """,
        """
        class Owner:
            def __del__(self):
                try:
                    conn.recv()
                except sockwave.SockwaveError as error:
                    print(error)

        owner = Owner()
        """,
    ],
    ids=["finalizer", "generator", "receiver"],
)
def test_end_of_the_interpreter_waits_for_nothing(address: str, engine: str, end: str) -> None:
    said = run(address, engine, end)
    assert said.startswith(("closed", "begun", "the interpreter ends"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_leaves_the_block_as_it_is_left(address: str, engine: str) -> None:
    program = """
    with conn:
        child = os.fork()
        if child == 0:
            try:
                with conn:
                    raise LookupError
            except LookupError:
                pass
            conn.close()
            conn.abort()
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        conn.send("parent")
        print(conn.recv())
    """
    assert run(address, engine, program) == "parent\n"


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_handler_of_a_signal_may_use_connections(address: str, engine: str) -> None:
    program = """
    other = connect(uri, engine=engine).open()

    def handle(*_):
        with connect(uri, engine=engine) as own:
            own.send("own")
            print(own.recv())
        other.send("other")
        print(other.recv(), other.ping() > 0)
        conn.close()
        print(conn.close_code)

    def interrupt():
        conn.ping()
        os.kill(os.getpid(), signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        conn.recv()
    except sockwave.ConnectionClosed:
        print("closed")
    thread.join()
    """
    assert run(address, engine, program) == "own\nother True\n1000\nclosed\n"


INTERRUPTED = """
class Interrupt(BaseException):
    pass

def interrupt(*_):
    if may_interrupt:
        raise Interrupt

may_interrupt = False
interrupts = 0
signal.signal(signal.SIGALRM, interrupt)

def call(function, *arguments):
    # Call a function, which may be interrupted, and say whether it was.
    global may_interrupt, interrupts
    try:
        may_interrupt = True
        result = function(*arguments)
        may_interrupt = False
        return result
    except Interrupt:
        interrupts += 1
        return Interrupt
    finally:
        may_interrupt = False
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timers")
def test_interrupts_lose_no_message_that_waits(address: str, engine: str) -> None:
    program = INTERRUPTED + textwrap.dedent(
        """
    from itertools import islice

    heard = []
    signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
    for round in range(1, 101):
        for number in range(len(heard), 60 * round):
            conn.send(f"{number:>500}")
        while len(heard) < 60 * round:
            # No code of Python's is between the message and the list.
            call(heard.extend, islice(conn, 1))
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert [int(message) for message in heard] == list(range(6000))
    assert interrupts > 10, interrupts
    conn.send("behind")
    print(conn.recv(timeout=10))
    """
    )
    assert run(address, engine, program) == "behind\n"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timers")
def test_interrupts_leave_messages_whole_and_in_order(address: str, engine: str) -> None:
    program = INTERRUPTED + textwrap.dedent(
        """
    certain, heard = [], []

    def receive():
        for message in conn:
            assert len(message) in (10, 200_000), len(message)
            heard.append(int(message))
            if heard[-1] == 999:
                return

    receiver = threading.Thread(target=receive)
    receiver.start()
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    for number in range(999):
        size = 200_000 if number % 50 == 0 else 10
        if call(conn.send, f"{number:>{size}}") is not Interrupt:
            certain.append(number)
        if number % 10 == 0:
            call(conn.ping)
    signal.setitimer(signal.ITIMER_REAL, 0)
    conn.send(f"{999:>10}")
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
