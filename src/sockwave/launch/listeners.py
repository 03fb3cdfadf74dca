"""The sockets and the TLS of a service, as its settings say."""

import errno
import os
import socket
import ssl
import stat
from dataclasses import dataclass

from sockwave.errors import LaunchError
from sockwave.launch.settings import Settings
from sockwave.listening.binding import bind_path, bind_port

# As uvicorn has it: the proxy in front runs as another user.
_UNIX_MODE = 0o666


@dataclass(frozen=True, slots=True)
class Listeners:
    """The listening sockets of a service."""

    sockets: list[socket.socket]
    #: Those that were bound here, and are no one else's.
    own: list[socket.socket]
    #: Where they listen, for people.
    where: str
    #: The name of a Unix socket, which is removed at the end.
    path: str | None = None

    def remove_path(self) -> None:
        """Remove the name of a Unix socket."""
        if self.path is not None and os.path.exists(self.path):
            os.unlink(self.path)


def listen(settings: Settings) -> Listeners:
    """Listen where the settings say; raises LaunchError where that cannot be done."""
    try:
        if settings.uds is not None:
            made = [bind_path(settings.uds, _UNIX_MODE, backlog=settings.backlog)]
            return Listeners(made, made, f"unix socket {settings.uds}", settings.uds)
        if settings.fd is not None:
            given = _take_descriptor(settings.fd)
            return Listeners([given], [], f"socket {given.getsockname()}")
        made = bind_port(settings.port, settings.host or None, backlog=settings.backlog)
    except UnicodeError:
        raise LaunchError(f"cannot listen on {settings.host}: it is no host name") from None
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            option = "--uds" if settings.uds is not None else "--port"
            reason += f"; choose another with {option}"
        raise LaunchError(reason) from None
    scheme = "http" if settings.ssl_certfile is None else "https"
    port = made[0].getsockname()[1]
    host = settings.host or "0.0.0.0"  # noqa: S104 - said, not bound
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Listeners(made, made, f"{scheme}://{where}")


def _take_descriptor(number: int) -> socket.socket:
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            taken = socket.socket(fileno=os.dup(number))
            if taken.type == socket.SOCK_STREAM:
                taken.setblocking(False)
                taken.listen()
                return taken
            taken.close()
    except OSError as error:
        raise LaunchError(f"--fd {number}: {error.strerror}") from None
    raise LaunchError(f"--fd {number}: expected a stream socket, given something else")


def make_context(settings: Settings) -> ssl.SSLContext | None:
    """Make the TLS context of a service, without its certificate; None for a service without TLS.

    Raises LaunchError for settings that OpenSSL refuses.
    """
    if settings.ssl_certfile is None:
        if settings.ssl_keyfile is not None:
            raise LaunchError("--ssl-keyfile: expected --ssl-certfile as well")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    context.verify_mode = ssl.VerifyMode(settings.ssl_cert_reqs)
    try:
        if settings.ssl_ca_certs is not None:
            context.load_verify_locations(settings.ssl_ca_certs)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LaunchError(f"--ssl-ca-certs {settings.ssl_ca_certs}: {reason}") from None
    try:
        if settings.ssl_ciphers is not None:
            context.set_ciphers(settings.ssl_ciphers)
    except ssl.SSLError:
        raise LaunchError(f"--ssl-ciphers: none in {settings.ssl_ciphers!r}") from None
    return context
