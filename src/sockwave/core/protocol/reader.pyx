"""Frames → messages (RFC 6455 sections 5.4 and 5.5); UTF-8 and limits are checked as bytes come.

The caller passes bytes and calls `next` until nothing whole is left in them. A message that is
whole in the input is not copied: the caller gets its place. One that comes in pieces is assembled
in one growing buffer, which becomes the str or bytes object that the listener gets.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF
from libc.string cimport memcpy

from sockwave.core.protocol.message_memory cimport (
    block_for, decode, offer_spare, place_in, resize, size_of,
)
from sockwave.core.protocol.frames cimport (
    BINARY, CLOSE, CONTINUATION, FIN, INVALID_UTF8, MASKED, MAX_SHORT_SIZE, MESSAGE_TOO_BIG,
    NO_VIOLATION, RSV1, SHORT_HEADER_SIZE, TEXT, TOO_MANY_FRAGMENTS, check_close_payload,
    check_header, is_control, parse_header,
)
from sockwave.core.protocol.mask cimport mask_rotate, unmask
from sockwave.core.protocol.utf8 cimport UTF8_COMPLETE, UTF8_INVALID, utf8_check

cdef enum:
    # For this many bytes of a message, one more fragment is allowed: a client whose fragments have
    # at least this size never reaches the limit.
    FRAGMENT_PRICE_SIZE = 32
    # At least this much of a frame must be missing for the socket to be read straight into the
    # message.
    DIRECT_READ_SIZE = 65536
    FIRST_ROOM_SIZE = 4096
    READ_ROOM_SIZE = 262144


cdef inline int find_short(Reader reader, Span* given, Found* found) noexcept:
    """Find a message as most are: one frame, whole in the input, with a header of two bytes and
    the mask. CONTINUATION: it is something else or a violation, which `next` finds out."""
    cdef const uint8_t* header = given.data
    cdef int opcode
    cdef size_t size
    if given.size < SHORT_HEADER_SIZE or reader.message_opcode or reader.piece_size:
        return CONTINUATION
    opcode = header[0] ^ FIN
    size = header[1] ^ MASKED
    if (
        not TEXT <= opcode <= BINARY or size > given.size - SHORT_HEADER_SIZE
        or size > MAX_SHORT_SIZE or size > reader.max_size
    ):
        return CONTINUATION
    found.data = header + SHORT_HEADER_SIZE
    found.size = size
    memcpy(&found.mask, header + 2, 4)
    found.assembled = found.is_deflated = False
    given.data += SHORT_HEADER_SIZE + size
    given.size -= SHORT_HEADER_SIZE + size
    return opcode


@cython.no_gc
cdef class Reader(InputBuffer):
    """The reader of one connection, or the one that connections share while they are between two
    messages."""

    def __cinit__(self, size_t max_size, uint32_t free_fragment_count):
        self.max_size = self.whole_max_size = max_size
        self.free_fragment_count = free_fragment_count

    def __dealloc__(self):
        self.forget_message()

    cdef int next(self, Span* given, Found* found) except? -3:
        """Find the next message or control frame: its opcode, PIECE, NEEDS_MORE, or VIOLATED."""
        cdef Header header
        cdef size_t limit
        cdef int event
        event = find_short(self, given, found)
        if event != CONTINUATION:
            return event
        while True:
            if self.frame_left:
                event = self.take_payload(given, found)
                if event != CONTINUATION:
                    return event
                continue
            if not parse_header(given.data, given.size, &header):
                return NEEDS_MORE
            found.violation = check_header(
                &header, self.allowed_reserved, self.message_opcode != 0
            )
            if found.violation != NO_VIOLATION and not self.allows(&header, found):
                return VIOLATED
            if not header.complete:
                return NEEDS_MORE
            if is_control(header.opcode):
                if given.size < header.size + header.length:
                    return NEEDS_MORE
                event = self.find_whole(given, &header, found, True)
                if event == CLOSE:
                    found.violation = check_close_payload(found.data, found.size)
                    if found.violation != NO_VIOLATION:
                        return VIOLATED
                return event
            # Compared so that no sum can overflow. The message is refused at the header,
            # before any of its bytes is read.
            if not self.message_opcode:
                # RFC 7692 section 6.1: the first fragment says whether the message is compressed.
                self.is_deflated = header.reserved != 0
            limit = self.whole_max_size if self.is_deflated else self.max_size
            if header.length > limit - self.message_size:
                return self.violate(found, MESSAGE_TOO_BIG)
            if (
                not self.message_opcode and header.fin and header.length <= given.size - header.size
                and (not self.gives_pieces() or header.length <= self.piece_size)
            ):
                return self.find_whole(given, &header, found, self.is_deflated)
            given.data += header.size
            given.size -= header.size
            event = self.begin_frame(&header, found)
            if event != CONTINUATION:
                return event

    cdef bint allows(self, Header* header, Found* found) noexcept:
        """Tell whether the violation that was found in a header is none for the peer's role."""
        return False

    cdef int find_whole(
        self, Span* given, const Header* header, Found* found, bint unmasked
    ) noexcept:
        """Find a payload that is whole in the input, and leave it there; `unmasked`: unmask it.
        Returns its opcode."""
        found.data = given.data + header.size
        found.size = <size_t>header.length
        found.mask = header.mask
        found.assembled = False
        found.is_deflated = header.reserved != 0
        if unmasked:
            unmask(given.data + header.size, found.data, found.size, header.mask)
        given.data += header.size + found.size
        given.size -= header.size + found.size
        return header.opcode

    cdef int begin_frame(self, const Header* header, Found* found) except? -3:
        """Begin a data frame whose payload is assembled; CONTINUATION: `next` goes on."""
        if header.opcode != CONTINUATION:
            self.message_opcode = header.opcode
            self.utf8_state = UTF8_COMPLETE
        self.fragment_count += 1
        if (
            self.fragment_count
            > self.free_fragment_count + self.message_size / FRAGMENT_PRICE_SIZE
        ):
            return self.violate(found, TOO_MANY_FRAGMENTS)
        self.frame_left = header.length
        self.frame_fin = header.fin
        self.mask = header.mask
        if header.length == 0 and header.fin:
            found.size = 0
            return self.end_message(found)
        return CONTINUATION

    cdef int take_payload(self, Span* given, Found* found) except? -3:
        """Append what has come of the current frame to the message; CONTINUATION: `next` goes on.
        """
        cdef size_t size = min(given.size, self.frame_left)
        cdef bint is_ascii
        if size == 0:
            return NEEDS_MORE
        if self.gives_pieces():
            return self.take_piece(given, found)
        is_ascii = self.append(given.data, size) and self.utf8_state == UTF8_COMPLETE
        if not is_ascii and self.message_opcode == TEXT and not self.is_deflated:
            # 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte
            # stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket
            # Connection_." Here: at the first wrong byte.
            self.utf8_state = utf8_check(
                self.utf8_state, place_in(self.message) + self.message_size - size, size
            )
            if self.utf8_state == UTF8_INVALID:
                return self.violate(found, INVALID_UTF8)
        given.data += size
        given.size -= size
        self.frame_left -= size
        if self.frame_left:
            return NEEDS_MORE
        return self.end_message(found) if self.frame_fin else CONTINUATION

    cdef int take_piece(self, Span* given, Found* found) except? -3:
        """Find what has come of the current frame, and leave it in the input. Nothing is
        assembled; `message_size` counts the bytes of all pieces so far."""
        cdef size_t size = min(given.size, self.frame_left, self.piece_size)
        cdef bint is_ascii
        found.data = given.data
        found.size = size
        is_ascii = unmask(given.data, given.data, size, self.mask)
        self.mask = mask_rotate(self.mask, size)
        if self.message_opcode == TEXT and not (is_ascii and self.utf8_state == UTF8_COMPLETE):
            self.utf8_state = utf8_check(self.utf8_state, given.data, size)
            if self.utf8_state == UTF8_INVALID:
                return self.violate(found, INVALID_UTF8)
        given.data += size
        given.size -= size
        self.frame_left -= size
        self.message_size += size
        if not self.frame_left and self.frame_fin:
            return self.end_message(found)
        found.is_last = False
        return PIECE

    cdef int end_message(self, Found* found) noexcept:
        cdef int opcode = self.message_opcode
        if opcode == TEXT and self.utf8_state != UTF8_COMPLETE:
            return self.violate(found, INVALID_UTF8)
        if self.gives_pieces():
            found.is_last = True
            return PIECE
        found.assembled = True
        found.is_deflated = self.is_deflated
        found.size = self.message_size
        found.data = NULL
        if self.message is not NULL:
            found.data = place_in(self.message)
        self.message_opcode = 0
        self.fragment_count = 0
        return opcode

    cdef int violate(self, Found* found, Violation violation) noexcept:
        found.violation = violation
        return VIOLATED

    # ---- the message in the making

    cdef uint8_t* reserve(self, size_t* size) except? NULL:
        """Return the place behind the message so far, for the transport to read into, when so much
        of a frame is missing that this pays; else NULL."""
        if self.frame_left < DIRECT_READ_SIZE or self.kept_size or self.gives_pieces():
            return NULL
        self.make_room(min(self.frame_left, max(<size_t>READ_ROOM_SIZE, self.message_size)))
        size[0] = min(size_of(self.message) - self.message_size, self.frame_left)
        return place_in(self.message) + self.message_size

    cdef bint append(self, const uint8_t* data, size_t size) except -1:
        """Append bytes to the message and unmask them; true: they are ASCII."""
        cdef bint is_ascii
        # The transport may have read them straight into their place: see `reserve`.
        if self.message is NULL or data != place_in(self.message) + self.message_size:
            self.make_room(size)
        is_ascii = unmask(place_in(self.message) + self.message_size, data, size, self.mask)
        self.mask = mask_rotate(self.mask, size)
        self.message_size += size
        self.is_ascii = self.is_ascii and is_ascii
        return is_ascii

    cdef int make_room(self, size_t size) except -1:
        """Make room for `size` more bytes. The room grows with what has been received, whatever
        length a header announces: a client must send what we allocate."""
        cdef size_t room
        if self.message is NULL:
            self.begin_message(max(size, min(<size_t>FIRST_ROOM_SIZE, self.frame_left)))
        elif self.message_size + size > size_of(self.message):
            room = 2 * self.message_size
            if self.frame_fin:      # the last frame: no more than its announced length will come
                room = min(2 * room, self.message_size + self.frame_left)
            room = max(room, self.message_size + size)
            resize(&self.message, room)
        return 0

    cdef int begin_message(self, size_t room) except -1:
        cdef bint is_text = self.message_opcode == TEXT and not self.is_deflated
        self.message = block_for(is_text, self.frame_left, self.frame_left, room)
        self.message_size = 0
        self.is_ascii = True
        return 0

    cdef size_t memory_size(self) noexcept:
        """Return the memory of the message that is being assembled, with its room to grow, and of
        the one that is being inflated."""
        cdef size_t size = 0 if self.message is NULL else size_of(self.message)
        return size if self.inflation is None else size + self.inflation.memory_size()

    cdef object take_message(self, bint is_text):
        """Hand the assembled message to the caller: a str, or bytes."""
        cdef object message
        if self.message is NULL:
            return "" if is_text else b""
        if is_text and not self.is_ascii:
            message = decode(place_in(self.message), self.message_size)
            offer_spare(<object>self.message, self.message_size)
        else:
            if size_of(self.message) != self.message_size:
                resize(&self.message, self.message_size)
            message = <object>self.message
        self.forget_message()
        return message

    cdef int forget_message(self) noexcept:
        if self.message is not NULL:
            Py_DECREF(<object>self.message)
        self.message = NULL
        self.message_size = 0
        self.inflation = None
        return 0

    cdef bint gives_pieces(self) noexcept:
        """Tell whether the current message is given in pieces; a compressed one never is."""
        return self.piece_size != 0 and not self.is_deflated

    cdef bytes give_pieces(self, size_t max_size, size_t piece_size):
        """Give the current message in pieces, or the next one. Returns what has come of the
        current one, as the first piece; None: nothing. `max_size` bounds the sum of the pieces."""
        cdef size_t size = self.message_size
        self.max_size = max_size
        self.piece_size = piece_size
        if not self.message_opcode or self.message is NULL or self.is_deflated:
            return None
        message = PyBytes_FromStringAndSize(<const char*>place_in(self.message), size)
        self.forget_message()
        self.message_size = size
        return message

    cdef int end_pieces(self) noexcept:
        """Called behind the last piece of a message: the next frame begins a message."""
        self.message_opcode = 0
        self.message_size = 0
        self.fragment_count = 0
        return 0

    cdef size_t next_deflated_size(self, const Span* given) noexcept:
        """Return the payload size of the next frame if it belongs to a compressed message, as far
        as the first two bytes of its header tell; 0: it does not, or no header has come."""
        if self.message_opcode:
            return MAX_SHORT_SIZE + 1 if self.is_deflated else 0
        if given.size < 2 or not given.data[0] & RSV1:
            return 0
        return given.data[1] & ~MASKED

    cdef bint is_idle(self) noexcept:
        """Tell whether it is between two messages and keeps nothing, like a new reader: then the
        connection can go back to the shared one."""
        return (
            self.message_opcode == 0 and self.message is NULL and self.piece_size == 0
            and self.kept is NULL and self.lent is NULL and self.inflation is None
        )
