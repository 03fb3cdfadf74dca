"""Descriptors that somebody else still holds, and processes that are forked from a server's own.

Each server is a process of its own, as a fork of the tests' would be one of their loop; the clients
are here.
"""

import contextlib
import os
import signal
import socket
import ssl
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from commands import PATIENCE_S, Process, started, stop, wait
from wire import build_request, upgrade_headers

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

OPENING = build_request(upgrade_headers())

# What every program begins with: a server on one transport, and what its clients ask it for.
# A child sleeps until it is killed, or its parent has gone. One kind is known to Python, the other
# is what C code forks, or a subprocess between fork and exec: it has no chance to let go.
PROGRAM = r"""
import asyncio, ctypes, multiprocessing, os, signal, ssl, sys, threading, time
import sockwave

engine, transport, place, cert, key = sys.argv[1:]
libc = ctypes.PyDLL(None)
children = []

parent = os.getpid()

def end_with_parent():
    libc.prctl(1, 9)            # PR_SET_PDEATHSIG, which tells nothing of a parent that has gone
    if os.getppid() != parent:
        os._exit(0)

def fork(how):
    pid = libc.fork() if how == "raw" else os.fork()
    if pid == 0:
        end_with_parent()
        while True:
            time.sleep(60)
    children.append(pid)
    return pid

def end_children():
    while children:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children.pop(0), 0)

server = sockwave.create_server(engine=engine)

def listen(server=server):
    context = None
    if transport == "tls":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
    if transport == "unix":
        server.listen(path=place, ssl=context)
    else:
        server.listen(0, "127.0.0.1", ssl=context)

def announce(server=server):
    address = server.addresses[0]
    sys.stdout.write(f"{address if transport == 'unix' else address[1]}\n")
    sys.stdout.flush()
"""

#: Fork, and be asked to end connections while the child lives.
HOLDING = """
pending = {}

@server.on("connection")
def connected(conn):
    @conn.on("message")
    def message(text):
        word, _, argument = text.partition(" ")
        if word == "fork":
            conn.send(str(fork(argument)))
        elif word == "close":
            conn.close(4000)
        elif word == "abort":
            conn.abort()
        elif word == "release":
            end_children()
            conn.send("released")
        elif word == "others":
            conn.send(str(len(server.connections) - 1))
        elif word == "http":
            pending.popitem()[1].end("ended")
            conn.send("ended")
        elif word == "end":
            server.close(drain=0)
        elif word == "cpu":
            conn.send(repr(time.process_time()))
        else:
            conn.send(text)

@server.on("request")
def request(request, response):
    response.write_head(200, {"Connection": "close"})
    response.write("begun ")
    pending[request] = response

listen()
server.on("listening", announce)
server.run()
"""


