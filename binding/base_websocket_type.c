/* The type BaseWebSocket: what all kinds of handlers have of a WebSocket, and what neither waits
 * nor is awaited. */
#include "binding.h"

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
    Py_XDECREF(self->user);
    Py_XDECREF(self->route);
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
    Py_VISIT(self->user);
    return 0;
}

/* Only what is the application's own is cleared, because only that can be part of a reference
 * cycle: fws_websocket_object_detach() drops what the callbacks need, and the engine must outlive
 * `core`. */
static int websocket_clear(PyObject *object)
{
    Py_CLEAR(((fws_websocket_object *)object)->data);
    Py_CLEAR(((fws_websocket_object *)object)->user);
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

/* ---- closing ---- */

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

/* ---- what does not wait ---- */

PyDoc_STRVAR(start_callbacks_doc,
             "_start_callbacks($self, context=None, /)\n--\n\n"
             "Let on_message() be called from now on, in the context (a contextvars.Context;\n"
             "None: whichever the thread has); see Engine.attach(). Does nothing the second time.");

static PyObject *websocket_start_callbacks(PyObject *object, PyObject *args)
{
    fws_websocket_object *self = (fws_websocket_object *)object;
    PyObject *context = Py_None;
    if (!PyArg_ParseTuple(args, "|O:_start_callbacks", &context))
        return NULL;
    if (context != Py_None && !PyContext_CheckExact(context)) {
        PyErr_SetString(PyExc_TypeError, "context must be a contextvars.Context or None");
        return NULL;
    }
    if (self->core && self->callbacks != NULL && !self->callbacks_started) {
        self->callbacks_started = true;
        self->context = context == Py_None ? NULL : Py_NewRef(context);
        fws_websocket_release_callbacks(self->core);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(begin_unit_doc,
             "_begin_unit($self, /)\n--\n\n"
             "Have _unit_ended(callbacks) called when the call of on_message() that\n"
             "runs has returned.");

static PyObject *websocket_begin_unit(PyObject *object, PyObject *Py_UNUSED(none))
{
    ((fws_websocket_object *)object)->in_unit = true;
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

/* ---- the type ---- */

static PyMethodDef base_websocket_methods[] = {
    {"_offer", websocket_offer, METH_O, offer_doc},
    {"_next", websocket_next, METH_NOARGS, next_doc},
    {"_start_callbacks", websocket_start_callbacks, METH_VARARGS, start_callbacks_doc},
    {"_begin_unit", websocket_begin_unit, METH_NOARGS, begin_unit_doc},
    {"_answer_handshake", fws_hook_default_answer_handshake, METH_NOARGS,
     fws_hook_answer_handshake_doc},
    {"_closed_error", fws_hook_default_closed_error, METH_VARARGS, fws_hook_closed_error_doc},
    {"_load_json", fws_hook_default_load_json, METH_O, fws_hook_load_json_doc},
    {"_callback_failed", fws_hook_default_callback_failed, METH_VARARGS,
     fws_hook_callback_failed_doc},
    {"_callbacks_ended", fws_hook_default_callbacks_ended, METH_VARARGS,
     fws_hook_callbacks_ended_doc},
    {"_unit_ended", fws_hook_default_unit_ended, METH_O, fws_hook_unit_ended_doc},
    {"_value_returned", fws_hook_default_value_returned, METH_VARARGS, fws_hook_value_returned_doc},
    {"_conclude", fws_websocket_object_conclude, METH_NOARGS, fws_websocket_conclude_doc},
    {"_note_callback", fws_websocket_object_note_callback, METH_O, fws_websocket_note_callback_doc},
    {"close", (PyCFunction)(void (*)(void))websocket_close, METH_VARARGS | METH_KEYWORDS,
     close_doc},
    {"_ping", (PyCFunction)(void (*)(void))fws_websocket_object_wait_for_pong,
     METH_VARARGS | METH_KEYWORDS, fws_websocket_ping_doc},
    {0},
};

static PyMemberDef websocket_members[] = {
    {"user", T_OBJECT, offsetof(fws_websocket_object, user), 0,
     "Whose connection it is, for the application to set: any object, whose str is in the record\n"
     "of the connection's end. None at first."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(fws_websocket_object, weak_references), READONLY,
     NULL},
    {0},
};

static PyType_Slot base_websocket_slots[] = {
    {Py_tp_doc, "The connection part of a WebSocket; see flask_websockets.websocket."},
    {Py_tp_new, websocket_new},
    {Py_tp_dealloc, websocket_dealloc},
    {Py_tp_traverse, websocket_traverse},
    {Py_tp_clear, websocket_clear},
    {Py_tp_methods, base_websocket_methods},
    {Py_tp_getset, fws_websocket_attributes},
    {Py_tp_members, websocket_members},
    {0, NULL},
};

PyType_Spec fws_base_websocket_spec = {
    .name = "flask_websockets._core.BaseWebSocket",
    .basicsize = sizeof(fws_websocket_object),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = base_websocket_slots,
};
