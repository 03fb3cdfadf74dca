"""Which route takes a path: exact names before `{name}` segments. RFC 3986, section 3.3."""

from sockwave.core.http.request_head cimport RequestHead

cdef class Node:
    """Where a path has come to, behind some of its segments."""
    cdef dict children          # name of the next segment → Node; None: there are none
    cdef Node named             # behind a `{name}` segment; None: there is none
    cdef dict routes            # of the paths that end here: key → Route; None: none ends here

cdef class Route:
    """What takes one path, or all that have names in the places of its `{name}` segments."""
    cdef readonly object taker
    cdef readonly str path      # as the application has written it
    cdef tuple names

cdef class RouteTable:
    """The routes of one kind: key and path → taker. The key of requests is their method."""
    cdef Node root
    cdef dict exact             # path as it is sent → Node, of paths without `{name}` segments
    cdef object refuse          # keys → what takes a path with a key that it has not; None: nothing
    cdef Py_ssize_t depth       # segments of the longest route
    cdef readonly Py_ssize_t count      # of routes

    cpdef object find(self, RequestHead head, str key)
    cdef Route find_below(self, Node node, list parts, Py_ssize_t at, str key, list values,
                          set others)
