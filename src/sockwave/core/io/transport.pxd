"""The transport: the one small interface between a protocol and the socket that carries its
bytes."""

from libc.stdint cimport uint8_t, uint32_t

from sockwave.core.flag cimport flag
from sockwave.core.io.engine cimport Engine
from sockwave.core.io.receiver cimport Receiver
from sockwave.core.io.timers cimport Timer
from sockwave.core.io.writer cimport Writer

# Why a receiver is given a turn.
cdef enum:
    BYTES
    END_OF_STREAM
    DEADLINE
    GO_ON
    READY

# What happens behind our FIN until the peer's comes.
cdef enum Lingering:
    CLOSES                      # nothing: the socket is closed at once
    LINGERS                     # the last bytes of the peer are read and dropped
    DRAINS                      # so are the many that a peer sends which was amid a large upload

cdef struct Probes:             # how the kernel probes a quiet peer: TCP keepalive
    int idle_s                  # from the last byte received to the first probe
    int interval_s
    int count
    int patience_ms             # how long all of that takes together

cdef class Transport(Writer):
    """Carries the bytes of one peer both ways, and calls its receiver."""
    cdef readonly Engine engine
    cdef public Receiver receiver
    cdef Timer timer            # for the first of two times: see `asked`
    cdef readonly flag is_closing       # nothing more is written; what still arrives is dropped
    cdef flag is_lost       # the socket is gone
    cdef public flag is_secure      # the client uses TLS: to us, or to a trusted proxy
    cdef uint8_t lingering  # a Lingering
    cdef flag is_finished   # everything is written, FIN is sent
    cdef flag is_paused
    cdef flag has_ended     # the peer's FIN has come
    cdef flag is_prompt     # the peer reads at once: the kernel may buffer much for it
    cdef public flag awaits_proxy_header    # its receiver reads that header, before TLS
    # Times, in ticks of the wheel. A transport has one timer, which is set to whichever comes
    # first: the receiver's deadline, or the next check whether the peer still takes what waits for
    # it.
    cdef uint32_t asked     # the tick of the receiver's deadline; 0: none
    cdef uint32_t moved     # when the peer last took something of what waits; 0: nothing waits
    cdef uint32_t untaken_size      # how much it had not taken at the last check, in bytes
    cdef uint32_t dropped_size      # what has come and was dropped since it DRAINS, in bytes

    # Implemented by each kind of transport, beside `put` and `await_writable`:
    cdef int watch_readable(self, bint on) except -1
    cdef bint is_flushed(self) noexcept
    cdef uint32_t measure_untaken(self) except? 0   # bytes on their way to the peer
    # Find how long ago the kernel last heard from the peer. False: the kernel does not tell.
    cdef bint find_silence(self, uint32_t* silence_ticks) except -1
    # Have the kernel probe a quiet peer: TCP keepalive. False: it cannot.
    cdef bint probe(self, const Probes* probes) except -1
    cdef int send_fin(self) except -1
    cdef int close_socket(self) except -1       # now
    cdef int abandon(self) except -1    # … in a forked child: the peer notices nothing
    # Send bytes that TLS has encrypted. Returns how many were taken; -1: the peer is gone.
    cdef Py_ssize_t transmit(self, const uint8_t* data, size_t size) noexcept

    # Called by receivers and engines:
    cdef int run(self, int what, uint8_t* data, size_t size) except -1
    cdef int take_turn(self, Receiver receiver, int what, uint8_t* data, size_t size) except -1
    cdef int close_with(self, object error) except -1
    cpdef object reset(self)
    cdef int notify_closed(self) except -1
    cdef int notify_all(self, Receiver receiver) except -1
    cdef int notify_later(self) except -1
    cdef int notify_again(self) except -1
    cdef int deliver(self, uint8_t* data, size_t size) except -1
    cdef int run_ready(self) except -1
    cdef int end_reading(self) except -1
    cdef int ask_for(self, uint32_t tick) except -1
    cdef int begin_waiting(self) except -1
    cpdef object set_deadline(self, object seconds)
    cdef int shut_down(self, Lingering lingering) except -1
    cdef int drop_bytes(self, size_t size) except -1
    cdef int end_if_flushed(self) except -1     # send FIN, if it is closing and all is sent
    cdef int pause(self) except -1
    cdef int resume(self) except -1
    cdef int set_alarm(self) except -1
    cdef bint has_stalled(self) except -1
