"""What a load is to do: made by the command, and read by the process that does it."""

import argparse
import json
import socket
from dataclasses import asdict, dataclass
from typing import Any

from sockwave.client.options import ClientOptions
from sockwave.client.uri import parse_uri


class Unreachable(Exception):  # noqa: N818  (says what is wrong)
    """The server cannot be connected to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One load, in values that JSON has."""

    uri: str
    mode: str
    address: str
    port: int
    authority: str
    path: str
    server_name: str
    is_secure: bool
    ca: str | None
    insecure: bool
    fields: list[tuple[str, str]]
    connections: int
    size: int
    depth: int
    binary: bool
    deflate: bool
    rate: int | None
    ramp: float
    warmup: float
    duration: float
    count: int | None
    timeout: float

    @property
    def tick(self) -> float:
        """Seconds between two reports of the load: a hundred of them, or so."""
        return min(max(self.duration / 100, 0.1), 1.0)

    def describe(self) -> dict[str, Any]:
        """Return what was asked for, for a report."""
        asked = asdict(self)
        for name in ("authority", "path", "server_name", "ca", "fields", "is_secure"):
            del asked[name]
        return asked

    def dump(self) -> str:
        """Return the plan as JSON."""
        return json.dumps(asdict(self))


def make_plan(chosen: argparse.Namespace) -> Plan:
    """Check the arguments, and find the address of the server, which has to take a connection.

    Raises ValueError for a wrong argument, Unreachable where nobody answers.
    """
    uri = parse_uri(chosen.uri)
    options = ClientOptions(
        headers=chosen.headers, origin=chosen.origin, subprotocol=chosen.subprotocol
    )
    fields = [*options.headers]
    if uri.authorization is not None:
        fields.append(("Authorization", uri.authorization))
    if options.origin is not None:
        fields.append(("Origin", options.origin))
    if options.subprotocols:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(options.subprotocols)))
    hosts = [value for name, value in fields if name.lower() == "host"]
    return Plan(
        uri=str(uri),
        mode=chosen.mode,
        address=find_address(uri.host, uri.port, chosen.timeout),
        port=uri.port,
        authority=hosts[-1] if hosts else uri.authority,
        path=uri.target,
        server_name=uri.host,
        is_secure=uri.is_secure,
        ca=chosen.ca,
        insecure=chosen.insecure,
        fields=[(name, value) for name, value in fields if name.lower() != "host"],
        connections=chosen.connections,
        size=chosen.size,
        depth=chosen.depth,
        binary=chosen.binary,
        deflate=chosen.deflate,
        rate=chosen.rate,
        ramp=chosen.ramp,
        warmup=chosen.warmup if chosen.mode in ("echo", "broadcast") else 0.0,
        duration=chosen.duration,
        count=chosen.count,
        timeout=chosen.timeout,
    )


def find_address(host: str, port: int, timeout: float) -> str:
    """Return the address at which a host answers."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            address: str = connection.getpeername()[0]
            return address
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unreachable(f"cannot connect to {host}:{port}: {reason}") from None


def read_plan(text: str) -> Plan:
    """Return the plan that `dump` has written."""
    return Plan(**json.loads(text))
