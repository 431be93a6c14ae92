/* What the type Engine does with channels: subscribe, unsubscribe, publish. */
#include "binding.h"

#include <string.h>

fws_websocket_object *fws_engine_object_websocket(fws_engine_object *self, PyObject *value,
                                                  const char *name)
{
    if (PyObject_TypeCheck(value, self->state->base_websocket_type))
        return (fws_websocket_object *)value;
    PyErr_Format(PyExc_TypeError, "%s must be a WebSocket, not %.100s", name,
                 Py_TYPE(value)->tp_name);
    return NULL;
}

/* Gives the GIL away if so many names, or websockets, take longer than giving it away and getting
 * it back; NULL: it has not. */
static PyThreadState *release_gil(size_t count)
{
    return count > FWS_BATCH ? PyEval_SaveThread() : NULL;
}

static void take_gil(PyThreadState *thread)
{
    if (thread)
        PyEval_RestoreThread(thread);
}

const char fws_engine_subscribe_doc[] =

    "subscribe($self, websocket, channels, /)\n--\n\n"
    "Subscribe the websocket to all of the channels, or to none on an error; each is\n"
    "counted, once for a call. False when it is closing or closed.";

PyObject *fws_engine_object_subscribe(PyObject *object, PyObject *args)
{
    fws_engine_object *self = (fws_engine_object *)object;
    PyObject *value, *names;
    fws_channels channels;
    if (!PyArg_ParseTuple(args, "OO:subscribe", &value, &names))
        return NULL;
    fws_websocket_object *websocket = fws_engine_object_websocket(self, value, "ws");
    if (websocket == NULL || !fws_argument_channels(names, &channels))
        return NULL;
    fws_table_status status = FWS_TABLE_NO_MEMORY;
    bool open = fws_websocket_object_open(websocket);
    if (open) {
        PyThreadState *thread = release_gil(channels.count);
        status = fws_engine_subscribe(self->core, websocket->core, channels.names, channels.count);
        take_gil(thread);
    }
    fws_argument_channels_release(&channels);
    if (!open)
        return NULL;
    if (status == FWS_TABLE_NO_MEMORY)
        return PyErr_NoMemory();
    return PyBool_FromLong(status == FWS_TABLE_OK);
}

const char fws_engine_unsubscribe_doc[] =

    "unsubscribe($self, websocket, channels=None, /)\n--\n\n"
    "Take back one subscription to each of the channels, or all that there are (None).";

PyObject *fws_engine_object_unsubscribe(PyObject *object, PyObject *args)
{
    fws_engine_object *self = (fws_engine_object *)object;
    PyObject *value, *names = Py_None;
    if (!PyArg_ParseTuple(args, "O|O:unsubscribe", &value, &names))
        return NULL;
    fws_websocket_object *websocket = fws_engine_object_websocket(self, value, "ws");
    if (websocket == NULL)
        return NULL;
    fws_channels channels = {0};
    if (names != Py_None && !fws_argument_channels(names, &channels))
        return NULL;
    bool done = true;
    if (websocket->core) {
        size_t count = names != Py_None ? channels.count
                                        : fws_engine_count_channels(self->core, websocket->core);
        PyThreadState *thread = release_gil(count);
        done = fws_engine_unsubscribe(self->core, websocket->core, channels.names, channels.count);
        take_gil(thread);
    }
    fws_argument_channels_release(&channels);
    if (!done)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* The names are collected under the table's lock into plain memory; Python objects come after it.
 */
typedef struct {
    char *data; /* each name after its size, a byte */
    size_t size, capacity;
    bool failed;
} name_list;

static void add_name(void *context, const char *name, size_t size)
{
    name_list *list = context;
    if (!list->failed && list->capacity - list->size < 1 + size) {
        size_t capacity = list->capacity ? list->capacity * 2 : 4 * (1 + FWS_CHANNEL_NAME_MAX);
        char *grown = realloc(list->data, capacity);
        list->failed = grown == NULL;
        if (grown) {
            list->data = grown;
            list->capacity = capacity;
        }
    }
    if (list->failed)
        return;
    list->data[list->size] = (char)(unsigned char)size;
    memcpy(list->data + list->size + 1, name, size);
    list->size += 1 + size;
}

const char fws_engine_channels_doc[] =
    "channels($self, websocket, /)\n--\n\n"
    "The names of the channels of the websocket, a list of str; when it is\n"
    "closed, of those that it had then.";

PyObject *fws_engine_object_channels(PyObject *object, PyObject *value)
{
    fws_engine_object *self = (fws_engine_object *)object;
    fws_websocket_object *websocket = fws_engine_object_websocket(self, value, "ws");
    if (websocket == NULL)
        return NULL;
    name_list list = {0};
    if (websocket->core)
        fws_engine_visit_channels(self->core, websocket->core, add_name, &list);
    PyObject *result = list.failed ? PyErr_NoMemory() : PyList_New(0);
    for (size_t at = 0; result != NULL && at < list.size;) {
        size_t size = (unsigned char)list.data[at];
        PyObject *name = PyUnicode_DecodeUTF8(list.data + at + 1, (Py_ssize_t)size, NULL);
        if (name == NULL || PyList_Append(result, name) < 0)
            Py_CLEAR(result);
        Py_XDECREF(name);
        at += 1 + size;
    }
    free(list.data);
    return result;
}

/* ---- publishing ---- */

/* `exclude`: None, a websocket, or an iterable of them. Returns a tuple, or NULL with an error. */
static PyObject *read_excluded(fws_engine_object *self, PyObject *value)
{
    if (value == Py_None)
        return PyTuple_New(0);
    if (PyObject_TypeCheck(value, self->state->base_websocket_type))
        return PyTuple_Pack(1, value);
    PyObject *tuple = PySequence_Tuple(value);
    if (tuple == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError,
                         "exclude must be a WebSocket, an iterable of them or None, not %.100s",
                         Py_TYPE(value)->tp_name);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        if (fws_engine_object_websocket(self, PyTuple_GET_ITEM(tuple, i), "each item of exclude") ==
            NULL) {
            Py_DECREF(tuple);
            return NULL;
        }
    }
    return tuple;
}

