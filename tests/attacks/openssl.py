"""OpenSSL's client by its own functions: what the ssl module does not let an attacker do.

Key updates, renegotiation, and early data, in the form that `TlsWire` expects of a session.
"""

import _ssl
import ctypes
import ssl
from typing import Any

from tls_wire import TlsWire
from wire import Wire

# From openssl/ssl.h and tls1.h.
SSL_ERROR_WANT_READ = 2
SSL_ERROR_ZERO_RETURN = 6
SSL_CTRL_SET_TLSEXT_HOSTNAME = 55
SSL_CTRL_SET_MAX_PROTO_VERSION = 124
SSL_KEY_UPDATE_REQUESTED = 1
SSL_EARLY_DATA_REJECTED = 1

Pointer = ctypes.c_void_p

# The library that the ssl module has loaded; name, result, arguments.
LIBRARY = ctypes.CDLL(_ssl.__file__)
FUNCTIONS: list[tuple[str, Any, list[Any]]] = [
    ("TLS_client_method", Pointer, []),
    ("SSL_CTX_new", Pointer, [Pointer]),
    ("SSL_CTX_free", None, [Pointer]),
    ("SSL_CTX_ctrl", ctypes.c_long, [Pointer, ctypes.c_int, ctypes.c_long, Pointer]),
    ("SSL_new", Pointer, [Pointer]),
    ("SSL_free", None, [Pointer]),
    ("SSL_ctrl", ctypes.c_long, [Pointer, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]),
    ("SSL_set_bio", None, [Pointer, Pointer, Pointer]),
    ("SSL_set_connect_state", None, [Pointer]),
    ("SSL_do_handshake", ctypes.c_int, [Pointer]),
    ("SSL_read", ctypes.c_int, [Pointer, ctypes.c_char_p, ctypes.c_int]),
    ("SSL_write", ctypes.c_int, [Pointer, ctypes.c_char_p, ctypes.c_int]),
    ("SSL_shutdown", ctypes.c_int, [Pointer]),
    ("SSL_get_error", ctypes.c_int, [Pointer, ctypes.c_int]),
    ("SSL_key_update", ctypes.c_int, [Pointer, ctypes.c_int]),
    ("SSL_renegotiate", ctypes.c_int, [Pointer]),
    ("SSL_session_reused", ctypes.c_int, [Pointer]),
    ("SSL_get1_session", Pointer, [Pointer]),
    ("SSL_set_session", ctypes.c_int, [Pointer, Pointer]),
    ("SSL_SESSION_free", None, [Pointer]),
    ("SSL_SESSION_get_max_early_data", ctypes.c_uint32, [Pointer]),
    ("SSL_SESSION_set_max_early_data", ctypes.c_int, [Pointer, ctypes.c_uint32]),
    (
        "SSL_write_early_data",
        ctypes.c_int,
        [Pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t)],
    ),
    ("SSL_get_early_data_status", ctypes.c_int, [Pointer]),
    ("BIO_new", Pointer, [Pointer]),
    ("BIO_s_mem", Pointer, []),
    ("BIO_read", ctypes.c_int, [Pointer, ctypes.c_char_p, ctypes.c_int]),
    ("BIO_write", ctypes.c_int, [Pointer, ctypes.c_char_p, ctypes.c_int]),
    ("BIO_ctrl_pending", ctypes.c_size_t, [Pointer]),
    ("ERR_clear_error", None, []),
    ("ERR_peek_error", ctypes.c_ulong, []),
    ("ERR_reason_error_string", ctypes.c_char_p, [ctypes.c_ulong]),
]
for _name, _result, _arguments in FUNCTIONS:
    getattr(LIBRARY, _name).restype = _result
    getattr(LIBRARY, _name).argtypes = _arguments


