"""Where a request head ends that comes in pieces: RFC 9112, sections 2.1 and 2.2."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.protocol.input_buffer cimport Span

# What is known of a head whose end has not come. All zeros: nothing has come.
cdef struct HeadScan:
    uint32_t scanned_size       # bytes from the head's beginning that have been looked at
    uint32_t line_size          # of the request line, without its line end; 0: it is not whole
    uint8_t empty_count         # empty lines that stood before the head

cdef size_t scan_head(HeadScan* scan, Span* given, object limits) except? 0
