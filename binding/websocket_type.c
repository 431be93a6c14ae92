/* The type WebSocket: adds to BaseWebSocket what waits: as threads do, and greenlets. */
#include "binding.h"

#define PING_WAIT_DEFAULT (20 * FWS_NS_PER_S) /* when the engine has no ping timeout of its own */

#define PING_PAYLOAD_SIZE 8 /* of our own choice: enough that no two pings are alike */

/* ---- sending ---- */

/* The argument of a method that has one, `data`, given by position or by name; NULL with a
 * TypeError. */
static PyObject *data_argument(const char *method, PyObject *const *args, Py_ssize_t count,
                               PyObject *names)
{
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count + named == 1 &&
        (named == 0 || !PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "data")))
        return args[0];
    PyErr_Format(PyExc_TypeError, "%s() takes one argument, data", method);
    return NULL;
}

static PyObject *send_payload(fws_websocket_object *self, fws_payload *payload, bool as_text)
{
    fws_opcode opcode = as_text ? FWS_OPCODE_TEXT : FWS_OPCODE_BINARY;
    int status = fws_websocket_object_send(self, opcode, payload->data, payload->size);
    fws_argument_release(payload);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *send_as_its_type(fws_websocket_object *self, PyObject *data)
{
    fws_payload payload;
    if (!fws_argument_payload(data, "send()", &payload))
        return NULL;
    if (!fws_websocket_object_open(self)) {
        fws_argument_release(&payload);
        return NULL;
    }
    return send_payload(self, &payload, payload.is_text);
}

PyDoc_STRVAR(
    send_doc,
    "send($self, data)\n--\n\n"
    "Send one message: a str as a text message, a bytes-like object as a binary one.\n\n"
    "Waits while more than WEBSOCKETS_SEND_BUFFER bytes are queued for this peer; in a\n"
    "class view eight times that, because there the peer's next messages wait instead. Safe\n"
    "from any thread; messages never interleave.\n\n"
    "Raises TypeError for any other type, ConnectionClosed when the connection is closing\n"
    "or closed. RFC 6455 section 5.6.");

static PyObject *websocket_send(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                PyObject *names)
{
    PyObject *data = data_argument("send", args, count, names);
    return data ? send_as_its_type((fws_websocket_object *)object, data) : NULL;
}

PyDoc_STRVAR(send_text_doc,
             "send_text($self, data)\n--\n\n"
             "Send a str as one text message. TypeError for any other type; else as\n"
             "send().");

static PyObject *websocket_send_text(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                     PyObject *names)
{
    PyObject *data = data_argument("send_text", args, count, names);
    if (data == NULL)
        return NULL;
    if (!PyUnicode_Check(data)) {
        PyErr_Format(PyExc_TypeError, "send_text() takes str, not %.100s", Py_TYPE(data)->tp_name);
        return NULL;
    }
    return send_as_its_type((fws_websocket_object *)object, data);
}

PyDoc_STRVAR(
    send_bytes_doc,
    "send_bytes($self, data)\n--\n\n"
    "Send one binary message: a bytes-like object, or the UTF-8 of a str. Else as send().");

static PyObject *websocket_send_bytes(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                      PyObject *names)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    PyObject *data = data_argument("send_bytes", args, count, names);
    fws_payload payload;
    if (data == NULL || !fws_argument_payload(data, "send_bytes()", &payload))
        return NULL;
    if (!fws_websocket_object_open(self)) {
        fws_argument_release(&payload);
        return NULL;
    }
    return send_payload(self, &payload, false);
}

/* ---- receiving ---- */

PyDoc_STRVAR(
    receive_doc,
    "receive($self, timeout=None)\n--\n\n"
    "The next message: str for a text message, bytes for a binary one.\n\n"
    "timeout: seconds to wait; None waits until the connection closes, 0 does not wait.\n"
    "Returns None when the time is over; nothing is lost by that.\n\n"
    "Raises ConnectionClosed once the connection is closed and all that had arrived is\n"
    "taken; TypeError or ValueError for a bad timeout. Safe from any thread: each message\n"
    "goes to one of them. RFC 6455 section 6.2.");

static PyObject *websocket_receive(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                   PyObject *names)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    if (count + named > 1) {
        PyErr_SetString(PyExc_TypeError, "receive() takes one argument, timeout");
        return NULL;
    }
    if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout")) {
        PyErr_Format(PyExc_TypeError, "receive() got an unexpected keyword argument '%U'",
                     PyTuple_GET_ITEM(names, 0));
        return NULL;
    }
    fws_ns timeout;
    if (!fws_argument_seconds(count + named ? args[0] : NULL, "timeout", &timeout) ||
        !fws_websocket_object_open(self))
        return NULL;
    fws_message message;
    PyObject *data;
    int status = FWS_OK;
    while (status == FWS_OK) {
        if (fws_websocket_object_continue(self, true, &data))
            return data;
        status = fws_websocket_object_receive(self, timeout, &message);
        if (status == FWS_OK && fws_websocket_object_convert(self, &message, true, &data))
            return data;
    }
    if (status == FWS_TIMEOUT)
        Py_RETURN_NONE;
    if (status == FWS_CLOSED)
        fws_websocket_object_raise(self, FWS_CLOSED);
    return NULL;
}

