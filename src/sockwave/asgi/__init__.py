"""ASGI 3: applications on our server, and handlers written for us on the servers of others."""

from sockwave.asgi.endpoint import endpoint
from sockwave.asgi.errors import ClientDisconnected
from sockwave.asgi.wsgi import wsgi

__all__ = ["ClientDisconnected", "endpoint", "wsgi"]
