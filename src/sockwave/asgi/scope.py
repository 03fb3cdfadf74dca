"""The scopes of requests and of WebSockets: what an application is told when it is called."""

from typing import Any
from urllib.parse import quote

from sockwave.address import Address
from sockwave.asgi.application import Application, Scope, decode_path
from sockwave.asgi.tls import describe_tls
from sockwave.core.asgi.scope import ScopeTemplate
from sockwave.core.http.request_head import RequestHead
from sockwave.handshake import read_subprotocols
from sockwave.tls_info import TLSInfo

#: RFC 3986, 3.3: what may stand in a path besides unreserved characters.
_PATH_CHARACTERS = "/!$&'()*+,;=:@"


def make_template(application: Application) -> ScopeTemplate:
    """Return what the scopes of all requests to an application have in common."""
    added = application.root_path
    extensions: dict[str, Any] = {
        "http.response.pathsend": {},
        "http.response.zerocopysend": {},
    }
    # RFC 9110, 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client", and without
    # chunks there is no place for trailers.
    return ScopeTemplate(
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "http",
            "root_path": added + application.prefix,
        },
        {**extensions, "http.response.early_hint": {}, "http.response.trailers": {}},
        extensions,
        added,
        quote(added, safe=_PATH_CHARACTERS).encode(),
        application.lifespan.state,
    )


def make_websocket_scope(
    application: Application,
    head: RequestHead,
    *,
    is_secure: bool,
    client: Address,
    server: Address,
    tls: TLSInfo | None,
    connection: object,
) -> Scope:
    """Return the scope of an opening handshake."""
    scope = _make_scope(application, head, "websocket", client, server)
    scope["scheme"] = "wss" if is_secure else "ws"
    scope["subprotocols"] = read_subprotocols(head)
    scope["extensions"] = {
        "websocket.http.response": {},
        "sockwave": {"connection": connection},
    }
    if tls is not None:
        scope["extensions"]["tls"] = describe_tls(tls)
    return scope


def _make_scope(
    application: Application, head: RequestHead, kind: str, client: Address, server: Address
) -> dict[str, Any]:
    """Return what both kinds of scope have."""
    # ASGI, HTTP, 2.4: `path` holds `root_path`. The option stands for what a proxy has taken away,
    # and is put back.
    added = application.root_path
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": head.http_version,
        "path": added + decode_path(head),
        "raw_path": quote(added, safe=_PATH_CHARACTERS).encode() + head.path.encode("latin-1"),
        "query_string": head.query.encode("latin-1"),
        "root_path": added + application.prefix,
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in head.headers.items()
        ],
        "client": client if isinstance(client, tuple) else None,
        "server": server if isinstance(server, tuple) else (server, None),
        "state": application.lifespan.state.copy(),
    }
