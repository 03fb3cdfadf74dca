"""Several processes that serve: who starts them, what replaces them, and how they end."""

import collections
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import client_context, common_name, issue, write_pem
from commands import PATIENCE_S
from services import (
    APPLICATION,
    FORKING,
    Hammer,
    Service,
    ask,
    needs_workers,
    open_websocket,
    receive_all,
    receive_answer,
    receive_close,
    serving_application,
    started_service,
    wait_for_end_of,
)

import sockwave

pytestmark = needs_workers

StartService = Callable[..., Service]


@pytest.fixture(params=["serve", "run"])
def start_service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartService]:
    """`service = start_service(workers)`: by `sockwave serve`, and by `server.run(workers=...)`."""
    with contextlib.ExitStack() as stack:

        def start(workers: int = 2, application: str = APPLICATION) -> Service:
            if request.param == "serve":
                serving = serving_application(
                    tmp_path, "--workers", str(workers), application=application
                )
            else:
                program = tmp_path / "program.py"
                program.write_text(application + FORKING)
                serving = started_service(tmp_path, str(program), str(workers))
            return stack.enter_context(serving)

        yield start


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_serve_until_a_signal_ends_all(start_service: StartService, number: int) -> None:
    service = start_service(2)
    service.wait_ready(2)
    workers = set(service.ready_pids())
    service.wait_for_pids(workers)
    assert service.process.pid not in workers
    client, _ = open_websocket(service)
    with wait_for_end_of(list(workers)):
        service.send(number)
        assert receive_close(client) == 1001
    assert service.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        service.open()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_drains_them_once(
    start_service: StartService, tmp_path: Path, number: signal.Signals
) -> None:
    # As a terminal sends Ctrl-C, and systemd SIGTERM: to the supervisor and to each worker.
    service = start_service(2)
    service.wait_ready(2)
    with service.open() as client:
        ask(client, "/wait")
        os.killpg(service.process.pid, number)
        service.wait_for(f"{number.name}: the service ends")
        # A worker that had counted two signals would have dropped this request.
        (tmp_path / "go").write_text("")
        assert int(receive_answer(client)) in service.ready_pids()
    assert service.wait() == 0
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_killed_worker_is_replaced_and_said(start_service: StartService) -> None:
    service = start_service(2)
    service.wait_ready(2)
    victim = service.ready_pids()[0]
    os.kill(victim, signal.SIGKILL)
    service.wait_for(rf"worker \d \(pid {victim}\) was killed by SIGKILL; another is started now")
    service.wait_ready(3)
    service.wait_for_pids(set(service.ready_pids()) - {victim})
    assert service.stop() == 0


@pytest.mark.slow
def test_worker_that_exits_is_replaced_and_its_status_said(start_service: StartService) -> None:
    service = start_service(1)
    service.wait_ready(1)
    with service.open() as client:
        ask(client, "/exit")
        with contextlib.suppress(ConnectionResetError):
            assert receive_all(client) == b""
    service.wait_for(r"worker 1 \(pid \d+\) has ended with exit status 7; another is started now")
    service.wait_ready(2)
    assert service.pids(2) == {service.ready_pids()[1]}


@pytest.mark.slow
def test_worker_that_is_terminated_drains_and_is_replaced(start_service: StartService) -> None:
    service = start_service(1)
    service.wait_ready(1)
    client, pid = open_websocket(service)
    os.kill(pid, signal.SIGTERM)
    assert receive_close(client) == 1001
    service.wait_ready(2)
    assert service.pids(2) == {service.ready_pids()[1]}
    assert "SIGKILL" not in service.log


def test_workers_drain_when_their_supervisor_is_killed(start_service: StartService) -> None:
    service = start_service(2)
    service.wait_ready(2)
    client, _ = open_websocket(service)
    with wait_for_end_of(service.ready_pids()):
        service.process.kill()
        assert receive_close(client) == 1001
    assert service.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_close_in_a_worker_ends_the_whole_service(start_service: StartService) -> None:
    service = start_service(2)
    service.wait_ready(2)
    clients = [open_websocket(service)[0] for _ in range(8)]
    with wait_for_end_of(service.ready_pids()):
        service.get("/close")
        assert {receive_close(client) for client in clients} == {1001}
    assert service.wait() == 0
    service.wait_for("the application has closed the server, and the service ends")


