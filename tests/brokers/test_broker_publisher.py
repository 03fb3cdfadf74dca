"""Publishing through a broker from what is no server: `Publisher`, and `sockwave publish`."""

import asyncio
import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S, find_port
from conftest import StartServer
from hosts import Host, start_host
from log_brokers import JetStream
from nats_server import NatsServer
from valkey_server import ValkeyServer, needs_valkey, running_valkey, until

import sockwave
from sockwave.brokers.urls import hide_password
from sockwave.core.topics.parts import PART_SIZE

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")

pytestmark = needs_valkey


@pytest.fixture(params=["valkey", "nats", "jetstream"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    server: Any = NatsServer() if request.param == "nats" else JetStream(tmp_path)
    if request.param == "valkey":
        server = ValkeyServer(tmp_path)
    yield server.start()
    server.kill()


async def hear_room(start_server: StartServer, url: str) -> Host:
    """Start a host whose client hears all rooms."""
    host = await start_host(start_server, url)
    await until(lambda: host.server.health().status == "ok")
    await host.conn.subscribe("room/*")
    return host


def run(target: Callable[[], object]) -> "asyncio.Future[Any]":
    """Run what waits in a thread."""
    return asyncio.get_running_loop().run_in_executor(None, target)


async def test_a_program_of_threads_publishes(start_server: StartServer, broker: Any) -> None:
    host = await hear_room(start_server, broker.url)
    large = os.urandom(3 * PART_SIZE + 1)

    def publish() -> list[sockwave.Published]:
        with sockwave.Publisher(broker.url) as publisher:
            return [
                publisher.publish("room/1", message) for message in ("hé", b"", bytearray(large))
            ] + [publisher.publish("room/2", "with an id", id='x"y')]

    published = await run(publish)
    assert published == [sockwave.Published(None, 0)] * 4
    heard = [await host.wire.receive_message() for _ in range(4)]
    assert heard == ["hé", b"", large, "with an id"]
    assert host.server.health().bad_count == 0


@pytest.mark.parametrize("broker", ["valkey", "jetstream"], indirect=True)
@pytest.mark.parametrize("size", [1, 3 * PART_SIZE])
async def test_a_program_is_told_that_a_topic_is_a_stream(
    start_server: StartServer, broker: Any, size: int
) -> None:
    host = await hear_room(start_server, broker.url)
    await host.server.topic("answer/1").append("a")
    async with sockwave.Publisher(broker.url) as publisher:
        with pytest.raises(sockwave.SockwaveError, match="is a stream"):
            await publisher.publish("answer/1", "x" * size)
        await publisher.publish("room/1", "goes on")
    assert await host.wire.receive_message() == "goes on"
    assert host.server.health().bad_count == 0


async def test_a_program_of_asyncio_publishes_in_order(
    start_server: StartServer, broker: Any
) -> None:
    host = await hear_room(start_server, broker.url)
    async with sockwave.Publisher(broker.url) as publisher:
        for number in range(5000):
            publisher.publish("room/1", f"{number}")
        await publisher.publish("room/1", bytes(PART_SIZE + 1))
        publisher.publish("room/1", "the end")
    heard = [await host.wire.receive_message() for _ in range(5002)]
    assert heard == [f"{number}" for number in range(5000)] + [bytes(PART_SIZE + 1), "the end"]
    with pytest.raises(sockwave.SockwaveError, match="is closed"):
        publisher.publish("room/1", "late")


async def test_what_waits_for_a_broker_is_bounded(broker: Any) -> None:
    broker.kill()
    async with sockwave.Publisher(broker.url, timeout=0.1) as publisher:
        futures = [publisher.publish("room/1", bytes(4 << 20)) for _ in range(2)]
        with pytest.raises(sockwave.SockwaveError, match="have had none"):
            publisher.publish("room/1", "one more")
        for future in futures:
            with pytest.raises(sockwave.SockwaveError, match="nothing was published"):
                await future
        with pytest.raises(sockwave.SockwaveError, match="nothing was published"):
            await publisher.publish("room/1", "there is room again")


async def test_a_broker_that_comes_back_is_found(start_server: StartServer, broker: Any) -> None:
    host = await hear_room(start_server, broker.url)

    def restart() -> None:
        broker.kill()
        threading.Timer(0.2, broker.start).start()

    with sockwave.Publisher(broker.url) as publisher:
        await run(lambda: publisher.publish("room/1", "before"))
        assert await host.wire.receive_message() == "before"
        restart()
        await run(lambda: publisher.publish("elsewhere", "while it was away"))
        await until(lambda: host.server.health().lost_count)
        await until(lambda: host.server.health().status == "ok")
        await run(lambda: publisher.publish("room/1", "after"))
    assert await host.wire.receive_message() == "after"


def test_a_broker_that_does_not_answer_is_not_waited_for_longer(broker: Any) -> None:
    with sockwave.Publisher(broker.url, timeout=0.2) as publisher:
        with contextlib.suppress(sockwave.SockwaveError):  # on a busy machine
            publisher.publish("room/1", "before")
        broker.freeze()
        try:
            with pytest.raises(sockwave.SockwaveError, match="published"):
                publisher.publish("room/1", "unknown")
        finally:
            broker.thaw()


class InterruptedPublishError(Exception):
    """What a signal handler raises."""


def interrupt(number: int, frame: object) -> None:
    raise InterruptedPublishError


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of signals here")
async def test_a_publish_that_a_signal_ends_is_not_answered_by_the_next(
    start_server: StartServer, broker: Any
) -> None:
    """Each publish is answered for itself: a link that owes an answer is not used again."""
    host = await hear_room(start_server, broker.url)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with sockwave.Publisher(broker.url) as publisher:
            publisher.publish("room/1", "start")
            broker.freeze()
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with pytest.raises(InterruptedPublishError):
                    publisher.publish("room/1", "interrupted")
            finally:
                broker.thaw()
            publisher.publish("room/1", "the end")
    finally:
        signal.signal(signal.SIGALRM, before)
    heard = [await host.wire.receive_message()]
    while heard[-1] != "the end":
        heard.append(await host.wire.receive_message())
    assert heard in (["start", "the end"], ["start", "interrupted", "the end"])


async def test_messages_that_wait_are_given_up_one_by_one(broker: Any) -> None:
    broker.kill()
    loop = asyncio.get_running_loop()
    async with sockwave.Publisher(broker.url, timeout=0.3) as publisher:
        waits = []
        for _ in range(4):
            began = loop.time()
            future = publisher.publish("room/1", "late")
            future.add_done_callback(lambda _, began=began: waits.append(loop.time() - began))
            await asyncio.sleep(0.1)
        for future in list(publisher._futures):
            with pytest.raises(sockwave.SockwaveError, match="nothing was published"):
                await future
    assert min(waits) >= 0.3


def test_threads_that_wait_for_another_make_no_attempts_of_their_own() -> None:
    """So each waits for its own time, and not for that of all before it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        with sockwave.Publisher(url, timeout=0.3) as publisher:
            together = threading.Barrier(8)

            def publish(_: int) -> None:
                together.wait(PATIENCE_S)
                with pytest.raises(sockwave.SockwaveError, match="nothing was published"):
                    publisher.publish("room/1", "a")

            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(publish, range(8)))
        silent.setblocking(False)
        attempts = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                attempts += 1
    assert 1 <= attempts <= 4


@pytest.mark.parametrize("url", ["valkey://:wrong@127.0.0.1:{}", "nats://wrong@127.0.0.1:{}"])
def test_a_wrong_password_is_said_at_once(tmp_path: Path, url: str) -> None:
    is_valkey = url.startswith("valkey")
    server: Any = (
        ValkeyServer(tmp_path, "--requirepass", "right")
        if is_valkey
        else NatsServer("--auth", "right")
    )
    server.start()
    try:
        began = time.monotonic()
        with (
            sockwave.Publisher(url.format(server.port)) as publisher,
            pytest.raises(sockwave.SockwaveError, match=r"(?i)auth|password"),
        ):
            publisher.publish("room/1", "a")
        assert time.monotonic() - began < PATIENCE_S / 2
    finally:
        server.kill()


def test_a_user_without_rights_for_scripts_publishes_on_plain_topics(tmp_path: Path) -> None:
    rights = re.findall(r"ACL SETUSER app on >PASSWORD (.+)", PAGE)[0]
    with running_valkey(tmp_path) as valkey:
        valkey.set_user("app", f"on >pw {rights}")
        with sockwave.Publisher(f"valkey://app:pw@127.0.0.1:{valkey.port}") as publisher:
            assert publisher.publish("plain", "a").position is None
            assert publisher.publish("plain", bytes(PART_SIZE + 1)).position is None


@pytest.mark.slow
def test_a_cluster_publishes_on_plain_topics(tmp_path: Path) -> None:
    with running_valkey(
        tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(find_port())
    ) as valkey:
        valkey.ask(b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383")
        while b"cluster_state:ok" not in valkey.ask(b"CLUSTER", b"INFO"):
            time.sleep(0.01)
        with sockwave.Publisher(valkey.url) as publisher:
            assert publisher.publish("plain", "a").position is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("valkey://:12/34secret@127.0.0.1:1", "valkey://127.0.0.1:1"),
        ("valkey://u:se?cret@h:1/0", "valkey://…"),
        ("valkey://h:1/0?password=a@secret", "valkey://…"),
        ("valkey://u:sec@ret@h:1/0", "valkey://h:1/0"),
        ("user:secret@host", "a text without ://"),
        ("localhost:6379", "localhost:6379"),
        ("nats://h:4222?prefix=a", "nats://h:4222"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert hide_password(url) == shown
    with (
        pytest.raises((ValueError, sockwave.SockwaveError)) as raised,
        sockwave.Publisher(url, timeout=0.01) as publisher,
    ):
        publisher.publish("a", "b")
    assert "secret" not in str(raised.value)


def test_what_a_broker_refuses_raises(tmp_path: Path) -> None:
    rules = ("--user", "default", "on", "nopass", "&sockwave:t:open", "~*", "+@all")
    server = ValkeyServer(tmp_path, *rules).start()
    nats = NatsServer("-c", str(write_rules(tmp_path))).start()
    try:
        for url in (server.url, nats.url.replace("//", "//app:secret@")):
            with sockwave.Publisher(url) as publisher:
                publisher.publish("open", "yes")
                with pytest.raises(sockwave.SockwaveError, match="the broker refuses it") as raised:
                    publisher.publish("shut", "no")
                assert "secret" not in str(raised.value)
                publisher.publish("open", "goes on")
    finally:
        server.kill()
        nats.kill()


def write_rules(directory: Path) -> Path:
    path = directory / "nats.conf"
    path.write_text(
        "authorization { users: [{user: app, password: secret, "
        'permissions: {publish: ["sockwave.t.open"]}}] }'
    )
    return path


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("news", 1), TypeError),
        ((1, "a"), TypeError),
        (("a/*", "a"), ValueError),
        (("news", "a", ""), ValueError),
        (("news", "a", "x" * 256), ValueError),
        (("news", bytes((64 << 20) + 1)), ValueError),
    ],
)
async def test_what_cannot_be_published_raises_before_the_broker_is_asked(
    arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    url = "nats://127.0.0.1:1"  # nobody is there
    with sockwave.Publisher(url) as publisher, pytest.raises(error, match="expected"):
        publisher.publish(*arguments)
    async with sockwave.Publisher(url) as other:
        with pytest.raises(error, match="expected"):
            other.publish(*arguments)


def test_a_url_is_checked_when_the_publisher_is_made() -> None:
    with pytest.raises(ValueError, match="expected the settings prefix") as raised:
        sockwave.Publisher("nats://user:secret@host?timeout=1")
    assert "secret" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
async def test_a_forked_child_publishes_by_a_connection_of_its_own(
    start_server: StartServer, broker: Any
) -> None:
    host = await hear_room(start_server, broker.url)
    program = """
import os, sys, sockwave
with sockwave.Publisher(sys.argv[1]) as publisher:
    publisher.publish("room/1", "parent")
    pid = os.fork()
    publisher.publish("room/1", "both")
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        publisher.publish("room/1", "parent again")
"""
    await run_program("-c", program, broker.url)
    heard = [await host.wire.receive_message() for _ in range(4)]
    assert heard == ["parent", "both", "both", "parent again"]


@pytest.mark.slow
async def test_a_shell_publishes(start_server: StartServer, broker: Any) -> None:
    host = await hear_room(start_server, broker.url)
    publish = ("-m", "sockwave", "publish", "room/1")
    assert await run_program(*publish, "from a shell", "--broker", broker.url) == ""
    assert await host.wire.receive_message() == "from a shell"
    environment = {"SOCKWAVE_BROKER": broker.url}
    assert await run_program(*publish, "-", environment=environment, piped="piped") == ""
    assert await host.wire.receive_message() == "piped"
    assert "expected --to unix:PATH, or --broker URL" in await run_program(*publish, "a", status=2)
    broker.kill()
    said = await run_program(*publish, "a", "--broker", broker.url, "--timeout", "0.1", status=1)
    assert "nothing was published" in said


async def run_program(
    *arguments: str,
    environment: dict[str, str] | None = None,
    piped: str | None = None,
    status: int = 0,
) -> str:
    """Run Python to its end; return what it has printed."""
    done = await run(
        lambda: subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | (environment or {}),
            input=piped,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return str(done.stdout + done.stderr)
