/* The methods of the type WebSocket that this module calls and its users override. They are all
 * that the module knows of the Python code around it. Their defaults are defined here. */
#include "binding.h"

bool fws_hooks_init(fws_hooks *hooks)
{
    hooks->answer_handshake = PyUnicode_InternFromString("_answer_handshake");
    hooks->closed_error = PyUnicode_InternFromString("_closed_error");
    hooks->load_json = PyUnicode_InternFromString("_load_json");
    hooks->callback_failed = PyUnicode_InternFromString("_callback_failed");
    hooks->callbacks_ended = PyUnicode_InternFromString("_callbacks_ended");
    hooks->unit_ended = PyUnicode_InternFromString("_unit_ended");
    hooks->value_returned = PyUnicode_InternFromString("_value_returned");
    return hooks->answer_handshake && hooks->closed_error && hooks->load_json &&
           hooks->callback_failed && hooks->callbacks_ended && hooks->unit_ended &&
           hooks->value_returned;
}

void fws_hooks_clear(fws_hooks *hooks)
{
    Py_CLEAR(hooks->answer_handshake);
    Py_CLEAR(hooks->closed_error);
    Py_CLEAR(hooks->load_json);
    Py_CLEAR(hooks->callback_failed);
    Py_CLEAR(hooks->callbacks_ended);
    Py_CLEAR(hooks->unit_ended);
    Py_CLEAR(hooks->value_returned);
}

/* ---- where they are called ---- */

bool fws_hook_answer_handshake(fws_websocket_object *self)
{
    PyObject *name = self->state->hooks.answer_handshake;
    PyObject *result = PyObject_CallMethodNoArgs((PyObject *)self, name);
    Py_XDECREF(result);
    return result != NULL;
}

void fws_hook_raise_closed(fws_websocket_object *self, int code, PyObject *reason)
{
    PyObject *number = PyLong_FromLong(code);
    if (number == NULL)
        return;
    PyObject *name = self->state->hooks.closed_error;
    PyObject *error = PyObject_CallMethodObjArgs((PyObject *)self, name, number, reason, NULL);
    Py_DECREF(number);
    if (error == NULL)
        return;
    if (PyExceptionInstance_Check(error))
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    else
        PyErr_Format(PyExc_TypeError, "_closed_error() must return an exception, not %.100s",
                     Py_TYPE(error)->tp_name);
    Py_DECREF(error);
}

PyObject *fws_hook_load_json(fws_websocket_object *self, PyObject *data)
{
    return PyObject_CallMethodOneArg((PyObject *)self, self->state->hooks.load_json, data);
}

/* What a method has returned is of no use; what it has raised is reported. */
static void drop_result(fws_websocket_object *self, PyObject *result)
{
    if (result == NULL)
        PyErr_WriteUnraisable(self->callbacks);
    Py_XDECREF(result);
}

void fws_hook_callback_failed(fws_websocket_object *self, PyObject *error)
{
    PyObject *name = self->state->hooks.callback_failed;
    drop_result(self,
                PyObject_CallMethodObjArgs((PyObject *)self, name, self->callbacks, error, NULL));
}

void fws_hook_callbacks_ended(fws_websocket_object *self, int code, PyObject *reason)
{
    PyObject *name = self->state->hooks.callbacks_ended;
    PyObject *number = PyLong_FromLong(code);
    PyObject *result = NULL;
    if (number != NULL && reason != NULL)
        result = PyObject_CallMethodObjArgs((PyObject *)self, name, self->callbacks, number, reason,
                                            NULL);
    drop_result(self, result);
    Py_XDECREF(number);
}

void fws_hook_unit_ended(fws_websocket_object *self)
{
    drop_result(self, PyObject_CallMethodOneArg((PyObject *)self, self->state->hooks.unit_ended,
                                                self->callbacks));
}

void fws_hook_value_returned(fws_websocket_object *self, PyObject *value)
{
    PyObject *name = self->state->hooks.value_returned;
    drop_result(self,
                PyObject_CallMethodObjArgs((PyObject *)self, name, self->callbacks, value, NULL));
}

/* ---- what they do in a class that does not override them ---- */

const char fws_hook_answer_handshake_doc[] =
    "_answer_handshake($self, /)\n--\n\n"
    "Overridden: called when a method needs the connection, and attach() has not been called.\n"
    "It calls attach(), or raises.";

PyObject *fws_hook_default_answer_handshake(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    PyErr_SetString(PyExc_RuntimeError, "the websocket is not connected");
    return NULL;
}

const char fws_hook_closed_error_doc[] =
    "_closed_error($self, code, reason, /)\n--\n\n"
    "Overridden: the exception for what needs an open connection, once that is closing or closed.";

PyObject *fws_hook_default_closed_error(PyObject *Py_UNUSED(self), PyObject *args)
{
    int code;
    PyObject *reason;
    if (!PyArg_ParseTuple(args, "iU:_closed_error", &code, &reason))
        return NULL;
    return PyObject_CallFunction(PyExc_RuntimeError, "N",
                                 PyUnicode_FromFormat("connection closed with %d", code));
}

const char fws_hook_load_json_doc[] = "_load_json($self, data, /)\n--\n\n"
                                      "Overridden: decodes one message (str or bytes) as JSON.";

PyObject *fws_hook_default_load_json(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(data))
{
    PyErr_SetString(PyExc_NotImplementedError, "this class of websocket decodes no JSON");
    return NULL;
}

const char fws_hook_callback_failed_doc[] =
    "_callback_failed($self, callbacks, error, /)\n--\n\n"
    "Overridden: on_message() has raised. callbacks: what attach() was given. By default the "
    "error\n"
    "is raised again, which leaves it to sys.unraisablehook().";

PyObject *fws_hook_default_callback_failed(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *callbacks, *error;
    if (!PyArg_ParseTuple(args, "OO:_callback_failed", &callbacks, &error))
        return NULL;
    if (PyExceptionInstance_Check(error))
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    else
        PyErr_SetString(PyExc_TypeError, "error must be an exception");
    return NULL;
}

const char fws_hook_callbacks_ended_doc[] =
    "_callbacks_ended($self, callbacks, code, reason, /)\n--\n\n"
    "Overridden: the websocket is closing or closed, and on_message() is not called any more.\n"
    "callbacks: what attach() was given. reason: bytes.";

PyObject *fws_hook_default_callbacks_ended(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    Py_RETURN_NONE;
}

const char fws_hook_unit_ended_doc[] =
    "_unit_ended($self, callbacks, /)\n--\n\n"
    "Overridden: the call of on_message() has returned in which _begin_unit() was called.\n"
    "callbacks: what attach() was given.";

PyObject *fws_hook_default_unit_ended(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(callbacks))
{
    Py_RETURN_NONE;
}

const char fws_hook_value_returned_doc[] =
    "_value_returned($self, callbacks, value, /)\n--\n\n"
    "Overridden: on_message() has returned value, which is not None. callbacks: what attach() was\n"
    "given.";

PyObject *fws_hook_default_value_returned(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    Py_RETURN_NONE;
}
