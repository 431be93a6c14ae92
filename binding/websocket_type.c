/* The type WebSocket: the part of flask_websockets.WebSocket that sends and receives. */
#include "binding.h"

#include <string.h>

#define PING_WAIT_DEFAULT (20 * FWS_NS_PER_S) /* when the engine has no ping timeout of its own */

#define PING_PAYLOAD_SIZE 8 /* of our own choice: enough that no two pings are alike */

/* ---- life ---- */

static PyObject *websocket_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                               PyObject *Py_UNUSED(kwargs))
{
    fws_module_state *state = fws_module_state_of(type);
    if (state == NULL)
        return NULL;
    fws_websocket_object *self = (fws_websocket_object *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->state = state;
    return (PyObject *)self;
}

static void websocket_dealloc(PyObject *object)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weak_references)
        PyObject_ClearWeakRefs(object);
    if (self->core) {
        /* There are no more references. The wrapper of a handler has closed the websocket
         * already; this is for other owners. */
        fws_websocket_close(self->core, FWS_CLOSE_GOING_AWAY, NULL, 0);
        fws_websocket_drop(self->core);
    }
    Py_XDECREF(self->engine);
    Py_XDECREF(self->wait);
    fws_conversion_free(self->conversion);
    Py_XDECREF(self->callbacks);
    Py_XDECREF(self->on_message);
    Py_XDECREF(self->receiver);
    Py_XDECREF(self->context);
    Py_XDECREF(self->id);
    Py_XDECREF(self->data);
    type->tp_free(object);
    Py_DECREF(type);
}

static int websocket_traverse(PyObject *object, visitproc visit, void *arg)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->engine);
    Py_VISIT(self->wait);
    Py_VISIT(self->callbacks);
    Py_VISIT(self->on_message);
    Py_VISIT(self->receiver);
    Py_VISIT(self->context);
    Py_VISIT(self->data);
    return 0;
}

/* Only the application's own dict is cleared, because only it can be part of a reference cycle:
 * fws_websocket_object_detach() drops what the callbacks need, and the engine must outlive
 * `core`. */
static int websocket_clear(PyObject *object)
{
    Py_CLEAR(((fws_websocket_object *)object)->data);
    return 0;
}

/* ---- errors ---- */

static void raise_closed(fws_websocket_object *self)
{
    fws_websocket_status status;
    fws_websocket_get_status(self->core, &status);
    PyObject *reason =
        PyUnicode_DecodeUTF8(status.close_reason, (Py_ssize_t)status.close_reason_size, "replace");
    if (reason == NULL)
        return;
    /* 0: the connection is broken, and that was not recorded yet. */
    int code = status.close_code != 0 ? status.close_code : FWS_CLOSE_ABNORMAL;
    fws_hook_raise_closed(self, code, reason);
    Py_DECREF(reason);
}

void fws_websocket_object_raise(fws_websocket_object *self, fws_status status)
{
    switch (status) {
    case FWS_CLOSED:
        raise_closed(self);
        break;
    case FWS_NO_MEMORY:
        PyErr_NoMemory();
        break;
    case FWS_TIMEOUT:
        PyErr_SetString(PyExc_TimeoutError, "the pong did not come in time");
        break;
    case FWS_OK:
    case FWS_WOULD_BLOCK:
    case FWS_INTERRUPTED:
    case FWS_TOO_LONG:
        PyErr_SetString(PyExc_SystemError, "unexpected status of a websocket");
        break;
    }
}

bool fws_websocket_object_open(fws_websocket_object *self)
{
    if (self->core)
        return true;
    if (!fws_hook_answer_handshake(self))
        return false;
    if (self->core == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the websocket is not connected");
        return false;
    }
    return true;
}

/* ---- sending ---- */

static PyObject *send_payload(fws_websocket_object *self, fws_payload *payload, bool as_text)
{
    fws_opcode opcode = as_text ? FWS_OPCODE_TEXT : FWS_OPCODE_BINARY;
    int status = fws_websocket_object_send(self, opcode, payload->data, payload->size);
    fws_argument_release(payload);
    if (status < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    send_doc,
    "send($self, data, /)\n--\n\n"
    "Send one message: a str as a text message, a bytes-like object as a binary one.\n\n"
    "Waits while more than WEBSOCKETS_SEND_BUFFER bytes are queued for this peer; in a\n"
    "class view eight times that, because there the peer's next messages wait instead. Safe\n"
    "from any thread; messages never interleave.\n\n"
    "Raises TypeError for any other type, ConnectionClosed when the connection is closing\n"
    "or closed. RFC 6455 section 5.6.");

static PyObject *websocket_send(PyObject *object, PyObject *data)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    fws_payload payload;
    if (!fws_argument_payload(data, "send()", &payload))
        return NULL;
    if (!fws_websocket_object_open(self)) {
        fws_argument_release(&payload);
        return NULL;
    }
    return send_payload(self, &payload, payload.is_text);
}

