/* The type Engine: one I/O engine with its table, for one WebSockets extension in one process. */
#include "binding.h"

#include <string.h>

/* ---- life ---- */

static bool read_policy(const char *name, fws_slow_consumer *policy)
{
    if (strcmp(name, "close") == 0)
        *policy = FWS_SLOW_CLOSE;
    else if (strcmp(name, "drop_oldest") == 0)
        *policy = FWS_SLOW_DROP_OLDEST;
    else if (strcmp(name, "drop_newest") == 0)
        *policy = FWS_SLOW_DROP_NEWEST;
    else
        return false;
    return true;
}

static bool read_config(PyObject *args, PyObject *kwargs, fws_engine_config *config)
{
    static char *keywords[] = {"ping_interval",     "ping_timeout",
                               "close_timeout",     "send_timeout",
                               "max_message_size",  "max_fragments",
                               "max_message_rate",  "receive_queue",
                               "send_buffer",       "slow_consumer",
                               "compression_level", "compression_threshold",
                               "callback_threads",  NULL};
    double ping_interval, ping_timeout, close_timeout, send_timeout;
    unsigned long long max_message_size;
    unsigned int max_fragments, max_message_rate, receive_queue, callback_threads;
    Py_ssize_t send_buffer, threshold;
    int level;
    const char *policy;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "$ddddKIIInsinI:Engine", keywords, &ping_interval, &ping_timeout,
            &close_timeout, &send_timeout, &max_message_size, &max_fragments, &max_message_rate,
            &receive_queue, &send_buffer, &policy, &level, &threshold, &callback_threads))
        return false;
    if (!(ping_interval >= 0) || !(ping_timeout >= 0) || !(close_timeout >= 0) ||
        !(send_timeout >= 0) || receive_queue == 0 || send_buffer < 0 || level < 1 || level > 9 ||
        threshold < 0 || callback_threads == 0 || !read_policy(policy, &config->slow_consumer)) {
        PyErr_SetString(PyExc_ValueError, "Engine() got a value out of range");
        return false;
    }
    config->ping_interval = (fws_ns)(ping_interval * (double)FWS_NS_PER_S);
    config->ping_timeout = (fws_ns)(ping_timeout * (double)FWS_NS_PER_S);
    config->close_timeout = (fws_ns)(close_timeout * (double)FWS_NS_PER_S);
    config->send_timeout = (fws_ns)(send_timeout * (double)FWS_NS_PER_S);
    config->limits.max_message_size = max_message_size;
    config->limits.max_fragments = max_fragments;
    config->max_message_rate = max_message_rate;
    config->compression_level = level;
    config->compression_threshold = (size_t)threshold;
    config->receive_queue = receive_queue;
    config->send_buffer = (size_t)send_buffer;
    config->callback_threads = callback_threads;
    return true;
}

