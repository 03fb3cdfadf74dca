"""The request head: what is accepted, what it says, and what is refused (RFC 9112, 2 to 6)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sockwave import Refused
from sockwave.http import Headers, RequestHead, parse_head
from sockwave.http.semantics import expects_continue, keeps_alive
from sockwave.limits import Limits

h11 = pytest.importorskip("h11")

LIMITS = Limits()
LINE = "GET / HTTP/1.1"


def head(*fields: str | bytes, line: str | bytes = LINE, host: str | None = "example.com") -> bytes:
    """Give a request head; fields are header lines without their line ends."""
    lines = [line, *([f"Host: {host}"] if host is not None else []), *fields, "", ""]
    return b"\r\n".join(x if isinstance(x, bytes) else x.encode("latin-1") for x in lines)


def parse(raw: bytes, **limits: int) -> RequestHead:
    return parse_head(raw, Limits(**limits))


def refusal(raw: bytes, **limits: int) -> int:
    """Give the status with which a head is refused."""
    with pytest.raises(Refused) as caught:
        parse(raw, **limits)
    assert caught.value.body.endswith(b"\n")
    return caught.value.status


# ---- what a head says ----


def test_head_gives_method_target_and_version() -> None:
    request = parse(head(line="POST /a/b%20c?x=1&y=2 HTTP/1.0"))
    assert (request.method, request.target) == ("POST", "/a/b%20c?x=1&y=2")
    assert (request.path, request.query, request.http_version) == ("/a/b%20c", "x=1&y=2", "1.0")


def test_head_made_of_raw_bytes_alone_says_the_same() -> None:
    parsed = parse(head("Cookie: a=b", "X: y", line="GET /p?q=1 HTTP/1.1"))
    again = RequestHead(parsed.raw)
    for name in ("method", "target", "path", "query", "http_version", "cookies", "origin"):
        assert getattr(again, name) == getattr(parsed, name)
    assert again.headers.items() == parsed.headers.items()
    assert dict(again.params) == {"q": "1"}


def test_only_the_first_question_mark_begins_the_query() -> None:
    assert parse(head(line="GET /?a?b HTTP/1.1")).query == "a?b"


def test_params_are_decoded_and_the_last_one_counts() -> None:
    params = parse(head(line="GET /?a=1&b=x+y%C3%A9&a=2&empty=&bare HTTP/1.1")).params
    assert params["a"] == "2"
    assert params.get_all("a") == ["1", "2"]
    assert params["b"] == "x yé"
    assert params["empty"] == params["bare"] == ""
    assert list(params) == ["a", "b", "empty", "bare"]
    assert len(params) == 4
    assert params.get_all("none") == []
    assert "none" not in params
    assert params.get("none") is None


def test_params_and_cookies_are_read_once() -> None:
    request = parse(head("Cookie: a=1", line="GET /?b=2 HTTP/1.1"))
    assert request.params is request.params
    assert request.cookies is request.cookies
    assert repr(request.params) == "Params({'b': ['2']})"


def test_params_of_malformed_escapes_do_not_raise() -> None:
    assert parse(head(line="GET /?a=%zz&b=%ff HTTP/1.1")).params["b"] == "\ufffd"


def test_cookies_are_read_from_all_cookie_fields() -> None:
    cookies = parse(head('Cookie: a=1; b="two"; a=late', "Cookie: c=x=y; ; junk; =z")).cookies
    assert cookies == {"a": "1", "b": "two", "c": "x=y"}


def test_origin_is_found_under_both_of_its_names() -> None:
    assert parse(head()).origin is None
    assert parse(head("Origin: http://a")).origin == "http://a"
    assert parse(head("Sec-WebSocket-Origin: http://b")).origin == "http://b"


def test_absolute_form_gives_the_path_of_its_target() -> None:
    for target, path in {
        "http://example.com/a?b": "/a",
        "HTTPS://EXAMPLE.com/": "/",
        "http://example.com": "/",
        "http://example.com?b": "/",
    }.items():
        request = parse(head(line=f"GET {target} HTTP/1.1"))
        assert (request.target, request.path) == (target, path)
        assert request.query == ("b" if "b" in target else "")


def test_options_may_ask_about_the_whole_server() -> None:
    assert parse(head(line="OPTIONS * HTTP/1.1")).path == "*"


def test_repr_of_a_head_is_one_harmless_line() -> None:
    assert repr(parse(head(line="GET /%1b'x HTTP/1.1"))) == '<RequestHead GET "/%1b\'x">'


# ---- headers ----


def test_headers_are_found_without_regard_to_case() -> None:
    headers = parse(head("X-One: 1", "x-one:2", "X-Two: \t z \t")).headers
    assert headers["x-ONE"] == headers.get("X-one") == "1"
    assert headers.get_all("X-ONE") == ["1", "2"]
    assert headers["x-two"] == "z"
    assert "HOST" in headers
    assert headers.items() == [
        ("Host", "example.com"),
        ("X-One", "1"),
        ("x-one", "2"),
        ("X-Two", "z"),
    ]
    assert list(headers) == ["Host", "X-One", "X-Two"]
    assert len(headers) == 3


def test_a_header_that_is_not_there_is_a_key_error_or_the_default() -> None:
    headers = parse(head()).headers
    with pytest.raises(KeyError):
        headers["none"]
    assert headers.get("none") is None
    assert headers.get("none", 7) == 7
    assert headers.get_all("none") == []
    assert "none" not in headers
    assert 7 not in headers


def test_header_values_are_latin_1_and_may_be_empty() -> None:
    headers = parse(head(b"X: caf\xe9", "Empty:", "Blank:  ")).headers
    assert headers["x"] == "caf\xe9"
    assert headers["empty"] == headers["blank"] == ""


def test_headers_can_be_made_of_pairs() -> None:
    headers = Headers([("A", "1"), ("a", "2")])
    assert headers.get_all("A") == ["1", "2"]
    assert repr(headers) == "Headers([('A', '1'), ('a', '2')])"


def test_headers_become_a_dict_of_first_values() -> None:
    headers = Headers([("A", "1"), ("b", "2"), ("a", "3")])
    assert dict(headers) == {"A": "1", "b": "2"}
    assert headers.keys() == ["A", "b"]
    assert headers.values() == ["1", "2", "3"]


def test_list_fields_give_their_tokens_over_all_lines() -> None:
    headers = parse(head("Connection: Keep-Alive, ,UPGRADE", "Connection: x")).headers
    assert headers.get_tokens("connection") == ["keep-alive", "upgrade", "x"]
    assert headers.get_tokens("none") == []
    assert parse(head("A: " + "," * 30_000 + "b")).headers.get_tokens("a") == []


@pytest.mark.parametrize(
    ("line", "field", "kept"),
    [
        (LINE, "A: b", True),
        (LINE, "Connection: close", False),
        (LINE, "Connection: x, CLOSE", False),
        ("GET / HTTP/1.0", "A: b", False),
        ("GET / HTTP/1.0", "Connection: Keep-Alive", True),
        ("GET / HTTP/1.0", "Connection: keep-alive, close", False),
    ],
)
def test_persistence_is_as_section_9_3_says(line: str, field: str, *, kept: bool) -> None:
    assert keeps_alive(parse(head(field, line=line))) is kept


def test_an_expectation_is_known_or_refused() -> None:
    assert expects_continue(parse(head("Expect: 100-Continue")))
    assert not expects_continue(parse(head()))
    assert not expects_continue(parse(head("Expect: 100-continue", line="PUT / HTTP/1.0")))
    with pytest.raises(Refused) as caught:
        expects_continue(parse(head("Expect: a-miracle")))
    assert caught.value.status == 417


# ---- what is refused ----

MALFORMED = {
    "obs-fold": head("A: b", " c"),
    "obs-fold with tab": head("A: b", "\tc: d"),
    "fold behind the request line": head(" A: b"),
    "space before colon": head("A : b"),
    "tab before colon": head("A\t: b"),
    "space in name": head("A b: c"),
    "no colon": head("A"),
    "empty name": head(": a"),
    "bare LF between fields": head("A: b\nC: d"),
    "bare LF at the end of a field": head("A: b\n"),
    "bare LF behind the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare CR in a value": head("A: b\rC: d"),
    "CR CR LF": head("A: b\r"),
    "NUL in a value": head("A: b\0c"),
    "NUL in a name": head("A\0: c"),
    "DEL in a value": head("A: \x7f"),
    "vertical tab in a value": head("A: \x0b"),
    "non-ASCII name": head(b"\xc3\xa9: a"),
    "no Host": head(host=None),
    "empty Host": head(host=""),
    "two Hosts": head("Host: example.com"),
    "two different Hosts": head("hOST: other"),
    "Host with a path": head(host="a/b"),
    "Host with a space": head(host="a b"),
    "Host with user": head(host="me@a"),
    "Host with quote": head(host='a"'),
    "Host with non-ASCII": head(b"Host: \xe9", host=None),
    "Host of two ports": head(host="a:b:c"),
    "Host with a port that is no number": head(host="a:b"),
    "Host with a port over 65535": head(host="a:99999999"),
    "Host of a port alone": head(host=":80"),
    "Host with an open bracket": head(host="[::1"),
    "Host that is no IPv6 address": head(host="[1::2::3]"),
    "Host of a later version of IP": head(host="[v1.a]"),
    "Host with a percent sign": head(host="a%2"),
    "wrong Host in HTTP/1.0": head(host="a:b", line="GET / HTTP/1.0"),
    "two Hosts in HTTP/1.0": head("Host: a", line="GET / HTTP/1.0"),
    "CL and TE": head("Content-Length: 5", "Transfer-Encoding: chunked"),
    "TE and CL": head("Transfer-Encoding: chunked", "Content-Length: 5"),
    "CL twice": head("Content-Length: 5", "content-length: 5"),
    "CL twice, different": head("Content-Length: 5", "Content-Length: 6"),
    "TE twice": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "TE in HTTP/1.0": head("Transfer-Encoding: chunked", line="POST / HTTP/1.0"),
    **{
        f"TE {value!r}": head(f"Transfer-Encoding:{value}")
        for value in (
            "",
            " ",
            " xchunked",
            " chunkedx",
            " chunked, identity",
            " chunked, gzip",
            " gzip, identity",
            " chunked,chunked",
            " chunked, chunked",
            " Chunked, CHUNKED",
            " gzip, chunked, chunked",
            " chunked, gzip, chunked",
            " chunked;a=b, chunked",
            " gzip, chunked;a=b",
            " gzip,, chunked",
            " gz ip, chunked",
            " chunked,",
            " ,chunked",
            "  chunked",
            "\tchunked",
            " chunked ",
            " chunked;a=b",
            ' "chunked"',
            " identity",
            " gzip",
            " chunk",
            "\x0bchunked",
        )
    },
    **{
        f"CL {value!r}": head(b"Content-Length:" + value)
        for value in (
            b"",
            b" ",
            b" +5",
            b" -5",
            b" -1234567890123456789012345",
            b" 5_0",
            b" 0x5",
            b"  5",
            b"\t5",
            b" 5 ",
            b" 5, 5",
            b" 5,5",
            b" 5 5",
            b" 5;",
            b" 5.0",
            b" abc",
            b" \xb2",
            b" \xd9\xa5",
            b" 99999999999999999999999",
        )
    },
    "no words": b"\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no version": head(line="GET / "),
    "two spaces before the target": head(line="GET  / HTTP/1.1"),
    "two spaces behind the target": head(line="GET /  HTTP/1.1"),
    "space at the end of the line": head(line="GET / HTTP/1.1 "),
    "space at the start of the line": head(line=" GET / HTTP/1.1"),
    "tab for a space": head(line="GET\t/ HTTP/1.1"),
    "space in the target": head(line="GET /a b HTTP/1.1"),
    "another protocol": head(line="GET / ICE/1.0"),
    "lower-case protocol": head(line="GET / http/1.1"),
    "method with a control character": head(line="G\x01T / HTTP/1.1"),
    "method with a byte of no token": head(line="FO(O) / HTTP/1.1"),
    "unknown method and a malformed field": head("A : b", line="FOO / HTTP/1.1"),
    "unknown method and a NUL": head("A: b\0", line="FOO / HTTP/1.1"),
    "unknown method and a bare LF": head("A: b\nC: d", line="purge / HTTP/1.1"),
    "unknown method and a fold": head("A: b", " c", line="purge / HTTP/1.1"),
    "star for an unknown method": head(line="FOO * HTTP/1.1"),
    "version of one digit": head(line="GET / HTTP/1"),
    "version of too many digits": head(line="GET / HTTP/1.10"),
    "relative target": head(line="GET a HTTP/1.1"),
    "star for GET": head(line="GET * HTTP/1.1"),
    "fragment": head(line="GET /a#b HTTP/1.1"),
    "target of another scheme": head(line="GET ftp://example.com/ HTTP/1.1"),
    "target without authority": head(line="GET http:///a HTTP/1.1"),
    "target that contradicts Host": head(line="GET http://other/ HTTP/1.1"),
    "target with user": head(line="GET http://me@example.com/ HTTP/1.1"),
    **{
        f"target with {authority!r}": head(
            *host, line=f"GET http://{authority}/ {protocol}", host=None
        )
        for authority in ("", ":80", "a:b:c", "[::1", "a:99999999", "me@a", "a%2", "a\\b")
        for protocol, *host in (("HTTP/1.1", f"Host: {authority}"), ("HTTP/1.0",))
    },
    "non-ASCII target": head(line=b"GET /\xc3\xa9 HTTP/1.1"),
    "two heads": head() + head(),
    "cut short": head()[:-2],
    "nothing": b"",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_head_is_refused_with_400(raw: bytes) -> None:
    assert refusal(raw) == 400


def test_other_versions_of_http_are_refused_with_505() -> None:
    for version in ("2.0", "0.9", "1.2", "3.0"):
        assert refusal(head(line=f"GET / HTTP/{version}")) == 505


def test_connect_is_refused_with_501() -> None:
    for target in ("example.com:80", "/", "//", "http://a/", "/#"):
        assert refusal(head(line=f"CONNECT {target} HTTP/1.1")) == 501, target


def test_http_1_0_needs_no_host() -> None:
    assert parse(head(line="GET / HTTP/1.0", host=None)).http_version == "1.0"
    assert parse(head(line="OPTIONS / HTTP/1.0", host=None)).method == "OPTIONS"
    assert parse(head(line="OPTIONS * HTTP/1.0", host=None)).path == "*"
    assert parse(head(line="GET http://a:80/b HTTP/1.0", host=None)).path == "/b"


@pytest.mark.parametrize(
    "method",
    [
        "FOO",
        "get",
        "purge",
        "M-SEARCH",
        "PRI",
        "SOURCE",
        "DESCRIBE",
        "QUERY",
        "1",
        "!#$%&'*+-.^_`|~",
        "X" * 500,
    ],
)
def test_any_token_is_a_method(method: str) -> None:
    for line in ("/a?b", "http://example.com/a?b"):
        request = parse(head("A: b", line=f"{method} {line} HTTP/1.1"))
        assert (request.method, request.path, request.query) == (method, "/a", "b")
        assert request.headers["a"] == "b"
    request = parse(head("Transfer-Encoding: chunked", line=f"{method} / HTTP/1.1"))
    assert request.headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize(
    "value",
    [
        "gzip, chunked",
        "gzip,chunked",
        "identity, chunked",
        "gzip , Chunked",
        "gzip;a=b, chunked",
        "a, b, chunked",
    ],
)
def test_another_coding_before_chunked_is_501(value: str) -> None:
    # RFC 9112, 6.1: "A server that receives a request message with a transfer coding it does not
    # understand SHOULD respond with 501 (Not Implemented)."
    assert refusal(head(f"Transfer-Encoding: {value}")) == 501
    assert refusal(head(f"Transfer-Encoding: {value}", line="POST / HTTP/1.0")) == 400
    assert refusal(head(f"Transfer-Encoding: {value}", "Content-Length: 5")) == 400


@pytest.mark.parametrize(
    "host", ["a", "a:80", "[::1]:80", "127.0.0.1", "a_b.c-d", "xn--e1a", "a:", "a%2Fb", "a:65535"]
)
def test_host_may_be_any_authority(host: str) -> None:
    assert parse(head(host=host)).headers["host"] == host


@pytest.mark.parametrize("value", ["chunked", "Chunked", "CHUNKED"])
def test_chunked_is_accepted_in_any_case(value: str) -> None:
    assert parse(head(f"Transfer-Encoding: {value}")).headers["transfer-encoding"] == value
    assert parse(head(f"Transfer-Encoding:{value}"))


def test_request_line_at_its_limit_is_accepted_and_one_byte_more_is_414() -> None:
    line = "GET /" + "a" * 86 + " HTTP/1.1"
    assert len(line) == 100
    assert parse(head(line=line), request_line_size=100)
    assert refusal(head(line=line), request_line_size=99) == 414


def test_header_count_at_its_limit_is_accepted_and_one_more_is_431() -> None:
    fields = [f"H{i}: x" for i in range(99)]
    assert parse(head(*fields), header_count=100)
    assert refusal(head(*fields, "A: b"), header_count=100) == 431
    assert refusal(head(*["A: b"] * 10_000), header_block_size=1 << 20) == 431


def test_header_block_at_its_limit_is_accepted_and_one_byte_more_is_431() -> None:
    raw = head("A: " + "x" * 100)
    size = len(raw) - len(LINE) - 2
    assert parse(raw, header_block_size=size)
    assert refusal(raw, header_block_size=size - 1) == 431


@pytest.mark.parametrize("place", ["method", "target", "protocol", "name", "value", "host"])
def test_every_byte_in_every_place_is_accepted_or_refused(place: str) -> None:
    accepted = set()
    for byte in range(256):
        one = bytes([byte])
        raw = {
            "method": head(line=b"G" + one + b"T / HTTP/1.1"),
            "target": head(line=b"GET /a" + one + b"b HTTP/1.1"),
            "protocol": head(line=b"GET / HTTP/1." + one),
            "name": head(b"A" + one + b"B: c"),
            "value": head(b"A: b" + one + b"c"),
            "host": head(b"Host: a" + one + b"1", host=None),
        }[place]
        request = accepts(raw)
        if request is not None:
            accepted.add(byte)
            assert request.headers.items()
            assert request.path
            assert dict(request.params) is not None
            assert isinstance(request.cookies, dict)
    visible = set(range(0x21, 0x7F))
    expected = {
        "method": visible - set(b'"(),/:;<=>?@[\\]{}'),
        "target": visible - {ord("#")},
        "protocol": {ord("0"), ord("1")},
        # A colon ends the name.
        "name": visible - set(b'"(),/;<=>?@[\\]{}'),
        "value": {0x09, 0x20} | visible | set(range(0x80, 0x100)),
        # A colon begins the port.
        "host": visible - set(b'"#%/<>?@[\\]^`{|}'),
    }
    assert accepted == expected[place]


# ---- against another implementation ----

FIELDS = st.sampled_from(
    [
        b"Host: example.com",
        b"Host: a/b",
        b"Host: a:b:c",
        b"Host:",
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"Content-Length:5",
        b"Content-Length:  5",
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: Chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b" folded: x",
        b"Connection: close",
        b"Expect: 100-continue",
        b"X: \x80\xff",
        b"X: \0",
        b"X: a\rb",
        b"X: a\nb",
        b"X:",
        b": x",
        b"X",
    ]
)
METHODS = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"get", b"BREW", b"G T", b"G(T", b""])
TARGETS = st.sampled_from(
    [b"/", b"/a?b#c", b"*", b"http://example.com/", b"http://x/", b"a", b"", b"/ ", b"/\xff", b"//"]
)
PROTOCOLS = st.sampled_from(
    [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.1 ", b"X"]
)
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\n\r"])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Give heads with few faults or many."""
    if draw(st.booleans()):
        method, target, protocol = b"POST", b"/", b"HTTP/1.1"
    else:
        method, target, protocol = draw(METHODS), draw(TARGETS), draw(PROTOCOLS)
    raw = b" ".join((method, target, protocol)) + draw(ENDS)
    fields = draw(st.lists(FIELDS, max_size=4))
    if draw(st.booleans()):
        fields.insert(0, b"Host: example.com")
    for field in fields:
        raw += field + draw(ENDS)
    return raw + b"\r\n"


