"""Where a body ends and what is in it (RFC 9112, sections 6 and 7): without a socket, and on it."""

import itertools
import re
import time
from collections.abc import Iterable

import pytest
from conftest import StartServer
from costs import Costs
from http_wire import receive_answer, receive_refusal
from hypothesis import example, given
from hypothesis import strategies as st
from wire import Wire

from sockwave import Refused, Request, Response
from sockwave.core.http.chunked import ChunkedDecoder
from sockwave.core.http.head import find_ordinary
from sockwave.http.semantics import parse_strictly
from sockwave.limits import Limits

h11 = pytest.importorskip("h11")

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BEHIND = b"GET /behind HTTP/1.1\r\n"


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def decode(pieces: Iterable[bytes], **limits: int) -> tuple[bytes, bytes] | None:
    """Give the content and what stands behind the body; None while it is not whole."""
    decoder = ChunkedDecoder(Limits(**limits))
    content = behind = b""
    for piece in pieces:
        found, size = decoder.decode(piece)
        content += found
        behind += piece[size:]
    return (content, behind) if decoder.is_done else None


WELL_FORMED = {
    "empty": (b"0\r\n\r\n", b""),
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "two chunks": (b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", b"hello!"),
    "hexadecimal size": (b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n", b"x" * 26),
    "upper-case size": (b"1A\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n", b"x" * 26),
    "leading zeros": (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "content like a chunk": (b"7\r\n0\r\n\r\nab\r\n0\r\n\r\n", b"0\r\n\r\nab"),
    "extension": (b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello"),
    "space around the extension": (b"5 \t; a = b\r\nhello\r\n0 ;c\r\n\r\n", b"hello"),
    "quoted extension": (b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', b"hello"),
    "extension with a quoted quote": (b'5;a="\\"; \\\\"\r\nhello\r\n0\r\n\r\n', b"hello"),
    "extension like a size line": (b'5;a="\t0 ;5"\r\nhello\r\n0\r\n\r\n', b"hello"),
    "extension with obs-text": (b'5;a="\xe9"\r\nhello\r\n0\r\n\r\n', b"hello"),
    "several extensions": (b'5;a;b=c;d="e"\r\nhello\r\n0;f;g=h\r\n\r\n', b"hello"),
    "space before an extension": (b"5 ;a\r\nhello\r\n0\r\n\r\n", b"hello"),
    "space behind the semicolon": (b"5; a\r\nhello\r\n0\r\n\r\n", b"hello"),
    "space around the equals sign": (b"5;a = b\r\nhello\r\n0\r\n\r\n", b"hello"),
    "white space wherever it may be": (
        b'5 \t; \ta\t =\t "b c" ; d\r\nhello\r\n0\t;\te = f\r\n\r\n',
        b"hello",
    ),
    "trailer": (b"0\r\nA: b\r\nC: d\r\n\r\n", b""),
}


@pytest.mark.parametrize(("raw", "content"), WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_chunked_body_is_decoded_and_ends_where_it_ends(raw: bytes, content: bytes) -> None:
    assert decode([raw]) == (content, b"")
    assert decode([raw + BEHIND]) == (content, BEHIND)
    assert decode(split(raw, range(len(raw)))) == (content, b"")
    for size in range(len(raw)):
        assert decode([raw[:size]]) is None


MALFORMED = {
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "size with prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size with sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "size with underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "space behind the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab behind the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "space amid the size": b"5 5\r\nhello\r\n0\r\n\r\n",
    "space before the size and an extension": b" 5;a\r\nhello\r\n0\r\n\r\n",
    "extension without its size": b";a\r\nhello\r\n0\r\n\r\n",
    "no semicolon before the extension": b"5 a\r\nhello\r\n0\r\n\r\n",
    "vertical tab before the extension": b"5\x0b;a\r\nhello\r\n0\r\n\r\n",
    "LF in a quoted extension": b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
    "CR in a quoted extension": b'5;a="\r"\r\nhello\r\n0\r\n\r\n',
    "quoted CR in an extension": b'5;a="\\\r\n"\r\nhello\r\n0\r\n\r\n',
    "DEL in an extension": b"5;a\x7f\r\nhello\r\n0\r\n\r\n",
    "non-ASCII size": b"\xb2\r\nhe\r\n0\r\n\r\n",
    "bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "bare LF in the extension": b"5;a\nhello\r\n0\r\n\r\n",
    "bare CR in the extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in the extension": b"5;a\0\r\nhello\r\n0\r\n\r\n",
    "size beyond 64 bits": b"10000000000000000\r\n",
    "content too long": b"5\r\nhelloX\r\n0\r\n\r\n",
    "content without CRLF": b"5\r\nhello0\r\n\r\n",
    "content with LF behind": b"5\r\nhello\n0\r\n\r\n",
    "content with CR X behind": b"5\r\nhello\rX0\r\n\r\n",
    "LF at the end": b"0\r\n\n",
    "trailer with space before colon": b"0\r\nA : b\r\n\r\n",
    "trailer without name": b"0\r\n: b\r\n\r\n",
    "trailer without colon": b"0\r\nA\r\n\r\n",
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "bare LF in a trailer": b"0\r\nA: b\nC: d\r\n\r\n",
    "bare CR in a trailer": b"0\r\nA: b\rC: d\r\n\r\n",
    "NUL in a trailer": b"0\r\nA: \0\r\n\r\n",
    "trailer Content-Length": b"0\r\nContent-Length: 5\r\n\r\n",
    "trailer Transfer-Encoding": b"0\r\nTransfer-Encoding: gzip\r\n\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_chunked_body_is_refused_with_400(raw: bytes) -> None:
    for pieces in ([raw], [raw + BEHIND], split(raw, range(len(raw)))):
        with pytest.raises(Refused) as caught:
            decode(pieces, body_size=2**63 - 1)
        assert caught.value.status == 400


def test_endless_size_line_is_refused() -> None:
    for raw in (b"0" * 300, b"5;" + b"a" * 300, b"5" + b" " * 300):
        for pieces in ([raw], split(raw, range(len(raw)))):
            with pytest.raises(Refused) as caught:
                decode(pieces)
            assert caught.value.status == 400


def test_body_at_its_limit_is_accepted_and_one_byte_more_is_413() -> None:
    assert decode([b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"], body_size=10)
    for raw in (b"5\r\nhello\r\n6\r\n", b"b\r\n", b"7fffffffffffffff\r\n"):
        with pytest.raises(Refused) as caught:
            decode([raw], body_size=10)
        assert caught.value.status == 413


def test_trailers_are_limited() -> None:
    field = b"A: b\r\n"
    assert decode([b"0\r\n" + field * 100 + b"\r\n"], header_count=100)
    with pytest.raises(Refused) as caught:
        decode([b"0\r\n" + field * 101 + b"\r\n"], header_count=100)
    assert caught.value.status == 431
    with pytest.raises(Refused):
        decode([b"0\r\nA: " + b"x" * 100_000], header_block_size=1000)
    with pytest.raises(Refused):
        decode([b"0\r\n" + (b"A: " + b"x" * 95 + b"\r\n") * 11], header_block_size=1000)


def test_flood_of_tiny_chunks_is_refused() -> None:
    assert decode([b"1\r\nx\r\n" * 4000 + b"0\r\n\r\n"])
    assert decode([b"10\r\n" + b"x" * 16 + b"\r\n"] * 20_000 + [b"0\r\n\r\n"])
    with pytest.raises(Refused) as caught:
        decode([b"1\r\nx\r\n" * 5000])
    assert caught.value.status == 400


def test_decoding_takes_time_in_proportion_to_the_input() -> None:
    def measure(count: int) -> float:
        raw = b"0\r\n" + b"A: b\r\n" * count
        pieces = split(raw, range(len(raw)))
        start = time.perf_counter()
        assert decode(pieces, header_count=10**9, header_block_size=10**9) is None
        return time.perf_counter() - start

    costs = Costs(4 * 2.5)
    while costs.are_in_doubt:
        costs.take(measure(3000), measure(12_000))
    assert costs.ratio < 4 * 2.5


@pytest.mark.parametrize(
    ("fields", "size"),
    [("A: b", 0), ("Content-Length: 0", 0), ("Content-Length: 005", 5)],
)
def test_length_of_a_body_is_its_content_length(fields: str, size: int) -> None:
    raw = f"POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n".encode()
    facts = parse_strictly(raw, Limits())
    assert (facts.body_size, facts.is_chunked) == (size, False)
    assert find_ordinary(raw) == (len(raw), size)


async def test_content_length_at_the_limit_is_accepted_and_one_more_is_413(
    start_server: StartServer,
) -> None:
    server = await start_server(body_size=10)

    @server.on("request")
    async def request(req: Request, res: Response) -> None:
        res.end(await req.body())

    for fields in (b"", b"Expect: 100-continue\r\n"):
        for size, status in ((10, 200), (11, 413)):
            async with await Wire.open(server.addresses[0]) as wire:
                head = b"POST / HTTP/1.1\r\nHost: a\r\n" + fields
                wire.write(head + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
                assert (await receive_answer(wire)).status == status


# ---- against another implementation ----


def read_by_h11(raw: bytes) -> tuple[bytes, bytes] | None:
    """Give the content and what stands behind the body, None if h11 refuses or waits for more."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(HEAD + raw)
    content = b""
    try:
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Data):
                content += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return content, peer.trailing_data[0]
            elif event is h11.NEED_DATA:
                return None
    except h11.RemoteProtocolError:
        return None


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.sampled_from([b"", b";a", b";a=b;c", b';a="b"', b"\t; a = b", b' ;a="; b"']),
    st.booleans(),
    st.binary(max_size=20),
    st.lists(st.integers(0, 300)),
)
def test_any_chunked_body_arrives_whole_however_it_is_cut(
    chunks: list[bytes], extension: bytes, upper: bool, behind: bytes, cuts: list[int]
) -> None:
    raw = b""
    for chunk in chunks:
        size = b"%X" % len(chunk) if upper else b"%x" % len(chunk)
        raw += size + extension + b"\r\n" + chunk + b"\r\n"
    raw += b"0\r\n\r\n"
    assert decode(split(raw + behind, cuts)) == (b"".join(chunks), behind)


@given(
    st.binary(max_size=4)
    | st.sampled_from([b"\r", b"\n", b"0", b";", b" ", b"\r\n", b"0\r\n\r\n"]),
    st.integers(0, 40),
    st.integers(0, 4),
    st.lists(st.integers(0, 60)),
)
@example(b"", 0, 0, [])
@example(b" ", 1, 0, [])
def test_what_is_accepted_of_a_damaged_body_is_what_h11_reads(
    junk: bytes, start: int, size: int, cuts: list[int]
) -> None:
    raw = b"5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\nGET"
    raw = raw[:start] + junk + raw[start + size :]
    try:
        found = decode(split(raw, cuts))
    except Refused:
        return
    if found is not None and found != read_by_h11(raw):
        # RFC 9112, 7.1.1, has optional white space before a semicolon, h11 has none.
        assert found == read_by_h11(re.sub(rb"(?m)^([0-9A-Fa-f]+)[ \t]+;", rb"\1;", raw))


# ---- on the wire ----


async def test_chunk_extensions_are_read_and_ignored_on_the_wire(start_server: StartServer) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: Request, res: Response) -> None:
        res.end(await req.body())

    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for slowly in (False, True):
        async with await Wire.open(server.addresses[0]) as wire:
            for raw, content in WELL_FORMED.values():
                if slowly:
                    await wire.write_slowly(HEAD + raw + get)
                else:
                    wire.write(HEAD + raw + get)
                assert (await receive_answer(wire)).body == content
                assert (await receive_answer(wire)).body == b""


async def test_malformed_chunk_extension_ends_the_connection(start_server: StartServer) -> None:
    server = await start_server()

    @server.on("request")
    async def request(req: Request, res: Response) -> None:
        res.end(await req.body())

    for name, raw in MALFORMED.items():
        if "extension" in name:
            async with await Wire.open(server.addresses[0]) as wire:
                wire.write(HEAD + raw + BEHIND)
                await receive_refusal(wire, 400)
