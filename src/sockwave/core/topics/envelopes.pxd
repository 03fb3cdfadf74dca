"""The envelopes that sockwave itself has, written as bytes; `sockwave.deliveries` is the model."""

from libc.stdint cimport uint64_t

cdef bytes wrap_compact(uint64_t offset, const char* text, size_t size)
cdef bytes wrap_json(
    str topic, bint is_delta, uint64_t epoch, uint64_t offset, const char* text, size_t size, str id
)
