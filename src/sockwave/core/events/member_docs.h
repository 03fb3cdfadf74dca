/* Docstrings for the attributes of compiled classes that Cython makes by itself (`readonly`): it has
   no way to give them one, and a property in their place would cost a call. */

static int sockwave_describe_member(PyObject *type, const char *name, const char *doc)
{
    PyObject *member = PyObject_GetAttrString(type, name);
    if (member == NULL)
        return -1;
    if (Py_IS_TYPE(member, &PyGetSetDescr_Type))
        ((PyGetSetDescrObject *)member)->d_getset->doc = doc;
    else
        PyErr_Format(PyExc_TypeError, "%s: expected an attribute made by Cython", name);
    Py_DECREF(member);
    return PyErr_Occurred() ? -1 : 0;
}
