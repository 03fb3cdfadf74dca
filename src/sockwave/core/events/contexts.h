/* Reads CPython's contexts without calling Python: which one is current, and the root of its
   variables.

   The variables of a context are an immutable tree. When one is set, the context gets another tree.
   The pointer to the root stands behind `ctx_prev` in every version since 3.7. The struct is
   private, so it is used only after a trial has found the pointer there: see `contexts.pyx`. */

#ifndef SOCKWAVE_CONTEXTS_H
#define SOCKWAVE_CONTEXTS_H

#include <Python.h>

struct sockwave_context {
    PyObject_HEAD
    void *previous;
    void *root;
};

static inline const void *context_root(PyObject *context)
{
    return ((struct sockwave_context *)context)->root;
}

static inline PyObject *current_context(void)
{
    return PyThreadState_Get()->context;
}

#endif
