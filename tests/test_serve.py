"""`sockwave serve` and `sockwave.run`: targets, flags, variables, and what they say."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from certificates import AUTHORITY, client_context, common_name, issue, write_pem
from commands import PATIENCE_S, run, run_here
from services import (
    APPLICATION,
    Service,
    ask,
    needs_workers,
    open_websocket,
    receive_all,
    receive_answer,
    receive_close,
    serving_application,
    started_service,
)

import sockwave
from sockwave.launch.application import find_options
from sockwave.launch.flags import FLAGS
from sockwave.launch.settings import Settings
from sockwave.options import OPTION_NAMES, Options

DOCS = Path(__file__).parents[1] / "docs"

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

#: An application that answers with a variable of its environment.
TELLING = """
import os, sockwave
server = sockwave.create_server()

@server.on("request")
def request(req, res):
    res.end(os.environ.get("GREETING", "none"))
"""


def fails(directory: Path, *arguments: str, status: int = 3, **variables: str) -> str:
    """Run a command that cannot serve, and give what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", "sockwave", "serve", *arguments, "--port", "0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=directory,
        env=os.environ | {"PYTHONWARNINGS": "error"} | variables,
    )
    assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
    return ended.stderr


# ---- targets


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server_is_served_by_one_process_until_a_signal(tmp_path: Path, number: int) -> None:
    with serving_application(tmp_path) as service:
        assert service.pids(3) == {service.process.pid}
        client, _ = open_websocket(service)
        service.send(number)
        assert receive_close(client) == 1001
        assert service.wait() == 0
        assert service.log.count("\n") == 0


@pytest.mark.slow
def test_factory_makes_what_is_served(tmp_path: Path) -> None:
    application = APPLICATION + "\ndef create():\n    return server\n"
    for flags in (("--factory",), ("--factory", "--workers", "1")):
        with serving_application(
            tmp_path, *flags, application=application, target="main:create"
        ) as service:
            assert service.get()
    with serving_application(tmp_path, application=application, target="main:create") as service:
        assert service.get()
        service.wait_for("WARNING: .*expected --factory")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("main", "expected module:attribute, such as main:app, given 'main'"),
        ("main.py:server", "expected the name of a module: main:server, given 'main.py:server'"),
        ("mian:server", r"there is no module 'mian' in DIRECTORY \(--app-dir\), .* mean 'main'\?"),
        ("no.where:server", "there is no module 'no' in DIRECTORY"),
        ("main:srver", r"main \(DIRECTORY/main.py\) has no 'srver'; did you mean 'server'"),
        ("main:server.x", r"main:server.x \(DIRECTORY/main.py\) has no 'x'"),
        ("main:os", "expected an application or a sockwave.Server, given module"),
    ],
)
def test_target_that_is_not_there_is_said_with_what_is_near(
    tmp_path: Path, target: str, said: str
) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    line = fails(tmp_path, target)
    assert re.search(said.replace("DIRECTORY", re.escape(str(tmp_path))), line), line


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("server.listen(0)", "TARGET is a server that listens on .* already"),
        ("server.listen(0); server.run()", "`sockwave serve` runs the server that it imports"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("async def server(): pass\n", "expected an application|cannot be served yet|ASGI"),
    ],
)
def test_target_that_cannot_be_served_is_said(tmp_path: Path, end: str, said: str) -> None:
    (tmp_path / "main.py").write_text(f"{APPLICATION}\n{end}\n")
    line = fails(tmp_path, "main:server")
    assert re.search(said, line), line


def test_target_has_to_be_said() -> None:
    ended = run("serve")
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: expected TARGET, such as main:app\n")


@pytest.mark.slow
def test_app_dir_is_where_the_target_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "other.py").write_text(APPLICATION)
    for flags in ((), ("--workers", "1")):
        with serving_application(
            tmp_path, "--app-dir", "deep", *flags, target="other:server"
        ) as service:
            assert service.get()
    assert "--app-dir: there is no directory" in fails(tmp_path, "a:b", "--app-dir", "nowhere")


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_asgi_application_is_served(tmp_path: Path, flags: Sequence[str]) -> None:
    application = """
import os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
    with serving_application(
        tmp_path, *flags, "--lifespan", "off", application=application, target="main:app"
    ) as service:
        if flags:
            service.wait_ready(2)
        assert len(service.pids(40)) == (2 if flags else 1)
        assert service.stop() == 0


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_startup_that_fails_ends_all_with_its_traceback(
    tmp_path: Path, flags: Sequence[str]
) -> None:
    application = """
