/* The attributes of the type WebSocket: the state of the connection, and how it was closed. */
#include "binding.h"

#include <datetime.h>
#include <unistd.h>

/* False, with an all-zero status, while the handshake is not answered. */
static bool read_status(PyObject *object, fws_websocket_status *status)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    *status = (fws_websocket_status){0};
    if (self->core == NULL)
        return false;
    fws_websocket_get_status(self->core, status);
    return true;
}

static PyObject *get_state_number(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_status status;
    if (!read_status(object, &status))
        return PyLong_FromLong(0); /* CONNECTING */
    switch (status.state) {
    case FWS_STATE_OPEN:
        return PyLong_FromLong(1);
    case FWS_STATE_CLOSING:
    case FWS_STATE_ENDING:
        return PyLong_FromLong(2);
    case FWS_STATE_CLOSED:
        return PyLong_FromLong(3);
    }
    Py_UNREACHABLE();
}

static PyObject *get_token(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromVoidPtr(((fws_websocket_object *)object)->core);
}

static PyObject *get_closed(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_status status;
    return PyBool_FromLong(read_status(object, &status) && status.state != FWS_STATE_OPEN);
}

static PyObject *get_close_code(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_status status;
    read_status(object, &status);
    if (status.close_code == 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(status.close_code);
}

static PyObject *get_close_reason(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_status status;
    read_status(object, &status);
    if (status.close_code == 0)
        Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(status.close_reason, (Py_ssize_t)status.close_reason_size,
                                "replace");
}

static PyObject *get_buffered_amount(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_status status;
    read_status(object, &status);
    return PyLong_FromSize_t(status.buffered);
}

static PyObject *get_untaken(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_status status;
    read_status(object, &status);
    bool converting = ((fws_websocket_object *)object)->conversion != NULL;
    return PyLong_FromUnsignedLong(status.untaken + converting);
}

/* ---- made when they are asked for: an idle websocket takes little memory ---- */

/* Stores `made` unless something is stored already, and returns what is stored. Making it may
 * have run Python code (of the garbage collector), which may have asked for the same attribute. */
static PyObject *store_once(PyObject **place, PyObject *made)
{
    if (made == NULL)
        return NULL;
    if (*place == NULL)
        *place = made;
    else
        Py_DECREF(made);
    return Py_NewRef(*place);
}

static PyObject *get_id(PyObject *object, void *Py_UNUSED(closure))
{
    static const char digits[] = "0123456789abcdef";
    fws_websocket_object *self = (fws_websocket_object *)object;
    if (self->id != NULL)
        return Py_NewRef(self->id);
    unsigned char bytes[16];
    char text[sizeof bytes * 2];
    if (getentropy(bytes, sizeof bytes) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    for (size_t i = 0; i < sizeof bytes; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    return store_once(&self->id, PyUnicode_FromStringAndSize(text, sizeof text));
}

static PyObject *get_data(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    return self->data != NULL ? Py_NewRef(self->data) : store_once(&self->data, PyDict_New());
}

static PyObject *get_messages_in(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_status status;
    read_status(object, &status);
    return PyLong_FromUnsignedLongLong(status.messages_in);
}

static PyObject *get_messages_out(PyObject *object, void *Py_UNUSED(closure))
{
    fws_websocket_status status;
    read_status(object, &status);
    return PyLong_FromUnsignedLongLong(status.messages_out);
}

/* An aware datetime.datetime in UTC. */
static PyObject *get_connected_at(PyObject *object, void *Py_UNUSED(closure))
{
    const fws_websocket *core = ((fws_websocket_object *)object)->core;
    if (core == NULL)
        Py_RETURN_NONE;
    PyDateTime_IMPORT;
    if (PyDateTimeAPI == NULL)
        return NULL;
    double seconds = (double)fws_websocket_connected_at(core) / (double)FWS_NS_PER_S;
    PyObject *arguments = Py_BuildValue("(dO)", seconds, PyDateTime_TimeZone_UTC);
    PyObject *time = arguments != NULL ? PyDateTime_FromTimestamp(arguments) : NULL;
    Py_XDECREF(arguments);
    return time;
}

/* ---- its route ---- */

static PyObject *get_route(PyObject *object, void *Py_UNUSED(closure))
{
    fws_route_object *route = ((fws_websocket_object *)object)->route;
    return Py_NewRef(route != NULL ? (PyObject *)route : Py_None);
}

static int set_route(PyObject *object, PyObject *value, void *Py_UNUSED(closure))
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    if (value == NULL || !PyObject_TypeCheck(value, self->state->route_type)) {
        PyErr_SetString(PyExc_TypeError, "_route must be a Route");
        return -1;
    }
    Py_XSETREF(self->route, (fws_route_object *)Py_NewRef(value));
    return 0;
}

static PyObject *get_endpoint(PyObject *object, void *Py_UNUSED(closure))
{
    const fws_route_object *route = ((fws_websocket_object *)object)->route;
    return Py_NewRef(route != NULL ? route->endpoint : Py_None);
}

static int set_data(PyObject *object, PyObject *value, void *Py_UNUSED(closure))
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    Py_XINCREF(value); /* NULL: it is deleted, and a new dict comes with the next use */
    Py_XSETREF(self->data, value);
    return 0;
}

PyGetSetDef fws_websocket_attributes[] = {
    {"id", get_id, NULL, "A name for this connection, unique in the world: 32 hexadecimal digits.",
     NULL},
    {"data", get_data, set_data,
     "A dict for the application's own use; or whatever the application puts in its place.", NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict,
     "The attributes of the application's own, a dict.", NULL},
    {"_token", get_token, NULL, "By which the notifier names it.", NULL},
    {"_untaken", get_untaken, NULL, "How many messages have arrived and are not given out yet.",
     NULL},
    {"_route", get_route, set_route, "A Route, which counts it; to be set before attach().", NULL},
    {"endpoint", get_endpoint, NULL,
     "The name of the view in Flask (str), as request.endpoint was in its handshake.", NULL},
    {"connected_at", get_connected_at, NULL,
     "When the handshake was answered: a datetime in UTC, with its time zone; None before that.",
     NULL},
    {"messages_in", get_messages_in, NULL,
     "How many messages have come (int), whether they were received yet or not.", NULL},
    {"messages_out", get_messages_out, NULL,
     "How many messages were sent or published to it (int), whether the peer has taken them or\n"
     "not.",
     NULL},
    {"_state", get_state_number, NULL, "0 connecting, 1 open, 2 closing, 3 closed.", NULL},
    {"closed", get_closed, NULL,
     "True once the connection is closing or closed: nothing more can be sent.", NULL},
    {"close_code", get_close_code, NULL,
     "The close code (int; 1005: the peer gave none, 1006: lost without a close), or None while "
     "it\n"
     "is open. RFC 6455 section 7.1.5.",
     NULL},
    {"close_reason", get_close_reason, NULL,
     "The close reason (str, may be empty), or None while it is open. RFC 6455 section 7.1.6.",
     NULL},
    {"buffered_amount", get_buffered_amount, NULL,
     "Bytes that are queued and not yet taken by the kernel.", NULL},
    {0},
};