PyDoc_STRVAR(send_text_doc,
             "send_text($self, data, /)\n--\n\n"
             "Send a str as one text message. TypeError for any other type; else as\n"
             "send().");

static PyObject *websocket_send_text(PyObject *object, PyObject *data)
{
    if (!PyUnicode_Check(data)) {
        PyErr_Format(PyExc_TypeError, "send_text() takes str, not %.100s", Py_TYPE(data)->tp_name);
        return NULL;
    }
    return websocket_send(object, data);
}

PyDoc_STRVAR(
    send_bytes_doc,
    "send_bytes($self, data, /)\n--\n\n"
    "Send one binary message: a bytes-like object, or the UTF-8 of a str. Else as send().");

static PyObject *websocket_send_bytes(PyObject *object, PyObject *data)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    fws_payload payload;
    if (!fws_argument_payload(data, "send_bytes()", &payload))
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
        raise_closed(self);
    return NULL;
}

PyDoc_STRVAR(iter_data_doc,
             "iter_data($self)\n--\n\n"
             "Iterate over the messages (str or bytes). Waits for each, ends when the connection\n"
             "closes; leaving the loop early (break, return) disconnects with 1000.");
PyDoc_STRVAR(iter_text_doc, "iter_text($self)\n--\n\n"
                            "As iter_data(), text messages only; binary ones are passed over.");
PyDoc_STRVAR(iter_bytes_doc, "iter_bytes($self)\n--\n\n"
                             "As iter_data(), binary messages only; text ones are passed over.");
PyDoc_STRVAR(iter_json_doc,
             "iter_json($self)\n--\n\n"
             "As iter_data(), each message decoded by the app's JSON provider, which\n"
             "raises ValueError for one that is not JSON.");

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

/* ---- control frames ---- */

PyDoc_STRVAR(
    close_doc,
    "close($self, code=1000, reason='')\n--\n\n"
    "Start the closing handshake; the engine completes it, so this does not wait.\n\n"
    "code: 1000 to 1003, 1007 to 1014 or 3000 to 4999. reason: str of at most 123 bytes in\n"
    "UTF-8. ValueError for others, and then nothing is sent. Does nothing when the\n"
    "connection is closing or closed. RFC 6455 sections 5.5.1, 7.1.2 and 7.4.");

static PyObject *websocket_close(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"code", "reason", NULL};
    fws_websocket_object *self = (fws_websocket_object *)object;
    PyObject *code = NULL, *reason = NULL;
    fws_close_argument argument;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:close", keywords, &code, &reason) ||
        !fws_argument_close(code, reason, &argument) || !fws_websocket_object_open(self))
        return NULL;
    fws_websocket_close(self->core, argument.code, argument.reason, argument.size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(ping_doc,
             "ping($self, data=b'')\n--\n\n"
             "Send a ping, wait for its pong, return the round trip in seconds.\n\n"
             "data: bytes-like or str, at most 125 bytes; empty lets the engine choose a payload.\n"
             "Messages that arrive meanwhile are kept for receive().\n\n"
             "Raises TimeoutError after WEBSOCKETS_PING_TIMEOUT, ConnectionClosed, ValueError for\n"
             "more than 125 bytes. RFC 6455 sections 5.5.2 and 5.5.3.");

static PyObject *websocket_ping(PyObject *object, PyObject *args, PyObject *kwargs)
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

PyDoc_STRVAR(start_callbacks_doc, "_start_callbacks($self, /)\n--\n\n"
                                  "Let on_message() be called from now on; see Engine.attach().\n"
                                  "Does nothing the second time.");

static PyObject *websocket_start_callbacks(PyObject *object, PyObject *Py_UNUSED(none))
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    if (self->core && !self->callbacks_started) {
        self->callbacks_started = true;
        fws_websocket_release_callbacks(self->core);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(next_doc,
             "_next($self, /)\n--\n\n"
             "A message (str or bytes) that has come; or None, and then the notifier will\n"
             "give _token once it is to be called again. Does not wait.\n"
             "Raises ConnectionClosed at the end.");

static PyObject *websocket_next(PyObject *object, PyObject *Py_UNUSED(none))
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    fws_message message;
    PyObject *data = NULL;
    if (!fws_websocket_object_open(self))
        return NULL;
    bool found = fws_websocket_object_continue(self, false, &data);
    while (!found) {
        int status = fws_websocket_object_next(self, &message);
        if (status == FWS_WOULD_BLOCK)
            Py_RETURN_NONE;
        if (status != FWS_OK)
            return NULL;
        found = fws_websocket_object_convert(self, &message, false, &data);
    }
    if (data == NULL && !PyErr_Occurred())
        Py_RETURN_NONE; /* it takes more pieces */
    return data;
}

PyDoc_STRVAR(offer_doc,
             "_offer($self, data, /)\n--\n\n"
             "send() without waiting. True: it is sent, or queued. False: it is not, and the\n"
             "notifier will give _token once it is to be called again. A Loan: it is being sent\n"
             "from where it is; the notifier will give _token once Loan.is_over() is to be asked.");

static PyObject *websocket_offer(PyObject *object, PyObject *data)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    fws_payload payload;
    if (!fws_argument_payload(data, "send()", &payload))
        return NULL;
    int status = -1;
    fws_loan *loan = NULL;
    if (fws_websocket_object_open(self)) {
        fws_opcode opcode = payload.is_text ? FWS_OPCODE_TEXT : FWS_OPCODE_BINARY;
        status = fws_websocket_object_offer(self, opcode, payload.data, payload.size, &loan);
    }
    PyObject *result = NULL;
    if (loan != NULL)
        result = fws_loan_object_new(self, loan, data, &payload);
    else if (status >= 0)
        result = PyBool_FromLong(status == FWS_OK);
    fws_argument_release(&payload);
    return result;
}

