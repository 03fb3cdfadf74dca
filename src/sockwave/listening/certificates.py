"""The TLS contexts of a server's listening sockets, and new certificates for them while it runs."""

import ssl

from sockwave.errors import SockwaveError
from sockwave.listening.tls_check import File, has_certificate, naming_files
from sockwave.paths import check_path


class Certificates:
    """The TLS contexts of one server, and where their certificate was last loaded from."""

    def __init__(self) -> None:
        self._contexts: list[ssl.SSLContext] = []
        # The certificates, the key, and its password.
        self._files: tuple[File, File | None, str | None] | None = None

    def __bool__(self) -> bool:
        """Tell whether the server has a TLS context."""
        return bool(self._contexts)

    @property
    def has_files(self) -> bool:
        """Whether `load` can read the files of an earlier call."""
        return self._files is not None

    def add(self, context: ssl.SSLContext) -> None:
        """Add a context, which `load` will load certificates into, and turn off renegotiation.

        TLS 1.3 has none (RFC 8446, 4.1.2); in TLS 1.2 it lets a client cause costly handshakes as
        often as it likes.

        Raises TypeError or ValueError for what a server cannot use.
        """
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"ssl: expected an ssl.SSLContext, given {type(context).__name__}")
        if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "ssl: expected a context for servers, given one for clients; "
                "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) makes one"
            )
        context.options |= ssl.OP_NO_RENEGOTIATION
        if context not in self._contexts:
            self._contexts.append(context)

    def check(self) -> None:
        """Raise SockwaveError for a context without a certificate: no client could connect."""
        for context in self._contexts:
            if not has_certificate(context):
                raise SockwaveError(
                    "ssl: expected a context with a certificate, given one without: "
                    "context.load_cert_chain(cert, key), or server.reload_tls(cert, key) behind "
                    "listen(ssl=context), loads one"
                )

    def load(self, cert: File | None, key: File | None, password: str | None = None) -> None:
        """Load a certificate into every context; without `cert`, from the files of the last call.

        Raises what `ssl.SSLContext.load_cert_chain` raises, with the file that is wrong in its
        message, and SockwaveError if there are no files or no contexts; then nothing has changed.
        """
        for name, file in (("cert", cert), ("key", key)):
            if file is not None:
                check_path(name, file, takes_bytes=True)
        if not self._contexts:
            raise SockwaveError("there is no TLS here: expected a call of listen(ssl=...) before")
        if password is not None and not isinstance(password, str):
            raise TypeError(f"password: expected str or None, given {type(password).__name__}")
        files = self._files if cert is None else (cert, key, password)
        if files is None:
            raise SockwaveError("there is no certificate yet: expected a call of reload_tls(cert)")
        # Into a new context first: a key that does not match would leave the old ones without any.
        with naming_files(files[0], files[1]):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files)
        for context in self._contexts:
            context.load_cert_chain(*files)
        self._files = files
