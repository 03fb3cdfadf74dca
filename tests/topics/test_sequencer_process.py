"""The process of the sequencer: its links, its supervisor, and how each of them ends."""

import contextlib
import json
import os
import random
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S, freeze
from services import (
    APPLICATION,
    FORKING,
    Service,
    needs_workers,
    serving_application,
    started_service,
    wait_for_end_of,
)
from topic_links import (
    ACK,
    DELTA,
    END,
    GAP,
    LAST,
    MSG,
    PONG,
    PUB,
    REFUSED,
    SETTINGS,
    SINCE,
    SUB,
    SocketLink,
    pack,
)

from sockwave.workers.sequencing import SequencerProcess

pytestmark = needs_workers

#: An application that tells where the sequencer listens.
TELLING = APPLICATION.replace(
    'if req.path == "/exit":',
    """if req.path == "/sequencer":
        res.write_head(200)
        res.end(server._link.place.sequencer)
        return
    if req.path == "/exit":""",
)


class Running:
    """A sequencer's process, without a supervisor."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.path = str(directory / "private" / "sequencer")
        os.mkdir(directory / "private", 0o700)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(100)
        self.lifeline, theirs = socket.socketpair()
        remove = {"path": self.path, "directory": str(directory / "private")}
        with listener, theirs:
            descriptors = [listener.fileno(), theirs.fileno()]
            said = json.dumps({"options": options, "remove": remove})
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sockwave.topics.sequencer", *map(str, descriptors), said],
                pass_fds=descriptors,
                stderr=subprocess.PIPE,
                env=os.environ | {"PYTHONWARNINGS": "error"},
            )

    def link(self, kind: str = "worker", **options: Any) -> SocketLink:
        return SocketLink(self.path, kind, **options)

    def stop(self) -> str:
        """End it, and give what it has logged."""
        self.process.terminate()
        log = self.process.communicate(timeout=PATIENCE_S)[1].decode()
        assert self.process.returncode == 0
        return log


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """`sequencer = running(**options)`: a sequencer's process."""
    started: list[Running] = []

    def run(**options: Any) -> Running:
        started.append(Running(tmp_path, **options))
        return started[-1]

    yield run
    for one in started:
        one.lifeline.close()
        one.process.kill()
        one.process.communicate()


# ---- links


def test_messages_pass_from_link_to_link(running: Callable[..., Running]) -> None:
    sequencer = running()
    with sequencer.link() as one, sequencer.link() as two:
        two.subscribe("news")
        one.name("news")
        for number in range(100):
            one.publish(b"%d" % number)
        assert [two.hear(MSG).payload for _ in range(100)] == [b"%d" % n for n in range(100)]
        while one.hear(ACK).sequence < 100:
            pass
    assert sequencer.stop() == ""


def test_a_malformed_record_ends_its_link_alone_and_is_logged(
    running: Callable[..., Running],
) -> None:
    sequencer = running()
    with sequencer.link() as one, sequencer.link() as two:
        two.subscribe("news")
        one.name("news")
        one.publish(b"before")
        one.socket.sendall(pack(200))
        one.wait_for_end()
        with sequencer.link() as three:
            three.name("news")
            three.publish(b"after")
            assert [two.hear(MSG).payload for _ in range(2)] == [b"before", b"after"]
    log = sequencer.stop()
    assert f"link 1 (pid {os.getpid()}) is closed: expected a record of a worker" in log
    assert len(log.splitlines()) == 1


def test_the_end_of_a_link_is_seen_at_once(running: Callable[..., Running]) -> None:
    sequencer = running()
    with sequencer.link() as one, sequencer.link() as two:
        two.subscribe("answer")
        one.name("answer")
        one.tell(5, DELTA, topic=1, sequence=1, payload=b"a")
        two.hear(MSG)
        one.socket.close()
        assert two.hear(MSG).flags & LAST


def test_no_record_is_torn_while_the_sequencer_is_stopped(
    running: Callable[..., Running],
) -> None:
    sequencer = running(link_cap=1 << 30)
    message = bytes(range(256)) * 256
    with sequencer.link() as one, sequencer.link() as two:
        two.subscribe("news")
        one.name("news")
        writer = threading.Thread(
            target=lambda: [one.publish(b"%08d" % number + message) for number in range(300)]
        )
        writer.start()
        for number in range(300):
            if number % 50 == 10:
                freeze(sequencer.process.pid)
                # What waits in the kernel runs dry, and the writer fills its socket.
                while select.select([two.socket], [], [], 0)[0]:
                    two._input += two.socket.recv(1000)
                sequencer.process.send_signal(signal.SIGCONT)
            assert two.hear(MSG).payload == b"%08d" % number + message
        writer.join()