@pytest.fixture(params=["tcp", "tls", "unix"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class Peer:
    """A client that blocks."""

    def __init__(self, place: str, transport: str) -> None:
        if transport == "unix":
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(place)
            except OSError:
                self.sock.close()
                raise
        else:
            self.sock = socket.create_connection(("127.0.0.1", int(place)))
        self.sock.settimeout(PATIENCE_S)
        if transport == "tls":
            context = certificates.client_context()
            # Who breaks off, says nothing in TLS's terms.
            context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    def open(self) -> "Peer":
        """Become a WebSocket."""
        self.sock.sendall(OPENING)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.take(1)
        assert head.startswith(b"HTTP/1.1 101"), head
        return self

    def ask_for_ever(self) -> "Peer":
        """Ask for what is not answered to the end."""
        self.sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b"begun " not in answer:
            answer += self.take(1)
        return self

    def get(self, target: str) -> bytes:
        """Ask for a page, and give what it says, of an answer in chunks."""
        self.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"0\r\n\r\n") and b"Content-Length" not in answer:
            answer += self.take(1)
        if b"Content-Length" in answer:
            while not answer.endswith(b"\r\n\r\n"):
                answer += self.take(1)
            size = int(answer.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            return self.take(size)
        return b"".join(answer.partition(b"\r\n\r\n")[2].split(b"\r\n")[1::2])

    def take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            assert piece, f"the end, behind {data!r}"
            data += piece
        return data

    def say(self, text: str) -> None:
        data = text.encode()
        assert len(data) < 126
        self.sock.sendall(b"\x81" + bytes([0x80 | len(data)]) + bytes(4) + data)

    def hear(self) -> str:
        first, size = self.take(2)
        assert first == 0x81
        assert size < 126
        return self.take(size).decode()

    def ask(self, text: str) -> str:
        self.say(text)
        return self.hear()

    def read_to_end(self) -> bytes:
        """Give what is left; the end has to come."""
        data = b""
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            while piece := self.sock.recv(65536):
                data += piece
        return data

    def close(self) -> None:
        self.sock.close()


class Served:
    """A server in a process of its own."""

    def __init__(self, process: Process, place: str, transport: str) -> None:
        self.process = process
        self.place = place
        self.transport = transport
        self.peers: list[Peer] = []

    def peer(self) -> Peer:
        made = Peer(self.place, self.transport)
        self.peers.append(made)
        return made

    def close(self) -> None:
        """Let all clients go, whom a server that ends would wait for."""
        for one in self.peers:
            one.close()

    def stop(self) -> tuple[int, str]:
        """End the server, and give its exit status and what was said on stderr."""
        self.close()
        return stop(self.process)


Serve = Callable[..., Any]


@pytest.fixture
def serve(engine: str, tmp_path: Path) -> Serve:
    """`with serve(program, transport) as served:` a program that announces where it listens."""

    @contextlib.contextmanager
    def serving(program: str, transport: str = "tcp") -> Iterator[Served]:
        cert, key = certificates.write_pem(certificates.LOCALHOST, tmp_path, "server")
        place = str(tmp_path / "socket")
        text = PROGRAM + textwrap.dedent(program)
        environment = {"PYTHONWARNINGS": "error,ignore:This process:DeprecationWarning"}
        with started(
            "-c", text, engine, transport, place, cert, key, environment=environment
        ) as process:
            assert process.stdout
            line = process.stdout.readline().strip()
            if not line:
                pytest.fail(f"nothing announced: {process.communicate()[1]}")
            served = Served(process, line, transport)
            try:
                yield served
            finally:
                served.close()

    return serving


@pytest.mark.parametrize("how", ["python", "raw"])
def test_peers_hear_of_the_end_while_a_child_holds_their_sockets(
    serve: Serve, transport: str, how: str
) -> None:
    with serve(HOLDING, transport) as served:
        control = served.peer().open()
        closed, aborted, gone = (served.peer().open() for _ in range(3))
        asker = served.peer().ask_for_ever()
        assert int(control.ask(f"fork {how}"))

        closed.say("close")
        assert closed.take(4) == b"\x88\x02\x0f\xa0"
        closed.sock.sendall(b"\x88\x82" + bytes(4) + b"\x0f\xa0")
        assert closed.read_to_end() == b""
        aborted.say("abort")
        assert aborted.read_to_end() == b""
        assert control.ask("http") == "ended"
        assert b"ended" in asker.read_to_end()
        gone.close()
        while control.ask("others") != "0":
            pass

        # New ones come and go on the same descriptors, and nothing of the old ones is left.
        for _ in range(3):
            late = served.peer().open()
            assert late.ask("hello") == "hello"
            late.say("abort")
            assert late.read_to_end() == b""
        assert control.ask("release") == "released"
        assert control.ask("hello") == "hello"
        assert served.stop() == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["python", "raw"])
def test_server_sleeps_though_a_child_holds_the_sockets_of_those_who_have_gone(
    serve: Serve, how: str
) -> None:
    with serve(HOLDING) as served:
        control = served.peer().open()
        others = [served.peer().open() for _ in range(4)]
        control.ask(f"fork {how}")
        for one in others:
            one.close()
        while control.ask("others") != "0":
            pass
        used, wall = float(control.ask("cpu")), os.times().elapsed
        time.sleep(0.5)  # in which nobody asks for anything
        used, wall = float(control.ask("cpu")) - used, os.times().elapsed - wall
        assert used < wall / 2
        assert served.stop() == (0, "")


@pytest.mark.parametrize("how", ["python", "raw"])
def test_nobody_connects_to_a_closed_server_though_a_child_holds_its_socket(
    serve: Serve, transport: str, how: str
) -> None:
    with serve(HOLDING, transport) as served:
        control = served.peer().open()
        reset = served.peer().open()
        control.ask(f"fork {how}")
        # The child goes with its parent: both are kept from going until this has been seen.
        control.say("end")
        assert reset.read_to_end() in (b"", b"\x88\x02\x03\xe9")
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            Peer(served.place, transport)
        assert wait(served.process)[0] == 0


IN_THE_LISTENER = '''
def child_of(conn, what):
    """Fork in the middle of a turn, with something written that has not left."""
    conn.send("before")
    pid = os.fork()
    if pid:
        children.append(pid)
        conn.send("after")
        return
    errors = []
    for ask in (
        lambda: conn.send("child"), lambda: server.broadcast("child"), lambda: server.listen(0),
        server.run, lambda: server.loop,
    ):
        try:
            ask()
        except sockwave.SockwaveError as error:
            errors.append("forked" in str(error))
    conn.close()
    conn.abort()
    server.close()
    if errors != [True] * 5:
        os._exit(70)
    if what == "exit":
        sys.exit(7)
    if what == "crash":
        raise RuntimeError("in the child")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

@server.on("connection")
def connected(conn):
    @conn.on("message")
    def message(text):
        if text == "wait":
            status = os.waitpid(children.pop(), 0)[1]
            conn.send(str(os.waitstatus_to_exitcode(status)))
        elif text.startswith("fork "):
            child_of(conn, text[5:])
        else:
            conn.send(text)

@server.on("close")
def closed(*_):
    print("closed", os.getpid(), flush=True)

@server.on("request")
def request(request, response):
    response.end("hello")
'''

RUN = """
listen()
server.on("listening", announce)
server.run()
"""

# As many programs do it: the loop is theirs, and so are the signals.
SERVE_FOREVER = """
async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.close)
    listen()
    server.on("listening", announce)
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [RUN, SERVE_FOREVER], ids=["run", "serve_forever"])
@pytest.mark.parametrize(
    "statuses", [{"exit": 7, "kill": -signal.SIGTERM}, {"return": 1}], ids=["in silence", "told of"]
)
def test_child_forked_in_a_listener_ends_without_a_trace(
    serve: Serve, transport: str, ending: str, statuses: dict[str, int]
) -> None:
    with serve(IN_THE_LISTENER + ending, transport) as served:
        other = served.peer().open()
        wire = served.peer().open()
        for what, status in [*statuses.items()] * 2:
            wire.say(f"fork {what}")
            assert [wire.hear(), wire.hear()] == ["before", "after"]
            assert wire.ask("wait") == str(status)
            assert wire.ask("still here") == "still here"
            assert other.ask("still here") == "still here"
            assert served.peer().open().ask("a new one") == "a new one"
        served.close()
        served.process.terminate()
        output, errors = served.process.communicate(timeout=PATIENCE_S)
        assert served.process.returncode == 0
        assert output == f"closed {served.process.pid}\n"
        if "return" not in statuses:
            assert errors == ""
        else:
            assert "the server goes on in the parent alone" in errors


# Every kind of call of an application, in the middle of what has something to clean up.
APPLICATION = """
import contextlib
import sockwave.asgi

@contextlib.contextmanager
def told_of(what, but=()):
    try:
        yield
    finally:
        if not but:
            where = "the child" if os.getpid() != parent else "the parent"
            print(what, "over in", where, flush=True)

@contextlib.asynccontextmanager
async def resource():
    with told_of("lifespan"):
        yield

parent = os.getpid()

def end(what):
    if what == "exit":
        sys.exit(7)
    if what == "crash":
        raise RuntimeError("in the child")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

async def fork_and_end(what, *sendings):
    # All that is sent in the child has to fail: it has no part of the server.
    pid = os.fork()
    if pid:
        children.append(pid)
        return
    for send, *arguments in sendings:
        try:
            await send(*arguments)
        except (sockwave.SockwaveError, sockwave.asgi.ClientDisconnected) as error:
            if "forked" in str(error):
                continue
        os._exit(70)
    end(what)

def wait_for_child():
    return str(os.waitstatus_to_exitcode(os.waitpid(children.pop(), 0)[1]))

async def http(scope, receive, send):
    async def part(body, more_body=True):
        await send({"type": "http.response.body", "body": body, "more_body": more_body})

    _, action, *argument = scope["path"].split("/")
    await send({"type": "http.response.start", "status": 200})
    if action == "fork":
        await part(b"before ")
        await fork_and_end(*argument, (part, b"child"), (part, b"child", False))
        await part(b"after", False)
    elif action == "late":
        # The call has waited before, and has a task for itself.
        await part(b"before ")
        await asyncio.sleep(0)
        await fork_and_end(*argument, (part, b"child"), (part, b"child", False))
        await part(b"after", False)
    elif action == "wait":
        await part(wait_for_child().encode(), False)
    else:
        with told_of("request"):
            await part(b"begun ")
            while (await receive())["type"] != "http.disconnect":
                pass

async def websocket(scope, receive, send):
    async def say(text):
        await send({"type": "websocket.send", "text": text})

    await receive()
    await send({"type": "websocket.accept"})
    forks = []
    with told_of("socket", forks):
        while (message := await receive())["type"] == "websocket.receive":
            text = message["text"]
            if text.startswith("fork "):
                forks.append(text)  # what it cleans up in the child is its own affair
                await say("before")
                await fork_and_end(text[5:], (say, "child"))
                await say("after")
            elif text == "wait":
                await say(wait_for_child())
            else:
                await say(text)

async def lifespan(scope, receive, send):
    await receive()
    async with resource():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})

