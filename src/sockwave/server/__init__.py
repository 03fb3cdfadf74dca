"""The server as the application sees it."""

from sockwave.server.server import Server
from sockwave.server.serving import create_server, serve

__all__ = ["Server", "create_server", "serve"]
