"""The scopes of requests and of WebSockets: what an application is told when it is called."""

from typing import Any
from urllib.parse import quote

from sockwave.address import Address
from sockwave.asgi.application import Application, Scope
from sockwave.asgi.tls import describe_tls
from sockwave.core.asgi.scope import ScopeTemplate
from sockwave.core.http.request_head import RequestHead
from sockwave.core.session.connection import Connection
from sockwave.handshake import read_subprotocols
from sockwave.tls_info import TLSInfo

#: RFC 3986, 3.3: what may stand in a path besides unreserved characters.
_PATH_CHARACTERS = "/!$&'()*+,;=:@"


def make_http_template(application: Application) -> ScopeTemplate:
    """Return what the scopes of all requests to an application have in common."""
    extensions: dict[str, Any] = {
        "sockwave": application.topics,
        "http.response.pathsend": {},
        "http.response.zerocopysend": {},
    }
    # RFC 9110, 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client", and without
    # chunks there is no place for trailers.
    newer = {**extensions, "http.response.early_hint": {}, "http.response.trailers": {}}
    common = {"type": "http", "scheme": "http", "method": "GET"}
    return _make_template(application, common, "https", newer, extensions)


def make_websocket_template(application: Application) -> ScopeTemplate:
    """Return what the scopes of all WebSockets of an application have in common."""
    common = {"type": "websocket", "scheme": "ws"}
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    return _make_template(application, common, "wss", extensions, extensions)


def _make_template(
    application: Application,
    common: dict[str, Any],
    secure_scheme: str,
    extensions: dict[str, Any],
    old_extensions: dict[str, Any],
) -> ScopeTemplate:
    # ASGI, HTTP, 2.4: `path` holds `root_path`. The option stands for what a proxy has taken away,
    # and is put back.
    added = application.root_path
    common |= {
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "root_path": added + application.prefix,
    }
    added_raw = quote(added, safe=_PATH_CHARACTERS).encode()
    state = application.lifespan.state
    return ScopeTemplate(common, secure_scheme, extensions, old_extensions, added, added_raw, state)


def make_websocket_scope(
    application: Application,
    head: RequestHead,
    *,
    is_secure: bool,
    client: tuple[str, int],
    server: Address,
    tls: TLSInfo | None,
    connection: Connection,
) -> Scope:
    """Return the scope of an opening handshake."""
    scope = application.websocket_template.make(
        head,
        is_secure,
        client if client[0] else None,
        server if isinstance(server, tuple) else (server, None),
        False,
    )
    scope["subprotocols"] = read_subprotocols(head)
    scope["extensions"]["sockwave"] = {
        "connection": connection,
        "subscribe": connection.subscribe,
        "unsubscribe": connection.unsubscribe,
        **application.topics,
    }
    if tls is not None:
        scope["extensions"]["tls"] = describe_tls(tls)
    return scope
