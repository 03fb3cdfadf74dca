"""One message for many connections: framed, and compressed, at most once for each kind of them."""

cimport cython

from sockwave.core.io.slow_peer cimport is_expendable
from sockwave.core.protocol.deflate cimport Deflater
from sockwave.core.protocol.frames cimport FIN, TEXT
from sockwave.core.protocol.framing cimport (
    check_compress, deflated_frame_of, draft_frame_of, frame_of, payload_of,
)
from sockwave.core.session.closing cimport CONNECTED


@cython.freelist(8)
cdef class SharedMessage:
    """One message for many connections."""

    cdef bint send_to(self, Session connection) except -1:
        """Queue the message for a connection, unless that is not connected, too far behind, or of a
        draft that has no binary messages. Returns whether it was queued."""
        cdef Deflater deflater = connection.deflater
        if connection.state != CONNECTED:
            return False
        if deflater is not None and deflater.wants(self.size, self.compress):
            return self.send_deflated(connection, deflater)
        if not connection.is_draft():
            if self.frame is None:
                self.frame = frame_of(FIN | self.opcode, self.data, self.size)
            return connection.share_frame(self.frame, self.policy, self.key)
        if self.opcode != TEXT:
            return False
        if self.draft_frame is None:
            self.draft_frame = draft_frame_of(self.data, self.size)
        return connection.share_frame(self.draft_frame, self.policy, self.key)

    cdef bint send_deflated(self, Session connection, Deflater deflater) except -1:
        cdef bytes frame
        if self.deflated_frames is None:
            self.deflated_frames = {}
        frame = self.deflated_frames.get(deflater.compressor)
        if frame is None:
            frame = deflated_frame_of(
                deflater.compressor, self.owner, self.data, self.size, self.opcode
            )
            self.deflated_frames[deflater.compressor] = frame
        if self.end is None and deflater.has_context and not is_expendable(self.policy):
            self.end = deflater.compressor.end_of(None, self.data, self.size)
        deflater.sending(self.end)
        if not connection.share_frame(frame, self.policy, self.key):
            return False
        deflater.was_sent()
        return True


cdef SharedMessage share_message(object message, object compress, int policy, object key):
    """Prepare a message for many connections. Raises TypeError for anything but str and bytes-like,
    and for a wrong `compress`, ValueError for a str with a lone surrogate."""
    cdef SharedMessage shared = SharedMessage.__new__(SharedMessage)
    check_compress(compress)
    shared.owner = payload_of(message, &shared.data, &shared.size, &shared.opcode)
    shared.compress = compress
    shared.policy = policy
    shared.key = key
    return shared
