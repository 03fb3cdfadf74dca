"""Section 1J of the record: browsers as weapons, logs as targets, files, redirects and ids.

RFC 6455, section 10.2. There is no redirect of ours, and no message that announces how many are to
follow: what of the section is about those has nothing to attack here.
"""

import contextlib
import itertools
import os
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from http_wire import Answer, receive_answer
from reference import CLOSE, Frame, close_payload, serialize
from wire import KEY3, Wire, build_request, hixie_headers, upgrade_headers

import sockwave
from attacks import hosts
from attacks.conftest import Attack
from attacks.process import Victim

OWN = "http://example.com"
VERSIONS = pytest.mark.parametrize("version", [75, 76, 7, 8, 13])

# What a page of somebody else's can send, or what gets past a careless comparison with OWN.
STRANGERS = [
    None,
    "",
    "null",
    "http://evil.example",
    "http://example.com.evil.example",
    "http://evilexample.com",
    "http://example.com@evil.example",
    "http://evil.example#http://example.com",
    "http://evil.example/http://example.com",
    "http://sub.example.com",
    "http://example.com.",
    "http://example.com:8080",
    "http://example.com:443",
    "http://example.com:",
    "https://example.com",
    "file://",
    "http://localhost",
    "http://127.0.0.1",
    "http://[::1]",
    "http://example.com/",
    "http://example.com http://evil.example",
    "http://example.com, http://evil.example",
    "http://ex\xe4mple.com",
    "http://xn--exmple-cua.com",
    "http://ex%61mple.com",
    "http://example\u3002com".encode().decode("latin-1"),
    "http://\uff45xample.com".encode().decode("latin-1"),
    "http://ex\u0430mple.com".encode().decode("latin-1"),
    "http://example.com\0.evil.example",
    "http://example.com\x7f",
    "*",
    "same-origin",
    "http://*",
]
KNOWN = [OWN, "HTTP://EXAMPLE.COM", "http://Example.com:80"]


def opening(
    version: int, origin: str | None, *more: tuple[str, str], target: str = "/", host: str = ""
) -> bytes:
    """Give the opening request of a page, with the cookies that a browser adds."""
    headers = hixie_headers(version) if version > 70 else upgrade_headers(version)
    headers.pop("Origin", None)
    headers |= {"Host": host or "example.com", "Cookie": "session=theirs"}
    if origin is not None:
        headers["Sec-WebSocket-Origin" if version in (7, 8) else "Origin"] = origin
    return build_request([*headers.items(), *more], target=target) + KEY3 * (version == 76)


async def ask(victim: Victim, raw: bytes) -> Answer:
    """Send one request on a connection of its own, and give the answer."""
    async with await victim.open() as wire:
        wire.write(raw)
        return await receive_answer(wire)


# ---- pages of strangers --------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("policy", [OWN, [OWN, "https://other.example"], "same-origin"])
async def test_page_of_a_stranger_never_becomes_a_connection(
    attack: Attack, version: int, policy: Any
) -> None:
    async with attack(origin=policy) as victim:
        for origin in STRANGERS:
            # A frame behind the request would be heard if the refusal came late.
            async with await victim.open() as wire:
                wire.write(opening(version, origin) + b"\x81\x80\0\0\0\0")
                answer = await receive_answer(wire)
                assert answer.status in (400, 403), (origin, answer.head.raw)
                assert "sec-websocket-accept" not in answer.headers
                await wire.receive_end()
        assert (await victim.report()).opened == 0
        for origin in KNOWN:
            async with await victim.open() as wire:
                wire.write(opening(version, origin))
                assert (await wire.receive_head()).status == 101
        assert (await victim.report()).opened == len(KNOWN)


@VERSIONS
async def test_two_origins_are_none(attack: Attack, version: int) -> None:
    names = ["Origin", "origin"]
    if version in (7, 8):  # it means nothing in others
        names.append("Sec-WebSocket-Origin")
    async with attack(origin=OWN) as victim:
        for name, second in itertools.product(names, (OWN, "http://evil.example", "null", "")):
            for pairs in ([(name, second), (name, OWN)], [(name, OWN), (name, second)]):
                raw = opening(version, None, *pairs)
                assert (await ask(victim, raw)).status == 400
        assert (await victim.report()).opened == 0


