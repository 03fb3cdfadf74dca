"""Which address of a host is connected to: RFC 8305, sections 4 and 5."""

import asyncio
import socket
from typing import Any

import pytest
from commands import find_port

from sockwave.client import dialing
from sockwave.client.dialing import dial, order_addresses, read_literal


def info(address: str, port: int) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, 6, "", (address, port)


class Resolver:
    """Gives a host the addresses of a test, and counts who asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *found: tuple[Any, ...]) -> None:
        self.found = list(found)
        self.count = 0
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", self.resolve)

    async def resolve(self, host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
        self.count += 1
        return self.found


def test_families_take_turns_beginning_with_the_resolvers_first() -> None:
    found = [info("::1", 1), info("::2", 1), info("::3", 1), info("10.0.0.1", 1)]
    ordered = [one[4][0] for one in order_addresses(found)]
    assert ordered == ["::1", "10.0.0.1", "::2", "::3"]
    assert order_addresses(found[:1]) == found[:1]


def test_addresses_need_no_resolver() -> None:
    assert read_literal("127.0.0.1", 5)[0][4] == ("127.0.0.1", 5)
    assert read_literal("::1", 5)[0][4] == ("::1", 5, 0, 0)
    assert read_literal("example.com", 5) == read_literal("127.1", 5) == []


async def test_address_that_fails_is_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        Resolver(monkeypatch, info("127.0.0.1", find_port()), info("127.0.0.1", port))
        with await dial("example.com", port, None) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_address_that_does_not_answer_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY_S", 0.01)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        # Its queue is full: the kernel answers no more.
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            Resolver(monkeypatch, info("127.0.0.1", full.getsockname()[1]), info("127.0.0.1", port))
            with await dial("example.com", port, None) as sock:
                assert sock.getpeername() == ("127.0.0.1", port)
        for one in waiting:
            one.close()


async def test_all_that_failed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [find_port(), find_port()]
    Resolver(monkeypatch, *(info("127.0.0.1", port) for port in ports))
    with pytest.raises(OSError, match=r"all addresses failed: .*; ") as caught:
        await dial("example.com", 1, None)
    for port in ports:
        assert f"127.0.0.1:{port}" in str(caught.value)


async def test_no_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Resolver(monkeypatch)
    with pytest.raises(OSError, match=r"no address of example\.com was found"):
        await dial("example.com", 1, None)