def test_a_link_that_does_not_read_holds_up_nobody(running: Callable[..., Running]) -> None:
    sequencer = running(link_cap=1 << 20)
    with sequencer.link() as stopped, sequencer.link() as two, sequencer.link() as one:
        for link in (stopped, two):
            link.subscribe("news")
        one.name("news")
        for number in range(64 << 4):  # 64 MiB
            one.publish(b"%08d" % number + bytes(65528))
            assert two.hear(MSG).payload[:8] == b"%08d" % number
        status = Path(f"/proc/{sequencer.process.pid}/status").read_text()
        (peak,) = (int(one.split()[1]) for one in status.splitlines() if one.startswith("VmHWM"))
        assert peak < 56 << 10  # KiB: the interpreter, and some MiB
        stopped.tell(PONG)
        heard = 0
        while (record := stopped.hear(MSG, GAP)).type == MSG:
            assert record.payload[:8] == b"%08d" % heard
            heard += 1
        assert heard + record.offset == 64 << 4


def test_a_link_that_takes_no_answers_is_closed(running: Callable[..., Running]) -> None:
    sequencer = running(link_cap=10_000)
    with sequencer.link() as one, sequencer.link() as two:
        two.subscribe("news")
        one.name("news")
        with contextlib.suppress(ConnectionError):
            while True:
                one.socket.sendall(pack(SUB, topic=1, request=1) * 1000)
        one.wait_for_end()
        two.tell(SUB, topic=1, request=2)
        assert two.hear(END).request == 2
    assert "is closed: expected it to take its answers" in sequencer.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_links_of_other_users_are_refused(running: Callable[..., Running]) -> None:
    sequencer = running()
    # As if the permissions let others in.
    directory = os.path.dirname(sequencer.path)
    os.chmod(sequencer.path, 0o666)
    os.chmod(directory, 0o755)
    program = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); os.setuid(65534);"
        "s.connect('sequencer'); sys.exit(len(s.recv(1)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, timeout=PATIENCE_S, check=False
    )
    assert other.returncode == 0
    with sequencer.link():
        pass
    assert "is refused: expected a process of user 0" in sequencer.stop()


@pytest.mark.slow
def test_links_wait_where_there_are_no_more_descriptors(running: Callable[..., Running]) -> None:
    sequencer = running()
    with sequencer.link() as first:
        first.name("news")
        resource.prlimit(sequencer.process.pid, resource.RLIMIT_NOFILE, (20, 20))
        links = [SocketLink(sequencer.path, greets=False) for _ in range(30)]
        first.tell(SUB, topic=1, request=1)
        assert first.hear(END).request == 1
        for link in links:
            link.socket.close()
        with sequencer.link() as last:
            assert last.id
    assert "no link is accepted for a while" in sequencer.stop()


# ---- ends


def test_sigterm_ends_it_when_what_is_left_has_been_sent(running: Callable[..., Running]) -> None:
    sequencer = running()
    with sequencer.link() as one, sequencer.link() as two:
        two.subscribe("news")
        one.name("news")
        for number in range(1000):
            one.publish(b"%d" % number)
        while one.hear(ACK).sequence < 1000:
            pass
        sequencer.process.terminate()  # and `two` reads meanwhile: nobody else is waited for
        assert [two.hear(MSG).payload for _ in range(1000)] == [b"%d" % n for n in range(1000)]
        two.wait_for_end()
    assert sequencer.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_do_not_end_it(
    running: Callable[..., Running], number: signal.Signals
) -> None:
    sequencer = running()
    with sequencer.link() as one:
        sequencer.process.send_signal(number)
        with sequencer.link() as two:
            assert two.id == one.id + 1