@VERSIONS
async def test_page_that_was_rebound_to_our_address_is_a_stranger(
    attack: Attack, version: int
) -> None:
    # With DNS rebinding, Host and Origin agree, and neither is ours: a list knows that, and
    # "same-origin" cannot.
    async with attack(origin=OWN) as victim:
        raw = opening(version, "http://evil.example", host="evil.example")
        assert (await ask(victim, raw)).status == 403
        assert (await victim.report()).opened == 0


# ---- logs ----------------------------------------------------------------------------------------

# What would forge a line, hide one, or drive a terminal, if a log took it as it is.
FORGED = ["\r\nERROR forged", "\nforged", "\x1b[2J\x1b]0;forged\x07", "\x9b2J", "\x85forged"]
MORE_FORGED = ["\u2028forged", "\u202eforged", "\0"]


async def test_nothing_that_a_peer_sends_breaks_a_line_of_the_log(attack: Attack) -> None:
    async with attack(application=hosts.logging_all) as victim:
        for text in (*FORGED, *MORE_FORGED):
            raw = text.encode()
            quoted = urllib.parse.quote(raw)
            # As it is where it is let through, percent-encoded, and as obs-text.
            for said in (raw, quoted.encode(), bytes(byte | 0x80 for byte in raw)):
                for request in (
                    b"GET /log?%b HTTP/1.1\r\nHost: a\r\n\r\n" % said,
                    b"GET /log HTTP/1.1\r\nHost: a\r\nUser-Agent: %b\r\n\r\n" % said,
                    b"GET /log HTTP/1.1\r\nHost: a\r\nCookie: %b=a\r\n\r\n" % said,
                    b"GET /log HTTP/1.1\r\nHost: %b\r\n\r\n" % said,
                ):
                    assert (await ask(victim, request)).status in (200, 400)
        await victim.report()
        for line in victim.take_log():
            assert line.isprintable(), line


async def test_close_reason_of_a_peer_breaks_no_line_of_the_log(attack: Attack) -> None:
    async with attack(application=hosts.logging_all) as victim:
        for text in (*FORGED, *MORE_FORGED):
            async with await victim.connect(target="/log") as wire:
                wire.write(serialize(Frame(CLOSE, close_payload(1000, text))))
                await wire.receive_rest()
            # The application has tried to send, and has logged why it could not.
            assert [code for code, _ in await victim.closes()] == [1000]
            came, went = victim.take_log()
            assert "closed" in went
            assert (came + went).isprintable(), went


async def test_wrong_connections_are_not_worth_a_line_of_the_log(attack: Attack) -> None:
    async with attack() as victim:
        for wrong in (
            b"",
            b"\x16\x03\x01\0",
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            opening(13, OWN).replace(b"13", b"12"),
            opening(76, OWN).replace(b"Key1: 4", b"Key1: "),
            opening(13, OWN) + b"\xff\xff",
            opening(13, OWN) + b"\x81\x81\0\0\0\0\xff",
            opening(75, OWN) + b"\x80\xff\xff\xff\xff\xff\xff",
        ):
            for _ in range(50):
                async with await victim.open() as wire:
                    wire.write(wrong)
                    wire.write_eof()
                    with contextlib.suppress(ConnectionError):
                        await wire.receive_rest()
        await victim.report()
        assert not victim.take_log()


async def test_flood_of_connections_that_a_log_would_tell_is_told_in_a_few_lines(
    attack: Attack,
) -> None:
    async with attack(tls=True) as victim:
        for _ in range(100):
            async with await Wire.open(victim.tls_address) as wire:
                wire.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await wire.receive_end()
        await victim.report()
        lines = victim.take_log()
        assert 1 <= len(lines) <= 12
        assert all("plain HTTP" in line for line in lines)


# ---- files ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file in it, and beside it what must not be sent or waited for."""
    public = tmp_path / "public"
    public.mkdir()
    (public / "page.html").write_text("page")
    (public / "folder").mkdir()
    os.mkfifo(public / "fifo")
    (public / "zero").symlink_to("/dev/zero")
    (public / "tty").symlink_to("/dev/tty")
    (public / "loop").symlink_to("loop")
    (public / "gone").symlink_to("nowhere")
    return public