async def app(scope, receive, send):
    await {"http": http, "websocket": websocket, "lifespan": lifespan}[scope["type"]](
        scope, receive, send
    )

server.mount("/", app)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "status"), [("exit", 7), ("kill", -signal.SIGTERM), ("return", 1), ("crash", 1)]
)
@pytest.mark.parametrize(
    ("how", "ending"),
    [("fork", RUN), ("late", SERVE_FOREVER), ("socket", RUN)],
    ids=["request", "request that has waited", "socket"],
)
def test_child_forked_in_an_application_ends_nothing_of_it(
    serve: Serve, ending: str, what: str, status: int, how: str
) -> None:
    with serve(APPLICATION + ending) as served:
        request, socket = served.peer().ask_for_ever(), served.peer().open()
        assert socket.ask("still here") == "still here"
        if how == "socket":
            forking = served.peer().open()
            forking.say(f"fork {what}")
            assert [forking.hear(), forking.hear()] == ["before", "after"]
            assert forking.ask("wait") == str(status)
        else:
            assert served.peer().get(f"/{how}/{what}") == b"before after"
            assert served.peer().get("/wait") == str(status).encode()
        assert socket.ask("still here") == "still here"
        assert served.peer().open().ask("a new one") == "a new one"
        request.close()
        served.close()
        served.process.terminate()
        output, errors = served.process.communicate(timeout=PATIENCE_S)
        assert served.process.returncode == 0
        # In the parent, each ends once; in the child none does.
        told = output.splitlines()
        assert told.pop() == "lifespan over in the parent"
        assert sorted(told) == ["request over in the parent"] + ["socket over in the parent"] * 2
        if what in ("return", "crash"):
            assert "the server goes on in the parent alone" in errors
        else:
            assert errors == ""


