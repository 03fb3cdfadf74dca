"""Topics over several hosts by Valkey: two servers of one process are two hosts."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import start_host, start_two
from valkey_server import ValkeyServer, by_redis_too, needs_valkey, running_valkey, until
from wire import connect_both

import sockwave

pytestmark = needs_valkey


@by_redis_too("shared_valkey")
async def test_a_message_reaches_the_subscribers_of_all_hosts_once(
    start_server: StartServer, valkey_url: str
) -> None:
    hosts = await start_two(start_server, valkey_url)
    for number, host in enumerate(hosts):
        await host.server.publish("room/1", f"text {number}")
        await host.server.publish("room/1", b"binary %d" % number)
    # Each publisher's messages come in its order; none comes back to its host a second time.
    for host in hosts:
        heard = [await host.wire.receive_message() for _ in range(4)]
        assert sorted(map(str, heard)) == ["b'binary 0'", "b'binary 1'", "text 0", "text 1"]
        for number in (0, 1):
            assert heard.index(f"text {number}") < heard.index(b"binary %d" % number)
        await host.wire.receive_nothing()


async def test_a_message_does_not_come_back_to_who_is_excluded(
    start_server: StartServer, valkey_url: str
) -> None:
    one, other = await start_two(start_server, valkey_url)
    await one.server.publish("room/1", "hello", exclude=one.conn)
    assert await other.wire.receive_message() == "hello"
    await one.wire.receive_nothing()


async def test_a_broadcast_reaches_all_hosts_once(
    start_server: StartServer, valkey_url: str
) -> None:
    one, other = await start_two(start_server, valkey_url)
    assert one.server.broadcast("to all") == 1
    for host in (one, other):
        assert await host.wire.receive_message() == "to all"
        await host.wire.receive_nothing()


@by_redis_too("shared_valkey")
async def test_who_hears_in_several_ways_hears_once(
    start_server: StartServer, valkey_url: str
) -> None:
    one, other = await start_two(start_server, valkey_url)
    for pattern in ("room/*", "room/**", "*/1"):
        await other.conn.subscribe(pattern)
    await one.server.publish("room/1", "by its name, too")
    await one.server.publish("room/2", "by two patterns")
    await one.server.publish("room/2/deep", "by one pattern")
    await one.server.publish("elsewhere", "by none")
    await one.server.publish("room/1", "the end")
    heard = [await other.wire.receive_message() for _ in range(4)]
    assert heard == ["by its name, too", "by two patterns", "by one pattern", "the end"]


async def test_a_pattern_hears_names_that_mean_something_in_globs(
    start_server: StartServer, valkey_url: str
) -> None:
    one, other = await start_two(start_server, valkey_url)
    await other.conn.subscribe("a[b]?/*")
    await one.server.publish("ab/1", "no")
    await one.server.publish("a[b]?/1/2", "no")
    await one.server.publish("a[b]?/1", "yes")
    assert await other.wire.receive_message() == "yes"


async def test_what_a_publisher_says_of_a_message_holds_on_all_hosts(
    start_server: StartServer, valkey_url: str
) -> None:
    one, other = await start_two(start_server, valkey_url)
    await one.server.publish("room/1", "a", slow="conflate", key="k", compress=False)
    assert await other.wire.receive_message() == "a"


async def test_a_host_hears_only_what_it_wants(
    start_server: StartServer,
    shared_valkey: ValkeyServer,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sockwave.brokers.client._LEAVE_S", 0.0)
    prefix = valkey_url.partition("prefix=")[2].encode()
    host = await start_host(start_server, valkey_url)
    room = prefix + b":t:room/1"
    assert room not in shared_valkey.channels()
    await host.conn.subscribe("room/1")
    assert room in shared_valkey.channels()
    other, conn = await connect_both(host.server)
    await conn.subscribe("room/1")
    host.conn.unsubscribe("room/1")
    await other.close()
    await until(lambda: room not in shared_valkey.channels())
    await host.conn.subscribe("room/1")
    assert room in shared_valkey.channels()


async def test_a_pattern_that_is_wanted_again_as_it_is_left_comes(
    start_server: StartServer, valkey_url: str
) -> None:
    one, other = await start_two(start_server, valkey_url)
    await other.conn.subscribe("late/*")
    other.conn.unsubscribe("late/*")
    client = other.server._host.topics.reach.hosts._client
    await until(lambda: client._subscriptions._leaving)
    wanted = client._subscriptions
    wanted._leaving = dict.fromkeys(wanted._leaving, 0.0)
    client._leave()  # the server has not confirmed that yet
    await other.conn.subscribe("late/*")
    await one.server.publish("late/1", "heard")
    assert await other.wire.receive_message() == "heard"


async def test_many_topics_are_subscribed_in_batches(
    start_server: StartServer, valkey_url: str
) -> None:
    one, other = await start_two(start_server, valkey_url)
    names = [f"many/{number}" for number in range(1200)]
    limits = {"subscription_count": 2000}
    host = await start_host(start_server, valkey_url, **limits)
    await asyncio.gather(*(host.conn.subscribe(name) for name in names))
    for name in names:
        one.server.publish(name, name)
    assert [await host.wire.receive_message() for _ in names] == names
    del other


async def test_another_program_can_publish(
    start_server: StartServer, shared_valkey: ValkeyServer, valkey_url: str
) -> None:
    host = await start_host(start_server, valkey_url)
    await host.conn.subscribe("room/1")
    channel = valkey_url.partition("prefix=")[2].encode() + b":t:room/1"
    assert shared_valkey.ask(b"PUBLISH", channel, b"1t\nfrom outside") == 1
    assert shared_valkey.ask(b"PUBLISH", channel, b"1b -\n\x00\n\x01") == 1
    assert await host.wire.receive_message() == "from outside"
    assert await host.wire.receive_message() == b"\x00\n\x01"


BAD = [
    b"", b"1", b"1t", b"2t\nlater", b"1x\nkind", b"1t \nno host", b"1t  {}\n", b"1thost\n",
    b"1t " + b"h" * 65 + b"\n", b"1t - not JSON\n", b"1t - []\n", b'1t - {"slow":"x"}\n',
    b'1t - {"slow":[]}\n', b'1t - {"compress":1}\n', b'1t - {"key":{}}\n', b'1t - {"id":5}\n',
    b'1t - {"id":"' + b"i" * 256 + b'"}\n', b"1t - " + b"[" * 16000 + b"\n",
    b"1t - " + b" " * 17000 + b"{}\n", b"1t\n\xff", b"1t\n\xed\xa0\x80", b"1t no end of the line",
]  # fmt: skip


async def test_a_bad_message_costs_itself_and_a_count(
    start_server: StartServer, shared_valkey: ValkeyServer, valkey_url: str
) -> None:
    host = await start_host(start_server, valkey_url)
    await host.conn.subscribe("room/1")
    await host.conn.subscribe("any/**")
    prefix = valkey_url.partition("prefix=")[2].encode()
    for message in BAD:
        for channel in (b":t:room/1", b":b", b":t:any/1"):
            shared_valkey.ask(b"PUBLISH", prefix + channel, message)
    shared_valkey.ask(b"PUBLISH", prefix + b":t:any/" + b"n" * 300, b"1t\nno name")
    shared_valkey.ask(b"PUBLISH", prefix + b":t:any/\x01", b"1t\nno name")
    shared_valkey.ask(b"PUBLISH", prefix + b":t:room/1", b"1t\ngood")
    assert await host.wire.receive_message() == "good"
    await until(lambda: host.server.health().bad_count == 3 * len(BAD) + 2)
    assert host.server.health().status == "ok"


async def test_a_large_message_comes_whole(start_server: StartServer, valkey_url: str) -> None:
    one, other = await start_two(start_server, valkey_url)
    message = bytes(range(256)) * 4096 * 8
    await one.server.publish("room/1", message)
    assert await other.wire.receive_message() == message


async def test_a_password_and_a_user_are_needed(start_server: StartServer, tmp_path: Path) -> None:
    with running_valkey(tmp_path, "--requirepass", "s3cret") as server:
        login = (b"s3cret",)
        rules = "on >pass &sockwave:* -@all +publish +subscribe +psubscribe +unsubscribe "
        rules += "+punsubscribe +client|setname +client|setinfo +select"
        server.set_user("app", rules, login)
        one, other = [
            await start_host(start_server, f"valkey://app:pass@127.0.0.1:{server.port}")
            for _ in range(2)
        ]
        await other.conn.subscribe("room/1")
        await one.server.publish("room/1", "hello")
        assert await other.wire.receive_message() == "hello"
        clients = server.ask(b"CLIENT", b"LIST", login=login).decode()
        assert clients.count(" name=sockwave-") == 4


@pytest.mark.slow
async def test_a_subscription_that_is_refused_is_deafness(
    start_server: StartServer, valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.set_user("app", "on nopass &sockwave:* +@all")
    host = await start_host(start_server, valkey.url.replace("://", "://app:any@"))
    await until(lambda: host.server.health().status == "ok")
    host.conn.subscribe("room/*")
    await until(lambda: host.server.health().is_deaf)
    await until(lambda: host.server.health().deaf_count == 2)
    assert host.server.health().is_deaf
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 2
    assert "refuses what it is asked for: NOPERM" in lines[0]
    assert "is not heard: 1 subscriptions are not confirmed" in lines[1]


async def test_a_wrong_password_leaves_the_host_alone_and_is_said(
    start_server: StartServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_valkey(tmp_path, "--requirepass", "s3cret") as server:
        host = await start_host(start_server, f"valkey://:wr0ng@127.0.0.1:{server.port}")
        await host.conn.subscribe("room/1")
        await host.server.publish("room/1", "here")
        assert await host.wire.receive_message() == "here"
        assert host.server.health().status == "degraded"
        assert host.server.health().broker == "down"
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "invalid username-password pair" in lines[0]
    assert "wr0ng" not in caplog.text


def test_streams_are_refused_before_the_server_runs(valkey_url: str) -> None:
    server = sockwave.create_server(broker=valkey_url)
    with pytest.raises(sockwave.SockwaveError, match="does not run"):
        server.topic("stream").append("a")


@pytest.mark.parametrize(
    ("broker", "error"),
    [
        (5, TypeError),
        ("localhost:6379", ValueError),
        ("amqp://localhost", ValueError),
        ("valkey://localhost?colour=red", ValueError),
        ("valkey://localhost?prefix=%0a", ValueError),
    ],
)
def test_what_is_no_broker_is_refused(broker: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="broker: expected"):
        sockwave.create_server(broker=broker)


def test_what_publishing_does_without_a_broker_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="broker_down: expected one of 'queue', 'raise', 'local'"):
        sockwave.create_server(broker_down="drop")


def test_a_server_without_a_broker_is_healthy(valkey_url: str) -> None:
    assert sockwave.create_server().health() == sockwave.Health("ok", None)
    assert not sockwave.create_server().health().is_deaf


async def test_the_state_is_json_for_who_asks(start_server: StartServer, valkey_url: str) -> None:
    host = await start_host(start_server, valkey_url)
    await until(lambda: host.server.health().status == "ok")
    assert json.loads(json.dumps(host.server.health()._asdict()))["broker"] == "up"
