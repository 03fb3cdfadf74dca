"""Brokers that keep what topics keep, each a real server: Valkey, and NATS with JetStream."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from commands import PATIENCE_S
from nats_server import NatsServer
from valkey_server import REDIS, ValkeyServer, needs_redis, running_valkey

from sockwave.brokers.nats_subjects import subject_of

#: `start`, `kill`, `freeze`, `thaw` and `url`; `cut` ends the connections of all clients, `purge`
#: deletes all that is kept.
LogBroker: TypeAlias = "ValkeyServer | JetStream"

# Every write is on the disk before it is acknowledged; whoever has no password is a user of the
# one account, and the other one ends connections.
CONFIGURATION = """
{settings}
jetstream {{ store_dir: "{directory}", sync_interval: always }}
accounts {{
  APP: {{ jetstream: enabled, users: [{{ user: app, password: app }}{users}] }}
  SYS: {{ users: [{{ user: sys, password: sys }}] }}
}}
system_account: SYS
no_auth_user: app
"""


#: Headers of no sequence, as the server sends them of one, and anybody can.
FORGED_SEQUENCES = [
    b"Nats-Sequence: %b\r\n" % one for one in (b"", b"x", b"-1", b"9" * 20, b"9" * 21, b"9" * 5000)
]


class JetStream(NatsServer):
    """A server of NATS with JetStream, which keeps what it has in a directory."""

    def __init__(self, directory: Path, *, users: str = "", settings: str = "") -> None:
        self.directory = directory / "jetstream"
        self.configuration = directory / "jetstream.conf"
        self.configuration.write_text(
            CONFIGURATION.format(directory=self.directory, users=users, settings=settings)
        )
        super().__init__("-c", str(self.configuration))

    def ask(
        self,
        subject: str,
        request: Any = None,
        *,
        user: str = "app",
        patience_s: float = PATIENCE_S,
    ) -> Any:
        """Ask the server something, over a connection of its own; return the answer.

        Where none comes in time, that is an error, too.
        """
        message = b"" if request is None else json.dumps(request).encode()
        said = json.dumps({"user": user, "pass": user, "name": "test"}).encode()
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.settimeout(patience_s)
            sock.sendall(
                b"CONNECT %b\r\nSUB answer 1\r\nPUB %b answer %d\r\n%b\r\n"
                % (said, subject.encode(), len(message), message)
            )
            heard = b""
            while (found := re.search(rb"\r\nMSG answer 1 +(\d+)\r\n", heard)) is None or len(
                heard
            ) < found.end() + int(found[1]):
                try:
                    data = sock.recv(65536)
                except TimeoutError:
                    return {"error": heard}
                assert data, heard
                heard += data
        return json.loads(heard[found.end() : found.end() + int(found[1])])

    def ask_stream(
        self,
        what: str,
        prefix: str = "sockwave",
        request: Any = None,
        patience_s: float = PATIENCE_S,
    ) -> Any:
        """Ask JetStream something about the stream of a service."""
        return self.ask(f"$JS.API.STREAM.{what}.{prefix}", request, patience_s=patience_s)

    def purge(self) -> None:
        """Delete all that is kept; what hosts have not needed yet is not there."""
        names = ("sockwave", "sockwave+streams", "sockwave+declared")
        found = [self.ask_stream("PURGE", name) for name in names]
        assert any(one.get("success") for one in found)

    def say_to_hosts(self, prefix: str, message: bytes) -> None:
        self.publish(prefix.encode() + b".h", message)

    def say_on(self, prefix: str, topic: str, message: bytes) -> None:
        self.publish(b"%b.t.%b" % (prefix.encode(), subject_of(topic.encode())), message)

    def is_declared(self, pattern: str, prefix: str = "sockwave") -> bool:
        subject = f"{prefix}.d.{subject_of(pattern.encode()).decode()}"
        request = {"last_by_subj": subject}
        return "error" not in self.ask_stream("MSG.GET", f"{prefix}+declared", request)

    def is_heard(self, prefix: str, topic: str) -> bool:
        subject = f"{prefix}.t.{topic.replace('/', '.')}"
        request = {"subscriptions": True, "account": "APP", "test": subject, "limit": 10}
        found = self.ask("$SYS.REQ.SERVER.PING.SUBSZ", request, user="sys")
        return bool(found["data"].get("subscriptions_list"))

    def cut(self) -> None:
        found = self.ask("$SYS.REQ.SERVER.PING.CONNZ", {"limit": 1000}, user="sys")
        for one in found["data"]["connections"]:
            kick = f"$SYS.REQ.SERVER.{found['server']['id']}.KICK"
            self.ask(kick, {"cid": one["cid"]}, user="sys")


def make_broker(kind: str, directory: Path) -> LogBroker:
    """Return a server that loses nothing of what it has acknowledged."""
    if kind == "nats":
        return JetStream(directory)
    return ValkeyServer(directory, "--appendonly", "yes", "--appendfsync", "always")


KINDS = ["valkey", "nats"]


# ---- fixtures: tests/conftest.py has all tests find them


@pytest.fixture
def jetstream(tmp_path: Path) -> Iterator[JetStream]:
    """A server of NATS with JetStream, which the test may stop."""
    server = JetStream(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def shared_jetstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JetStream]:
    """One for the tests that do it no harm; each has a prefix of its own."""
    server = JetStream(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server of Redis for the tests that do it no harm."""
    with running_valkey(tmp_path_factory.mktemp("redis"), program=REDIS) as server:
        yield server


#: Runs a test that takes `log_url` with Redis beside the others, where that is installed.
by_all_log_brokers = pytest.mark.parametrize(
    "shared_log_broker",
    [
        pytest.param("shared_valkey", id="valkey"),
        pytest.param("shared_jetstream", id="nats"),
        pytest.param("shared_redis", id="redis", marks=needs_redis),
    ],
    indirect=True,
)


@pytest.fixture(params=["shared_valkey", "shared_jetstream"], ids=KINDS)
def shared_log_broker(request: pytest.FixtureRequest) -> LogBroker:
    """A broker that others use too."""
    server: LogBroker = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def log_url(shared_log_broker: LogBroker, request: pytest.FixtureRequest) -> str:
    return f"{shared_log_broker.url}?prefix={prefix_of(request)}"


@pytest.fixture
def jetstream_url(shared_jetstream: JetStream, request: pytest.FixtureRequest) -> str:
    return f"{shared_jetstream.url}?prefix={prefix_of(request)}"


@pytest.fixture(params=KINDS)
def log_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogBroker]:
    """A broker that the test may stop."""
    server = make_broker(request.param, tmp_path)
    server.start()
    yield server
    server.kill()


def prefix_of(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W", "-", request.node.name)
