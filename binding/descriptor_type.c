/* The type Descriptor, which owns one file descriptor, and the functions by which a connection is
 * taken over from a server.
 *
 * A number in a variable of Python is lost when an exception that another thread raises in this
 * one (PyThreadState_SetAsyncExc) comes between the call that made the descriptor and the
 * assignment, and then it stays open for ever. So a descriptor is in an object before Python can
 * see it, and is closed with that object, unless somebody has taken it.
 *
 * All of it runs with the GIL held. */
#include "binding.h"

#include <fcntl.h>
#include <unistd.h>

typedef struct {
    PyObject_HEAD int fd; /* -1: closed, or taken by Engine.attach() */
} descriptor_object;

static void close_descriptor(descriptor_object *self)
{
    int fd = self->fd;
    self->fd = -1; /* first, so that it is closed once whatever happens */
    if (fd >= 0)
        close(fd);
}

/* Without a descriptor yet. */
static descriptor_object *new_descriptor(PyTypeObject *type)
{
    descriptor_object *self = (descriptor_object *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->fd = -1;
    return self;
}

static PyObject *descriptor_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", NULL};
    PyObject *of;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Descriptor", keywords, &of))
        return NULL;
    int fd = PyObject_AsFileDescriptor(of);
    descriptor_object *self = fd < 0 ? NULL : new_descriptor(type);
    if (self == NULL)
        return NULL;
    self->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (self->fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void descriptor_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    close_descriptor((descriptor_object *)object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Close it. Does nothing when it is closed, or taken.");

static PyObject *descriptor_close(PyObject *object, PyObject *Py_UNUSED(none))
{
    close_descriptor((descriptor_object *)object);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\n"
                         "Its number; -1 once it is closed, or taken by Engine.attach().");

static PyObject *descriptor_fileno(PyObject *object, PyObject *Py_UNUSED(none))
{
    return PyLong_FromLong(((descriptor_object *)object)->fd);
}

static PyMethodDef descriptor_methods[] = {
    {"close", descriptor_close, METH_NOARGS, close_doc},
    {"fileno", descriptor_fileno, METH_NOARGS, fileno_doc},
    {0},
};

PyDoc_STRVAR(descriptor_doc,
             "Descriptor(of, /)\n--\n\n"
             "Owns a file descriptor, which is closed with this object.\n\n"
             "of: an int, or an object with fileno(): of its descriptor this makes a duplicate.\n"
             "Raises OSError when there is none, or descriptors are used up.");

static PyType_Slot descriptor_slots[] = {
    {Py_tp_doc, (void *)descriptor_doc},
    {Py_tp_new, descriptor_new},
    {Py_tp_dealloc, descriptor_dealloc},
    {Py_tp_methods, descriptor_methods},
    {0, NULL},
};

PyType_Spec fws_descriptor_spec = {
    .name = "flask_websockets._core.Descriptor",
    .basicsize = sizeof(descriptor_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = descriptor_slots,
};

int fws_descriptor_take(PyObject *descriptor)
{
    descriptor_object *self = (descriptor_object *)descriptor;
    int fd = self->fd;
    self->fd = -1;
    return fd;
}

void fws_descriptor_put_back(PyObject *descriptor, int fd)
{
    ((descriptor_object *)descriptor)->fd = fd;
}

/* ---- taking over ---- */

PyDoc_STRVAR(
    take_over_doc,
    "take_over(fd, /)\n--\n\n"
    "Take a connection over from the owner of the descriptor.\n\n"
    "Returns (ours, far_end), Descriptors: a new one of the connection, and one to be kept\n"
    "for as long as the owner may write to its own, which now is one end of a socket\n"
    "pair: what is written there is discarded, and reading is at end-of-file.\n"
    "Raises OSError, and the owner still has its connection.");

static PyObject *take_over(PyObject *module, PyObject *argument)
{
    fws_module_state *state = PyModule_GetState(module);
    int fd = PyObject_AsFileDescriptor(argument);
    if (fd < 0)
        return NULL;
    /* Made first, because nothing may fail once the owner has lost its connection. */
    descriptor_object *ours = new_descriptor(state->descriptor_type);
    descriptor_object *far_end = new_descriptor(state->descriptor_type);
    PyObject *both = ours && far_end ? PyTuple_Pack(2, ours, far_end) : NULL;
    if (both != NULL && !fws_transport_take_over(fd, &ours->fd, &far_end->fd)) {
        ours->fd = far_end->fd = -1;
        PyErr_SetFromErrno(PyExc_OSError);
        Py_CLEAR(both);
    }
    Py_XDECREF(ours);
    Py_XDECREF(far_end);
    return both;
}

PyDoc_STRVAR(
    exchange_doc,
    "exchange(fd, by, /)\n--\n\n"
    "As take_over(), from an owner that will not write: its descriptor becomes another one of\n"
    "`by`. Returns a new Descriptor of the connection.\n"
    "Raises OSError, and the owner still has its connection.");

static PyObject *exchange(PyObject *module, PyObject *arguments)
{
    fws_module_state *state = PyModule_GetState(module);
    int fd, by;
    if (!PyArg_ParseTuple(arguments, "ii:exchange", &fd, &by))
        return NULL;
    descriptor_object *ours = new_descriptor(state->descriptor_type);
    if (ours != NULL && !fws_transport_exchange(fd, by, &ours->fd)) {
        ours->fd = -1;
        PyErr_SetFromErrno(PyExc_OSError);
        Py_CLEAR(ours);
    }
    return (PyObject *)ours;
}

PyMethodDef fws_descriptor_functions[] = {
    {"exchange", exchange, METH_VARARGS, exchange_doc},
    {"take_over", take_over, METH_O, take_over_doc},
    {0},
};
