"""HTTP/1.1 on the same port, up to the upgrade to a WebSocket: RFC 9110 and RFC 9112."""

from sockwave.headers import Headers
from sockwave.http.check import parse_head
from sockwave.http.connection import HttpConnection
from sockwave.http.request import Request
from sockwave.http.response import Response
from sockwave.http.serialize import serialize_response
from sockwave.request_head import Params, RequestHead

__all__ = [
    "Headers",
    "HttpConnection",
    "Params",
    "Request",
    "RequestHead",
    "Response",
    "parse_head",
    "serialize_response",
]