static PyMethodDef websocket_methods[] = {
    {"_offer", websocket_offer, METH_O, offer_doc},
    {"_next", websocket_next, METH_NOARGS, next_doc},
    {"_start_callbacks", websocket_start_callbacks, METH_NOARGS, start_callbacks_doc},
    {"_answer_handshake", fws_hook_default_answer_handshake, METH_NOARGS,
     fws_hook_answer_handshake_doc},
    {"_closed_error", fws_hook_default_closed_error, METH_VARARGS, fws_hook_closed_error_doc},
    {"_load_json", fws_hook_default_load_json, METH_O, fws_hook_load_json_doc},
    {"_callback_failed", fws_hook_default_callback_failed, METH_VARARGS,
     fws_hook_callback_failed_doc},
    {"_callbacks_ended", fws_hook_default_callbacks_ended, METH_VARARGS,
     fws_hook_callbacks_ended_doc},
    {"send", websocket_send, METH_O, send_doc},
    {"send_text", websocket_send_text, METH_O, send_text_doc},
    {"send_bytes", websocket_send_bytes, METH_O, send_bytes_doc},
    {"receive", (PyCFunction)(void (*)(void))websocket_receive, METH_FASTCALL | METH_KEYWORDS,
     receive_doc},
    {"iter_data", websocket_iter_data, METH_NOARGS, iter_data_doc},
    {"iter_text", websocket_iter_text, METH_NOARGS, iter_text_doc},
    {"iter_bytes", websocket_iter_bytes, METH_NOARGS, iter_bytes_doc},
    {"iter_json", websocket_iter_json, METH_NOARGS, iter_json_doc},
    {"close", (PyCFunction)(void (*)(void))websocket_close, METH_VARARGS | METH_KEYWORDS,
     close_doc},
    {"ping", (PyCFunction)(void (*)(void))websocket_ping, METH_VARARGS | METH_KEYWORDS, ping_doc},
    {0},
};

static PyMemberDef websocket_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(fws_websocket_object, weak_references), READONLY,
     NULL},
    {0},
};

static PyType_Slot websocket_slots[] = {
    {Py_tp_doc, "The connection part of a WebSocket; see flask_websockets.WebSocket."},
    {Py_tp_new, websocket_new},
    {Py_tp_dealloc, websocket_dealloc},
    {Py_tp_traverse, websocket_traverse},
    {Py_tp_clear, websocket_clear},
    {Py_tp_methods, websocket_methods},
    {Py_tp_getset, fws_websocket_attributes},
    {Py_tp_members, websocket_members},
    {0, NULL},
};

PyType_Spec fws_websocket_spec = {
    .name = "flask_websockets._core.WebSocket",
    .basicsize = sizeof(fws_websocket_object),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = websocket_slots,
};