@pytest.mark.slow
def test_run_goes_on_in_the_parent_alone(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(APPLICATION + FORKING)
    with started_service(tmp_path, str(program), "2") as service:
        service.wait_ready(2)
        assert service.stop() == 0
        assert service.log.count("over") == 1


# ---- starting


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise RuntimeError('no database')", "RuntimeError: no database"),
        ("import os; os._exit(9)", "could not start, and has ended with exit status 9"),
        ("import os; os.kill(os.getpid(), 6)", "could not start, and was killed by SIGABRT"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys; sys.exit()", "SystemExit"),
    ],
)
def test_worker_that_cannot_start_ends_all(tmp_path: Path, line: str, said: str) -> None:
    with serving_application(tmp_path, "--workers", "3", application=line) as service:
        assert service.wait() == 3
        assert service.log.count(said) == 1
        assert service.log.count("Traceback") <= 1


@pytest.mark.slow
def test_server_that_cannot_start_in_forks_raises(tmp_path: Path) -> None:
    application = APPLICATION + "server.on('listening', lambda: 1 / 0)\n"
    application += "async def start(): raise RuntimeError('no database')\nserver.start = start\n"
    program = tmp_path / "program.py"
    program.write_text(application + FORKING)
    with started_service(tmp_path, str(program), "2") as service:
        assert service.wait() == 1
        assert service.log.count("RuntimeError: no database") == 1
        assert "sockwave.errors.SockwaveError: the workers could not start" in service.log


@pytest.mark.slow
def test_address_in_use_is_said_once_with_status_1(tmp_path: Path) -> None:
    with serving_application(tmp_path, "--workers", "2") as service:
        service.wait_ready(2)
        port = str(service.port)
        command = ("-m", "sockwave", "serve", "main:server", "--port", port, "--workers", "2")
        with started_service(tmp_path, *command) as second:
            assert second.wait() == 1
            assert second.lines == [
                f"ERROR:    cannot listen on 127.0.0.1:{port}: Address already in use; "
                "choose another with --port"
            ]
        assert service.pids(4) <= set(service.ready_pids())


def refuses_to_fork(program: str) -> str:
    text = "import sockwave\nserver = sockwave.create_server()\nserver.listen(0, '127.0.0.1')\n"
    ended = subprocess.run(
        [sys.executable, "-c", text + program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 1
    return ended.stderr.splitlines()[-1]


def test_workers_are_not_forked_where_a_thread_runs() -> None:
    program = "import threading\nend = threading.Event()\n"
    program += "threading.Thread(target=end.wait, name='other', daemon=True).start()\n"
    assert "given MainThread, other" in refuses_to_fork(program + "server.run(workers=2)")


@pytest.mark.slow
def test_workers_are_not_forked_where_there_is_a_loop() -> None:
    program = "import asyncio\nloop = asyncio.new_event_loop()\n"
    assert "expected no loop" in refuses_to_fork(program + "server.run(workers=2)")
    program = "import asyncio\nasync def main():\n    server.run(workers=2)\nasyncio.run(main())"
    assert "expected no loop" in refuses_to_fork(program)


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "2"])
def test_number_of_workers_is_checked(count: object) -> None:
    server = sockwave.create_server()
    with pytest.raises(ValueError, match="workers: expected 1 or more"):
        server.run(workers=count)  # type: ignore[arg-type]


# ---- rolling


@pytest.mark.slow
def test_rolling_restart_loses_no_request(start_service: StartService) -> None:
    service = start_service(2)
    service.wait_ready(2)
    with Hammer(service) as hammer:
        for roll in (1, 2):
            service.send(signal.SIGHUP)
            service.wait_for("all workers have been replaced", roll)
        old, new = service.ready_pids()[:4], service.ready_pids()[4:]
        service.wait_gone(old)
    assert len(new) == 2
    assert len(set(hammer.answers)) > 2
    service.wait_for_pids(set(new))
    assert service.stop() == 0
    assert "ERROR" not in service.log
    assert "WARNING" not in service.log


@pytest.mark.slow
def test_old_workers_drain_when_the_new_ones_are_ready(
    start_service: StartService, tmp_path: Path
) -> None:
    service = start_service(1)
    service.wait_ready(1)
    client, pid = open_websocket(service)
    with service.open() as waiting:
        ask(waiting, "/wait")
        service.send(signal.SIGHUP)
        service.wait_ready(2)
        assert receive_close(client) == 1001
        assert service.pids(2) == {service.ready_pids()[1]}
        (tmp_path / "go").write_text("")
        assert receive_answer(waiting) == str(pid)


