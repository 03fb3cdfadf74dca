"""What carries the bytes: the one small interface between the protocol and whatever brings its
bytes."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.allowance cimport Tariff
from sockwave.core.receiver cimport Receiver
from sockwave.core.tally cimport Tally
from sockwave.core.timers cimport Timed, Wheel
from sockwave.core.writer cimport Cork

cdef enum:
    # A receiver may put this many bytes in front of what it is given: a frame header, or a whole
    # control frame, of which the first part came earlier.
    HEADROOM_SIZE = 256
    READ_SIZE = 262144
    # Messages that a wake-up may deliver before the application's own tasks get their turn.
    TURN_MESSAGE_COUNT = 4096

cdef class Carrier

cdef class Engine:
    """What the carriers of one server in one loop share."""
    cdef readonly object loop
    cdef Cork cork
    cdef Wheel wheel
    cdef readonly Tally tally
    cdef Tariff tariff
    cdef uint8_t* read_buffer   # HEADROOM_SIZE + READ_SIZE bytes
    cdef object welcome         # called with each new carrier; gives it its receiver
    cdef object complain        # called with (error, carrier): what no caller could see
    cdef object tick_handle
    cdef double tick_due
    cdef bint next_turn_is_due
    cdef dict losses            # carrier that is gone → the error that has ended it
    cdef list postponed         # receivers that have messages left for the next wake-up
    cdef readonly Py_ssize_t carrier_count
    cdef public object when_empty   # called when the last carrier is gone, if not None
    cdef public object when_departed    # called with each carrier that is gone, if not None
    cdef int budget             # messages that this wake-up may still deliver
    cdef bint is_short          # of descriptors or memory, so that nobody can be accepted
    cdef object recovery_handle     # of the time after which that is over
    cdef uint32_t write_ticks   # how long a peer may take nothing of what waits for it; 0: for ever

    cdef void tell(self, object error, Carrier carrier) noexcept
    cdef int admit(self, Carrier carrier) except -1
    cdef int postpone(self, Carrier carrier) except -1
    cdef int serve_postponed(self) except -1
    cdef int say_farewell(self, Carrier carrier) except -1
    cdef int let_go(self, Carrier carrier) except -1
    cdef int schedule_tick(self, double now) except -1
    cdef int expect_tick(self) except -1
    cdef int rest_from_accepting(self, object reason, object again, object listener) except -1
    cdef int can_accept(self) except -1
    cdef double clock(self) except -1
    cdef int end_turn(self) except -1

cdef class Carrier(Timed):
    """Carries one peer's bytes both ways."""
    cdef readonly Engine engine
    cdef public Receiver receiver
    cdef readonly bint is_closing       # nothing more is written; what still arrives is dropped
    cdef readonly bint is_secure
    cdef bint lingers       # waits for the peer's end after its own
    cdef bint is_finished   # everything is written, FIN is sent
    cdef bint is_paused
    cdef bint has_ended     # the peer's FIN has come
    cdef bint is_lost       # the socket is gone
    cdef public bint awaits_preamble    # its receiver reads what comes before TLS
    # Of the wheel's time. A carrier has one place on the wheel, for whichever comes first: the
    # receiver's deadline, or the next look at whether the peer still takes what waits for it.
    cdef uint32_t asked     # the tick at which the receiver wants its turn; 0: none
    cdef uint32_t moved     # when the peer last took something of what waits; 0: nothing waits
    cdef uint32_t untaken_size      # how much it had not taken at the last look, in bytes

    # What a kind of carrier does beside `put` and `await_writable`:
    cdef int watch_readable(self, bint on) except -1
    cdef bint is_flushed(self) noexcept
    cdef uint32_t measure_untaken(self) except? 0   # bytes on their way to the peer
    # Let the kernel ask a quiet peer whether it is there: TCP keepalive. False: it cannot.
    cdef bint probe(self, int idle_s, int interval_s, int count) except -1
    cdef int end_writing(self) except -1        # FIN
    cdef int drop(self) except -1               # close the socket now
    # Of bytes that TLS has sealed, those taken; -1: the peer is gone.
    cdef Py_ssize_t transmit(self, const uint8_t* data, size_t size) noexcept

    # What is asked of it:
    cdef int deliver(self, uint8_t* data, size_t size) except -1
    cdef int run_ready(self) except -1
    cdef int end_reading(self) except -1
    cdef int ask_for(self, uint32_t tick) except -1
    cdef int begin_waiting(self) except -1
    cdef int lose(self, object error) except -1
    cpdef object reset(self)
    cpdef object set_deadline(self, object seconds)
    cdef int finish(self, bint linger) except -1
    cdef int pause(self) except -1
    cdef int resume(self) except -1
    cdef int set_alarm(self) except -1
    cdef bint has_stalled(self) except -1
    cdef int end_if_flushed(self) except -1
    cdef int run(self, int what, uint8_t* data, size_t size) except -1
    cdef int take_turn(self, Receiver receiver, int what, uint8_t* data, size_t size) except -1
    cdef int fail(self, object error) except -1