async def app(scope, receive, send):
    await receive()
    raise RuntimeError("no database")
"""
    (tmp_path / "main.py").write_text(application)
    said = fails(tmp_path, "main:app", "--lifespan", "on", *flags)
    assert said.count("RuntimeError: no database") == 1


# ---- where it listens


def test_taken_port_is_said_in_one_line_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "sockwave", "serve", "main:server", "--port", port],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            cwd=tmp_path,
        )
    assert ended.returncode == 1
    assert re.fullmatch(
        rf"ERROR: +cannot listen on 127.0.0.1:{port}: Address already in use; choose another with "
        r"--port\n",
        ended.stderr,
    )


@needs_unix
@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_unix_socket_is_open_to_all_and_goes_with_the_service(
    tmp_path: Path, flags: Sequence[str]
) -> None:
    with serving_application(tmp_path, "--uds", "socket", *flags) as service:
        service.wait_for("running on unix socket socket")
        if flags:
            service.wait_ready(2)
        path = tmp_path / "socket"
        assert path.stat().st_mode & 0o777 == 0o666
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(path))
            ask(client)
            assert receive_answer(client)
        assert service.stop() == 0
        assert not path.exists()


@pytest.mark.slow
@needs_workers
@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_inherited_descriptor_is_served_and_stays_with_its_owner(
    tmp_path: Path, flags: Sequence[str]
) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as mine:
        number = mine.fileno()
        command = ("-m", "sockwave", "serve", "main:server", "--fd", str(number), *flags)
        with started_service(tmp_path, *command, descriptors=[number]) as service:
            service.wait_for("running on socket")
            if flags:
                service.wait_ready(2)
            with socket.create_connection(mine.getsockname(), PATIENCE_S) as client:
                ask(client)
                assert receive_answer(client)
            assert service.stop() == 0
        with socket.create_connection(mine.getsockname(), PATIENCE_S):
            mine.accept()[0].close()
    assert "expected a stream socket" in fails(tmp_path, "main:server", "--fd", "2", status=1)
    assert "Bad file descriptor" in fails(tmp_path, "main:server", "--fd", "999", status=1)


#: An application that answers with the backlogs of its listening sockets: tcp(7), TCP_INFO, whose
#: `tcpi_sacked` that is.
BACKLOGS = """
import os, socket, sockwave, stat
server = sockwave.create_server()