@pytest.mark.slow
def test_sighup_brings_new_code(tmp_path: Path) -> None:
    application = APPLICATION.replace("PID = os.getpid", "PID = lambda: 'VERSION'")
    with serving_application(
        tmp_path, "--workers", "2", application=application.replace("VERSION", "one")
    ) as service:
        service.wait_ready(2)
        assert service.get() == "one"
        (tmp_path / "main.py").write_text(application.replace("VERSION", "second"))
        service.send(signal.SIGHUP)
        service.wait_for("all workers have been replaced")
        service.wait_gone(service.ready_pids()[:2])
        assert {service.get() for _ in range(12)} == {"second"}


@pytest.mark.slow
def test_new_code_that_cannot_start_leaves_the_old_workers(tmp_path: Path) -> None:
    with serving_application(tmp_path, "--workers", "2") as service:
        service.wait_ready(2)
        (tmp_path / "main.py").write_text("raise RuntimeError('broken')")
        service.send(signal.SIGHUP)
        service.wait_for("RuntimeError: broken")
        service.wait_for("could not start, and has ended .*; the workers before it go on")
        assert service.pids(40) == set(service.ready_pids())
        # And the next attempt is one.
        (tmp_path / "main.py").write_text(APPLICATION + "# mended\n")
        service.send(signal.SIGHUP)
        service.wait_for("all workers have been replaced")
        service.wait_gone(service.ready_pids()[:2])
        assert service.pids(40) == set(service.ready_pids()[2:])


@pytest.mark.slow
def test_rolling_reads_certificates_anew(tmp_path: Path) -> None:
    cert, key = write_pem(issue("localhost", "first.example"), tmp_path, "cert")
    flags = ("--ssl-certfile", cert, "--ssl-keyfile", key, "--workers", "1")
    with serving_application(tmp_path, *flags) as service:
        service.wait_ready(1)

        def names() -> list[str]:
            with service.open(client_context()) as client:
                assert isinstance(client, ssl.SSLSocket)
                return common_name(client.getpeercert(binary_form=True))

        assert "first.example" in names()
        write_pem(issue("localhost", "second.example"), tmp_path, "cert")
        service.send(signal.SIGHUP)
        service.wait_for("all workers have been replaced")
        service.wait_gone(service.ready_pids()[:1])
        assert "second.example" in names()


# ---- how many


@pytest.mark.slow
def test_workers_are_added_and_removed_by_signals(start_service: StartService) -> None:
    service = start_service(1)
    service.wait_ready(1)
    with Hammer(service):
        service.send(signal.SIGTTIN)
        service.wait_ready(2)
        service.send(signal.SIGTTIN)
        service.wait_ready(3)
        assert service.pids(60) == set(service.ready_pids())
        for number in (3, 2):
            service.send(signal.SIGTTOU)
            service.wait_gone([service.ready_pids()[number - 1]])
        assert service.pids(4) == {service.ready_pids()[0]}
        service.send(signal.SIGTTOU)
        service.wait_for("there is one worker only, which stays")
        service.send(signal.SIGTTIN)
        service.wait_ready(4)
    assert service.pids(40) == {service.ready_pids()[0], service.ready_pids()[3]}
    assert service.stop() == 0


@pytest.mark.slow
def test_workers_know_their_number_and_how_many_there_are(tmp_path: Path) -> None:
    place = "(lambda: f'{server._link.place.number}/{server._link.place.total}')"
    application = APPLICATION.replace("PID = os.getpid", f"PID = {place}")
    with serving_application(tmp_path, "--workers", "2", application=application) as service:
        service.wait_ready(2)
        assert {service.get() for _ in range(40)} == {"1/2", "2/2"}
        service.send(signal.SIGTTIN)
        service.wait_ready(3)
        assert {service.get() for _ in range(60)} == {"1/3", "2/3", "3/3"}


@pytest.mark.slow
def test_connections_spread_evenly(start_service: StartService) -> None:
    service = start_service(4)
    service.wait_ready(4)
    clients = [service.open() for _ in range(400)]
    counts: collections.Counter[str] = collections.Counter()
    for client in clients:
        ask(client)
    for client in clients:
        with client:
            counts[receive_answer(client)] += 1
    # A hundred each, by chance a few more or less: half of that is ten standard deviations.
    assert len(counts) == 4
    assert min(counts.values()) > 50, counts


