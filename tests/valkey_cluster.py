"""A real cluster of Valkey: three primaries, and replicas where a test wants some."""

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE_S, find_port
from valkey_server import ValkeyServer

from sockwave.brokers.valkey_names import bucket_of, slot_of

_SLOT_COUNT = 16384


class ValkeyCluster:
    """Servers that know each other; the primaries have a third of the slots each."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        replica_count: int = 0,
        password: str = "",
        program: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.login = (password.encode(),) if password else ()
        if password:
            arguments += ("--requirepass", password, "--masterauth", password)
        self.servers = [
            self._make(directory / f"node{number}", arguments, program, tls)
            for number in range(3 + replica_count)
        ]

    @staticmethod
    def _make(
        directory: Path,
        arguments: tuple[str, ...],
        program: str | None,
        tls: ssl.SSLContext | None,
    ) -> ValkeyServer:
        directory.mkdir()
        return ValkeyServer(
            directory,
            "--cluster-enabled", "yes",
            "--cluster-port", str(find_port()),
            "--cluster-node-timeout", "1000",
            "--cluster-require-full-coverage", "no",
            "--repl-diskless-sync-delay", "0",
            *arguments,
            program=program,
            tls=tls,
        )  # fmt: skip

    def start(self) -> None:
        for server in self.servers:
            server.start()
        primaries = self.servers[:3]
        for number, server in enumerate(primaries):
            first, last = (_SLOT_COUNT * place // 3 for place in (number, number + 1))
            self.ask(server, "CLUSTER ADDSLOTSRANGE", str(first), str(last - 1))
            self.ask(server, "CLUSTER SET-CONFIG-EPOCH", str(number + 1))
        for server in self.servers[1:]:
            port, bus = self.servers[0].port, self.servers[0].arguments[3]
            self.ask(server, "CLUSTER MEET", "127.0.0.1", str(port), bus)
        self.wait(lambda: all(self._knows_all(server) for server in self.servers))
        for number, server in enumerate(self.servers[3:]):
            primary = self.find_id(primaries[number])
            self.ask(server, "CLUSTER REPLICATE", primary)
            self.wait(lambda server=server: b"master_link_status:up" in self.ask(server, "INFO"))
        self.wait(lambda: all(self._is_ok(server) for server in self.servers))

    def _knows_all(self, server: ValkeyServer) -> bool:
        known = self.ask(server, "CLUSTER NODES").splitlines()
        return len(known) == len(self.servers) and b"handshake" not in b"".join(known)

    def _is_ok(self, server: ValkeyServer) -> bool:
        """Tell whether a server knows who has all slots, and which replicas there are."""
        slots = self.ask(server, "CLUSTER SLOTS")
        servers = sum(len(one) - 2 for one in slots)
        return b"cluster_state:ok" in self.ask(server, "CLUSTER INFO") and (
            len(slots) == 3 and servers == len(self.servers)
        )

    def ask(self, server: ValkeyServer, words: str, *more: str) -> Any:
        reply = server.ask(*(one.encode() for one in (*words.split(), *more)), login=self.login)
        assert not isinstance(reply, Exception), reply
        return reply

    def wait(self, condition: Any) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "the cluster does not come to be so"
            time.sleep(0.02)

    def find_id(self, server: ValkeyServer) -> str:
        return str(self.ask(server, "CLUSTER MYID").decode())

    def owner_of(self, topic: str) -> ValkeyServer:
        """Return which server has what is of a topic, as one that is there says."""
        slot = int(slot_name(topic))
        server = next(server for server in self.servers if server.process is not None)
        for first, last, primary, *_ in self.ask(server, "CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(one for one in self.servers if one.port == primary[1])
        raise AssertionError("nobody has the slot")

    def other_than(self, server: ValkeyServer) -> ValkeyServer:
        """Return another primary."""
        return next(one for one in self.servers[:3] if one is not server)

    def begin_move(self, topic: str, target: ValkeyServer) -> None:
        """Have the slot of a topic be on its way to another primary."""
        slot, owner = slot_name(topic), self.owner_of(topic)
        self.ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", self.find_id(owner))
        self.ask(owner, "CLUSTER SETSLOT", slot, "MIGRATING", self.find_id(target))

    def carry_keys(self, topic: str, target: ValkeyServer, only: str = "") -> None:
        """Carry the keys of that slot there, or those `only` of which this is a part."""
        owner = self.owner_of(topic)
        found = self.ask(owner, "CLUSTER GETKEYSINSLOT", slot_name(topic), "100000")
        keys = [one.decode() for one in found if only.encode() in one]
        login = ["AUTH", self.login[0].decode()] if self.login else []
        if keys:
            place = ["127.0.0.1", str(target.port), "", "0", str(1000 * PATIENCE_S)]
            self.ask(owner, "MIGRATE", *place, *login, "KEYS", *keys)

    def give_up_move(self, topic: str) -> None:
        """Have the slot stay where it is."""
        for server in self.servers[:3]:
            self.ask(server, "CLUSTER SETSLOT", slot_name(topic), "STABLE")

    def end_move(self, topic: str, target: ValkeyServer) -> None:
        """Have another primary have the slot of a topic, with such keys as are there."""
        for server in (target, *(one for one in self.servers[:3] if one is not target)):
            self.ask(server, "CLUSTER SETSLOT", slot_name(topic), "NODE", self.find_id(target))

    def move(self, topic: str, target: ValkeyServer) -> None:
        """Move the slot of a topic to another primary, with all its keys."""
        self.begin_move(topic, target)
        self.carry_keys(topic, target)
        self.end_move(topic, target)

    @property
    def url(self) -> str:
        login = f":{self.login[0].decode()}@" if self.login else ""
        places = ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])
        scheme = "valkeys" if self.servers[0].tls else "valkey"
        return f"{scheme}+cluster://{login}{places}"

    def kill(self) -> None:
        for server in self.servers:
            server.kill()


def slot_name(topic: str) -> str:
    """Return the number of the slot in which all of a topic is."""
    return str(slot_of(bucket_of(topic.encode())))


@contextlib.contextmanager
def running_cluster(directory: Path, *arguments: str, **options: Any) -> Iterator[ValkeyCluster]:
    cluster = ValkeyCluster(directory, *arguments, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


# ---- fixtures: tests/conftest.py has all tests find them


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """A cluster for the tests that do it no harm; each has a prefix of its own."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster_url(shared_cluster: ValkeyCluster, request: pytest.FixtureRequest) -> str:
    return f"{shared_cluster.url}?prefix={request.node.name.replace('[', '-').replace(']', '')}"
