"""The connected clients of a server, by id and in the order of their ids."""

from cpython.list cimport PyList_Insert
from libc.stdint cimport UINT64_MAX
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

cdef enum:
    # Up to so many empty places are not worth the work of removing them.
    FEW_COUNT = 16


cdef class Connections:
    """The connected clients: sized, iterable in the order in which they came, and by `id`.

    It is live: it always shows the clients that are connected now. Clients may come and go while
    you iterate over it.
    """

    def __cinit__(self):
        self.places = []

    def __dealloc__(self):
        free(self.ids)

    cdef Py_ssize_t find_place(self, uint64_t id) noexcept:
        """Find the first place whose id is not less than `id`."""
        cdef Py_ssize_t low = 0, high = len(self.places)
        cdef Py_ssize_t middle
        while low < high:
            middle = (low + high) // 2
            if self.ids[middle] < id:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int join(self, object connection, uint64_t id) except -1:
        """Add a connection: nearly always at the end, as ids count upwards."""
        cdef Py_ssize_t count, place
        # Here and not in `leave`, which must not need memory.
        if self.left_count > FEW_COUNT and self.left_count > len(self.places) // 2:
            self.close_ranks()
        count = len(self.places)
        if count == self.capacity:
            self.have_ids(count + count // 8 + FEW_COUNT)       # as a list grows
        place = count
        if count and self.ids[count - 1] > id:
            place = self.find_place(id)
            memmove(self.ids + place + 1, self.ids + place, (count - place) * sizeof(uint64_t))
        PyList_Insert(self.places, place, connection)
        self.ids[place] = id
        return 0

    cdef int leave(self, uint64_t id) except -1:
        """Remove a connection; nothing happens when it is not there."""
        cdef Py_ssize_t place = self.find_place(id)
        if place < len(self.places) and self.ids[place] == id and self.places[place] is not None:
            self.places[place] = None
            self.left_count += 1
        return 0

    cdef int have_ids(self, Py_ssize_t capacity) except -1:
        """Make room for `capacity` ids."""
        cdef uint64_t* ids = <uint64_t*>realloc(self.ids, capacity * sizeof(uint64_t))
        if ids is NULL:
            raise MemoryError
        self.ids = ids
        self.capacity = capacity
        return 0

    cdef int close_ranks(self) except -1:
        """Remove the places of the connections that have left."""
        cdef list places = [found for found in self.places if found is not None]
        cdef Py_ssize_t i
        cdef Py_ssize_t count = 0
        for i in range(len(self.places)):
            if self.places[i] is not None:
                self.ids[count] = self.ids[i]
                count += 1
        self.places = places
        self.left_count = 0
        return self.have_ids(count + FEW_COUNT)

    cdef object find(self, object id):
        """Return the connection with this id; None if there is none."""
        cdef Py_ssize_t place
        if not isinstance(id, int) or not 0 <= id <= UINT64_MAX:
            return None
        place = self.find_place(id)
        if place == len(self.places) or self.ids[place] != id:
            return None
        return self.places[place]

    def __len__(self):
        return len(self.places) - self.left_count

    def __iter__(self):
        return iter([found for found in self.places if found is not None])

    def __contains__(self, connection):
        if isinstance(connection, int):
            return self.find(connection) is not None
        found = self.find(getattr(connection, "id", None))
        return found is not None and found is connection

    def __getitem__(self, id):
        found = self.find(id)
        if found is None:
            raise KeyError(id)
        return found

    def get(self, id):
        """Return the connection with this `id`, or None."""
        return self.find(id)

    def __repr__(self):
        return f"<Connections {len(self)}>"