async def test_what_is_no_file_is_neither_sent_nor_waited_for(attack: Attack, folder: Path) -> None:
    async with attack(application=hosts.filing, folder=str(folder)) as victim:
        for name in (
            *("folder", "fifo", "zero", "tty", "loop", "gone", "", ".", "nothing"),
            *("page.html%00.png", "%00", "a" * 5000, "folder/../fifo", "%ED%A0%80"),
        ):
            answer = await ask(victim, f"GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert (answer.status, answer.body) == (404, b"no such file\n"), name
        answer = await ask(victim, b"GET /page.html HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.body == b"page"


RANGES = [
    ",".join(["0-"] * 5_000),
    ",".join(f"{i}-{i}" for i in range(2_000)),
    "0-0," * 5_000,
    "-" + "9" * 20_000,
    "9" * 20_000 + "-",
    "0-" + "9" * 20_000,
    "18446744073709551615-18446744073709551616",
    "-18446744073709551616",
    "-0",
    "3-2",
    "4-",
]


async def test_ranges_are_answered_with_the_file_once_at_most(attack: Attack, folder: Path) -> None:
    async with attack(application=hosts.filing, folder=str(folder)) as victim:
        for ranges in RANGES:
            raw = f"GET /page.html HTTP/1.1\r\nHost: a\r\nRange: bytes={ranges}\r\n\r\n"
            answer = await ask(victim, raw.encode())
            assert answer.status in (200, 206, 416), ranges[:20]
            assert answer.body in (b"page", b"")
            assert "multipart" not in answer.headers.get("content-type", "")


TRAVERSALS = [
    "/../chat.py",
    "/..%2fchat.py",
    "/%2e%2e/chat.py",
    "/%2e%2e%2fchat.py",
    "/%252e%252e/chat.py",
    "/..\\chat.py",
    "/page/../../chat.py",
    "/./chat.css",
    "//chat.css",
    "/chat.css/",
    "/chat.css%00.html",
    "/chat.css%2f..",
    "/page-secret",
    "/etc/passwd",
    "//etc/passwd",
    "/file:///etc/passwd",
    "/\\\\evil.example\\share",
]


async def test_chat_gives_out_its_four_files_and_nothing_else(attack: Attack) -> None:
    async with attack(application=hosts.chat, bystanders=0) as victim:
        for target in TRAVERSALS:
            answer = await ask(victim, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert (answer.status, answer.body[:12]) == (404, b"Nothing here"), target
        for target in ("/", "/chat.css", "/chat.js", "/chat.svg?..%2f"):
            raw = f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            assert (await ask(victim, raw)).status == 200


# ---- redirects, ids ------------------------------------------------------------------------------


ELSEWHERE = ["//evil.example", "//evil.example/..", "/\\evil.example", "/%5cevil.example", "/@e"]


@VERSIONS
async def test_no_handshake_makes_the_server_send_anybody_elsewhere(
    attack: Attack, version: int
) -> None:
    async with attack(application=hosts.silent) as victim:
        for target in ELSEWHERE:
            async with await victim.open() as wire:
                wire.write(opening(version, OWN, target=target))
                headers = (await wire.receive_head()).headers
                # The drafts' Location says where the client is already: our host, then its path.
                location = headers.get("sec-websocket-location", headers.get("websocket-location"))
                assert location == (f"ws://example.com{target}" if version > 70 else None)
                assert "location" not in headers


async def test_no_request_makes_the_server_send_anybody_elsewhere(attack: Attack) -> None:
    async with attack(application=hosts.silent) as victim:
        for target, method in itertools.product(ELSEWHERE, ("GET", "HEAD", "OPTIONS", "POST")):
            async with await victim.open() as wire:
                wire.write(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                answer = await receive_answer(wire, method=method)
                assert answer.status == 426
                assert not {"location", "refresh"} & answer.headers.keys()


def test_ids_are_said_to_be_no_secret() -> None:
    # They count upwards, which is fine for a name and not for a password.
    assert "no secret" in (sockwave.Connection.__doc__ or "")
