/* What CPython has no function for: to tell that a str or bytes has no reference but ours, so that
 * its memory may be written to again, and to forget the hash that it remembers. */
#ifndef SOCKWAVE_BLOCKS_H
#define SOCKWAVE_BLOCKS_H

#include <Python.h>

/* True: a bytes, or a str whose characters are one byte each. A str with anything but ASCII in it
 * has another layout. */
static inline int block_is_plain(PyObject *block)
{
    return PyBytes_CheckExact(block) ||
           (PyUnicode_CheckExact(block) && PyUnicode_IS_COMPACT_ASCII(block));
}

/* True: the only reference left is the caller's, so that the application cannot see what is written
 * there. An interned str is also in a table whose reference does not count. */
static inline int block_is_free(PyObject *block)
{
#ifdef Py_GIL_DISABLED
    (void)block; /* another thread may be about to take a reference */
    return 0;
#else
    if (Py_REFCNT(block) != 1)
        return 0;
    if (PyBytes_CheckExact(block))
        return 1;
#if PY_VERSION_HEX < 0x030C0000
    if (((PyASCIIObject *)block)->wstr != NULL) /* its wide form is kept beside it */
        return 0;
#endif
    return !PyUnicode_CHECK_INTERNED(block);
#endif
}

/* Forgets the hash that an object remembers: it is that of the former message. */
static inline void block_forget_hash(PyObject *block)
{
    if (PyUnicode_Check(block)) {
        ((PyASCIIObject *)block)->hash = -1;
        return;
    }
#if defined(__GNUC__) || defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif
    ((PyBytesObject *)block)->ob_shash = -1;
#if defined(__GNUC__) || defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

#endif
