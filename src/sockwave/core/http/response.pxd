"""The answer to one request, written by the application: RFC 9112, sections 6 and 7.1."""

from sockwave.core.flag cimport flag
from sockwave.core.http.exchange cimport Exchange
from sockwave.core.http.request cimport Request
from sockwave.core.http.response_body cimport Framing, Payload
from sockwave.core.http.response_head cimport HeaderFields
from sockwave.core.http.settings cimport HttpSettings

cdef class Response:
    """The response to one request: `write_head`, any number of `write`, and one `end`."""
    cdef object __weakref__
    cdef Exchange exchange      # None: the response has ended, or its client has gone
    cdef HttpSettings settings
    cdef HeaderFields fields    # None: the application has given none
    cdef object reason          # the application's reason phrase; None: the usual one
    cdef bytes trailers         # field lines; None: there are none
    cdef dict cookies           # name, domain and path → Set-Cookie line; None: there are none
    # What is called at its end: pairs of a listener's code and the listener; None: nothing.
    cdef list close_listeners
    cdef Py_ssize_t given_size  # bytes of the body that have been written
    cdef readonly int status
    cdef readonly bint headers_sent
    cdef flag is_head_given
    cdef flag has_ended
    cdef Framing framing

    cdef int begin(self, Exchange exchange) except -1
    cpdef object write(self, data)
    cpdef object end(self, data=*)
    cdef object end_with(self, object status, str kind, object data)
    cdef int keep_cookie(self, object name, object value, dict attributes) except -1
    cdef int tell_closed(self) except -1
    cdef int check_open(self, str verb) except -1
    cdef int check_unsent(self, str verb) except -1
    cdef int set_status(self, object status, object reason) except -1
    cdef int count(self, size_t size, bint last) except -1
    cdef int send(self, object owner, const Payload* payload, bint last) except -1
    cdef bytes list_added(self)
    cdef int log(self, Request request) except -1
    cdef object cancelled(self)
