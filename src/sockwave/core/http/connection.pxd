"""One HTTP/1.1 connection, until it ends or becomes a WebSocket: RFC 9112, section 9."""

from libc.stdint cimport uint8_t, uint64_t

from sockwave.core.flag cimport flag
from sockwave.core.http.deadline cimport Deadline
from sockwave.core.http.exchange cimport Carrier, Exchange
from sockwave.core.http.head cimport BodyFraming, Head
from sockwave.core.http.request cimport Request
from sockwave.core.http.request_head cimport RequestHead
from sockwave.core.http.scanner cimport HeadScan
from sockwave.core.http.settings cimport HttpSettings, Taker
from sockwave.core.io.transport cimport Transport
from sockwave.core.protocol.input_buffer cimport Span

# The phases of a connection, in order; it never goes back.
cdef enum Phase:
    OPEN                        # requests are read and answered
    UPGRADED                    # the transport belongs to a WebSocket connection
    DRAINING                    # the last answer is being sent, and input is dropped
    ENDED                       # the transport is closing or closed

cdef class HttpConnection(Carrier):
    """The receiver of a transport from its first request on."""
    cdef object __weakref__
    cdef Exchange exchange      # the request that is being read or answered; None: none is
    # The addresses of the client and of the server, once an application was told; None: not yet.
    cdef object told_client, told_server
    cdef bytearray input        # what came and has not been read; None: nothing
    cdef size_t input_start     # where in `input` that begins
    cdef flag has_few           # requests in `input`: reading does not pause for their number
    cdef HeadScan scan          # of a head that came in pieces
    cdef uint64_t written_size  # bytes written to the transport
    cdef Deadline deadline
    cdef uint8_t phase          # a Phase
    cdef flag is_newcomer       # it counts as a handshake under way
    cdef flag is_reading        # requests are being read: `finished` returns to that
    cdef flag has_finished      # a response has ended since the deadline was last set
    cdef flag is_postponed      # a later turn goes on reading requests
    cdef flag awaits_drain      # the backlog has to fall before that
    cdef flag is_full           # reading is paused: enough waits for the application
    cdef flag is_closing        # the connection ends with the present answer
    cdef flag has_ended         # the client sends nothing more
    cdef flag has_rest          # bytes had come behind the present request when it began
    cdef flag asks_head         # the head that is being read, or was refused, is of a HEAD request
    cdef flag drains            # at the end, what the client still sends is read and dropped

    cdef int set_up(self, HttpSettings settings, Transport transport, bint is_newcomer) except -1
    cdef int keep(self, const uint8_t* data, size_t size) except -1
    cdef int read_input(self) except -1
    cdef int read(self, Span* given) except -1
    cdef bint step(self, Span* given) except -1
    cdef int step_over(self) except -1
    cdef bint begin_next(self, Span* given) except -1
    cdef bint is_ordinary(self, const Head* head) noexcept
    cdef bint has_begun_ordinary(self, Span* given, size_t size) except -1
    cdef int begin_strictly(self, bytes raw, Span* given) except -1
    cdef int begin(
        self, RequestHead head, const BodyFraming* framing, bint keeps_alive,
        bint expects_continue, Span* given,
    ) except -1
    cdef Taker find_taker(self, Request request)
    cdef int ask_application(self, Exchange exchange, object request, Taker taker) except -1
    cdef int end_handshake(self) except -1
    cdef int report(self, str sentence, object error) except -1
    cdef int upgrade(self, RequestHead head, Span* given) except -1
    cdef int postpone(self) except -1
    cdef int refuse(self, object refused) except -1
    cdef int enter(self, Phase phase) except -1
    cdef int end(self) except -1
    cdef int close_transport(self) except -1
    cdef int update_flow(self) except -1
    cdef bint has_enough(self) except -1
    cdef int handle_deadline(self) except -1
    cdef size_t input_size(self) noexcept
    cdef object client_address(self)
    cdef object server_address(self)
