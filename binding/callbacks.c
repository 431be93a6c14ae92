/* The callbacks of event-driven websockets, as the core's threads run them: the GIL is taken
 * once for all that are queued, and those of each websocket run in the context of its handshake. */
#include "binding.h"

/* ---- the GIL, for a thread of the core's ---- */

/* A thread that asks for the GIL while the interpreter ends never returns, and would stay inside
 * the gate. */
static bool interpreter_ends(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* Callbacks that run apart have a gate of their own, as dozens of them may come at once. The leader
 * passes none, and closes this one while it waits: all other websockets wait for it.
 *
 * False: there is no memory for Python's part of the thread, or the interpreter ends. */
static bool enter(void *context, void **thread, bool leads)
{
    fws_module_state *state = context;
    if (interpreter_ends())
        return false;
    if (*thread == NULL)
        *thread = PyThreadState_New(state->interpreter);
    if (*thread == NULL)
        return false;
    fws_gate *gate = &state->callbacks_gate;
    if (leads) {
        fws_gate_close(gate);
        PyEval_RestoreThread(*thread);
        fws_gate_open(gate);
    } else {
        fws_ns entered = fws_gate_enter(gate);
        PyEval_RestoreThread(*thread);
        fws_gate_leave(gate, entered);
    }
    fws_renew_budget();
    return true;
}

static void leave(void *Py_UNUSED(context), void **thread)
{
    *thread = PyEval_SaveThread();
}

static void end_thread(void *context, void **thread)
{
    if (interpreter_ends())
        return; /* its thread state is left to the interpreter */
    fws_restore_thread(context, *thread);
    PyThreadState_Clear(*thread);
    PyThreadState_DeleteCurrent();
    *thread = NULL;
}

/* ---- one websocket ---- */

/* on_message() has raised: Python code logs the exception and closes with 1011. */
static void report_failure(fws_websocket_object *self)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(error, traceback);
    fws_hook_callback_failed(self, error);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
}

static void deliver_message(fws_websocket_object *self, fws_message *message)
{
    PyObject *data = fws_message_object(message);
    PyObject *arguments[3] = {self->receiver, (PyObject *)self, data};
    PyObject *result = NULL;
    if (data != NULL && self->receiver != NULL)
        result = PyObject_Vectorcall(self->on_message, arguments, 3, NULL);
    else if (data != NULL)
        result = PyObject_Vectorcall(self->on_message, arguments + 1,
                                     2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (result == NULL)
        report_failure(self);
    else if (result != Py_None)
        fws_hook_value_returned(self, result);
    Py_XDECREF(result);
    Py_XDECREF(data);
    if (self->in_unit) {
        self->in_unit = false;
        fws_hook_unit_ended(self);
    }
}

static uint32_t deliver_messages(fws_websocket_object *self, fws_inbox *messages)
{
    fws_message message;
    uint32_t count = 0;
    while (fws_inbox_next(messages, &message)) {
        if (fws_websocket_is_closed_here(self->core)) {
            fws_message_free(&message);
            continue;
        }
        deliver_message(self, &message);
        count++;
        if (messages->count > 0 && fws_websocket_is_held_back(self->core)) {
            fws_websocket_return_messages(self->core, messages);
            break;
        }
    }
    return count;
}

static void deliver_close(fws_websocket_object *self)
{
    fws_websocket_status status;
    fws_websocket_get_status(self->core, &status);
    PyObject *reason =
        PyBytes_FromStringAndSize(status.close_reason, (Py_ssize_t)status.close_reason_size);
    fws_hook_callbacks_ended(self, status.close_code, reason);
    Py_XDECREF(reason);
}

/* With hundreds of websockets these objects are in no cache when they are needed. */
static void fetch(const fws_websocket_object *self)
{
    if (self == NULL)
        return;
    fws_prefetch(self->context);
    fws_prefetch(self->receiver);
}

static uint32_t run(void *Py_UNUSED(context), fws_websocket *core, void *next)
{
    fws_websocket_object *self = fws_websocket_owner(core);
    fws_inbox messages;
    uint32_t count = 1;
    fws_status status = fws_websocket_collect(core, &messages);
    if (status == FWS_WOULD_BLOCK)
        return 0;
    fetch(next);
    bool entered = self->context == NULL || PyContext_Enter(self->context) == 0;
    if (!entered) { /* other code has entered the context and does not leave it */
        PyErr_WriteUnraisable(self->context);
        fws_websocket_close(core, FWS_CLOSE_INTERNAL_ERROR, NULL, 0);
    }
    if (status == FWS_CLOSED)
        deliver_close(self); /* also outside of its context: it is counted until then */
    else if (entered)
        count = deliver_messages(self, &messages);
    else
        fws_inbox_clear(&messages);
    if (self->context != NULL && entered && PyContext_Exit(self->context) < 0)
        PyErr_WriteUnraisable(self->context);
    if (status == FWS_CLOSED)
        fws_websocket_object_detach(self);
    return count;
}

fws_callbacks fws_callbacks_of(fws_module_state *state)
{
    return (fws_callbacks){
        .context = state, .enter = enter, .leave = leave, .run = run, .end_thread = end_thread};
}

/* ---- attaching ---- */

bool fws_websocket_object_set_callbacks(fws_websocket_object *self, PyObject *on_message,
                                        PyObject *callbacks)
{
    if (!PyCallable_Check(on_message)) {
        PyErr_SetString(PyExc_TypeError, "on_message must be callable");
        return false;
    }
    if (PyMethod_Check(on_message)) { /* taken apart here, once, and not for each message */
        self->receiver = Py_NewRef(PyMethod_GET_SELF(on_message));
        on_message = PyMethod_GET_FUNCTION(on_message);
    }
    self->on_message = Py_NewRef(on_message);
    self->callbacks = Py_NewRef(callbacks);
    return true;
}

void fws_websocket_object_detach(fws_websocket_object *self)
{
    if (self->callbacks == NULL)
        return;
    Py_CLEAR(self->callbacks);
    Py_CLEAR(self->on_message);
    Py_CLEAR(self->receiver);
    Py_CLEAR(self->context);
    Py_DECREF(self); /* the core's */
}
