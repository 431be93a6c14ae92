/* The type Protocol: the state machine of one connection, without a socket. For tests that
 * compare it with other implementations. */
#include "binding.h"

typedef struct {
    PyObject_HEAD fws_connection core;
    fws_deflate_pool pool;
} protocol_object;

static PyObject *protocol_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"client",      "max_message_size",  "max_fragments",
                               "compression", "compression_level", NULL};
    int client = 0, level = 6;
    unsigned long long max_message_size = 0;
    unsigned int max_fragments = 0;
    PyObject *compression = Py_None;
    fws_deflate_parameters parameters;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$pKIOi:Protocol", keywords, &client,
                                     &max_message_size, &max_fragments, &compression, &level))
        return NULL;
    if (compression != Py_None && !fws_argument_deflate(compression, &parameters))
        return NULL;
    protocol_object *self = (protocol_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    fws_limits limits = {.max_message_size = max_message_size, .max_fragments = max_fragments};
    fws_connection_init(&self->core, client ? FWS_ROLE_CLIENT : FWS_ROLE_SERVER, &limits,
                        fws_os_entropy);
    fws_deflate_pool_init(&self->pool, level);
    if (compression != Py_None &&
        !fws_connection_use_compression(&self->core, &self->pool, &parameters)) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void protocol_dealloc(PyObject *object)
{
    protocol_object *self = (protocol_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    fws_connection_clear(&self->core);
    fws_deflate_pool_clear(&self->pool);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *event_object(const fws_event *event)
{
    const char *data = (const char *)event->data, *reply = (const char *)event->reply;
    Py_ssize_t length = (Py_ssize_t)event->length, reply_size = (Py_ssize_t)event->reply_size;
    switch (event->type) {
    case FWS_EVENT_MESSAGE:
        return event->opcode == FWS_OPCODE_TEXT
                   ? Py_BuildValue("(ss#)", "text", length ? data : "", length)
                   : Py_BuildValue("(sy#)", "binary", length ? data : "", length);
    case FWS_EVENT_PING:
        return Py_BuildValue("(sy#y#)", "ping", data, length, reply, reply_size);
    case FWS_EVENT_PONG:
        return Py_BuildValue("(sy#)", "pong", data, length);
    case FWS_EVENT_CLOSE:
        return Py_BuildValue("(sis#y#)", "close", (int)event->code, data, length, reply,
                             reply_size);
    case FWS_EVENT_FAILED:
        return Py_BuildValue("(sis#y#)", "failed", (int)event->code, data, length, reply,
                             reply_size);
    case FWS_EVENT_NONE:
    case FWS_EVENT_MORE:
        break;
    }
    Py_UNREACHABLE();
}

PyDoc_STRVAR(receive_doc,
             "receive($self, data, /)\n--\n\n"
             "Take bytes as they arrived; a list of the events they complete, each a tuple:\n"
             "('text', str), ('binary', bytes), ('ping', payload, reply), ('pong', payload),\n"
             "('close', code, reason, reply), ('failed', code, reason, reply), where reply is\n"
             "the bytes to send. RFC 6455 section 6.2.");

static PyObject *protocol_receive(PyObject *object, PyObject *args)
{
    protocol_object *self = (protocol_object *)object;
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "y*:receive", &data))
        return NULL;
    PyObject *events = PyList_New(0);
    uint8_t *copy = PyMem_Malloc((size_t)data.len + 1); /* it is unmasked in place */
    if (copy == NULL)
        Py_CLEAR(events);
    else
        memcpy(copy, data.buf, (size_t)data.len);
    fws_event event;
    uint8_t *cursor = copy, *end = copy + (copy ? data.len : 0);
    PyBuffer_Release(&data);
    while (events != NULL &&
           fws_connection_receive(&self->core, &cursor, end, &event) != FWS_EVENT_NONE) {
        if (event.type == FWS_EVENT_MORE)
            continue;
        PyObject *item = event_object(&event);
        if (item == NULL || PyList_Append(events, item) < 0)
            Py_CLEAR(events);
        Py_XDECREF(item);
    }
    PyMem_Free(copy);
    return events == NULL && !PyErr_Occurred() ? PyErr_NoMemory() : events;
}

static PyObject *framed(protocol_object *self, bool final, fws_opcode opcode, bool compressed,
                        const void *data, size_t size)
{
    uint8_t header[FWS_FRAME_HEADER_MAX], key[4];
    size_t used = fws_connection_encode_header(&self->core, header, final, opcode, size, key);
    if (compressed)
        fws_frame_mark_compressed(header);
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(used + size));
    if (result == NULL)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(result);
    memcpy(to, header, used);
    if (size > 0)
        memcpy(to + used, data, size);
    if (self->core.role == FWS_ROLE_CLIENT)
        fws_mask_apply(to + used, size, key, 0);
    return result;
}

