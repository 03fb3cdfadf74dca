"""Checks of a request head before it is used: RFC 9112, sections 2.2, 3, 5 and 6."""

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from sockwave.core.http.headers import Headers
from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.fields import is_host, is_token
from sockwave.limits import Limits, OverLimit
from sockwave.refusals import refuse_block, refuse_line

# 64 bits have at most 20 digits; the rest would only be leading zeros.
_LENGTH_DIGITS = 20

# The parser refuses methods that it does not know: it gets GET in place of all but these. CONNECT
# is one of them, as its target has a form that no other method's may have.
_PARSED_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


def parse_head(raw: bytes, limits: Limits) -> RequestHead:
    """Parse the head of a request, from its first byte to the empty line that ends it.

    Raises Refused for what is malformed, ambiguous or over a limit.
    """
    if not raw.endswith(b"\r\n\r\n"):
        raise Refused(400, "malformed request: expected an empty line at its end\n")
    line_size = raw.find(b"\r\n")
    if line_size > limits.request_line_size:
        raise refuse_line(limits)
    if len(raw) - line_size - 2 > limits.header_block_size:
        raise refuse_block(limits)
    # Counted before the fields are parsed, less the line ends of the request line and of the empty
    # line.
    if raw.count(b"\r\n") - 2 > limits.header_count:
        raise OverLimit("header_count", 431, f"more than {limits.header_count} header fields\n")
    lines = raw[:-4].decode("latin-1").split("\r\n")
    parts = _split_line(lines.pop(0))
    _run_parser(raw, parts[0])
    if "" in lines:
        raise Refused(400, "malformed request: expected one head\n")
    head = RequestHead(raw)
    headers = head.headers
    _check_host(head, headers)
    if parts[1][0] != "/" or "#" in parts[1] or parts[0] == "CONNECT":
        _check_target(head)
    if "transfer-encoding" in headers or "content-length" in headers:
        _check_framing(head, lines)
    return head


def _run_parser(raw: bytes, method: str) -> None:
    """Parse the whole head by llhttp in its strict mode; raise Refused if that fails.

    This refuses what the splitting in Python would accept: bare CR and LF, NUL and other control
    characters, folded lines, white space before a colon, names that are no tokens.
    """
    if method not in _PARSED_METHODS:
        raw = b"GET" + raw[len(method) :]
    try:
        HttpRequestParser(None).feed_data(raw)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise Refused(400, f"malformed request: {error}\n") from None


def _split_line(line: str) -> tuple[str, str, str]:
    """Return method, target and protocol; raise Refused for any other number of words."""
    # RFC 9112, 3: "A request-line begins with a method token, followed by a single space (SP), the
    # request-target, and another single space (SP)". A reader that accepts
    # more white space than that would see another target.
    parts = line.split(" ")
    # The parser skips a line feed in front, so the method is checked here.
    if len(parts) != 3 or not parts[1] or not is_token(parts[0]):
        raise Refused(400, "malformed request line: expected method, target and HTTP/1.1\n")
    method, target, protocol = parts
    if protocol not in ("HTTP/1.1", "HTTP/1.0"):
        if len(protocol) == 8 and protocol.startswith("HTTP/") and protocol[6] == ".":
            raise Refused(505, "expected HTTP/1.1 or HTTP/1.0\n")
        raise Refused(400, "malformed request line: expected HTTP/1.1 as the protocol\n")
    return method, target, protocol


def _check_host(head: RequestHead, headers: Headers) -> None:
    """Raise Refused unless there is exactly one well-formed Host; HTTP/1.0 may have none."""
    # RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    # request message that lacks a Host header field and to any request message that contains more
    # than one Host header field line or a Host header field with an invalid field value."
    host = headers.get("host")
    if host is None:
        if head.http_version == "1.1":
            raise Refused(400, "expected a Host header field\n")
    elif not is_host(host):
        raise Refused(400, "malformed Host header field\n")
    elif len(headers.get_all("host")) > 1:
        raise Refused(400, "expected one Host header field, given several\n")


def _check_target(head: RequestHead) -> None:
    """Raise Refused for a target that is neither a path nor one of its rarer forms."""
    method, target = head.method, head.target
    if method == "CONNECT":
        raise Refused(501, "CONNECT is not implemented\n")
    if "#" in target:
        raise Refused(400, "malformed target: it holds a fragment\n")
    if target[0] == "/" or (target == "*" and method == "OPTIONS"):
        return
    # RFC 9112, 3.2.2: absolute-form has to be accepted, and its authority counts instead of Host.
    # If the two differed, another reader of the request could take the other one: they must agree.
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise Refused(400, "malformed target: expected a path\n")
    authority = rest.partition("/")[0].partition("?")[0]
    if not is_host(authority):
        raise Refused(400, "malformed target: expected a host and its port behind ://\n")
    host = head.headers.get("host")
    if host is not None and host.lower() != authority.lower():
        raise Refused(400, "expected the same host in the target and in the Host header field\n")


def _check_framing(head: RequestHead, lines: list[str]) -> None:
    """Raise Refused unless all readers must agree on where the body ends (RFC 9112, 6.1-6.3)."""
    codings, lengths = [], []
    for line in lines:
        name, value = line.split(":", 1)
        name = name.lower()
        if name == "transfer-encoding":
            codings.append(value)
        elif name == "content-length":
            lengths.append(value)
    if len(codings) + len(lengths) > 1:
        raise Refused(400, "expected one Content-Length or Transfer-Encoding, given more\n")
    if codings:
        if head.http_version == "1.0":
            raise Refused(400, "expected no Transfer-Encoding in HTTP/1.0\n")
        # More white space than the usual single space is refused: it has been used to hide this
        # field from proxies.
        if codings[0].removeprefix(" ").lower() != "chunked":
            raise _refuse_codings(codings[0].lower())
    else:
        digits = lengths[0].removeprefix(" ")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _LENGTH_DIGITS):
            raise Refused(400, "malformed Content-Length: expected digits\n")


def _refuse_codings(value: str) -> Refused:
    """Return the refusal of a Transfer-Encoding, in lower case, that is not chunked alone."""
    *others, last = [coding.strip(" \t") for coding in value.split(",")]
    names = [coding.partition(";")[0].rstrip(" \t") for coding in others]
    if names and last == "chunked" and all(is_token(name) and name != last for name in names):
        # RFC 9112, 6.1: "A server that receives a request message with a transfer coding it does
        # not understand SHOULD respond with 501 (Not Implemented)."
        return Refused(501, "expected no Transfer-Encoding but chunked\n")
    # RFC 9112, 6.3: where "the chunked transfer coding is not the final encoding, the message body
    # length cannot be determined reliably; the server MUST respond with the 400 (Bad Request)
    # status code and then close the connection." 6.1: "A sender MUST NOT apply the chunked transfer
    # coding more than once to a message body".
    return Refused(400, "expected chunked as the Transfer-Encoding\n")
