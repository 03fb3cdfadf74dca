"""The memory of messages: a str or bytes that only we refer to yet, and that is written to.

A large message that has been delivered is noted as a spare block. Once the application no longer
refers to it, the next message that is not larger is written into its memory. A spare that no
message has taken within a tick or two is released. Of the short messages, the last one of each size
is noted in the same way.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_Check

from sockwave.core.events.emitter cimport raise_pending
from sockwave.core.protocol.frames cimport MAX_SHORT_SIZE
from sockwave.core.protocol.mask cimport unmask

cdef extern from "message_memory.h":
    bint block_is_plain(PyObject* block)
    bint block_is_free(PyObject* block)
    void block_forget_hash(PyObject* block)

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, unsigned int largest)
    void* PyUnicode_DATA(PyObject* text)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject* text)
    int PyUnicode_Resize(PyObject** text, Py_ssize_t size) except -1
    int _PyBytes_Resize(PyObject** block, Py_ssize_t size) except -1
    # Declared without `except`: a `try` would cost more than decoding a short text does. On NULL an
    # exception is set.
    PyObject* PyUnicode_DecodeUTF8(const char* data, Py_ssize_t size, const char* errors)

cdef enum:
    ASCII = 127
    SPARE_COUNT = 16
    # The size of one spare, and of all spares together, which are kept for a tick or two at most.
    LARGEST_SPARE_SIZE = 4194304
    MAX_SPARE_SIZE = 16777216

# A message that was delivered; `age` is the number of ticks since then.
cdef struct Spare:
    PyObject* block
    int age

# The spares of all loops of the process. The newest is tried first: with one loop, its own.
cdef Spare[SPARE_COUNT] spares
cdef int spare_count = 0
cdef size_t spare_size = 0

# The last message of each short size: bytes, and text. All of them together take 30 KB.
cdef PyObject* shorts[2][MAX_SHORT_SIZE + 1]


cdef PyObject* block_for(bint is_text, size_t least, size_t most, size_t room) except NULL:
    """Return a block for a message of `least` to `most` bytes: a spare of at least `least` bytes,
    or a new one of `room` bytes. The reference is the caller's."""
    cdef PyObject* spare = take_spare(is_text, least, most) if least >= SPARE_SIZE else NULL
    if spare is not NULL:
        return spare
    block = PyUnicode_New(room, ASCII) if is_text else PyBytes_FromStringAndSize(NULL, room)
    Py_INCREF(block)
    return <PyObject*>block


cdef uint8_t* place_in(PyObject* block) noexcept:
    if PyUnicode_Check(<object>block):
        return <uint8_t*>PyUnicode_DATA(block)
    return <uint8_t*>PyBytes_AS_STRING(<object>block)


cdef size_t size_of(PyObject* block) noexcept:
    if PyUnicode_Check(<object>block):
        return PyUnicode_GET_LENGTH(block)
    return PyBytes_GET_SIZE(<object>block)


cdef int resize(PyObject** block, size_t size) except -1:
    if PyUnicode_Check(<object>block[0]):
        return PyUnicode_Resize(block, size)
    return _PyBytes_Resize(block, size)


# ---- messages that are whole in the input


cdef inline object place_for(bint is_text, size_t size):
    """Return a block that the caller must fill before the application sees it."""
    cdef PyObject* block
    if size > MAX_SHORT_SIZE:
        block = block_for(is_text, size, size, size)
        made = <object>block
        Py_DECREF(made)
        return made
    block = shorts[is_text][size]
    if block is not NULL and block_is_free(block):
        block_forget_hash(block)
        return <object>block
    made = PyUnicode_New(size, ASCII) if is_text else PyBytes_FromStringAndSize(NULL, size)
    Py_INCREF(made)
    shorts[is_text][size] = <PyObject*>made
    Py_XDECREF(block)
    return made


cdef object unmask_text(const uint8_t* data, size_t size, uint32_t mask):
    """Make a str from masked bytes; None: they are not UTF-8 (RFC 6455, section 8.1)."""
    text = place_for(True, size)
    place = <uint8_t*>PyUnicode_DATA(<PyObject*>text)
    if unmask(place, data, size, mask):
        return text
    offer_spare(text, size)
    return decode(place, size)


cdef bytes unmask_bytes(const uint8_t* data, size_t size, uint32_t mask):
    """Make a bytes object from masked bytes."""
    copy = <bytes>place_for(False, size)
    unmask(<uint8_t*>PyBytes_AS_STRING(copy), data, size, mask)
    return copy


cdef object decode(const uint8_t* data, size_t size):
    """Make a str from UTF-8; None: it is not UTF-8."""
    cdef PyObject* text = PyUnicode_DecodeUTF8(<const char*>data, size, NULL)
    if text is NULL:
        return cannot_decode()
    whole = <object>text
    Py_DECREF(whole)
    return whole


cdef object cannot_decode():
    """Return None for a UnicodeDecodeError; any other error (MemoryError) is raised."""
    try:
        raise_pending()
    except UnicodeDecodeError:
        pass
    return None


# ---- spares: messages that were delivered


cdef PyObject* take_spare(bint is_text, size_t least, size_t most) except? NULL:
    """Return a spare of at least `least` bytes, cut to `most`; NULL: there is none."""
    cdef PyObject* block
    cdef int i
    for i in range(spare_count - 1, -1, -1):
        block = spares[i].block
        if (
            PyUnicode_Check(<object>block) == is_text and size_of(block) >= least
            and block_is_free(block)
        ):
            remove_spare(i)
            block_forget_hash(block)
            if size_of(block) > most:
                try:
                    resize(&block, most)
                except BaseException:
                    Py_XDECREF(block)
                    raise
            return block
    return NULL


cdef int remove_spare(int i) noexcept:
    """Remove a spare from the list; its reference is the caller's now."""
    global spare_count, spare_size
    spare_size -= size_of(spares[i].block)
    spare_count -= 1
    while i < spare_count:
        spares[i] = spares[i + 1]
        i += 1
    return 0


cdef int note_spare(object message) noexcept:
    global spare_count, spare_size
    cdef size_t size = size_of(<PyObject*>message)
    if (
        spare_count < SPARE_COUNT
        and size <= LARGEST_SPARE_SIZE and size <= MAX_SPARE_SIZE - spare_size
        and block_is_plain(<PyObject*>message)
    ):
        Py_INCREF(message)
        spares[spare_count].block = <PyObject*>message
        spares[spare_count].age = 0
        spare_count += 1
        spare_size += size
    return 0


cdef int age_spares() noexcept:
    """Release the spares that were noted before the last tick. Called at each tick."""
    cdef PyObject* block
    cdef int i
    for i in range(spare_count - 1, -1, -1):
        spares[i].age += 1
        if spares[i].age > 1:
            block = spares[i].block
            remove_spare(i)
            Py_DECREF(<object>block)
    return 0


cdef int forget_spares() noexcept:
    """Release all spares, large and short."""
    cdef int is_text, size
    for is_text in range(2):
        for size in range(MAX_SHORT_SIZE + 1):
            Py_XDECREF(shorts[is_text][size])
            shorts[is_text][size] = NULL
    age_spares()
    return age_spares()
