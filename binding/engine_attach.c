/* Engine.attach(): what it is given, and how a websocket becomes one of the engine's. */
#include "binding.h"

const char fws_engine_attach_doc[] =
    "attach($self, websocket, descriptor, reply, received, /, compression=None, client=False,\n"
    "       notifier=None, wait=None, on_message=None, callbacks=None)\n--\n\n"
    "Give the descriptor of an accepted handshake to the engine, for this websocket.\n\n"
    "descriptor: a Descriptor of a connected stream socket, which the engine takes: from here\n"
    "on its fileno() is -1. reply: bytes to send first (the 101 answer). received: bytes that\n"
    "were read past the request already.\n"
    "compression: what negotiate() or confirm() agreed on. client: play the client's role.\n"
    "notifier, wait: for handlers that are greenlets of this thread. wait(token, seconds)\n"
    "switches away until the notifier gives the token, or the time (float or None) is over;\n"
    "it may also return early. Without wait() a caller that has to wait sleeps in its thread;\n"
    "an event loop calls websocket._next() and _offer(), which do not wait.\n"
    "on_message: makes the websocket event-driven. on_message(websocket, data) is called for\n"
    "each message, websocket._callback_failed(callbacks, error) when that raises,\n"
    "websocket._value_returned(callbacks, value) when it returns something else than None, and\n"
    "websocket._callbacks_ended(callbacks, code, reason) once at the end: one after the other, in\n"
    "threads of the engine's; the first after websocket._start_callbacks(). With a notifier the\n"
    "engine calls none of them: its event loop does, with what websocket._next() gives.\n"
    "Any exception: the descriptor stays the caller's, and nothing was sent; errno.ESHUTDOWN: the\n"
    "engine has begun to stop().";

typedef struct {
    PyObject *websocket, *compression, *notifier, *wait, *on_message, *callbacks;
    PyObject *descriptor;
    int client;
    Py_buffer reply, received; /* to be released */
} arguments;

static bool read_arguments(PyTypeObject *descriptor_type, PyObject *args, PyObject *kwargs,
                           arguments *given)
{
    static char *keywords[] = {"",       "",         "",     "",           "compression",
                               "client", "notifier", "wait", "on_message", "callbacks",
                               NULL};
    *given = (arguments){.compression = Py_None,
                         .notifier = Py_None,
                         .wait = Py_None,
                         .on_message = Py_None,
                         .callbacks = Py_None};
    return PyArg_ParseTupleAndKeywords(
        args, kwargs, "OO!y*y*|OpOOOO:attach", keywords, &given->websocket, descriptor_type,
        &given->descriptor, &given->reply, &given->received, &given->compression, &given->client,
        &given->notifier, &given->wait, &given->on_message, &given->callbacks);
}

/* NULL for None; false with an exception set. */
static bool read_notifier(const fws_engine_object *engine, const arguments *given,
                          fws_notifier **notifier)
{
    *notifier = NULL;
    if (given->notifier == Py_None)
        return true;
    if (!PyObject_TypeCheck(given->notifier, engine->state->notifier_type) ||
        (given->wait != Py_None && !PyCallable_Check(given->wait))) {
        PyErr_SetString(PyExc_TypeError, "attach() takes a Notifier, and a wait() for it or None");
        return false;
    }
    *notifier = ((fws_notifier_object *)given->notifier)->core;
    return true;
}

/* The websocket, if nothing of what is given for it is wrong; NULL with an exception set. */
static fws_websocket_object *read_attachment(fws_engine_object *engine, const arguments *given,
                                             fws_attachment *attachment,
                                             fws_deflate_parameters *parameters)
{
    fws_websocket_object *websocket =
        fws_engine_object_websocket(engine, given->websocket, "websocket");
    *attachment = (fws_attachment){.role = given->client ? FWS_ROLE_CLIENT : FWS_ROLE_SERVER,
                                   .reply = given->reply.buf,
                                   .reply_size = (size_t)given->reply.len,
                                   .received = given->received.buf,
                                   .received_size = (size_t)given->received.len};
    if (websocket == NULL || !read_notifier(engine, given, &attachment->notifier))
        return NULL;
    if (given->compression != Py_None) {
        if (!fws_argument_deflate(given->compression, parameters))
            return NULL;
        attachment->compression = parameters;
    }
    if (websocket->route != NULL) {
        if (websocket->route->engine != engine) {
            PyErr_SetString(PyExc_ValueError, "the websocket has a route of another engine");
            return NULL;
        }
        attachment->tally = websocket->route->tally;
    }
    if (websocket->core != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the websocket is attached already");
        return NULL;
    }
    return websocket;
}

/* Of an event-driven one: where an event loop calls, it asks with _next(); else the engine does,
 * and owns a reference. False with an exception set. */
static bool prepare_callbacks(fws_websocket_object *websocket, const arguments *given,
                              fws_attachment *attachment)
{
    if (given->on_message == Py_None)
        return true;
    if (attachment->notifier != NULL) {
        websocket->on_message = Py_NewRef(Py_None);
        return true;
    }
    if (!fws_websocket_object_set_callbacks(websocket, given->on_message, given->callbacks))
        return false;
    attachment->owner = Py_NewRef(websocket);
    return true;
}

/* False with an exception set. */
static bool attach(fws_engine_object *engine, const arguments *given)
{
    fws_deflate_parameters parameters;
    fws_attachment attachment;
    fws_websocket_object *websocket = read_attachment(engine, given, &attachment, &parameters);
    if (websocket == NULL || !prepare_callbacks(websocket, given, &attachment))
        return false;
    int fd = fws_descriptor_take(given->descriptor);
    if (fd < 0) {
        fws_websocket_object_detach(websocket);
        PyErr_SetString(PyExc_ValueError, "the descriptor is closed, or taken already");
        return false;
    }
    fws_websocket *core = fws_engine_attach(engine->core, fd, &attachment);
    if (core == NULL) {
        int error = errno;
        fws_descriptor_put_back(given->descriptor, fd);
        fws_websocket_object_detach(websocket);
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    websocket->core = core;
    websocket->engine = Py_NewRef(engine);
    if (given->wait != Py_None) {
        websocket->wait = Py_NewRef(given->wait);
        websocket->thread = PyThread_get_thread_ident();
    }
    return true;
}

PyObject *fws_engine_object_attach(PyObject *object, PyObject *args, PyObject *kwargs)
{
    arguments given;
    fws_engine_object *engine = (fws_engine_object *)object;
    if (!read_arguments(engine->state->descriptor_type, args, kwargs, &given))
        return NULL;
    bool attached = attach(engine, &given);
    PyBuffer_Release(&given.reply);
    PyBuffer_Release(&given.received);
    if (!attached)
        return NULL;
    Py_RETURN_NONE;
}
