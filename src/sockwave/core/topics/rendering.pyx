"""One message of a topic, as each kind of its subscribers gets it."""

cimport cython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize

from sockwave.core.protocol.frames cimport TEXT
from sockwave.core.session.shared cimport share_message
from sockwave.core.topics.envelopes cimport wrap_compact, wrap_json
from sockwave.core.topics.subscribers cimport PLAIN

from sockwave.deliveries import Delivery, Position, compact_envelope, json_envelope

KINDS = ("message", "delta", "finished", "aborted", "gap")


@cython.freelist(8)
cdef class Rendering:
    """One message of a topic, made at most once for each kind of subscribers."""

    cdef SharedMessage of_kind(self, int kind):
        """Return the message as a kind of subscribers gets it; None: they get nothing."""
        cdef object envelope = self.envelope if kind == PLAIN else json_envelope
        cdef SharedMessage shared
        cdef object message
        cdef bint is_text = False
        if kind == PLAIN and self.plain is not None:
            return self.plain
        if envelope is json_envelope and self.commands is not None:
            return self.commands
        if envelope is not None:
            message = self.wrap_text(envelope)
            is_text = message is not None
            if not is_text:
                message = self.wrap(envelope)
        elif self.raw is not None and self.content <= DELTA:
            message = self.raw
            is_text = self.is_text
        else:
            message = self.message_of()
        if message is None:
            return None
        shared = share_message(message, self.compress, self.policy, self.key)
        if is_text:
            shared.opcode = TEXT
        if envelope is json_envelope:
            self.commands = shared
        if kind == PLAIN:
            self.plain = shared
        return shared

    cdef bytes wrap_text(self, object envelope):
        """Return what an envelope of ours makes of a text, as UTF-8; None: it is not one of ours,
        or there is no text."""
        cdef const char* text
        cdef Py_ssize_t size
        if self.content > DELTA or (
            envelope is not json_envelope and envelope is not compact_envelope
        ):
            return None
        if self.raw is not None and self.is_text:
            text = PyBytes_AS_STRING(self.raw)
            size = PyBytes_GET_SIZE(self.raw)
        elif self.raw is None and type(self.message) is str:
            text = PyUnicode_AsUTF8AndSize(self.message, &size)
        else:
            return None
        if envelope is compact_envelope:
            return wrap_compact(self.offset, text, size)
        return wrap_json(
            self.topic, self.content == DELTA, self.epoch, self.offset, text, size, self.id
        )

    cdef object wrap(self, object envelope):
        """Return what an envelope makes of the message; None: nothing."""
        if self.delivery is None:
            self.delivery = Delivery(
                self.topic, self.message_of(), self.position(), KINDS[self.content], self.id
            )
        return envelope(self.delivery)

    cdef object message_of(self):
        """Return the message: str or bytes; None at the end of a stream, and for a gap."""
        if self.message is None and self.raw is not None and self.content <= DELTA:
            self.message = self.raw.decode() if self.is_text else self.raw
        return self.message

    cdef object position(self):
        """Return the message's Position; None if its topic has none."""
        return Position(self.epoch, self.offset) if self.epoch else None
