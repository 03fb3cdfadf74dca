"""HTTP/1.1 on the same port, up to the upgrade to a WebSocket: RFC 9110 and RFC 9112."""

from sockwave.core.http.headers import Headers
from sockwave.core.http.request import Request
from sockwave.core.http.request_head import RequestHead
from sockwave.core.http.response import Response
from sockwave.http.check import parse_head
from sockwave.http.serialize import serialize_response
from sockwave.query import Params

__all__ = [
    "Headers",
    "Params",
    "Request",
    "RequestHead",
    "Response",
    "parse_head",
    "serialize_response",
]
