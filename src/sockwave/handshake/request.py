"""What every version requires of the opening request: RFC 6455, section 4.2.1."""

from collections.abc import Sequence

from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.fields import is_host

# Real lists hold a few elements; a header block full of commas must not become as many objects.
_LIST_COUNT = 100


def split_list(values: Sequence[str], name: str) -> list[str]:
    """Return the elements of a comma-separated field that may be repeated: RFC 9110, 5.6.1."""
    value = values[0] if len(values) == 1 else ",".join(values)
    if value.count(",") >= _LIST_COUNT:
        raise Refused(400, f"{name}: expected at most {_LIST_COUNT} elements\n")
    # Only SP and HTAB are white space here; strip() alone would take 0x1C-0x1F, 0x85 and 0xA0 too.
    elements = [element.strip(" \t") for element in value.split(",")]
    return [element for element in elements if element]


def contains_token(values: Sequence[str], token: str, name: str) -> bool:
    """Tell whether a list field contains `token` (in lower case), compared without case."""
    if len(values) == 1 and values[0].lower() == token:
        return True
    return token in [element.lower() for element in split_list(values, name)]


def is_visible(text: str) -> bool:
    """Tell whether `text` is printable ASCII without a space."""
    return text.isascii() and text.isprintable() and " " not in text


def check_request(head: RequestHead) -> None:
    """Refuse a request that no version allows; bodies are checked for each version."""
    if head.method != "GET":
        raise Refused(400, "expected the method GET for an opening handshake\n")
    if head.http_version != "1.1":
        raise Refused(400, "expected HTTP/1.1 for an opening handshake\n")
    # RFC 6455, 4.2.1, would also take "an absolute HTTP/HTTPS URI". No client sends one but to a
    # proxy, and it would name a second host beside the Host header, so it is refused here.
    target = head.target
    if target[:1] != "/" or not target.isprintable() or " " in target:
        raise Refused(400, "expected a request target that starts with /\n")
    get_all = head.headers.get_all
    hosts = get_all("host")
    if len(hosts) != 1 or not is_host(hosts[0]):
        raise Refused(400, "expected exactly one Host header, of a host and its port\n")
    # 4.2.1: "An |Upgrade| header field containing the value "websocket", treated as an ASCII
    # case-insensitive value", and "A |Connection| header field that includes the token "Upgrade"".
    if not contains_token(get_all("upgrade"), "websocket", "Upgrade"):
        raise Refused(400, "expected Upgrade: websocket\n")
    if not contains_token(get_all("connection"), "upgrade", "Connection"):
        raise Refused(400, "expected Connection: Upgrade\n")


def check_no_body(head: RequestHead) -> None:
    """Refuse a body: a proxy might take the frames behind the request for that body."""
    headers = head.headers
    if "transfer-encoding" in headers or (
        "content-length" in headers and headers.get_all("content-length") != ["0"]
    ):
        raise Refused(400, "expected an opening handshake without a body\n")
