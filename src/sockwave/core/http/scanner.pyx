"""Where a request head ends that comes in pieces: RFC 9112, sections 2.1 and 2.2.

Each byte is looked at once, in whatever pieces it comes. Errors are refused before the head is
complete: a first byte that begins no method, a line end that is not CRLF, a line or a block over
its limit.
"""

from sockwave.core.http.characters cimport TOKEN, kinds

from sockwave.refusals import malformed, refuse_block, refuse_line

cdef enum:
    # RFC 9112, 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore
    # at least one empty line (CRLF) received prior to the request-line." A few are tolerated.
    EMPTY_LINES = 4


cdef size_t scan_head(HeadScan* scan, Span* given, object limits) except? 0:
    """Return the size of the head at the front of `given`; 0 while it is not whole.

    Empty lines before the head are taken from the front of `given`. Between two calls `given` may
    only grow at its end. Raises Refused.
    """
    cdef size_t at, size
    if not scan.scanned_size and not skip_empty_lines(scan, given):
        return 0
    # A CR at the end may be followed by LF in the next piece: it is looked at then.
    size = given.size
    if given.data[size - 1] == c"\r":
        size -= 1
    at = scan.scanned_size
    while at < size:
        if given.data[at] == c"\n":
            if not at or given.data[at - 1] != c"\r":
                raise wrong_line_end()
            if not scan.line_size:
                scan.line_size = at - 1
                check_line(scan.line_size, limits)
            elif given.data[at - 2] == c"\n":
                scan.scanned_size = scan.line_size = 0
                scan.empty_count = 0
                return at + 1
        elif at and given.data[at - 1] == c"\r":
            raise wrong_line_end()
        at += 1
    scan.scanned_size = size
    if not scan.line_size:
        check_line(size, limits)
    elif given.size - scan.line_size - 2 > <size_t>limits.header_block_size:
        raise refuse_block(limits)
    return 0


cdef bint skip_empty_lines(HeadScan* scan, Span* given) except -1:
    """Take the empty lines from the front; false if there is nothing behind them yet."""
    while given.size >= 2 and given.data[0] == c"\r" and given.data[1] == c"\n":
        scan.empty_count += 1
        if scan.empty_count > EMPTY_LINES:
            raise malformed("request", "a request line")
        given.data += 2
        given.size -= 2
    if not given.size or given.size == 1 and given.data[0] == c"\r":
        return False
    if not kinds[given.data[0]] & TOKEN:
        raise malformed("request line", "a method")
    return True


cdef int check_line(size_t size, object limits) except -1:
    if size > <size_t>limits.request_line_size:
        raise refuse_line(limits)
    return 0


cdef object wrong_line_end():
    # RFC 9112, 2.2 lets a server take a lone LF for a line end; but a proxy and a server that
    # differ in this let requests be smuggled.
    return malformed("request", "CRLF at the end of each line")


def cut(bytes data, limits):
    """Return (head, what stands behind it), or None while it is not whole: for tests."""
    cdef HeadScan scan
    cdef Span given
    cdef size_t size
    scan.scanned_size = scan.line_size = 0
    scan.empty_count = 0
    given.data = <uint8_t*><char*>data
    given.size = len(data)
    size = scan_head(&scan, &given, limits)
    if not size:
        return None
    return (<char*>given.data)[:size], (<char*>given.data)[size:given.size]
