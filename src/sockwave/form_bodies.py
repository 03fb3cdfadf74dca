"""The bodies that pages send for their forms: the URL Standard, section 5, and RFC 7578."""

from collections.abc import Callable
from typing import TypeAlias

from sockwave.errors import MalformedBody, Refused
from sockwave.forms import Form, refuse_count
from sockwave.multipart import MultipartForm
from sockwave.query import Params

Parser: TypeAlias = Callable[[bytes], Form]

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def find_parser(content_type: str, field_count: int) -> Parser:
    """Return what parses a body of this type; raise Refused (415) for any other than a form's."""
    if not isinstance(field_count, int) or isinstance(field_count, bool):
        raise TypeError(f"field_count: expected int, given {type(field_count).__name__}")
    if field_count < 1:
        raise ValueError(f"field_count: expected 1 or more, given {field_count}")
    kind = content_type.partition(";")[0].strip(" \t").lower()
    if kind == URLENCODED:
        return lambda body: _parse_urlencoded(body, field_count)
    if kind == MULTIPART:
        return MultipartForm(content_type, field_count).parse
    # RFC 9110, 15.5.16, and 12.5.1: what would be taken is said by Accept.
    sentence = f"expected a form: {URLENCODED} or {MULTIPART}\n"
    raise Refused(415, sentence, {"Accept": f"{URLENCODED}, {MULTIPART}"})


def _parse_urlencoded(body: bytes, field_count: int) -> Form:
    # Counted before anything is made of it.
    if body.count(b"&") >= field_count:
        raise refuse_count(field_count)
    try:
        # URL Standard, 5.1: the bytes are ASCII, what is not is percent-encoded UTF-8; what some
        # clients send unescaped is taken for UTF-8 as well.
        fields = Params(body.decode())
    except UnicodeDecodeError:
        raise MalformedBody("malformed form: expected UTF-8\n") from None
    return Form({name: fields.get_all(name) for name in fields})
