"""Where a body in chunks ends, and what is in it: RFC 9112, section 7.1.

    chunked-body = *chunk last-chunk trailer-section CRLF
    chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF

A line that ends in anything but CRLF, and a byte where the grammar has no place for it, refuse the
body: a proxy that reads it in another way would see another end.
"""

from libc.stdint cimport UINT32_MAX, UINT64_MAX

from sockwave.core.http.characters cimport SENDABLE, TOKEN, VALUE, is_word, kinds, lower

from sockwave.refusals import malformed, refuse_block, refuse_body
from sockwave.limits import OverLimit

cdef enum:
    # Of the line with a chunk's size. 16 digits are enough for any size; only extensions could make
    # the line longer, and no client is known to use them.
    SIZE_LINE_SIZE = 256
    # Chunks are counted, as tiny ones cost far more than their bytes: so many are free, and one
    # more for each 16 bytes. A body of text lines passes at any length, one of single bytes up to
    # about 4,000.
    FREE_CHUNKS = 4096
    EXPECTED_CHUNK_SIZE = 16

# What comes next.
cdef enum State:
    SIZE                        # the first digit of a chunk's size, or a further one
    SPACE                       # white space behind it, before the semicolon of an extension
    EXTENSION                   # the rest of the line
    SIZE_END                    # its LF
    CONTENT
    CONTENT_CR
    CONTENT_LF
    TRAILER                     # the first byte of a trailer field, or of the line that ends all
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    LAST_LF


cdef int digit_of(uint8_t byte) noexcept nogil:
    """Return the value of a hexadecimal digit; -1: it is none."""
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte = lower[byte]
    return byte - c"a" + 10 if c"a" <= byte <= c"f" else -1


