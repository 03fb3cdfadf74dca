"""The worker class for gunicorn: `gunicorn -k sockwave.gunicorn.Worker`."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import services
from certificates import client_context, issue, write_pem
from services import (
    Service,
    ask,
    needs_workers,
    open_websocket,
    receive_all,
    receive_answer,
    receive_close,
    started_service,
)

pytestmark = [needs_workers, pytest.mark.slow]

#: It says when it serves: a worker that gunicorn has only begun to boot may not hear a signal.
APPLICATION = (
    services.APPLICATION
    + """
import logging

@server.on("listening")
def listening():
    logging.getLogger("gunicorn.error").info("worker %s serves", PID())
"""
)
_SERVES = r"worker (\w+) serves"


class GunicornService(Service):
    """A service of gunicorn's, by what it logs."""

    @property
    def port(self) -> int:
        return int(self.wait_for(r"Listening at: https?://\S+:(\d+)")[1])

    def wait_serving(self, count: int) -> int:
        """Wait until so many workers have begun to serve, and give the process of the last."""
        return int(self.wait_for(_SERVES, count)[1])


@contextlib.contextmanager
def serving_by_gunicorn(
    directory: Path, *flags: str, application: str = APPLICATION, workers: int = 1
) -> Iterator[GunicornService]:
    (directory / "main.py").write_text(application)
    command = ("-m", "gunicorn", "-k", "sockwave.gunicorn.Worker", "-b", "127.0.0.1:0")
    command += ("-w", str(workers), "--no-control-socket", *flags, "main:server")
    # gunicorn leaves its selector, and sockets of workers that it forks, to the garbage collector.
    environment = {"PYTHONWARNINGS": "default"}
    with started_service(directory, *command, environment=environment) as service:
        service.__class__ = GunicornService
        assert isinstance(service, GunicornService)
        yield service


def test_gunicorn_runs_servers_as_its_workers(tmp_path: Path) -> None:
    with serving_by_gunicorn(tmp_path, workers=2) as service:
        workers = {service.wait_serving(1), service.wait_serving(2)}
        assert service.pids(8) <= workers
        client, pid = open_websocket(service)
        assert pid in workers
        service.send(signal.SIGTERM)
        assert receive_close(client) == 1001
        assert service.wait() == 0


def test_sigterm_lets_requests_end_and_sigint_does_not(tmp_path: Path) -> None:
    for number, answered in ((signal.SIGTERM, True), (signal.SIGINT, False)):
        (tmp_path / "go").unlink(missing_ok=True)
        with serving_by_gunicorn(tmp_path) as service, service.open() as client:
            ask(client, "/wait")
            assert service.get()
            service.send(number)
            service.wait_for("Handling signal")
            if answered:
                (tmp_path / "go").write_text("")
                assert receive_answer(client)
            else:
                with contextlib.suppress(ConnectionResetError):
                    assert receive_all(client) == b""
            assert service.wait() == 0


def test_sighup_replaces_the_workers_with_new_code(tmp_path: Path) -> None:
    with serving_by_gunicorn(tmp_path) as service:
        first = int(service.get())
        (tmp_path / "main.py").write_text(
            APPLICATION.replace("PID = os.getpid", "PID = lambda: 'x'")
        )
        service.send(signal.SIGHUP)
        service.wait_for(rf"Worker exiting \(pid: {first}\)")
        assert service.get() == "x"


def test_worker_is_replaced_after_max_requests(tmp_path: Path) -> None:
    with serving_by_gunicorn(tmp_path, "--max-requests", "3") as service:
        first = {service.get() for _ in range(3)}
        service.wait_for("Worker exiting")
        service.wait_serving(2)
        assert first.isdisjoint({service.get()})


def test_worker_that_blocks_is_killed_after_the_timeout(tmp_path: Path) -> None:
    application = APPLICATION.replace("await asyncio.sleep", "__import__('time').sleep")
    with serving_by_gunicorn(tmp_path, "--timeout", "1", application=application) as service:
        first = int(service.get())
        with service.open() as client:
            ask(client, "/wait")
            service.wait_for(rf"WORKER TIMEOUT \(pid:{first}\)")
            with contextlib.suppress(ConnectionResetError):
                receive_all(client)
        service.wait_serving(2)
        assert int(service.get()) != first


def test_idle_worker_outlives_the_timeout(tmp_path: Path) -> None:
    # It is told alive at least as often as gunicorn asks for: twice while a client waits.
    with serving_by_gunicorn(tmp_path, "--timeout", "1") as service:
        first = service.get()
        with service.open() as client:
            ask(client, "/wait")
            for _ in range(3):
                previous = _heartbeat(int(first))
                while _heartbeat(int(first)) == previous:
                    assert service.get() == first
            (tmp_path / "go").write_text("")
            assert receive_answer(client) == first
        assert "TIMEOUT" not in service.log


def _heartbeat(pid: int) -> float:
    """Give when a worker has last said that it is alive: the time of a file without a name."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            path = f"/proc/{pid}/fd/{name}"
            if "wgunicorn" in os.readlink(path):
                return os.stat(path).st_ctime
    pytest.fail("no file of a heartbeat")


def test_worker_ends_with_gunicorn(tmp_path: Path) -> None:
    with serving_by_gunicorn(tmp_path) as service:
        client, _ = open_websocket(service)
        service.process.kill()
        assert receive_close(client) == 1001


def test_application_that_cannot_start_ends_gunicorn(tmp_path: Path) -> None:
    application = APPLICATION + "\nserver.listen(0)\n"
    with serving_by_gunicorn(tmp_path, application=application) as service:
        assert service.wait() == 3
        assert "TARGET is a server that listens on" in service.log


def test_tls_is_that_of_gunicorn(tmp_path: Path) -> None:
    cert, key = write_pem(issue("localhost"), tmp_path, "cert")
    flags = ("--certfile", cert, "--keyfile", key)
    with serving_by_gunicorn(tmp_path, *flags) as service, service.open(client_context()) as client:
        ask(client)
        assert receive_answer(client)
