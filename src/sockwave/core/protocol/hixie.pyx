"""The framing of draft-ietf-hybi-00 section 4.2 (draft-76) and draft-hixie-75 section 4.2.

A frame is a type byte and either text up to FF (types below 80) or a length and so many bytes. Only
type 00 carries a message; all others are skipped, as section 5.3 of draft-76 says ("discard the
data"). The length field is what attackers use against these drafts. So its bytes are counted,
leading zeros too, and its value is compared with `max_size` before any byte behind it is read.
"""

from libc.string cimport memchr

from sockwave.core.protocol.message_memory cimport place_in
from sockwave.core.protocol.frames cimport (
    CLOSE, CONTINUATION, DRAFT_LENGTH, INVALID_UTF8, MESSAGE_TOO_BIG, TEXT,
)
from sockwave.core.protocol.reader cimport NEEDS_MORE, PIECE
from sockwave.core.protocol.utf8 cimport UTF8_COMPLETE, UTF8_INVALID, utf8_check

cdef enum:
    # Set in a type byte: a length follows. Set in a length byte: another length byte follows.
    LENGTH_BIT = 0x80


cdef class HixieReader(Reader):
    """The reader of a draft-75 or draft-76 connection."""

    cdef uint8_t* reserve(self, size_t* size) except? NULL:
        return NULL

    cdef bint is_idle(self) noexcept:
        return False            # never shared: it may be in the middle of a frame that it skips

    cdef int next(self, Span* given, Found* found) except? -3:
        """Find the next message, or the client's close: TEXT, PIECE, CLOSE, NEEDS_MORE, or
        VIOLATED."""
        cdef size_t size
        cdef int event
        while given.size:
            if self.skip_left:
                size = min(given.size, self.skip_left)
                given.data += size
                given.size -= size
                self.skip_left -= size
                continue
            if self.in_frame:
                event = self.take_text(given, found)
            else:
                event = self.begin_draft_frame(given, found)
            if event != CONTINUATION:
                return event
        return NEEDS_MORE

    cdef int begin_draft_frame(self, Span* given, Found* found) except? -3:
        """Read a type byte and, where there is one, the length; CONTINUATION: read on."""
        cdef size_t i = 1
        cdef uint64_t length = 0
        if not given.data[0] & LENGTH_BIT:
            self.in_frame = True
            self.message_opcode = TEXT if given.data[0] == TEXT_FRAME else CONTINUATION
            self.utf8_state = UTF8_COMPLETE
            given.data += 1
            given.size -= 1
            return CONTINUATION
        while True:
            if i > MAX_LENGTH_SIZE:
                return self.violate(found, DRAFT_LENGTH)
            if i == given.size:
                return NEEDS_MORE
            length = length << 7 | given.data[i] & 0x7F
            if length > self.max_size:
                return self.violate(found, DRAFT_LENGTH)
            i += 1
            if not given.data[i - 1] & LENGTH_BIT:
                break
        found.size = 0
        # Section 5.3: "If the frame type is 0xFF and the length was 0, then … the /client
        # terminated/ flag is set".
        if self.has_close and given.data[0] == FRAME_END and length == 0:
            given.data += i
            given.size -= i
            return CLOSE
        self.skip_left = length
        given.data += i
        given.size -= i
        return CONTINUATION

    cdef int take_text(self, Span* given, Found* found) except? -3:
        """Read a frame without length, up to its FRAME_END or as far as it has come; CONTINUATION:
        it was skipped, read on."""
        # One byte more than a piece: a piece of the largest size may be the last of its message.
        cdef bint in_pieces = self.piece_size != 0 and self.message_opcode == TEXT
        cdef size_t room = min(given.size, self.piece_size + 1) if in_pieces else given.size
        cdef uint8_t* end = <uint8_t*>memchr(given.data, FRAME_END, room)
        cdef size_t size = room if end is NULL else end - given.data
        cdef const uint8_t* text = given.data
        cdef size_t left
        if in_pieces and end is NULL:
            size = min(size, self.piece_size)
        if self.message_opcode == TEXT:
            # The violation that comes first in the stream is reported, however the stream was
            # split on its way: only the bytes within the limit are checked.
            left = self.max_size - self.message_size
            self.utf8_state = utf8_check(self.utf8_state, text, min(size, left))
            if size > left and self.utf8_state != UTF8_INVALID:
                return self.violate(found, MESSAGE_TOO_BIG)
            if self.utf8_state == UTF8_INVALID or (
                end is not NULL and self.utf8_state != UTF8_COMPLETE
            ):
                return self.violate(found, INVALID_UTF8)
        if in_pieces:
            return self.take_text_piece(given, found, size, end is not NULL)
        if end is NULL:
            given.data += size
            given.size = 0
            if self.message_opcode == TEXT:
                self.append(text, size)
            return NEEDS_MORE
        given.data += size + 1
        given.size -= size + 1
        self.in_frame = False
        if self.message_opcode != TEXT:
            return CONTINUATION
        self.message_opcode = 0
        found.assembled = self.message_size != 0
        if not found.assembled:
            found.data = text
            found.size = size
            found.mask = 0
            return TEXT
        self.append(text, size)
        found.data = place_in(self.message)
        found.size = self.message_size
        return TEXT

    cdef int take_text_piece(
        self, Span* given, Found* found, size_t size, bint is_last
    ) except? -3:
        """Find the next piece of a text, `size` bytes that stay in the input. Where it is the last
        piece, skip the FRAME_END behind it."""
        found.data = given.data
        found.size = size
        found.is_last = is_last
        self.message_size += size
        given.data += size + (1 if is_last else 0)
        given.size -= size + (1 if is_last else 0)
        if is_last:
            self.in_frame = False
        return PIECE