def test_it_outlives_its_supervisor_until_the_last_worker_has_gone(
    running: Callable[..., Running],
) -> None:
    sequencer = running()
    with sequencer.link("publisher"), sequencer.link() as one:
        sequencer.lifeline.close()
        one.subscribe("news")
        with sequencer.link() as two:
            two.name("news")
            two.publish(b"still here")
            assert one.hear(MSG).payload == b"still here"
        assert sequencer.process.poll() is None
        one.socket.close()
        assert sequencer.process.wait(PATIENCE_S) == 0
    assert not os.path.exists(os.path.dirname(sequencer.path))


# ---- under a supervisor


StartService = Callable[..., Service]


@pytest.fixture(params=["serve", "run"])
def start_service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartService]:
    """`service = start_service(path)`: two workers, and a sequencer that may listen at a path."""
    with contextlib.ExitStack() as stack:

        def start(path: str | None = None) -> Service:
            if request.param == "serve":
                flags = [] if path is None else ["--sequencer", path]
                serving = serving_application(
                    tmp_path, "--workers", "2", *flags, application=TELLING
                )
            else:
                program = tmp_path / "program.py"
                forking = FORKING.replace("[1]))", f"[1]), sequencer={path!r})")
                program.write_text(TELLING + forking)
                serving = started_service(tmp_path, str(program), "2")
            service = stack.enter_context(serving)
            service.wait_ready(2)
            return service

        yield start


def find_sequencer(service: Service, count: int = 1) -> int:
    """Give the process of the sequencer that was started as the how-manieth."""
    return int(service.wait_for(r"the sequencer is started \(pid (\d+)\)", count)[1])


@pytest.mark.slow
def test_the_socket_is_private_and_goes_with_the_service(start_service: StartService) -> None:
    service = start_service()
    path = service.get("/sequencer")
    directory = os.path.dirname(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    with SocketLink(path):
        pass
    pid = find_sequencer(service)
    with wait_for_end_of([pid]):
        assert service.stop() == 0
    assert not os.path.exists(directory)
    assert f"the sequencer (pid {pid}) has ended with exit status 0" in service.log
    # The last of all.
    assert service.log.rindex("the sequencer") > service.log.rindex("worker ")


@pytest.mark.slow
def test_it_listens_where_it_is_told(start_service: StartService, tmp_path: Path) -> None:
    path = str(tmp_path / "here")
    service = start_service(path)
    assert service.get("/sequencer") == path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with SocketLink(path):
        pass
    assert service.stop() == 0
    assert not os.path.exists(path)


@pytest.mark.slow
def test_a_sequencer_that_dies_is_replaced_and_links_wait_meanwhile(
    start_service: StartService,
) -> None:
    service = start_service()
    path = service.get("/sequencer")
    epochs = set()
    workers = service.pids()
    for count in (1, 2):
        pid = find_sequencer(service, count)
        with SocketLink(path) as link:
            epochs.add(link.epoch)
            os.kill(pid, signal.SIGKILL)
            link.wait_for_end()
            # It may be accepted by no process yet: the supervisor's socket queues it.
            with SocketLink(path) as again:
                epochs.add(again.epoch)
        service.wait_for(rf"the sequencer \(pid {pid}\) was killed by SIGKILL; another is started")
    assert len(epochs) == 3
    assert service.pids() == workers


@pytest.mark.slow
def test_what_is_declared_while_the_sequencer_is_away_holds_with_the_next(tmp_path: Path) -> None:
    declaring = APPLICATION.replace(
        'if req.path == "/exit":',
        """if req.path == "/declare":
        server.topic("late", history=sockwave.History())
    if req.path == "/publish":
        return publish(res)
    if req.path == "/exit":""",
    ).replace(
        "async def wait(res):",
        """async def publish(res):
    published = await server.publish("late", "x")
    res.write_head(200)
    res.end(f"{PID()} {published.position}")

async def wait(res):""",
    )
    serving = serving_application(tmp_path, "--workers", "2", application=declaring)
    with serving as service:
        service.wait_ready(2)
        pid = find_sequencer(service)
        freeze(service.process.pid)  # who would start another one
        try:
            with wait_for_end_of([pid]):
                os.kill(pid, signal.SIGKILL)
            worker = service.get("/declare")
        finally:
            os.kill(service.process.pid, signal.SIGCONT)
        find_sequencer(service, 2)
        while not (said := service.get("/publish")).startswith(f"{worker} "):
            pass
        assert said != f"{worker} None"
        assert service.stop() == 0


@pytest.mark.slow
def test_all_end_when_the_supervisor_is_killed(start_service: StartService) -> None:
    service = start_service()
    path = service.get("/sequencer")
    others = [find_sequencer(service), *service.ready_pids()]
    with wait_for_end_of(others):
        service.send(signal.SIGKILL)
    assert not os.path.exists(os.path.dirname(path))


def test_a_path_that_cannot_be_is_a_failure_to_start(tmp_path: Path) -> None:
    path = str(tmp_path / "missing" / "here")
    with serving_application(tmp_path, "--workers", "2", "--sequencer", path) as service:
        assert service.wait() == 1
    assert "ERROR:    --sequencer: " in service.log
    assert "Traceback" not in service.log


def test_a_path_in_use_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "here")
    first = SequencerProcess(path)
    first.open()
    try:
        with pytest.raises(OSError, match="here"):
            SequencerProcess(path).open()
        assert os.path.exists(path)
    finally:
        first.close()
    assert not os.path.exists(path)


