/* The type Notifier: tells the event loop of one thread which websockets have changed. */
#include "binding.h"

static PyObject *notifier_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Notifier", keywords))
        return NULL;
    fws_notifier_object *self = (fws_notifier_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->core = fws_notifier_new();
    if (self->core == NULL) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void notifier_dealloc(PyObject *object)
{
    fws_notifier_object *self = (fws_notifier_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->core)
        fws_notifier_close(self->core);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\n"
                         "The descriptor to watch: readable while take() has something to give.");

static PyObject *notifier_fileno(PyObject *object, PyObject *Py_UNUSED(none))
{
    return PyLong_FromLong(fws_notifier_fd(((fws_notifier_object *)object)->core));
}

PyDoc_STRVAR(take_doc,
             "take($self, /)\n--\n\n"
             "The tokens (int) of websockets that have changed since they waited: a list, empty\n"
             "when there are none. Does not wait.");

/* At most FWS_BATCH: between two calls the event loop does other things. With as many handlers,
 * each of which uses up its budget (see budget.h), that is once in 6 ms. */
static PyObject *notifier_take(PyObject *object, PyObject *Py_UNUSED(none))
{
    fws_websocket *changed[FWS_BATCH];
    size_t count = fws_notifier_drain(((fws_notifier_object *)object)->core, changed, FWS_BATCH);
    PyObject *tokens = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; i < count; i++) {
        PyObject *token = tokens ? PyLong_FromVoidPtr(changed[i]) : NULL;
        fws_websocket_drop(changed[i]);
        if (token == NULL)
            Py_CLEAR(tokens);
        else
            PyList_SET_ITEM(tokens, (Py_ssize_t)i, token);
    }
    return tokens;
}

static PyMethodDef notifier_methods[] = {
    {"fileno", notifier_fileno, METH_NOARGS, fileno_doc},
    {"take", notifier_take, METH_NOARGS, take_doc},
    {0},
};

static PyType_Slot notifier_slots[] = {
    {Py_tp_doc, "Tells an event loop, by one descriptor, which of many websockets have changed."},
    {Py_tp_new, notifier_new},
    {Py_tp_dealloc, notifier_dealloc},
    {Py_tp_methods, notifier_methods},
    {0, NULL},
};

PyType_Spec fws_notifier_spec = {
    .name = "flask_websockets._core.Notifier",
    .basicsize = sizeof(fws_notifier_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = notifier_slots,
};
