/* What iter_data(), iter_text(), iter_bytes() and iter_json() return. A loop that is left early, by
 * break or by an exception, leaves the websocket as it is: another loop goes on with the next
 * message. */
#include "binding.h"

typedef struct {
    PyObject_HEAD fws_websocket_object *websocket;
    fws_iterate kind;
    bool exhausted;
} iterator_object;

PyObject *fws_iterator_new(fws_websocket_object *websocket, fws_iterate kind)
{
    PyTypeObject *type = websocket->state->iterator_type;
    iterator_object *self = (iterator_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->websocket = (fws_websocket_object *)Py_NewRef((PyObject *)websocket);
    self->kind = kind;
    return (PyObject *)self;
}

static void iterator_dealloc(PyObject *object)
{
    iterator_object *self = (iterator_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(self->websocket);
    type->tp_free(object);
    Py_DECREF(type);
}

static bool is_wanted(fws_iterate kind, uint8_t opcode)
{
    switch (kind) {
    case FWS_ITERATE_TEXT:
        return opcode == FWS_OPCODE_TEXT;
    case FWS_ITERATE_BYTES:
        return opcode == FWS_OPCODE_BINARY;
    case FWS_ITERATE_DATA:
    case FWS_ITERATE_JSON:
        return true;
    }
    Py_UNREACHABLE();
}

static fws_opcode opcode_of(const PyObject *data)
{
    return PyUnicode_Check(data) ? FWS_OPCODE_TEXT : FWS_OPCODE_BINARY;
}

static PyObject *iterator_next(PyObject *object)
{
    iterator_object *self = (iterator_object *)object;
    if (self->exhausted || !fws_websocket_object_open(self->websocket))
        return NULL;
    fws_message message;
    PyObject *data = NULL;
    for (;;) {
        if (fws_websocket_object_continue(self->websocket, true, &data)) {
            if (data == NULL || is_wanted(self->kind, opcode_of(data)))
                break;
            Py_DECREF(data);
            continue;
        }
        int status = fws_websocket_object_receive(self->websocket, FWS_FOREVER, &message);
        if (status == FWS_CLOSED)
            self->exhausted = true;
        if (status != FWS_OK)
            return NULL; /* the end, or an exception from a signal handler */
        if (!is_wanted(self->kind, message.opcode))
            fws_message_free(&message);
        else if (fws_websocket_object_convert(self->websocket, &message, true, &data))
            break;
    }
    if (data == NULL || self->kind != FWS_ITERATE_JSON)
        return data;
    PyObject *value = fws_hook_load_json(self->websocket, data);
    Py_DECREF(data);
    return value;
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_doc, "Iterator over the messages of a websocket."},
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {0, NULL},
};

PyType_Spec fws_iterator_spec = {
    .name = "flask_websockets._core.MessageIterator",
    .basicsize = sizeof(iterator_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = iterator_slots,
};