def test_beside_other_threads_it_is_a_fresh_interpreter(tmp_path: Path) -> None:
    going_on = threading.Event()
    thread = threading.Thread(target=going_on.wait)
    thread.start()
    process = SequencerProcess(str(tmp_path / "here"), options={"topic_count": 1})
    try:
        process.open()
        process.start_due()
        with SocketLink(process.path) as link:
            link.subscribe("a")
            link.tell(3, topic=2, payload=b"b")
            assert b"at most 1 (topic_count)" in link.hear(REFUSED).payload
        process.poll()
        assert process.find_next_start() is None
    finally:
        process.close()
        going_on.set()
        thread.join()


# ---- the log


def kill(process: SequencerProcess) -> None:
    """Kill the sequencer, and start another one as the supervisor does."""
    assert process._child is not None
    os.kill(process._child.pid, signal.SIGKILL)
    while process._child is not None:
        process.poll()
    process._backoff.forget()  # as if it had lived for long
    process.start_due()


@pytest.mark.slow
def test_no_message_is_lost_or_taken_twice_when_the_sequencer_is_killed(tmp_path: Path) -> None:
    process = SequencerProcess(str(tmp_path / "here"))
    process.open()
    process.start_due()
    drawn = random.Random(5)
    count, kill_count, acknowledged = 10_000, 0, 0
    try:
        while acknowledged < count:
            # As a worker does: what was not acknowledged is sent again, with its number.
            with contextlib.suppress(OSError), SocketLink(process.path, incarnation=77) as link:
                link.tell(SETTINGS, payload=b'[["room", {"history_count": 100000}]]')
                link.name("room")
                for number in range(acknowledged + 1, count + 1):
                    link.tell(PUB, topic=1, sequence=number, payload=b"%d" % number)
                    if drawn.random() < 0.002:
                        kill(process)
                        kill_count += 1
                    if number % 50 == 0:
                        while acknowledged < number:
                            acknowledged = link.hear(ACK).sequence
        with SocketLink(process.path) as link:
            link.name("room")
            link.tell(SUB, SINCE, topic=1, request=1)
            kept = [link.hear(MSG) for _ in range(count)]
            assert link.hear(END).offset == count
    finally:
        process.close()
    assert [one.payload for one in kept] == [b"%d" % n for n in range(1, count + 1)]
    assert [one.offset for one in kept] == list(range(1, count + 1))
    assert len({one.epoch for one in kept}) == 1
    assert kill_count > 5


def test_a_log_of_which_sequencers_die_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = SequencerProcess(str(tmp_path / "here"))
    process.open()
    try:
        first = process._log
        for _ in range(2):
            process.start_due()
            assert process._child is not None
            os.kill(process._child.pid, signal.SIGSYS)
            while process._child is not None:
                process.poll()
            process._backoff.forget()
        assert "the log of the sequencer is given up" in caplog.text
        assert first is not None
        process.start_due()
        with SocketLink(process.path) as link:
            assert link.id
    finally:
        process.close()


@pytest.mark.slow
def test_what_is_no_log_is_said_and_left_behind(tmp_path: Path) -> None:
    process = SequencerProcess(str(tmp_path / "here"))
    process.open()
    try:
        assert process._log is not None
        os.write(process._log, (8000).to_bytes(8, "little") + bytes(10_000))
        process.start_due()
        with SocketLink(process.path) as link:
            link.subscribe("news")
    finally:
        process.close()
