"""The requests of a load on HTTP, and the first answer, with which the others are compared."""

import argparse
import contextlib
import http.client
import json
import ssl
import time

BROWSER_FIELDS = """\
Connection: keep-alive
Cache-Control: max-age=0
sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"
sec-ch-ua-mobile: ?0
sec-ch-ua-platform: "Linux"
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
Chrome/140.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Sec-Fetch-Site: same-origin
Sec-Fetch-Mode: navigate
Sec-Fetch-User: ?1
Sec-Fetch-Dest: document
Referer: http://localhost/articles/
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-GB,en;q=0.9,de;q=0.8
Cookie: session=3f2a9c51d8e74b06; theme=dark"""
"""What a browser sends beside Host."""
ANSWER_S = 10.0
"""A server that has just begun to listen may have its application to start before it answers."""


def make_document(size: int) -> bytes:
    """Make JSON of exactly so many bytes."""
    empty = json.dumps({"name": "sockwave", "text": ""})
    if size < len(empty):
        raise ValueError(f"expected a body of {len(empty)} bytes or more, given {size}")
    return json.dumps({"name": "sockwave", "text": "x" * (size - len(empty))}).encode()


def compose(options: argparse.Namespace) -> bytes:
    """Write the request that all clients send: GET, or POST where it has a body."""
    body = make_document(options.body) if options.body else b""
    lines = [f"{'POST' if body else 'GET'} {options.path} HTTP/1.1"]
    lines.append(f"Host: {options.host}:{options.port}")
    if options.browser:
        lines += BROWSER_FIELDS.splitlines()
    if options.close:
        lines = [line for line in lines if not line.startswith("Connection:")]
        lines.append("Connection: close")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def fetch(options: argparse.Namespace, request: bytes, context: ssl.SSLContext | None) -> bytes:
    """Send it once, and give the body of the answer; ValueError where its size is not --reply."""
    end = time.monotonic() + ANSWER_S
    while True:
        with contextlib.closing(connect(options, context)) as connection:
            try:
                connection.connect()
                connection.sock.sendall(request)
                with http.client.HTTPResponse(connection.sock) as response:
                    response.begin()
                    body = response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > end:
                    raise ValueError(f"no answer: {error!r}") from error
        time.sleep(0.05)
    if response.status != 200 or len(body) != options.reply:
        raise ValueError(
            f"expected 200 and {options.reply} bytes, got {response.status} and {len(body)}: "
            f"{body[:200]!r}"
        )
    return body


def connect(
    options: argparse.Namespace, context: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    if context is None:
        return http.client.HTTPConnection(options.host, options.port, timeout=ANSWER_S)
    return http.client.HTTPSConnection(
        options.host, options.port, timeout=ANSWER_S, context=context
    )
