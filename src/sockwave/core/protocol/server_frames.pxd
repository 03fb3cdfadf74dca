"""The frames of a server, read by its client (RFC 6455, section 5)."""

from sockwave.core.protocol.reader cimport Reader

cdef class ServerFrameReader(Reader):
    """The reader of a client's connection, or the one that such connections share while they are
    between two messages."""