class Memory:
    """What `ssl.MemoryBIO` is to the ssl module."""

    def __init__(self) -> None:
        self.bio = LIBRARY.BIO_new(LIBRARY.BIO_s_mem())

    @property
    def pending(self) -> int:
        size: int = LIBRARY.BIO_ctrl_pending(self.bio)
        return size

    def read(self) -> bytes:
        place = ctypes.create_string_buffer(max(self.pending, 1))
        count = LIBRARY.BIO_read(self.bio, place, len(place))
        return place.raw[: max(count, 0)]

    def write(self, data: bytes) -> None:
        LIBRARY.BIO_write(self.bio, data, len(data))


class Session:
    """A client's session; what it was told by a server can be given to the next as `resumed`."""

    def __init__(
        self,
        incoming: Memory,
        outgoing: Memory,
        *,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        resumed: int | None = None,
    ) -> None:
        self.context = LIBRARY.SSL_CTX_new(LIBRARY.TLS_client_method())
        LIBRARY.SSL_CTX_ctrl(self.context, SSL_CTRL_SET_MAX_PROTO_VERSION, newest, None)
        self.ssl = LIBRARY.SSL_new(self.context)
        LIBRARY.SSL_set_bio(self.ssl, incoming.bio, outgoing.bio)
        LIBRARY.SSL_ctrl(self.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, b"localhost")
        LIBRARY.SSL_set_connect_state(self.ssl)
        if resumed is not None:
            LIBRARY.SSL_set_session(self.ssl, resumed)

    def __del__(self) -> None:
        LIBRARY.SSL_free(self.ssl)
        LIBRARY.SSL_CTX_free(self.context)

    def _check(self, result: int) -> int:
        """Give the result of an operation, or raise as the ssl module would."""
        if result > 0:
            return result
        error = LIBRARY.SSL_get_error(self.ssl, result)
        if error == SSL_ERROR_WANT_READ:
            raise ssl.SSLWantReadError
        if error == SSL_ERROR_ZERO_RETURN:
            raise ssl.SSLZeroReturnError
        reason = LIBRARY.ERR_reason_error_string(LIBRARY.ERR_peek_error()) or b""
        LIBRARY.ERR_clear_error()
        raise ssl.SSLError(error, reason.decode())

    def do_handshake(self) -> None:
        LIBRARY.ERR_clear_error()
        self._check(LIBRARY.SSL_do_handshake(self.ssl))

    def read(self, size: int) -> bytes:
        place = ctypes.create_string_buffer(size)
        LIBRARY.ERR_clear_error()
        count = self._check(LIBRARY.SSL_read(self.ssl, place, size))
        return place.raw[:count]

    def write(self, data: bytes) -> int:
        LIBRARY.ERR_clear_error()
        return self._check(LIBRARY.SSL_write(self.ssl, data, len(data)))

    def unwrap(self) -> None:
        LIBRARY.ERR_clear_error()
        self._check(LIBRARY.SSL_shutdown(self.ssl))

    # ---- what an attacker does

    def update_key(self) -> None:
        """Seal a KeyUpdate that wants one in return (RFC 8446, 4.6.3)."""
        assert LIBRARY.SSL_key_update(self.ssl, SSL_KEY_UPDATE_REQUESTED) == 1
        self.do_handshake()

    def renegotiate(self) -> None:
        """Seal a ClientHello inside the session (RFC 5246, 7.4.1.1)."""
        assert LIBRARY.SSL_renegotiate(self.ssl) == 1
        try:
            self.do_handshake()
        except ssl.SSLWantReadError:
            return
        raise AssertionError("a renegotiation without an answer")

    def write_early(self, data: bytes) -> None:
        """Send data in the first flight, whatever the server has said about that."""
        written = ctypes.c_size_t()
        LIBRARY.ERR_clear_error()
        result = LIBRARY.SSL_write_early_data(self.ssl, data, len(data), ctypes.byref(written))
        assert result == 1
        assert written.value == len(data)


class OpensslWire(TlsWire):
    """A TLS connection by OpenSSL's own functions."""

    session: Session

    def __init__(self, wire: Wire, **options: Any) -> None:
        self.wire = wire
        self.incoming, self.outgoing = Memory(), Memory()
        self.session = Session(self.incoming, self.outgoing, **options)
