/* The type Quota: counts by name, and refuses beyond a limit.
 *
 * It is written in C so that to decide and to count are one step: the GIL is held, and no Python
 * code runs, because a name is exactly a str and a count exactly an int. So there is no lock
 * that a signal handler or a __del__ could meet a second time, and no other code can run between
 * the two. (Without a GIL each method would have to be a critical section of its object.) */
#include "binding.h"

typedef struct {
    PyObject_HEAD PyObject *counts; /* a dict from the name to its count, which is never 0 */
    Py_ssize_t total;
} quota_object;

static PyObject *quota_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Quota", keywords))
        return NULL;
    quota_object *self = (quota_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->counts = PyDict_New();
    if (self->counts == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void quota_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(((quota_object *)object)->counts);
    type->tp_free(object);
    Py_DECREF(type);
}

/* The count of `name`; -1 with an exception set. */
static Py_ssize_t count_of(quota_object *self, PyObject *name)
{
    if (!PyUnicode_CheckExact(name)) {
        PyErr_Format(PyExc_TypeError, "a name must be a str, not %.100s", Py_TYPE(name)->tp_name);
        return -1;
    }
    PyObject *count = PyDict_GetItemWithError(self->counts, name);
    if (count == NULL)
        return PyErr_Occurred() ? -1 : 0;
    return PyLong_AsSsize_t(count);
}

static bool set_count(quota_object *self, PyObject *name, Py_ssize_t count)
{
    if (count == 0)
        return PyDict_DelItem(self->counts, name) == 0;
    PyObject *number = PyLong_FromSsize_t(count);
    bool set = number != NULL && PyDict_SetItem(self->counts, name, number) == 0;
    Py_XDECREF(number);
    return set;
}

PyDoc_STRVAR(
    add_doc,
    "add($self, name, limit, limit_of_all, /)\n--\n\n"
    "Count one more of a name (a str).\n\n"
    "limit: how many the name may have, limit_of_all: how many all names may have\n"
    "together; 0: any number. Returns None, or the limit that it would exceed, \"limit\" or\n"
    "\"limit_of_all\", and then nothing is counted.");

static PyObject *quota_add(PyObject *object, PyObject *args)
{
    quota_object *self = (quota_object *)object;
    PyObject *name;
    Py_ssize_t limit, limit_of_all;
    if (!PyArg_ParseTuple(args, "Onn:add", &name, &limit, &limit_of_all))
        return NULL;
    Py_ssize_t count = count_of(self, name);
    if (count < 0)
        return NULL;
    if (limit_of_all > 0 && self->total >= limit_of_all)
        return PyUnicode_FromString("limit_of_all");
    if (limit > 0 && count >= limit)
        return PyUnicode_FromString("limit");
    if (!set_count(self, name, count + 1))
        return NULL;
    self->total++;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(discard_doc, "discard($self, name, /)\n--\n\n"
                          "Count one of a name out. Does nothing when it has none.");

static PyObject *quota_discard(PyObject *object, PyObject *name)
{
    quota_object *self = (quota_object *)object;
    Py_ssize_t count = count_of(self, name);
    if (count < 0 || (count > 0 && !set_count(self, name, count - 1)))
        return NULL;
    if (count > 0)
        self->total--;
    Py_RETURN_NONE;
}

static PyObject *quota_total(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(((quota_object *)object)->total);
}

static PyMethodDef quota_methods[] = {
    {"add", quota_add, METH_VARARGS, add_doc},
    {"discard", quota_discard, METH_O, discard_doc},
    {0},
};

static PyGetSetDef quota_attributes[] = {
    {"total", quota_total, NULL, "How many all names have together.", NULL},
    {0},
};

static PyType_Slot quota_slots[] = {
    {Py_tp_doc, "Counts by name, and refuses beyond a limit, in one step that nothing interrupts."},
    {Py_tp_new, quota_new},
    {Py_tp_dealloc, quota_dealloc},
    {Py_tp_methods, quota_methods},
    {Py_tp_getset, quota_attributes},
    {0, NULL},
};

PyType_Spec fws_quota_spec = {
    .name = "flask_websockets._core.Quota",
    .basicsize = sizeof(quota_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = quota_slots,
};