@server.on("request")
def request(req, res):
    found = []
    for name in os.listdir("/proc/self/fd"):
        if os.path.islink(f"/proc/self/fd/{name}") and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                    found.append(int.from_bytes(info[28:32], "little"))
    res.end(repr(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the kernel")
@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_backlog_is_that_of_each_listening_socket(tmp_path: Path, flags: Sequence[str]) -> None:
    with serving_application(tmp_path, "--backlog", "17", *flags, application=BACKLOGS) as service:
        if flags:
            service.wait_ready(2)
        assert {service.get() for _ in range(20)} == {"[17]"}


# ---- TLS


def test_tls_flags_are_those_of_uvicorn(tmp_path: Path) -> None:
    cert, key = write_pem(issue("localhost"), tmp_path, "cert")
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    flags = ("--ssl-certfile", cert, "--ssl-keyfile", key, "--ssl-ca-certs", "ca.pem")
    with serving_application(
        tmp_path, *flags, "--ssl-cert-reqs", "2", "--ssl-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256",
    ) as service:  # fmt: skip
        service.wait_for(r"running on https://127.0.0.1:\d+")
        context = client_context(newest=ssl.TLSVersion.TLSv1_2)
        with pytest.raises(ssl.SSLError):
            service.open(context)
        issue("client").configure_cert(context)
        with service.open(context) as client:
            ask(client)
            assert receive_answer(client)
            assert isinstance(client, ssl.SSLSocket)
            assert client.cipher() == ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2", 128)


@pytest.mark.slow
def test_key_may_have_a_password(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    cert, key = write_pem(issue("localhost"), tmp_path, "cert")
    made = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    Path(key).write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    flags = ("--ssl-certfile", cert, "--ssl-keyfile", key, "--ssl-keyfile-password")
    with serving_application(tmp_path, *flags, "secret") as service:
        with service.open(client_context()) as client:
            ask(client)
            assert receive_answer(client)
        assert "no certificate in" in fails(tmp_path, "main:server", *flags, "wrong")
        # Without a supervisor, SIGHUP reads the certificate again.
        write_pem(issue("localhost", "again.example"), tmp_path, "cert")
        service.send(signal.SIGHUP)
        names: list[str] = []
        while "again.example" not in names:
            with service.open(client_context()) as client:
                assert isinstance(client, ssl.SSLSocket)
                names = common_name(client.getpeercert(binary_form=True))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--ssl-keyfile", "key.pem"), "--ssl-keyfile: expected --ssl-certfile as well"),
        (("--ssl-certfile", "no.pem", "--ssl-ca-certs", "no.pem"), "--ssl-ca-certs no.pem: "),
        (("--ssl-certfile", "no.pem", "--ssl-ciphers", "none"), "--ssl-ciphers: none in 'none'"),
    ],
)
def test_wrong_tls_is_said_before_anything_starts(
    tmp_path: Path, flags: Sequence[str], said: str
) -> None:
    assert said in fails(tmp_path, "main:server", *flags, status=1)


# ---- flags and variables


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--port", "65536"), "--port: expected a number from 0 to 65535, given '65536'"),
        (("--workers", "0"), "--workers: expected a whole number above 0, given '0'"),
        (("--ws-ping-interval", "0"), "--ws-ping-interval: expected seconds, or none, given '0'"),
        (("--reload-delay", "soon"), "--reload-delay: expected seconds, given 'soon'"),
        (("--ws-per-message-deflate", "maybe"), "expected true or false, given 'maybe'"),
        (("--lifespan", "maybe"), "--lifespan: invalid choice: 'maybe'"),
        (("--health-path", "health"), "expected a path, such as '/health', given 'health'"),
        (("--health-path", "/{a}"), "expected a path, such as '/health', given '/{a}'"),
        (("--colour",), "unrecognized arguments: --colour"),
    ],
)
def test_wrong_flags_are_named_with_status_2(flags: Sequence[str], said: str) -> None:
    ended = run_here("serve", "main:app", *flags)
    assert ended.returncode == 2
    assert said in ended.stderr.splitlines()[-1]


def test_version_is_printed() -> None:
    assert run("serve", "--version").stdout == f"sockwave {sockwave.__version__}\n"


def test_flags_without_effect_are_taken_with_a_line(tmp_path: Path) -> None:
    with serving_application(tmp_path, "--http", "h11", "--ws", "wsproto") as service:
        assert service.get()
        service.wait_for("WARNING: +--http: no effect, as there is one implementation of HTTP")
        service.wait_for("WARNING: +--ws: no effect, as there is one implementation")


def test_options_of_a_server_are_its_own(tmp_path: Path) -> None:
    with serving_application(tmp_path, "--ws-max-size", "5", "--root-path", "/a") as service:
        assert service.get()
        service.wait_for("WARNING: +--root-path, --ws-max-size: no effect, as TARGET is a sockwave")


