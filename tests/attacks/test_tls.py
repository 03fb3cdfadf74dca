"""Section 1I of the record: TLS (RFC 8446; RFC 5246 for renegotiation)."""

import asyncio
import contextlib
import ssl
import struct
from typing import Any

import pytest
from certificates import client_context
from reference import BINARY, PING, Frame, serialize
from tls_wire import TlsWire
from wire import Wire, build_request, upgrade_headers

from attacks import applications
from attacks.conftest import MIB, Attack
from attacks.floods import cpu_ratio
from attacks.openssl import LIBRARY, SSL_EARLY_DATA_REJECTED, OpensslWire
from attacks.process import Victim

NOTHING = MIB  # see test_framing


@pytest.fixture(params=["direct", "portable"])
def tls(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How the server calls OpenSSL: what makes a victim speak TLS in each way."""
    if request.param == "direct":
        openssl = pytest.importorskip("sockwave.core.tls.openssl")
        if not openssl.is_available():
            pytest.skip("the ssl module's OpenSSL cannot be called directly")
    return {"tls": True, "environment": {"SOCKWAVE_TLS": request.param}}


async def open_openssl(victim: Victim, **options: Any) -> OpensslWire:
    """Connect with OpenSSL's own functions, and send nothing."""
    return OpensslWire(await Wire.open(victim.tls_address), **options)


async def upgrade(client: TlsWire) -> None:
    """Shake hands, of both kinds."""
    await client.shake_hands()
    client.write(build_request(upgrade_headers()))
    assert (await client.receive_head()).status == 101


async def echo(client: TlsWire, message: str) -> None:
    client.send(message)
    assert await client.receive_message() == message


# ---- handshakes: again, never, never whole


async def test_renegotiation_is_refused(attack: Attack, tls: dict[str, Any]) -> None:
    async with attack(**tls) as victim:
        for _ in range(10):
            client = await open_openssl(victim, newest=ssl.TLSVersion.TLSv1_2)
            await upgrade(client)
            await echo(client, "before")
            client.session.renegotiate()
            client.flush()
            with pytest.raises(ssl.SSLError, match="no renegotiation"):
                await client.receive_some()
            await client.wire.close()


async def test_handshakes_that_stall_end_at_the_deadline_from_accept(
    attack: Attack, tls: dict[str, Any]
) -> None:
    async with attack(**tls, handshake_timeout=0.6) as victim:
        wires, context = [], client_context()
        for number in range(40):
            client = await TlsWire.begin(victim.tls_address, context)
            wires.append(client.wire)
            flight = client.first_flight()
            if number % 4 == 1:
                client.wire.write(flight[: len(flight) // 2])
            elif number % 4 == 2:
                client.wire.write(flight)
            elif number % 4 == 3:  # TLS is done with, the request is not
                client.wire.write(flight)
                await client.receive_records()
                await client.shake_hands()
                client.write(b"GET / HTTP/1.1\r\n")
        for wire in wires:
            await wire.receive_rest()
        assert (await victim.report()).opened == 0


async def test_handshake_of_one_byte_at_a_time_does_not_move_the_deadline(
    attack: Attack, tls: dict[str, Any]
) -> None:
    async with attack(**tls, handshake_timeout=0.5) as victim:
        clients = [await TlsWire.begin(victim.tls_address) for _ in range(10)]
        flights = [client.first_flight() for client in clients]
        sent = 0
        while not all(client.reader.has_ended for client in clients):
            for client, flight in zip(clients, flights, strict=True):
                if not client.reader.has_ended:
                    client.wire.write(flight[sent : sent + 1])
            sent += 1
            await asyncio.sleep(0.05)
        assert sent < len(flights[0]) // 2


async def test_handshakes_that_stall_cost_little_memory(
    attack: Attack, tls: dict[str, Any]
) -> None:
    count, context = 50, client_context()
    async with attack(**tls) as victim:
        for _ in range(count):
            client = await TlsWire.begin(victim.tls_address, context)
            client.wire.write(client.first_flight())
            await client.receive_records()
        assert victim.peak_growth() < count * 128 * 1024 + NOTHING


async def test_handshakes_that_stall_keep_nobody_out_who_is_quick(
    attack: Attack, tls: dict[str, Any]
) -> None:
    room, context = 8, client_context()
    async with attack(**tls, max_handshakes=room, handshake_timeout=60) as victim:
        stalled = [await TlsWire.begin(victim.tls_address, context) for _ in range(30)]
        for client in stalled[-room:]:
            client.wire.write(client.first_flight())
            await client.receive_records()
        honest = await TlsWire.connect(victim.tls_address, context)
        await echo(honest, "there is room")
        gone = stalled[: -room + 1]  # the oldest
        for client in gone:
            await client.wire.receive_rest()
        assert (await victim.report()).limit_hits == {"max_handshakes": len(gone)}


# ---- other protocols

JUNK = [
    build_request({"Host": "localhost"}),
    build_request(upgrade_headers()),
    b"SSH-2.0-x\r\n",
    b"\x00" * 1000,
    b"\xff" * 1000,
    b"\x16\x03\x01\xff\xff" + b"x" * 300,
    b"\x16\x03\x01\x00\x00" * 1000,
    b"\x17\x03\x03\x00\x05hello",
    b"\x15\x03\x01\x00\x02\x01\x00" * 100,
    b"\x80\x2e\x01\x00\x02" + b"x" * 41,  # the ClientHello of SSL 2
]


async def test_what_is_not_tls_is_dropped_on_a_tls_port(
    attack: Attack, tls: dict[str, Any]
) -> None:
    async with attack(**tls, handshake_timeout=1) as victim:
        for data in JUNK:
            for whole in (True, False):
                wire = await Wire.open(victim.tls_address)
                if whole:
                    wire.write(data)
                else:
                    await wire.write_slowly(data[:100])
                with contextlib.suppress(OSError):  # the server may have hung up before this ends
                    wire.write_eof()
                    assert b"HTTP" not in await wire.receive_rest()
                await wire.close()
        assert (await victim.report()).opened == 0


async def test_tls_on_a_plain_port_is_a_bad_request(attack: Attack) -> None:
    async with attack() as victim:
        for _ in range(20):
            client = await TlsWire.begin(victim.address)
            client.wire.write(client.first_flight())
            assert (await client.wire.receive_rest()).startswith(b"HTTP/1.1 400 ")
            await client.wire.close()
        assert (await victim.report()).opened == 0


# ---- SNI


def with_server_name(hello: bytes, extension: bytes | None) -> bytes:
    """Put other bytes in the place of a ClientHello's server_name (RFC 6066, 3), or none."""
    body = hello[9:]
    place = 34
    place += 1 + body[place]
    place += 2 + int.from_bytes(body[place : place + 2], "big")
    place += 1 + body[place]
    kept, rest = b"", body[place + 2 :]
    while rest:
        kind, size = struct.unpack(">HH", rest[:4])
        if kind:
            kept += rest[: 4 + size]
        rest = rest[4 + size :]
    if extension is not None:
        kept = struct.pack(">HH", 0, len(extension)) + extension + kept
    body = body[:place] + struct.pack(">H", len(kept)) + kept
    body = b"\x01" + len(body).to_bytes(3, "big") + body
    return hello[:3] + struct.pack(">H", len(body)) + body


def host(name: bytes) -> bytes:
    """Give the list of one name that the extension holds."""
    entry = b"\0" + struct.pack(">H", len(name)) + name
    return struct.pack(">H", len(entry)) + entry


SERVER_NAMES = {
    "255 bytes": host(b"a" * 255),
    "256 bytes": host(b"a" * 256),
    "10,000 bytes": host(b"a" * 10_000),
    "no byte": host(b""),
    "a NUL": host(b"localhost\0.example"),
    "not ASCII": host(b"\xff\xfe\r\n"),
    "two names": host(b"a")[:2] + host(b"a")[2:] + host(b"b")[2:],
    "no list": b"",
    "a list that ends too soon": host(b"localhost")[:-3],
    "a name of another type": b"\0\4\1\0\1a",
}


@pytest.mark.parametrize("extension", SERVER_NAMES.values(), ids=SERVER_NAMES)
async def test_server_name_that_is_long_or_malformed_gets_an_answer_or_an_alert(
    attack: Attack, tls: dict[str, Any], extension: bytes
) -> None:
    async with attack(**tls) as victim:
        client = await TlsWire.begin(victim.tls_address)
        client.wire.write(with_server_name(client.first_flight(), extension))
        answer = await client.wire.receive(5)
        assert answer[0] in (21, 22)  # alert, handshake
        if answer[0] == 21:
            await client.wire.receive_rest()
        assert (await victim.report()).opened == 0


async def test_client_without_a_server_name_is_served(attack: Attack, tls: dict[str, Any]) -> None:
    async with attack(**tls) as victim:
        context = client_context()
        context.check_hostname = False
        client = await TlsWire.begin(victim.tls_address, context, server_hostname=None)
        await upgrade(client)
        await echo(client, "nameless")


# ---- records: tiny, tampered with, cut off


async def test_twice_the_records_of_one_byte_take_twice_the_time(
    attack: Attack, tls: dict[str, Any]
) -> None:
    async with attack(**tls, application=applications.count, bystanders=0) as victim:
        client = await TlsWire.connect(victim.tls_address)

        async def flood(count: int) -> None:
            client.write(serialize(Frame(BINARY, bytes(count))), record_size=1)
            client.send("count")
            assert await client.receive_message() == str(count + len("count"))

        assert await cpu_ratio(victim, flood, 8_192) < 2.5
        assert victim.peak_growth() < 2 * NOTHING  # records wait sealed, 22 bytes each


async def test_stream_that_is_cut_off_without_close_notify_is_1006(
    attack: Attack, tls: dict[str, Any]
) -> None:
    frame = serialize(Frame(BINARY, b"x" * 1000))
    async with attack(**tls) as victim:
        for way in ("between messages", "in a frame", "in a record", "reset"):
            client = await TlsWire.connect(victim.tls_address)
            if way == "in a frame":
                client.write(frame[:500])
            elif way == "in a record":
                client.wire.write(client.seal(frame)[:500])
            if way == "reset":
                client.wire.reset()
            else:
                client.wire.write_eof()
            assert await victim.closes() == [(1006, "")]
            await client.wire.close()


async def test_record_that_was_tampered_with_is_1006_and_nothing_of_it_is_heard(
    attack: Attack, tls: dict[str, Any]
) -> None:
    async with attack(**tls) as victim:
        for place in (3, 5, 20, -1):
            client = await TlsWire.connect(victim.tls_address)
            sealed = bytearray(client.seal(serialize(Frame(PING, b"x" * 50))))
            sealed[place] ^= 1
            client.wire.write(bytes(sealed))
            client.wire.write_eof()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await client.receive_some()
            assert await victim.closes() == [(1006, "")]
            await client.wire.close()


# ---- keys


async def test_key_updates_are_followed_and_answered(attack: Attack, tls: dict[str, Any]) -> None:
    async with attack(**tls) as victim:
        client = await open_openssl(victim)
        await upgrade(client)
        for number in range(100):
            client.session.update_key()
            await echo(client, f"with the keys of round {number}")


async def test_twice_the_key_updates_take_twice_the_time_and_no_memory(
    attack: Attack, tls: dict[str, Any]
) -> None:
    async with attack(**tls, bystanders=0) as victim:
        client = await open_openssl(victim)
        await upgrade(client)

        async def flood(count: int) -> None:
            for _ in range(count):
                client.session.update_key()
            await echo(client, "after the flood")

        assert await cpu_ratio(victim, flood, 500) < 2.5
        assert victim.peak_growth() < NOTHING


async def test_key_update_in_the_middle_of_a_blocked_write_loses_nothing(
    attack: Attack, tls: dict[str, Any]
) -> None:
    async with attack(**tls, max_backlog=16 * MIB) as victim:
        client = await open_openssl(victim)
        await upgrade(client)
        client.wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        messages = [bytes([number]) * 200_000 for number in range(40)]
        for message in messages:
            client.send(message)
            client.session.update_key()
        client.flush()
        client.wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for message in messages:
            assert await client.receive_message() == message


# ---- tickets and early data


async def resume(victim: Victim, ticket: int, **options: Any) -> OpensslWire:
    """Connect with what another connection was given."""
    return await open_openssl(victim, resumed=ticket, **options)


async def take_ticket(victim: Victim) -> int:
    """Connect, and give what the server would resume the session by; the caller frees it."""
    client = await open_openssl(victim)
    await upgrade(client)
    await echo(client, "hello")  # the tickets come in front of it
    ticket: int = LIBRARY.SSL_get1_session(client.session.ssl)
    client.notify()  # OpenSSL forgets a session that ends without
    await client.wire.close()
    return ticket


async def test_early_data_is_not_offered_and_not_heard(attack: Attack, tls: dict[str, Any]) -> None:
    async with attack(**tls) as victim:
        ticket = await take_ticket(victim)
        assert LIBRARY.SSL_SESSION_get_max_early_data(ticket) == 0
        LIBRARY.SSL_SESSION_set_max_early_data(ticket, 16384)
        client = await resume(victim, ticket)
        client.session.write_early(build_request({"Host": "replayed"}, target="/early"))
        await client.shake_hands()
        status = LIBRARY.SSL_get_early_data_status(client.session.ssl)
        assert status == SSL_EARLY_DATA_REJECTED
        # The first request that the server answers is the one inside the session.
        client.write(build_request(upgrade_headers()))
        assert (await client.receive_head()).status == 101
        LIBRARY.SSL_SESSION_free(ticket)


async def test_ticket_resumes_with_its_server_and_with_no_other(
    attack: Attack, tls: dict[str, Any]
) -> None:
    async with (
        attack(**tls) as victim,
        attack(**tls, max_size=MIB - 1) as other,  # a process of its own
    ):
        ticket = await take_ticket(victim)
        for server, is_resumed in ((victim, 1), (other, 0)):
            client = await resume(server, ticket)
            await upgrade(client)
            assert LIBRARY.SSL_session_reused(client.session.ssl) == is_resumed
            await echo(client, "as ever")
            await client.wire.close()
        LIBRARY.SSL_SESSION_free(ticket)