cdef class ChunkedDecoder:
    """Reads one body in chunks, in whatever pieces it comes."""

    def __cinit__(self, limits, bint limits_body=True):
        self.limits = limits
        self.most_size = UINT64_MAX
        if limits_body and limits.body_size is not None:
            self.most_size = limits.body_size

    cdef bint next_piece(self, Span* given, Span* piece) except -1:
        """Find the next content in `given`, and take it, with what stands before it, from the front
        of `given`. False: there is no more, as the body has ended (`is_done`) or the rest has not
        come. Raises Refused for a malformed body, and for one over a limit."""
        while given.size and not self.is_done:
            if self.state == CONTENT:
                piece.data = given.data
                piece.size = <size_t>min(self.left_size, <uint64_t>given.size)
                self.left_size -= piece.size
                given.data += piece.size
                given.size -= piece.size
                if not self.left_size:
                    self.state = CONTENT_CR
                return True
            self.take_byte(given.data[0])
            given.data += 1
            given.size -= 1
        return False

    cdef int take_byte(self, uint8_t byte) except -1:
        """Take one byte that is no content."""
        cdef uint8_t state = self.state
        if state == CONTENT_CR or state == CONTENT_LF or state == SIZE_END or state == LAST_LF:
            if byte != (c"\r" if state == CONTENT_CR else c"\n"):
                raise malformed("chunked body", "CRLF")
            if state == CONTENT_CR:
                self.state = CONTENT_LF
            elif state == CONTENT_LF:
                self.state = SIZE
            elif state == SIZE_END:
                self.begin_chunk()
            else:
                self.is_done = True
            return 0
        if state >= TRAILER:
            return self.take_in_trailer(byte)
        self.count_line()
        if byte == c"\r":
            if state == SPACE or not self.digit_count:
                raise malformed("chunked body", "the size of a chunk")
            self.state = SIZE_END
        elif state == SIZE and byte != c";" and byte != c" " and byte != c"\t":
            return self.take_digit(byte)
        elif not self.digit_count:
            raise malformed("chunked body", "the size of a chunk")
        elif state == EXTENSION:
            # RFC 9112, 7.1.1: "A recipient MUST ignore unrecognized chunk extensions."
            if not kinds[byte] & VALUE and byte < 0x80:
                raise malformed("chunked body", "a chunk extension")
        elif byte == c";":
            self.state = EXTENSION
        elif byte == c" " or byte == c"\t":
            # 7.1.1: chunk-ext = *( BWS ";" BWS chunk-ext-name … ).
            self.state = SPACE
        else:
            raise malformed("chunked body", "a chunk extension")
        return 0

    cdef int count_line(self) except -1:
        self.line_size += 1
        if self.line_size > SIZE_LINE_SIZE - 1:     # its LF comes behind these
            raise malformed("chunked body", f"a line of at most {SIZE_LINE_SIZE} bytes")
        return 0

    cdef int take_digit(self, uint8_t byte) except -1:
        cdef int digit = digit_of(byte)
        if digit < 0 or self.left_size >> 60:
            raise malformed("chunked body", "the size of a chunk")
        self.left_size = self.left_size << 4 | digit
        self.digit_count = 1
        return 0

    cdef int begin_chunk(self) except -1:
        """Check the size of a chunk against the limits; the chunk of no bytes is the last."""
        self.line_size = 0
        self.digit_count = 0
        if not self.left_size:
            self.state = TRAILER
            return 0
        if self.left_size > self.most_size - self.content_size:
            raise refuse_body(self.limits)
        self.content_size += self.left_size
        self.chunk_count += 1
        if self.chunk_count > FREE_CHUNKS + self.content_size // EXPECTED_CHUNK_SIZE:
            raise malformed("chunked body", f"fewer chunks for {self.content_size} bytes")
        self.state = CONTENT
        return 0

    # ---- trailers
    #
    # RFC 9112, 7.1.2: "A recipient that removes the chunked coding from a message MAY selectively
    # retain or discard the received trailer fields." Merged into the header they could be mistaken
    # for fields that were checked, so all are discarded.

    cdef int take_in_trailer(self, uint8_t byte) except -1:
        cdef uint8_t state = self.state
        if self.trailer_size < UINT32_MAX:
            self.trailer_size += 1
        if self.trailer_size > self.limits.header_block_size:
            raise refuse_block(self.limits)
        if state == TRAILER:
            self.name_size = 0
            if byte == c"\r":
                self.state = LAST_LF
                return 0
            state = self.state = TRAILER_NAME
        if state == TRAILER_NAME:
            if byte == c":" and self.name_size:
                self.check_name()
                self.state = TRAILER_VALUE
            elif kinds[byte] & TOKEN:
                if self.name_size < NAME_SIZE:
                    self.name[self.name_size] = byte
                self.name_size = min(self.name_size + 1, NAME_SIZE + 1)
            else:
                raise malformed("chunked body", "a trailer field")
        elif state == TRAILER_VALUE:
            if byte == c"\r":
                self.state = TRAILER_LF
            elif not kinds[byte] & SENDABLE and byte < 0x80:
                raise malformed("chunked body", "a trailer field")
        elif byte != c"\n":
            raise malformed("chunked body", "CRLF")
        else:
            self.trailer_count += 1
            if self.trailer_count > self.limits.header_count:
                count = self.limits.header_count
                raise OverLimit("header_count", 431, f"more than {count} trailer fields\n")
            self.state = TRAILER
        return 0

    cdef int check_name(self) except -1:
        """Refuse a trailer that says where the body ends: RFC 9110, section 6.5.1."""
        if self.name_size == 14 and is_word(self.name, 14, "content-length") or (
            self.name_size == 17 and is_word(self.name, 17, "transfer-encoding")
        ):
            raise malformed("chunked body", "no trailer that frames it")
        return 0

    def decode(self, bytes data):
        """Return (content, how many bytes of `data` it has taken): for tests."""
        cdef Span given, piece
        cdef list pieces = []
        given.data = <uint8_t*><char*>data
        given.size = len(data)
        while self.next_piece(&given, &piece):
            pieces.append((<char*>piece.data)[:piece.size])
        return b"".join(pieces), len(data) - given.size
