"""ASGI 3: applications on our server, and handlers written for us on the servers of others."""

from sockwave.asgi.endpoint import endpoint
from sockwave.asgi.wsgi import wsgi
from sockwave.errors import ClientDisconnected

__all__ = ["ClientDisconnected", "endpoint", "wsgi"]