@pytest.mark.slow
def test_every_flag_can_be_a_variable(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    variables = {
        "SOCKWAVE_APP": "main:server",
        "SOCKWAVE_PORT": "0",
        "SOCKWAVE_WORKERS": "2",
        "SOCKWAVE_HTTP": "h11",
        "SOCKWAVE_LOG_LEVEL": "debug",
    }
    with started_service(tmp_path, "-m", "sockwave", "serve", environment=variables) as service:
        service.wait_ready(2)
        service.wait_for("--http: no effect")
        service.wait_for("DEBUG: +worker 1 .* is started")
    # A flag counts more.
    command = ("-m", "sockwave", "serve", "main:server", "--workers", "1")
    with started_service(tmp_path, *command, environment=variables) as service:
        service.wait_ready(1)
        service.wait_for("of 1 worker$")
    line = fails(tmp_path, "main:server", status=1, SOCKWAVE_WORKERS="many")
    assert line == "sockwave serve: SOCKWAVE_WORKERS: expected a whole number, given 'many'\n"


@pytest.mark.slow
@needs_workers
def test_variables_of_other_servers_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    command = ("-m", "sockwave", "serve", "main:server", "--port", "0")
    variables = {"WEB_CONCURRENCY": "2"}
    with started_service(tmp_path, *command, environment=variables) as service:
        service.wait_ready(2)
    assert "WEB_CONCURRENCY: expected a number above 0, given 'x'" in fails(
        tmp_path, "main:server", status=1, WEB_CONCURRENCY="x"
    )


@pytest.mark.slow
def test_env_file_sets_variables_for_the_application(tmp_path: Path) -> None:
    (tmp_path / "variables").write_text("GREETING=hello\nWEB_CONCURRENCY=1\n")
    flags = ("--env-file", "variables")
    with serving_application(tmp_path, *flags, application=TELLING) as service:
        service.wait_ready(1)
        assert service.get() == "hello"
        # A roll reads it again.
        (tmp_path / "variables").write_text("GREETING=goodbye\n")
        service.send(signal.SIGHUP)
        service.wait_for("all workers have been replaced")
        service.wait_gone(service.ready_pids()[:1])
        assert service.get() == "goodbye"
    assert "--env-file: there is no file no" in fails(
        tmp_path, "main:server", "--env-file", "no", status=1
    )


@pytest.mark.slow
def test_log_level_chooses_what_is_logged(tmp_path: Path) -> None:
    with serving_application(tmp_path, "--log-level", "debug", "--workers", "1") as service:
        service.wait_for("DEBUG: +worker 1 .* is started")
    flags = ("--log-level", "error", "--workers", "1")
    with serving_application(tmp_path, *flags, application="1 / 0") as service:
        assert service.wait() == 3
        assert service.lines[0].startswith("ERROR:")
        assert "INFO" not in service.log


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "yaml", "ini"])
@pytest.mark.parametrize("flags", [(), ("--workers", "1")])
def test_log_config_configures_all_processes(
    tmp_path: Path, form: str, flags: Sequence[str]
) -> None:
    config = {
        "version": 1,
        "formatters": {"own": {"format": "own %(message)s"}},
        "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
        "loggers": {"sockwave": {"handlers": ["own"], "level": "INFO"}},
    }
    ini = """
[loggers]
keys=root,sockwave
[handlers]
keys=own
[formatters]
keys=own
[logger_root]
handlers=
[logger_sockwave]
handlers=own
level=INFO
qualname=sockwave
[handler_own]
class=StreamHandler
formatter=own
args=(sys.stderr,)
[formatter_own]
format=own %(message)s
"""
    path = tmp_path / f"log.{form}"
    path.write_text(ini if form == "ini" else json.dumps(config))  # JSON is YAML
    with serving_application(tmp_path, "--log-config", path.name, *flags) as service:
        service.wait_for("^own Sockwave running")
        if flags:
            service.wait_for("^own worker 1")
        assert service.stop() == 0
    for name in ("no.json", "no.ini"):
        ended = run("serve", "main:server", "--log-config", name)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        assert f"--log-config {name}: " in ended.stderr


@pytest.mark.parametrize(
    ("flag", "is_colored"), [("--use-colors", True), ("--no-use-colors", False)]
)
def test_colors_can_be_chosen(tmp_path: Path, flag: str, is_colored: bool) -> None:
    with serving_application(tmp_path, flag) as service:
        service.wait_for("running on")
        assert ("\x1b[32mINFO\x1b[0m:" in service.log) is is_colored


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "main:make_loop"])
def test_loop_can_be_chosen(tmp_path: Path, loop: str) -> None:
    application = TELLING.replace(
        'os.environ.get("GREETING", "none")', "type(asyncio.get_running_loop()).__module__"
    )
    application += (
        "\nimport asyncio\nclass Loop(asyncio.SelectorEventLoop): pass\nmake_loop = Loop\n"
    )
    module = {"uvloop": "uvloop", "asyncio": "asyncio.unix_events", "main:make_loop": "main"}[loop]
    with serving_application(tmp_path, "--loop", loop, application=application) as service:
        assert service.get() == module
    assert "--loop: expected auto, asyncio, uvloop" in fails(
        tmp_path, "main:server", "--loop", "steam"
    )


