/* What a websocket tells at its end, for the record that is made of it; and what else is counted
 * for it by an event loop. */
#include "binding.h"

const char fws_websocket_conclude_doc[] =
    "_conclude($self, /)\n--\n\n"
    "How it has ended, once: (code, reason, side, failed, seconds, messages_in, messages_out).\n"
    "side: \"peer\", \"server\" or \"nobody\", whoever has closed it. failed: the engine has "
    "closed\n"
    "it, and not close(). seconds: how long it was open. None the second time, before it has left\n"
    "the open state, when its handshake was refused, and in a forked child.";

static const char *name_of(fws_closer closer)
{
    switch (closer) {
    case FWS_CLOSED_BY_NOBODY:
        return "nobody";
    case FWS_CLOSED_BY_PEER:
        return "peer";
    case FWS_CLOSED_BY_US:
        return "server";
    }
    Py_UNREACHABLE();
}

PyObject *fws_websocket_object_conclude(PyObject *object, PyObject *Py_UNUSED(none))
{
    fws_websocket *core = ((fws_websocket_object *)object)->core;
    fws_conclusion end;
    if (core == NULL || !fws_websocket_conclude(core, &end))
        Py_RETURN_NONE;
    const fws_websocket_status *status = &end.status;
    PyObject *reason = PyUnicode_DecodeUTF8(status->close_reason,
                                            (Py_ssize_t)status->close_reason_size, "replace");
    return Py_BuildValue(
        "(iNsOdKK)", (int)status->close_code, reason, name_of(end.closer),
        end.failed ? Py_True : Py_False, (double)end.open_for / (double)FWS_NS_PER_S,
        (unsigned long long)status->messages_in, (unsigned long long)status->messages_out);
}

const char fws_websocket_note_callback_doc[] =
    "_note_callback($self, begun, /)\n--\n\n"
    "An event loop has run a callback of it, which began at begun (int, ns of "
    "time.monotonic_ns()).";

PyObject *fws_websocket_object_note_callback(PyObject *object, PyObject *begun)
{
    fws_websocket *core = ((fws_websocket_object *)object)->core;
    long long since = PyLong_AsLongLong(begun);
    if (since == -1 && PyErr_Occurred())
        return NULL;
    fws_ns duration = fws_clock_now() - since;
    if (core != NULL && duration >= 0)
        fws_websocket_note_callback(core, duration);
    Py_RETURN_NONE;
}