PyDoc_STRVAR(
    iter_data_doc,
    "iter_data($self)\n--\n\n"
    "Iterate over the messages (str or bytes). Waits for each, ends when the connection\n"
    "closes. A loop that is left early loses nothing: the next one, or receive(), goes on\n"
    "with the next message, and the handler's return closes with 1000.");
PyDoc_STRVAR(iter_text_doc, "iter_text($self)\n--\n\n"
                            "As iter_data(), text messages only; binary ones are passed over.");
PyDoc_STRVAR(iter_bytes_doc, "iter_bytes($self)\n--\n\n"
                             "As iter_data(), binary messages only; text ones are passed over.");
PyDoc_STRVAR(iter_json_doc,
             "iter_json($self)\n--\n\n"
             "As iter_data(), each message decoded by the app's JSON provider. Raises\n"
             "InvalidMessage, a ValueError, for one that is not JSON; the iterator goes on\n"
             "with the next one after that.");

static PyObject *websocket_iter_data(PyObject *self, PyObject *Py_UNUSED(none))
{
    return fws_iterator_new((fws_websocket_object *)self, FWS_ITERATE_DATA);
}

static PyObject *websocket_iter_text(PyObject *self, PyObject *Py_UNUSED(none))
{
    return fws_iterator_new((fws_websocket_object *)self, FWS_ITERATE_TEXT);
}

static PyObject *websocket_iter_bytes(PyObject *self, PyObject *Py_UNUSED(none))
{
    return fws_iterator_new((fws_websocket_object *)self, FWS_ITERATE_BYTES);
}

static PyObject *websocket_iter_json(PyObject *self, PyObject *Py_UNUSED(none))
{
    return fws_iterator_new((fws_websocket_object *)self, FWS_ITERATE_JSON);
}

/* ---- pings ---- */

const char fws_websocket_ping_doc[] =
    "ping($self, data=b'')\n--\n\n"
    "Send a ping, wait for its pong, return the round trip in seconds.\n\n"
    "data: bytes-like or str, at most 125 bytes; empty lets the engine choose a payload.\n"
    "Messages that arrive meanwhile are kept for receive().\n\n"
    "Raises TimeoutError after WEBSOCKETS_PING_TIMEOUT, ConnectionClosed, ValueError for\n"
    "more than 125 bytes. RFC 6455 sections 5.5.2 and 5.5.3.";

PyObject *fws_websocket_object_wait_for_pong(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"data", NULL};
    fws_websocket_object *self = (fws_websocket_object *)object;
    PyObject *data = NULL;
    fws_payload payload = {0};
    uint8_t own[PING_PAYLOAD_SIZE];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:ping", keywords, &data) ||
        (data != NULL && !fws_argument_payload(data, "ping()", &payload)))
        return NULL;
    if (payload.size > FWS_FRAME_CONTROL_MAX) {
        PyErr_Format(PyExc_ValueError, "a ping carries at most %d bytes, not %zu",
                     FWS_FRAME_CONTROL_MAX, payload.size);
        fws_argument_release(&payload);
        return NULL;
    }
    if (!fws_websocket_object_open(self)) {
        fws_argument_release(&payload);
        return NULL;
    }
    const void *bytes = payload.data;
    size_t size = payload.size;
    if (size == 0) {
        fws_os_entropy(own);
        fws_os_entropy(own + 4);
        bytes = own;
        size = sizeof own;
    }
    fws_ns wait = fws_websocket_config(self->core)->ping_timeout;
    fws_ns deadline = fws_clock_now() + (wait > 0 ? wait : PING_WAIT_DEFAULT);
    fws_ns round_trip = 0;
    int status = fws_websocket_object_ping(self, bytes, size, deadline, &round_trip);
    fws_argument_release(&payload);
    if (status < 0)
        return NULL;
    return PyFloat_FromDouble((double)round_trip / (double)FWS_NS_PER_S);
}

/* ---- the type ---- */

static PyMethodDef websocket_methods[] = {
    {"send", (PyCFunction)(void (*)(void))websocket_send, METH_FASTCALL | METH_KEYWORDS, send_doc},
    {"send_text", (PyCFunction)(void (*)(void))websocket_send_text, METH_FASTCALL | METH_KEYWORDS,
     send_text_doc},
    {"send_bytes", (PyCFunction)(void (*)(void))websocket_send_bytes, METH_FASTCALL | METH_KEYWORDS,
     send_bytes_doc},
    {"receive", (PyCFunction)(void (*)(void))websocket_receive, METH_FASTCALL | METH_KEYWORDS,
     receive_doc},
    {"iter_data", websocket_iter_data, METH_NOARGS, iter_data_doc},
    {"iter_text", websocket_iter_text, METH_NOARGS, iter_text_doc},
    {"iter_bytes", websocket_iter_bytes, METH_NOARGS, iter_bytes_doc},
    {"iter_json", websocket_iter_json, METH_NOARGS, iter_json_doc},
    {"ping", (PyCFunction)(void (*)(void))fws_websocket_object_wait_for_pong,
     METH_VARARGS | METH_KEYWORDS, fws_websocket_ping_doc},
    {0},
};

static PyType_Slot websocket_slots[] = {
    {Py_tp_doc, "A WebSocket whose methods wait; see flask_websockets.WebSocket."},
    {Py_tp_methods, websocket_methods},
    {0, NULL},
};

PyType_Spec fws_websocket_spec = {
    .name = "flask_websockets._core.WebSocket",
    .basicsize = sizeof(fws_websocket_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = websocket_slots,
};