def accepts(raw: bytes) -> RequestHead | None:
    try:
        return parse(raw)
    except Refused:
        return None


def read_by_h11(raw: bytes) -> tuple[bytes, bytes, bool] | None:
    """Give method, target and whether there is a body; None when h11 refuses the request."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(raw)
    try:
        event = peer.next_event()
        if not isinstance(event, h11.Request):
            return None
        return event.method, event.target, not isinstance(peer.next_event(), h11.EndOfMessage)
    except h11.RemoteProtocolError:
        return None


def is_stricter(raw: bytes) -> bool:
    """Tell whether a head has one of the faults that h11 lets pass and we do not."""
    line, _, block = raw.partition(b"\r\n")
    fields = block.lower().split(b"\r\n")
    names = [field.partition(b":")[0].strip() for field in fields]
    method, _, target = line.rpartition(b" ")[0].partition(b" ")
    return (
        raw.count(b"\n") != raw.count(b"\r\n")  # bare LF
        or raw.count(b"\r") != raw.count(b"\r\n")
        or any(field[:1] in (b" ", b"\t") for field in fields)  # obs-fold
        or names.count(b"content-length") + names.count(b"transfer-encoding") > 1
        or b"content-length:  5" in fields
        or b"content-length: 5, 5" in fields
        or (b"transfer-encoding" in names and not line.endswith(b"HTTP/1.1"))
        or b"host: a/b" in fields
        or b"host: a:b:c" in fields
        or b"host:" in fields
        or not line.endswith((b" HTTP/1.0", b" HTTP/1.1"))
        or b"#" in target
        or b"\xff" in target
        or (target == b"*" and method != b"OPTIONS")
        or not target.startswith((b"/", b"*", b"http://example.com/"))
        or (target.startswith(b"http") and b"host" not in names)
    )


@given(heads())
@example(head("Content-Length: 5"))
@example(head("Transfer-Encoding: chunked"))
def test_what_is_accepted_is_what_h11_accepts_and_understands_the_same(raw: bytes) -> None:
    request, expected = accepts(raw), read_by_h11(raw)
    if request is None:
        assert expected is None or is_stricter(raw)
    else:
        assert expected is not None
        has_body = (
            "transfer-encoding" in request.headers
            or request.headers.get("content-length", "0") != "0"
        )
        assert (request.method.encode(), request.target.encode("latin-1"), has_body) == expected


@example(b"\n", 0, 0)
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_any_bytes_anywhere_are_accepted_or_refused(junk: bytes, start: int, size: int) -> None:
    raw = head("Content-Length: 5", "Cookie: a=b", line="POST /a?b=c HTTP/1.1")
    raw = raw[:start] + junk + raw[start + size :]
    request = accepts(raw)
    if request is not None:
        assert read_by_h11(raw) is not None
        assert request.path.startswith("/")