def test_graceful_shutdown_has_a_limit(tmp_path: Path) -> None:
    with serving_application(tmp_path, "--timeout-graceful-shutdown", "0") as service:
        with service.open() as client:
            ask(client, "/wait")
            assert service.get()
            service.send(signal.SIGTERM)
            with pytest.raises(ConnectionResetError):
                receive_all(client)
        assert service.wait() == 0


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {}),
        ({"limit_concurrency": 7}, {"max_connections": 7}),
        ({"timeout_keep_alive": 7}, {"keep_alive_timeout": 7}),
        ({"timeout_keep_alive": None}, {"keep_alive_timeout": None}),
        ({"ws_max_size": 7}, {"max_size": 7}),
        ({"ws_max_queue": 7}, {"queue_count": 7}),
        ({"ws_ping_interval": None}, {"ping_interval": None}),
        ({"ws_ping_timeout": 7.0}, {"ping_timeout": 7.0}),
        ({"ws_per_message_deflate": True}, {"compression": True}),
        ({"h11_max_incomplete_event_size": 9999}, {"header_block_size": 9999}),
        ({"root_path": "/a"}, {"root_path": "/a"}),
        ({"lifespan": "on"}, {"lifespan": "on"}),
        ({"access_log": False}, {"access_log": False}),
        ({"server_header": False}, {"server_header": False}),
        ({"date_header": False}, {"date_header": False}),
        ({"headers": ["X-A: 1", ("X-B", "2")]}, {"response_headers": [("X-A", "1"), ("X-B", "2")]}),
        ({"proxy_headers": False}, {"trusted_proxies": ()}),
        ({"forwarded_allow_ips": "10.0.0.0/8, unix"}, {"trusted_proxies": ["10.0.0.0/8", "unix"]}),
        ({"forwarded_allow_ips": ["10.0.0.1"]}, {"trusted_proxies": ["10.0.0.1"]}),
    ],
)
def test_settings_of_an_application_are_options(
    given: dict[str, Any], options: dict[str, Any]
) -> None:
    found = find_options(Settings.collect(given))
    defaults = {
        "access_log": True,
        "server_header": True,
        "max_size": 16 << 20,
        "forwarded_headers": "x-forwarded",
        "trusted_proxies": ["127.0.0.1", "::1"],
    }
    assert found == defaults | options
    Options(**{name: value for name, value in found.items() if name in OPTION_NAMES})


def test_to_believe_everybody_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    options = find_options(Settings.collect({"forwarded_allow_ips": "*"}))
    assert options["trusted_proxies"] == ("0.0.0.0/0", "::/0", "unix")
    assert "every client is believed about its address" in caplog.text


def test_unknown_setting_raises_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match="unknown setting 'worker'; did you mean 'workers'"):
        sockwave.run("main:app", worker=2)


# ---- run


@pytest.mark.slow
def test_run_serves_an_object_of_this_process(tmp_path: Path) -> None:
    for workers in (None, 1, 2):
        program = APPLICATION + f"sockwave.run(server, port=0, workers={workers})\n"
        with started_service(tmp_path, "-c", program) as service:
            if workers == 2:
                service.wait_ready(2)
                service.wait_for_pids(set(service.ready_pids()))
            else:
                assert service.pids(2) == {service.process.pid}
            assert service.stop() == 0