@pytest.mark.slow
def test_port_that_other_services_share_is_left_to_them(tmp_path: Path) -> None:
    # What is steered is the whole group of sockets, and so it must be ours alone.
    program = tmp_path / "program.py"
    forking = FORKING.replace('"127.0.0.1")', '"127.0.0.1", reuse_port=True)')
    program.write_text(APPLICATION + forking)
    with started_service(tmp_path, str(program), "2") as service:
        service.wait_ready(2)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", service.port))
            other.listen()
            other.settimeout(PATIENCE_S)
            clients = [service.open() for _ in range(40)]
            other.accept()[0].close()
            for client in clients:
                client.close()


@pytest.mark.slow
def test_clients_do_not_wait_for_a_worker_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "go").write_text("")
    wait = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
    with serving_application(tmp_path, "--workers", "2", application=wait + APPLICATION) as service:
        service.wait_ready(2)
        (tmp_path / "go").unlink()
        dead, living = service.ready_pids()
        os.kill(dead, signal.SIGKILL)
        service.wait_for("another is started now")
        assert service.pids(40) == {living}
        (tmp_path / "go").write_text("")
        service.wait_ready(3)
        assert service.pids(40) == {living, service.ready_pids()[2]}


@pytest.mark.slow
def test_worker_is_replaced_after_so_many_requests(tmp_path: Path) -> None:
    flags = ("--limit-max-requests", "5", "--limit-max-requests-jitter", "2")
    with serving_application(tmp_path, *flags) as service:
        service.wait_ready(1)
        with Hammer(service) as hammer:
            service.wait_ready(4)
        assert len(set(hammer.answers)) >= 3
        # WebSockets count too; those before would accept some of them as long as they are there.
        *before, _ = pids = service.ready_pids()
        service.wait_gone(before)
        for _ in range(7):
            open_websocket(service)[0].close()
        service.wait_ready(len(pids) + 1)
        assert service.stop() == 0
        assert "ERROR" not in service.log


# ---- ending


@pytest.mark.slow
def test_second_signal_drops_the_rest(start_service: StartService) -> None:
    service = start_service(2)
    service.wait_ready(2)
    with service.open() as client:
        ask(client, "/wait")
        for count in (1, 2):
            service.send(signal.SIGTERM)
            service.wait_for("SIGTERM: the service ends", count)
        with contextlib.suppress(ConnectionResetError):
            assert receive_all(client) == b""
    assert service.wait() == 0
    assert "SIGKILL" not in service.log


@pytest.mark.slow
def test_third_signal_kills_a_worker_that_hears_nothing(
    start_service: StartService, tmp_path: Path
) -> None:
    service = start_service(
        1, APPLICATION.replace("await asyncio.sleep", "__import__('time').sleep")
    )
    service.wait_ready(1)
    with service.open() as client:
        ask(client, "/wait")
        for count in (1, 2, 3):
            service.send(signal.SIGTERM)
            service.wait_for("SIGTERM: the service ends", count)
        assert service.wait() == 0
    service.wait_for("was killed by SIGKILL")


@pytest.mark.slow
def test_worker_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    application = APPLICATION.replace("await asyncio.sleep", "__import__('time').sleep")
    flags = ("--workers", "1", "--timeout-graceful-shutdown", "0")
    with serving_application(tmp_path, *flags, application=application) as service:
        service.wait_ready(1)
        with service.open() as client:
            ask(client, "/wait")
            assert service.stop() == 0
        service.wait_for("has not ended in time, and is killed")


def test_service_ends_while_its_workers_start(tmp_path: Path) -> None:
    application = "import time\nprint('here', flush=True)\ntime.sleep(600)\n"
    with serving_application(tmp_path, "--workers", "2", application=application) as service:
        service.wait_for("Supervisor")
        assert service.stop(signal.SIGINT) == 0
        assert "Traceback" not in service.log


@pytest.mark.slow
def test_service_manager_is_told_of_start_roll_and_end(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE_S)
        command = ("-m", "sockwave", "serve", "main:server", "--port", "0", "--workers", "2")
        with started_service(tmp_path, *command, environment={"NOTIFY_SOCKET": path}) as service:
            assert manager.recv(100) == b"READY=1"
            service.wait_ready(2)
            service.send(signal.SIGHUP)
            assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(100) == b"READY=1"
            service.send(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert service.wait() == 0