PyDoc_STRVAR(send_doc, "send($self, data, /)\n--\n\n"
                       "The bytes of one message: a str as text, a bytes-like object as binary;\n"
                       "compressed if that was agreed on and makes it smaller.");

static PyObject *protocol_send(PyObject *object, PyObject *value)
{
    protocol_object *self = (protocol_object *)object;
    fws_payload payload;
    if (!fws_argument_payload(value, "send()", &payload))
        return NULL;
    const void *data = payload.data;
    size_t size = payload.size;
    uint8_t *room = self->core.compression ? PyMem_Malloc(size + 1) : NULL;
    bool compressed = room != NULL && fws_compression_deflate(self->core.compression, payload.data,
                                                              payload.size, room, size, &size);
    if (compressed)
        data = room;
    PyObject *result = framed(self, true, payload.is_text ? FWS_OPCODE_TEXT : FWS_OPCODE_BINARY,
                              compressed, data, compressed ? size : payload.size);
    PyMem_Free(room);
    fws_argument_release(&payload);
    return result;
}

PyDoc_STRVAR(frame_doc, "frame($self, opcode, data, /, final=True)\n--\n\n"
                        "The bytes of one frame, as it is asked for: also fragments and control\n"
                        "frames (of at most 125 bytes). RFC 6455 section 5.2.");

static PyObject *protocol_frame(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "", "final", NULL};
    protocol_object *self = (protocol_object *)object;
    unsigned char opcode;
    int final = 1;
    Py_buffer data;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "by*|p:frame", keywords, &opcode, &data, &final))
        return NULL;
    PyObject *result = NULL;
    if (opcode > 0xF || (fws_frame_is_control(opcode) && data.len > FWS_FRAME_CONTROL_MAX))
        PyErr_SetString(PyExc_ValueError, "an opcode has 4 bits, a control frame 125 bytes");
    else
        result = framed(self, final, (fws_opcode)opcode, false, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return result;
}

PyDoc_STRVAR(close_doc, "close($self, code, reason='', /)\n--\n\n"
                        "The bytes of our close frame; empty when it was sent before.");

static PyObject *protocol_close(PyObject *object, PyObject *args)
{
    protocol_object *self = (protocol_object *)object;
    PyObject *code;
    const char *reason = "";
    Py_ssize_t size = 0;
    fws_close_argument argument;
    uint8_t out[FWS_FRAME_CONTROL_SIZE_MAX];
    if (!PyArg_ParseTuple(args, "O|s#:close", &code, &reason, &size) ||
        !fws_argument_close(code, NULL, &argument))
        return NULL;
    size_t used = fws_connection_close(&self->core, out, argument.code, reason, (size_t)size);
    return PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)used);
}

static PyMethodDef protocol_methods[] = {
    {"receive", protocol_receive, METH_VARARGS, receive_doc},
    {"send", protocol_send, METH_O, send_doc},
    {"frame", (PyCFunction)(void (*)(void))protocol_frame, METH_VARARGS | METH_KEYWORDS, frame_doc},
    {"close", protocol_close, METH_VARARGS, close_doc},
    {0},
};

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, "The protocol of one connection without a socket: bytes in, events out."},
    {Py_tp_new, protocol_new},
    {Py_tp_dealloc, protocol_dealloc},
    {Py_tp_methods, protocol_methods},
    {0, NULL},
};

PyType_Spec fws_protocol_spec = {
    .name = "flask_websockets._core.Protocol",
    .basicsize = sizeof(protocol_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = protocol_slots,
};
