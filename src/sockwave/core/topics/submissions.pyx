"""The messages that a worker hands to the sequencer, kept until they are acknowledged.

Those of topics that are sequenced are sent again to the next sequencer, with their numbers, by
which it knows those that the last one had taken.
"""

import json

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

from sockwave.core.protocol.framing cimport payload_of
from sockwave.core.session.session cimport Session
from sockwave.core.topics.records cimport BROADCAST, DELTA, ID, LAST, META, PUB, TEXT
from sockwave.core.topics.subscribers cimport Subscribers

from sockwave.errors import SockwaveError

cdef enum:
    # What may wait for the sequencer, so that a worker outlives its restart.
    QUEUE_SIZE = 8 << 20
    MAX_ID_SIZE = 255


cdef class Submissions:
    """The messages that a worker hands to the sequencer."""

    def __cinit__(self, LinkOutput output):
        self.output = output
        self.pending = {}
        self.held = []

    def submit(
        self, Subscribers topic, message, str id=None, dict meta=None, Session besides=None,
    ):
        """Publish on a topic that is sequenced; return a Publication. `besides` does not get the
        message. Raises SockwaveError where too much waits for the sequencer."""
        return self.hand_over(topic, 0, message, id, meta, besides)

    cpdef Publication append(self, Subscribers topic, object delta, str id=None):
        """Append to a stream; return a Publication. Raises TypeError or ValueError for what cannot
        be appended, SockwaveError as `submit` does."""
        cdef const uint8_t* data
        cdef size_t size
        cdef int opcode
        payload_of(delta, &data, &size, &opcode)
        if not size:
            raise ValueError("append: expected something, given an empty message")
        return self.hand_over(topic, DELTA, delta, id, None, None)

    def finish(self, Subscribers topic, str id=None):
        """Finish a stream; return a Publication. Raises SockwaveError as `submit` does."""
        return self.hand_over(topic, DELTA | LAST, None, id, None, None)

    cdef Publication hand_over(
        self, Subscribers topic, int flags, object message, str id, dict meta, Session besides
    ):
        """Keep what is published until it is acknowledged, and send it, if the link is open."""
        cdef Publication publication = Publication.__new__(Publication)
        publication.topic = topic
        publication.flags = flags
        fill_payload(publication, message, id, meta)
        publication.besides = besides
        self.admit(PyBytes_GET_SIZE(publication.payload))
        self.sequence += 1
        self.pending[self.sequence] = publication
        topic.is_used = True
        if self.output.is_open:
            self.send_publication(publication, self.sequence)
            self.output.pump()
        return publication

    cdef int admit(self, size_t size) except -1:
        """Raise SockwaveError where too much waits for the sequencer."""
        if self.queued_size and self.queued_size + size > QUEUE_SIZE:
            raise SockwaveError(
                f"publish: the sequencer does not take what waits for it, {self.queued_size} bytes "
                f"of {QUEUE_SIZE}: expected to be awaited"
            )
        self.queued_size += size
        return 0

    cdef int send_publication(self, Publication publication, uint64_t sequence) except -1:
        return self.output.write(
            PUB, publication.flags, publication.topic, 0, 0, 0, sequence,
            <const uint8_t*>PyBytes_AS_STRING(publication.payload),
            PyBytes_GET_SIZE(publication.payload),
        )

    cdef Publication take(self, uint64_t sequence):
        """Return the publication of a sequence number, which is not pending any more, or None."""
        cdef Publication publication = self.pending.pop(sequence, None)
        if publication is not None:
            self.queued_size -= PyBytes_GET_SIZE(publication.payload)
        return publication

    def relay(self, Subscribers topic, message, dict meta):
        """Send a message of a plain topic to the other workers that want it."""
        cdef Publication relayed = Publication.__new__(Publication)
        relayed.topic = topic
        fill_payload(relayed, message, None, meta)
        if self.output.is_open and self.output.out.size < QUEUE_SIZE:
            self.sequence += 1
            self.send_publication(relayed, self.sequence)
            self.output.pump()
        elif not self.output.is_open and (
            self.queued_size + PyBytes_GET_SIZE(relayed.payload) <= QUEUE_SIZE
        ):
            self.queued_size += PyBytes_GET_SIZE(relayed.payload)
            self.held.append(relayed)
        else:
            self.dropped_count += 1

    def broadcast(self, message, dict meta):
        """Send a broadcast to the other workers."""
        cdef Publication relayed = Publication.__new__(Publication)
        fill_payload(relayed, message, None, meta)
        if self.output.is_open and self.output.out.size < QUEUE_SIZE:
            self.output.write_bytes(BROADCAST, relayed.flags, None, 0, relayed.payload)
            self.output.pump()
        else:
            self.dropped_count += 1

    cdef int resend(self) except -1:
        """Send again what the sequencer may not have, and what was held for it."""
        cdef Publication publication
        for sequence, publication in self.pending.items():
            self.send_publication(publication, sequence)
        held, self.held = self.held, []
        for publication in held:
            self.queued_size -= PyBytes_GET_SIZE(publication.payload)
            self.sequence += 1
            self.send_publication(publication, self.sequence)
        return 0

    cdef int give_up(self, object error) except -1:
        """Nothing that waits is published any more."""
        cdef Publication publication
        pending, self.pending = self.pending, {}
        self.held = []
        self.queued_size = 0
        for publication in pending.values():
            publication.fail(error, None)
        return 0


cdef int fill_payload(
    Publication publication, object message, str id, dict meta
) except -1:
    """Set payload and flags for a message."""
    cdef bytes payload
    if isinstance(message, str):
        payload = (<str>message).encode()
        publication.flags |= TEXT
    elif message is None:
        payload = b""
    else:
        payload = bytes(message)
    if meta:
        described = json.dumps(meta, separators=(",", ":")).encode()
        payload = len(described).to_bytes(2, "little") + described + payload
        publication.flags |= META
    if id is not None:
        name = id.encode()
        if not 1 <= len(name) <= MAX_ID_SIZE:
            raise ValueError(f"id: expected 1 to {MAX_ID_SIZE} bytes, given {len(name)}")
        payload = bytes((len(name),)) + name + payload
        publication.flags |= ID
    publication.payload = payload
    return 0