# Nothing of the server's but the lifespan is there when the child ends.
AT_ONCE = """
@server.on("listening")
def forked():
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""


@pytest.mark.parametrize("ending", [RUN, SERVE_FOREVER], ids=["run", "serve_forever"])
def test_child_forked_before_all_clients_ends_no_lifespan(serve: Serve, ending: str) -> None:
    with serve(APPLICATION + AT_ONCE + ending) as served:
        assert served.peer().open().ask("hello") == "hello"
        served.close()
        served.process.terminate()
        output, errors = served.process.communicate(timeout=PATIENCE_S)
        assert (served.process.returncode, errors) == (0, "")
        assert output.splitlines() == ["socket over in the parent", "lifespan over in the parent"]


POOL = """
import concurrent.futures

def work(number):
    return os.getpid()

context = multiprocessing.get_context("fork")

@server.on("connection")
def connected(conn):
    @conn.on("message")
    async def message(text):
        loop = asyncio.get_running_loop()
        if text == "pool":
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                calls = [loop.run_in_executor(pool, work, number) for number in range(8)]
                pids = await asyncio.gather(*calls)
            conn.send("done" if os.getpid() not in pids else "here")
        elif text == "terminate":
            process = context.Process(target=time.sleep, args=(60,), daemon=True)
            process.start()
            process.terminate()
            await asyncio.to_thread(process.join)
            conn.send(str(process.exitcode))
        elif text == "interrupt":
            process = context.Process(target=time.sleep, args=(60,), daemon=True)
            process.start()
            os.kill(process.pid, signal.SIGUSR1)
            await asyncio.to_thread(process.join)
            conn.send(str(process.exitcode))
        elif text == "broken":
            pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)
            pid = await loop.run_in_executor(pool, work, 0)
            os.kill(pid, signal.SIGTERM)
            try:
                while True:
                    await loop.run_in_executor(pool, work, 0)
            except concurrent.futures.process.BrokenProcessPool:
                conn.send("broken")
            pool.shutdown()
        else:
            conn.send(text)
