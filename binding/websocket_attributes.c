/* The attributes of the type WebSocket: where the connection stands, and how it ended. */
#include "binding.h"

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

PyGetSetDef fws_websocket_attributes[] = {
    {"_token", get_token, NULL, "By which the notifier names it.", NULL},
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
