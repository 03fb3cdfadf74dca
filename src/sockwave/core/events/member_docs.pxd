"""Docstrings for the attributes of compiled classes that Cython makes by itself."""

cdef extern from "member_docs.h":
    # Gives an attribute its docstring, which must be a literal: it is referred to for ever.
    int describe_member "sockwave_describe_member" (
        object type, const char* name, const char* doc
    ) except -1
