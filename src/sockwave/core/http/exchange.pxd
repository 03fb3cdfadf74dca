"""One request and its response: how far both have come. RFC 9112, sections 6 and 9.3."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.http.chunked cimport ChunkedDecoder
from sockwave.core.http.head cimport BodyFraming
from sockwave.core.http.request_head cimport RequestHead
from sockwave.core.http.settings cimport HttpSettings
from sockwave.core.io.receiver cimport Receiver
from sockwave.core.io.transport cimport Transport
from sockwave.core.protocol.input_buffer cimport Span

cdef class Exchange

cdef class Watcher:
    """What is told of an exchange: a call of an application that reads the body itself."""
    cdef int body_arrived(self) except -1       # there is more of the body, or it is complete
    # The response can reach the client no longer: the client has gone, or the server has answered
    # in place of the application.
    cdef int detached(self) except -1

cdef class Carrier(Receiver):
    """The connection that carries exchanges, as an exchange calls it."""
    cdef readonly Transport transport
    cdef HttpSettings settings
    cdef set tasks              # of listeners: they are cancelled with the connection; None: none

    cdef int write(self, object owner, const uint8_t* data, size_t size) except -1
    cdef bint is_last(self) except -1           # the connection ends with this exchange
    cdef int finished(self, bint close) except -1       # the response is complete
    cdef int body_taken(self) except -1         # there is room for more of the body
    cdef int body_expected(self) except -1      # the next bytes of the body are waited for
    cdef int drop(self) except -1               # drop the connection now
    cdef int keep_task(self, object task) except -1
    cdef int answer_500(self, Exchange exchange) except -1

cdef class Exchange:
    """A request whose head has been accepted, its body, and its response."""
    cdef Carrier carrier        # None: the exchange is over, or its connection has gone
    cdef HttpSettings settings
    cdef RequestHead request    # None: the exchange is over
    cdef PyObject* response     # borrowed: it tells when it goes; NULL: there is none
    cdef Watcher watcher        # None: nothing watches
    cdef object kept_response   # while listeners run that may not refer to it; None: none do
    # The body.
    cdef uint64_t left_size     # of a body whose size is known: bytes that have not come
    cdef ChunkedDecoder chunks  # of a body in chunks
    cdef object content         # what waits for the application: bytes or bytearray; None: nothing
    cdef size_t content_size
    cdef object waiter          # the future of the task that reads; None: none does
    cdef list listener_tasks    # the tasks of its listeners; None: none has run
    cdef Py_ssize_t running_count, plain_count
    cdef flag has_body_limit    # `body_size` holds for this request
    cdef flag is_received       # the body has come, or there is none
    cdef flag is_claimed        # the application reads the body, or has begun to
    cdef flag is_dropped        # the body is incomplete, and what comes of it is dropped
    cdef flag owes_continue     # the client waits for a 100 (Continue) before it sends its body
    cdef flag keeps_alive       # the client wants to keep the connection
    cdef flag is_head           # of a HEAD request
    cdef flag is_1_0
    cdef flag is_begun          # the head of the response has been written
    cdef flag is_answered       # the response is complete, or never will be
    cdef flag sends_file        # a file is being sent, after which the response ends by itself
    cdef flag is_detached       # the client has gone, or the server has answered in its place
    cdef flag takes_result      # what its listener returns is the answer
    cdef flag has_events        # the response is an event stream

    cdef int begin(
        self, Carrier carrier, RequestHead request, const BodyFraming* framing, bint limits_body
    ) except -1
    cdef int watch(self, Watcher watcher) except -1
    cdef bint is_over(self) noexcept
    cdef bint awaits_body(self) noexcept
    cdef bint awaits_answer(self) noexcept
    cdef bint is_being_read(self) noexcept
    cdef int receive(self, Span* given) except -1
    cdef int add_content(self, const Span* piece) except -1
    cdef int end_body(self) except -1
    cdef int drop_body(self) except -1
    cdef int fail(self) except -1
    cdef int detach(self) except -1
    cdef int leave(self) except -1
    cdef int wake_reader(self) except -1
    cdef int want_body(self) except -1
    cdef bytes take_content(self)
    cdef bint must_close(self) except -1
    cdef int finish(self, bint close) except -1
    cdef int response_gone(self) except -1
    cdef int give_up(self, str reason) except -1
    cdef int add_task(self, object task) except -1
    cdef int fail_response(self, object error, str reason) except -1
    cdef int answer(self, object result) except -1
    cdef int end_events(self) except -1
