"""Answers to requests that no route, no listener and no application takes."""

import logging

from sockwave.errors import Refused
from sockwave.handshake.refusal import Refusal
from sockwave.http import Request, Response
from sockwave.http.semantics import has_known_method
from sockwave.log import peers
from sockwave.options import Options

_PLAIN_TEXT = {"Content-Type": "text/plain; charset=utf-8"}

# RFC 9110, 15.5.22: "The server MUST send an Upgrade header field in a 426 response".
_UPGRADE_HEADERS = {"Upgrade": "websocket", **_PLAIN_TEXT}


def answer_without_page(response: Response) -> None:
    """Answer a request of a server that has pages, and none at this path."""
    response.write_head(404, _PLAIN_TEXT)
    response.end("there is no such page\n")


def answer_without_upgrade(request: Request, response: Response, options: Options) -> None:
    """Answer a request of a server that has nothing but WebSockets at this path."""
    if not has_known_method(request):
        # RFC 9110, 9.1: "An origin server that receives a request method that is unrecognized
        # or not implemented SHOULD respond with the 501 (Not Implemented) status code."
        response.write_head(501, _PLAIN_TEXT)
        response.end("this is a WebSocket server: expected the method GET\n")
        return
    if _has_lost_upgrade(request) and peers.is_on(logging.INFO):
        _log_lost_upgrade(request, options)
    response.write_head(426, _UPGRADE_HEADERS)
    response.end("this is a WebSocket server: expected a request to upgrade\n")


def _has_lost_upgrade(request: Request) -> bool:
    """Tell whether a request without Upgrade has the key of an opening handshake."""
    headers = request.headers
    return "sec-websocket-key" in headers or "sec-websocket-key1" in headers


def _log_lost_upgrade(request: Request, options: Options) -> None:
    """Log, for the operator, a handshake whose Upgrade header a proxy has probably removed."""
    refused = Refused(426, "no Upgrade: websocket, which a proxy may have taken out")
    detail = Refusal(
        refused,
        request,
        options.origin,
        version=None,
        secure=request.is_secure,
        host=None,
    )
    peers.info("the handshake of %s is refused with 426: %s", request, detail)
