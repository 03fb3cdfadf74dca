"""Requests as clients and attackers might send them: RFC 9112, and what is nearly that."""

import random

METHODS = [
    "GET",
    "GET",
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "OPTIONS",
    "DELETE",
    "FOO",
    "get",
    "M(",
    "CONNECT",
]
TARGETS = [
    "/",
    "/",
    "/a?b=c",
    "*",
    "http://a/",
    "http://b/x",
    "http://a:b:c/",
    "a",
    "//",
    "/%00",
    "/é",
    "/#f",
    "/a b",
]
PROTOCOLS = ["HTTP/1.1"] * 12 + [
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "http/1.1",
    "HTTP/1.1 ",
    "",
    "X",
]
LENGTHS = [
    "0",
    "5",
    "5",
    "05",
    "+5",
    "-5",
    "5_0",
    "0x5",
    " 5",
    "5 ",
    "5, 5",
    "\u0665",
    "",
    "5\t",
    "99999999",
]
CODINGS = [
    "chunked",
    "chunked",
    "Chunked",
    "xchunked",
    "chunked, identity",
    "chunked,chunked",
    "gzip, chunked",
    "gzip;q=1 , chunked",
    "chunked, gzip",
    " chunked",
    "identity",
    "\x0bchunked",
    "chunked;q=1",
    "",
]
FIELDS = [
    "A: b",
    "A:b",
    "A : b",
    " A: b",
    "A: b ",
    "A:\tb",
    "A",
    ": b",
    "A: \x01",
    "A: é",
    "A\x00: b",
    "A: b\x00c",
    "Host: a",
    "Host: b",
    "Host:",
    "Host: a b",
    "Host: a:b:c",
    "Host: [::1",
    "Host: a:99999999",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: Upgrade",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "A: b\r\n c",
    "A: b\n",
    "A: b\rc",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Cookie: a=b; c",
    "(A): b",
    "A_B: c",
    "É: b",
]
LINE_ENDS = ["\r\n"] * 40 + ["\n", "\r", "\r\r\n", "\n\r"]
CHUNKS = [
    "5\r\nhello\r\n0\r\n\r\n",
    "5;x=y\r\nhello\r\n0\r\n\r\n",
    '5 ; x = "y;z"\r\nhello\r\n0\r\n\r\n',
    "05\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "-5\r\n",
    "\r\n",
    "5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    "5\r\nhello\r\n0\r\nA b\r\n\r\n",
    "5\r\nhello\r\n00\r\n\r\n",
    "A\r\n0123456789\r\n0\r\n\r\n",
    "5;\r\nhello\r\n0\r\n\r\n",
    '5;a="\r\nhello\r\n0\r\n\r\n',
    "10000000000000000\r\n",
    "5\r\nhello\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "0\r\n \r\n\r\n",
    "0;\x00\r\n\r\n",
]


def make_requests(rng: random.Random) -> bytes:
    """Make one request or some, right or wrong, and then perhaps spoil a few bytes."""
    stream = b"".join(make_request(rng) for _ in range(rng.choice((1, 1, 2, 3))))
    if rng.random() < 0.3:
        spoiled = bytearray(stream)
        for _ in range(rng.choice((1, 1, 2))):
            place = rng.randrange(len(spoiled) + 1)
            kind = rng.randrange(3)
            if kind == 0 and place < len(spoiled):
                spoiled[place] = rng.choice((*b" \t\r\n:\0\x7f\xff,;", rng.randrange(256)))
            elif kind == 1:
                del spoiled[place : place + rng.choice((1, 1, 2, 4))]
            else:
                spoiled[place:place] = rng.choice((b" ", b"\r\n", b"\n", b":", b"\t", b"\0"))
        stream = bytes(spoiled)
    return stream


def make_request(rng: random.Random) -> bytes:
    """Make one request."""
    odd = rng.random() < 0.5
    method = rng.choice(METHODS if odd else METHODS[:6])
    target = rng.choice(TARGETS) if odd and rng.random() < 0.4 else rng.choice(TARGETS[:3])
    protocol = rng.choice(PROTOCOLS) if odd else "HTTP/1.1"
    fields = ["Host: a"] if rng.random() < 0.95 else []
    body = ""
    kind = rng.random()
    if kind < 0.25:
        fields.append(f"Content-Length: {rng.choice(LENGTHS) if odd else 5}")
        body = "hello"
    elif kind < 0.5:
        fields.append(f"Transfer-Encoding: {rng.choice(CODINGS) if odd else 'chunked'}")
        body = rng.choice(CHUNKS)
    fields += rng.sample(FIELDS, rng.choice((0, 0, 1, 2)) if odd else 0)
    rng.shuffle(fields)
    lines = [f"{method} {target} {protocol}", *fields, ""]
    end = rng.choice(LINE_ENDS) if rng.random() < 0.2 else "\r\n"
    head = "".join(line + (end if rng.random() < 0.3 else "\r\n") for line in lines)
    if rng.random() < 0.03:
        head = rng.choice(("\r\n", "\n", " ", "\r\n" * 5)) + head
    return (head + body).encode("utf-8", "replace")