static PyObject *engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    fws_engine_config config = {0};
    fws_module_state *state = fws_module_state_of(type);
    if (state == NULL || !read_config(args, kwargs, &config))
        return NULL;
    fws_engine_object *self = (fws_engine_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    config.callbacks = fws_callbacks_of(state);
    self->core = fws_engine_new(&config);
    if (self->core == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void engine_dealloc(PyObject *object)
{
    fws_engine_object *self = (fws_engine_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->core) {
        fws_engine *core = self->core;
        Py_BEGIN_ALLOW_THREADS fws_engine_free(core);
        Py_END_ALLOW_THREADS
    }
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- websockets ---- */

PyDoc_STRVAR(
    attach_doc,
    "attach($self, websocket, fd, reply, received, /, compression=None, client=False,\n"
    "       notifier=None, wait=None, on_message=None, context=None, callbacks=None)\n--\n\n"
    "Give the descriptor of an accepted handshake to the engine, for this websocket.\n\n"
    "fd: int, a connected stream socket, owned by the engine from here on. reply: bytes to\n"
    "send first (the 101 answer). received: bytes already read past the request.\n"
    "compression: what negotiate() or confirm() agreed on. client: play the client's role.\n"
    "notifier, wait: for handlers that are greenlets of this thread. wait(token, seconds)\n"
    "switches away until the notifier gives the token, or the time (float or None) is over;\n"
    "it may also return early. Without wait() a caller that has to wait sleeps in its thread;\n"
    "an event loop calls websocket._next() and _offer(), which do not wait.\n"
    "on_message: makes the websocket event-driven. on_message(websocket, data) is called for\n"
    "each message, websocket._callback_failed(callbacks, error) when that raises, and\n"
    "websocket._callbacks_ended(callbacks, code, reason) once at the end: one after the other, in\n"
    "threads of the engine's and in the context (a contextvars.Context or None); the first after\n"
    "websocket._start_callbacks(). With a notifier the engine calls none of them: its event\n"
    "loop does, with what websocket._next() gives.\n"
    "OSError: the descriptor stays the caller's, and nothing was sent; errno.ESHUTDOWN: the\n"
    "engine has begun to stop().");

static PyObject *engine_attach(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"",         "",     "",           "",        "compression", "client",
                               "notifier", "wait", "on_message", "context", "callbacks",   NULL};
    fws_engine_object *self = (fws_engine_object *)object;
    PyObject *value, *compression = Py_None, *notifier = Py_None, *wait = Py_None;
    PyObject *on_message = Py_None, *context = Py_None, *callbacks = Py_None;
    int fd, client = 0;
    Py_buffer reply, received;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Oiy*y*|OpOOOOO:attach", keywords, &value, &fd,
                                     &reply, &received, &compression, &client, &notifier, &wait,
                                     &on_message, &context, &callbacks))
        return NULL;
    fws_deflate_parameters parameters;
    fws_attachment attachment = {.role = client ? FWS_ROLE_CLIENT : FWS_ROLE_SERVER,
                                 .reply = reply.buf,
                                 .reply_size = (size_t)reply.len,
                                 .received = received.buf,
                                 .received_size = (size_t)received.len,
                                 .compression = compression == Py_None ? NULL : &parameters};
    fws_websocket_object *websocket = fws_engine_object_websocket(self, value, "websocket");
    fws_websocket *core = NULL;
    if (websocket && compression != Py_None && !fws_argument_deflate(compression, &parameters))
        websocket = NULL;
    if (notifier != Py_None) {
        if (PyObject_TypeCheck(notifier, self->state->notifier_type) &&
            (wait == Py_None || PyCallable_Check(wait))) {
            attachment.notifier = ((fws_notifier_object *)notifier)->core;
        } else {
            PyErr_SetString(PyExc_TypeError,
                            "attach() takes a Notifier, and a wait() for it or None");
            websocket = NULL;
        }
    }
    if (websocket && websocket->core) {
        PyErr_SetString(PyExc_RuntimeError, "the websocket is attached already");
        websocket = NULL;
    }
    if (websocket && on_message != Py_None && attachment.notifier) {
        websocket->on_message = Py_NewRef(Py_None);
    } else if (websocket && on_message != Py_None) {
        if (!fws_websocket_object_set_callbacks(websocket, on_message, context, callbacks))
            websocket = NULL;
        else
            attachment.owner = Py_NewRef(websocket);
    }
    if (websocket) {
        core = fws_engine_attach(self->core, fd, &attachment);
        if (core == NULL) {
            int error = errno;
            fws_websocket_object_detach(websocket);
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
        } else {
            websocket->core = core;
            websocket->engine = Py_NewRef(object);
            if (wait != Py_None) {
                websocket->wait = Py_NewRef(wait);
                websocket->thread = PyThread_get_thread_ident();
            }
        }
    }
    PyBuffer_Release(&reply);
    PyBuffer_Release(&received);
    if (core == NULL)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- all of them ---- */

PyDoc_STRVAR(close_all_doc, "close_all($self, code, reason='', /)\n--\n\n"
                            "Start the closing handshake of every websocket; returns of how many.\n"
                            "The arguments are those of WebSocket.close().");

static PyObject *engine_close_all(PyObject *object, PyObject *args)
{
    fws_engine_object *self = (fws_engine_object *)object;
    PyObject *code, *reason = NULL;
    fws_close_argument argument;
    size_t closed;
    if (!PyArg_ParseTuple(args, "O|O:close_all", &code, &reason) ||
        !fws_argument_close(code, reason, &argument))
        return NULL;
    Py_BEGIN_ALLOW_THREADS closed =
        fws_engine_close_all(self->core, argument.code, argument.reason, argument.size);
    Py_END_ALLOW_THREADS return PyLong_FromSize_t(closed);
}

PyDoc_STRVAR(wait_empty_doc,
             "wait_empty($self, timeout, /)\n--\n\n"
             "Wait until every websocket is finished; False after timeout seconds.");

static PyObject *engine_wait_empty(PyObject *object, PyObject *value)
{
    fws_engine_object *self = (fws_engine_object *)object;
    fws_ns timeout;
    if (!fws_argument_seconds(value, "timeout", &timeout))
        return NULL;
    if (timeout == FWS_FOREVER) {
        PyErr_SetString(PyExc_ValueError, "timeout must be a number of seconds");
        return NULL;
    }
    bool empty;
    Py_BEGIN_ALLOW_THREADS empty = fws_engine_wait_empty(self->core, timeout);
    Py_END_ALLOW_THREADS return PyBool_FromLong(empty);
}

PyDoc_STRVAR(
    stop_doc,
    "stop($self)\n--\n\n"
    "End the engine for good: cut off all websockets, wait up to a second for callbacks, and\n"
    "end the threads. From then on attach() raises OSError with errno.ESHUTDOWN. Another\n"
    "call, at the same time or later, returns when the engine has stopped.");

static PyObject *engine_stop(PyObject *object, PyObject *Py_UNUSED(none))
{
    fws_engine_object *self = (fws_engine_object *)object;
    Py_BEGIN_ALLOW_THREADS fws_engine_stop(self->core);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

PyDoc_STRVAR(after_fork_doc, "after_fork($self)\n--\n\n"
                             "In a forked child: leave the parent's connections to the parent.");

static PyObject *engine_after_fork(PyObject *object, PyObject *Py_UNUSED(none))
{
    fws_engine_object *self = (fws_engine_object *)object;
    fws_engine_after_fork(self->core);
    fws_gate_init(&self->state->gate); /* a thread of the parent may have held it */
    Py_RETURN_NONE;
}

PyDoc_STRVAR(counters_doc,
             "counters($self)\n--\n\n"
             "What has been counted since the start: a dict; see WebSockets.stats().");

static PyObject *engine_counters(PyObject *object, PyObject *Py_UNUSED(none))
{
    return fws_statistics(((fws_engine_object *)object)->core);
}

static PyMethodDef engine_methods[] = {
    {"attach", (PyCFunction)(void (*)(void))engine_attach, METH_VARARGS | METH_KEYWORDS,
     attach_doc},
    {"subscribe", fws_engine_object_subscribe, METH_VARARGS, fws_engine_subscribe_doc},
    {"unsubscribe", fws_engine_object_unsubscribe, METH_VARARGS, fws_engine_unsubscribe_doc},
    {"channels", fws_engine_object_channels, METH_O, fws_engine_channels_doc},
    {"publish", fws_engine_object_publish, METH_VARARGS, fws_engine_publish_doc},
    {"close_all", engine_close_all, METH_VARARGS, close_all_doc},
    {"wait_empty", engine_wait_empty, METH_O, wait_empty_doc},
    {"stop", engine_stop, METH_NOARGS, stop_doc},
    {"after_fork", engine_after_fork, METH_NOARGS, after_fork_doc},
    {"counters", engine_counters, METH_NOARGS, counters_doc},
    {0},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "The I/O engine of one process: its loop thread starts with the first attach()."},
    {Py_tp_new, engine_new},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_methods, engine_methods},
    {0, NULL},
};

PyType_Spec fws_engine_spec = {
    .name = "flask_websockets._core.Engine",
    .basicsize = sizeof(fws_engine_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = engine_slots,
};
