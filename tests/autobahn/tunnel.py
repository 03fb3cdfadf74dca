"""A tunnel from plain TCP into TLS: the fuzzing client speaks no TLS itself."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import trustme

# As much as the echo server reads at once.
READ_SIZE = 1 << 18

# The server waits two seconds at most for the end of those that it has closed.
END_S = 5


def make_certificate(directory: Path) -> tuple[list[str], ssl.SSLContext]:
    """Make a certificate; gives the server's options, and a context that trusts it."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = directory / "cert.pem", directory / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return ["--tls-cert", str(cert), "--tls-key", str(key)], context


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass everything on, up to the end."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(READ_SIZE):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def open_tunnel(host: str, port: int, context: ssl.SSLContext) -> AsyncIterator[str]:
    """Listen on a plain port, and give its host:port; what comes there goes to the TLS one."""

    tunnels: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tunnels.add(task)
        task.add_done_callback(tunnels.discard)
        far_reader, far_writer = await asyncio.open_connection(host, port, ssl=context)
        await asyncio.gather(forward(reader, far_writer), forward(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        near_host, near_port = server.sockets[0].getsockname()
        yield f"{near_host}:{near_port}"
    finally:
        server.close()
        if tunnels:
            await asyncio.wait(tunnels, timeout=END_S)
