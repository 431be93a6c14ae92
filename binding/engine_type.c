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
    fws_init_gates(self->state); /* a thread of the parent may have held it */
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
    {"attach", (PyCFunction)(void (*)(void))fws_engine_object_attach, METH_VARARGS | METH_KEYWORDS,
     fws_engine_attach_doc},
    {"subscribe", fws_engine_object_subscribe, METH_VARARGS, fws_engine_subscribe_doc},
    {"unsubscribe", fws_engine_object_unsubscribe, METH_VARARGS, fws_engine_unsubscribe_doc},
    {"channels", fws_engine_object_channels, METH_O, fws_engine_channels_doc},
    {"publish", (PyCFunction)(void (*)(void))fws_engine_object_publish, METH_FASTCALL,
     fws_engine_publish_doc},
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