"""


@pytest.mark.parametrize("ending", [RUN, SERVE_FOREVER], ids=["run", "serve_forever"])
def test_workers_of_a_process_pool_obey_signals_and_leave_the_server_alone(
    serve: Serve, ending: str
) -> None:
    with serve(POOL + ending) as served:
        wire = served.peer().open()
        assert wire.ask("pool") == "done"
        assert wire.ask("terminate") == str(-signal.SIGTERM)
        assert wire.ask("interrupt") == str(-signal.SIGUSR1)
        assert wire.ask("broken") == "broken"
        assert served.peer().open().ask("still here") == "still here"
        assert served.stop() == (0, "")


PREFORK = """
@server.on("connection")
def connected(conn):
    @conn.on("message")
    def message(text):
        conn.send(str(os.getpid()))
        if text == "end":
            server.close()

listen()
address = server.addresses[0]
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        end_with_parent()
        server.run()
        print("left", os.getpid(), flush=True)
        os._exit(0)
    children.append(pid)
announce()
for pid in children:
    os.waitpid(pid, 0)
server.close()
print("over", flush=True)
"""


def test_server_that_only_listens_may_be_run_in_forked_children(
    serve: Serve, transport: str
) -> None:
    with serve(PREFORK, transport) as served:
        first = served.peer().open()
        pid = first.ask("who")
        assert first.ask("end") == pid
        first.close()
        # The other one goes on, on the same socket, and by the same name.
        second = served.peer().open()
        assert second.ask("who") != pid
        second.say("end")
        second.close()
        output, errors = served.process.communicate(timeout=PATIENCE_S)
        assert (served.process.returncode, errors) == (0, "")
        assert output.splitlines()[-1] == "over"
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            Peer(served.place, transport)


# The parent has its children serve, and closes its own end of it.
PARENT_LETS_GO = """
@server.on("connection")
def connected(conn):
    conn.on("message", conn.send)

listen()
place = server.addresses[0]
pid = os.fork()
if pid == 0:
    end_with_parent()
    server.run()
    os._exit(0)
announce()
server.close()
os.waitpid(pid, 0)
"""


def test_parent_that_closes_its_server_leaves_the_socket_to_its_children(serve: Serve) -> None:
    with serve(PARENT_LETS_GO) as served:
        for _ in range(3):
            assert served.peer().open().ask("hello") == "hello"


TWO_LOOPS = """
import subprocess

async def main(server, is_first):
    @server.on("connection")
    def connected(conn):
        conn.on("message", conn.send)

    listen(server)
    async with server:
        announce(server)
        while not done.is_set():
            await asyncio.to_thread(subprocess.run, ["/bin/true"], close_fds=is_first)

done = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: done.set())
other = sockwave.create_server(engine=engine)
thread = threading.Thread(target=lambda: asyncio.run(main(other, False)))
thread.start()
asyncio.run(main(server, True))
thread.join()
"""


@pytest.mark.slow
def test_clients_come_and_go_while_threads_spawn_processes(serve: Serve) -> None:
    with serve(TWO_LOOPS) as served:
        assert served.process.stdout
        places = [served.place, served.process.stdout.readline().strip()]
        for number in range(400):
            peer = Peer(places[number % 2], "tcp").open()
            assert peer.ask("hello") == "hello"
            peer.close()
        assert served.stop() == (0, "")
