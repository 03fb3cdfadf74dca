"""How a stream ends although a child process may hold its descriptor: see `endings.h`."""

cdef extern from "endings.h" nogil:
    int end_stream(int fd)
    int reset_stream(int fd)