@pytest.mark.slow
def test_run_serves_what_text_names(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    program = "import sockwave\nsockwave.run('main:server', port=0, workers=1, app_dir='.')\n"
    with started_service(tmp_path, "-c", program) as service:
        service.wait_ready(1)
        assert service.pids(2) == set(service.ready_pids())
        assert service.stop() == 0
    program = "import sockwave\nsockwave.run('main:srver', port=0)\n"
    with started_service(tmp_path, "-c", program) as service:
        assert service.wait() == 3
    program = "import sockwave\nsockwave.run(sockwave.create_server(), reload=True)\n"
    with started_service(tmp_path, "-c", program) as service:
        assert service.wait() == 1
        assert "reload: expected TARGET as text" in service.log


# ---- reload


@pytest.fixture
def reloading(tmp_path: Path) -> Any:
    application = APPLICATION.replace("PID = os.getpid", "PID = lambda: 'VERSION'")

    def write(version: str) -> None:
        (tmp_path / "main.py").write_text(application.replace("VERSION", version))

    return write


def start_reloading(directory: Path, *flags: str) -> Any:
    command = ("-m", "sockwave", "serve", "main:server", "--port", "0", "--reload", *flags)
    return started_service(directory, *command, "--reload-delay", "0.01")


def wait_watched(service: Service) -> None:
    service.wait_for("watching for changes")
    service.wait_ready(1)


@pytest.mark.slow
def test_reload_starts_anew_when_a_file_changes(tmp_path: Path, reloading: Any) -> None:
    reloading("one")
    with start_reloading(tmp_path) as service:
        wait_watched(service)
        assert service.get() == "one"
        client = service.open()
        (tmp_path / "data.txt").write_text("not watched")
        reloading("second")
        service.wait_for("main.py changed: starting anew")
        service.wait_ready(2)
        assert service.get() == "second"
        client.close()
        # What cannot start waits for the next change, and clients wait with it.
        (tmp_path / "main.py").write_text("1 / 0")
        service.wait_for("ZeroDivisionError")
        with service.open() as waiting:
            ask(waiting)
            reloading("third one")
            assert receive_answer(waiting) == "third one"
        assert "data.txt" not in service.log
        assert service.stop() == 0


@pytest.mark.slow
def test_first_start_may_fail_with_reload(tmp_path: Path, reloading: Any) -> None:
    (tmp_path / "main.py").write_text("1 / 0")
    with start_reloading(tmp_path) as service:
        service.wait_for("waiting for a change of the files")
        reloading("one")
        wait_watched(service)
        assert service.get() == "one"


@pytest.mark.slow
def test_reload_watches_the_files_that_it_is_told(tmp_path: Path, reloading: Any) -> None:
    reloading("one")
    (tmp_path / "pages").mkdir()
    flags = ("--reload-dir", "pages", "--reload-include", "*.html", "--reload-exclude", "x*")
    with start_reloading(tmp_path, *flags) as service:
        wait_watched(service)
        service.wait_for(f"watching for changes in {tmp_path}/pages$")
        reloading("not watched")
        (tmp_path / "pages" / "x.html").write_text("excluded")
        (tmp_path / "pages" / "a.html").write_text("included")
        service.wait_for("pages/a.html changed: starting anew")
        service.wait_ready(2)
        assert "x.html" not in service.log
        assert "main.py changed" not in service.log


def test_reload_runs_one_worker(tmp_path: Path, reloading: Any) -> None:
    reloading("one")
    with start_reloading(tmp_path, "--workers", "3") as service:
        service.wait_for("--workers: no effect, as --reload runs one worker")
        service.wait_for("of 1 worker$")


@pytest.mark.parametrize(
    ("module", "flags", "said"),
    [
        ("watchfiles", ("--reload",), "--reload needs: pip install 'sockwave[reload]'"),
        ("dotenv", ("--env-file", "main.py"), "--env-file needs: pip install 'sockwave[env]'"),
        ("uvloop", ("--loop", "uvloop"), "--loop uvloop needs: pip install uvloop"),
    ],
)
def test_missing_extra_is_named(
    tmp_path: Path, module: str, flags: Sequence[str], said: str
) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    (tmp_path / f"{module}.py").write_text("raise ImportError('not here')")
    status = 3 if module == "uvloop" else 1
    assert said in fails(tmp_path, "main:server", *flags, status=status)


# ---- the page


def test_page_has_a_row_for_each_flag_with_its_default() -> None:
    text = (DOCS / "serve.md").read_text("utf-8")
    rows = re.findall(r"^\| (`--.+?) \| (.+?) \| (.+?) \|", text, re.MULTILINE)
    said = {}
    for names, default, _ in rows:
        for name in re.findall(r"`(--[\w-]+)`", names):
            said[name] = default
    expected = {flag.spelling for flag in FLAGS} | {
        flag.negative for flag in FLAGS if flag.negative
    }
    assert set(said) == expected | {"--version"}
    for flag in FLAGS:
        if flag.default not in (None, (), "", True, False):
            number = str(flag.default).removesuffix(".0")
            assert number in said[flag.spelling], flag.spelling
