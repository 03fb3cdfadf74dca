/* What of a context of CPython's can be seen at a glance: which one runs, and what its variables are.

   The variables of a context are an immutable tree, which is replaced by another when one is set. Its
   root lies behind `ctx_prev`, as in every version since 3.7; the struct is private, so that it is
   looked at only after a trial has found it there: see `contexts.pyx`. */

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

static inline PyObject *present_context(void)
{
    return PyThreadState_Get()->context;
}

#endif