static long publish(fws_engine_object *self, const fws_payload *payload,
                    const fws_channels *channels, PyObject *excluded)
{
    size_t count = 0;
    fws_websocket **cores = NULL;
    if (PyTuple_GET_SIZE(excluded) > 0) {
        cores = PyMem_New(fws_websocket *, (size_t)PyTuple_GET_SIZE(excluded));
        if (cores == NULL)
            return -1;
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(excluded); i++) {
            fws_websocket *core = ((fws_websocket_object *)PyTuple_GET_ITEM(excluded, i))->core;
            if (core)
                cores[count++] = core;
        }
    }
    fws_opcode opcode = payload->is_text ? FWS_OPCODE_TEXT : FWS_OPCODE_BINARY;
    /* A short call keeps the GIL: to get it back may take thousands of times as long. */
    bool is_short = payload->size <= FWS_SHORT_COMPRESSION && count <= FWS_BATCH;
    PyThreadState *thread = is_short ? release_gil(channels->count) : PyEval_SaveThread();
    long reached = fws_engine_publish(self->core, opcode, payload->data, payload->size,
                                      channels->names, channels->count, cores, count);
    take_gil(thread);
    PyMem_Free(cores);
    if (fws_engine_is_behind(self->core)) {
        Py_BEGIN_ALLOW_THREADS fws_engine_catch_up(self->core);
        Py_END_ALLOW_THREADS
    }
    return reached;
}

const char fws_engine_publish_doc[] =

    "publish($self, data, channels, exclude=None, /)\n--\n\n"
    "Queue one message for each subscriber of the channels, once; returns how\n"
    "many there are.";

PyObject *fws_engine_object_publish(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    fws_engine_object *self = (fws_engine_object *)object;
    if (count < 2 || count > 3)
        return PyErr_Format(PyExc_TypeError, "publish() takes 2 or 3 arguments (%zd given)", count);
    PyObject *exclude = count > 2 ? args[2] : Py_None;
    fws_payload payload;
    fws_channels channels;
    if (!fws_argument_payload(args[0], "publish()", &payload))
        return NULL;
    if (!fws_argument_channels(args[1], &channels)) {
        fws_argument_release(&payload);
        return NULL;
    }
    PyObject *excluded = read_excluded(self, exclude);
    long reached = excluded ? publish(self, &payload, &channels, excluded) : -1;
    fws_argument_release(&payload);
    fws_argument_channels_release(&channels);
    if (reached < 0 && excluded)
        PyErr_NoMemory();
    Py_XDECREF(excluded);
    return reached < 0 ? NULL : PyLong_FromLong(reached);
}
