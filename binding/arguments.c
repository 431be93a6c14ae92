#include "binding.h"

#include <math.h>

/* Longer waits than this (31 years) are no different from waiting for ever. */
#define SECONDS_MAX 1e9

bool fws_argument_seconds(PyObject *value, const char *name, fws_ns *ns)
{
    if (value == NULL || value == Py_None) {
        *ns = FWS_FOREVER;
        return true;
    }
    double seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "%s must be a number of seconds or None, not %.100s",
                         name, Py_TYPE(value)->tp_name);
        return false;
    }
    if (isnan(seconds) || seconds < 0) {
        PyErr_Format(PyExc_ValueError, "%s must be at least 0 seconds, not %R", name, value);
        return false;
    }
    *ns = seconds > SECONDS_MAX ? FWS_FOREVER : (fws_ns)(seconds * (double)FWS_NS_PER_S);
    return true;
}

bool fws_argument_payload(PyObject *value, const char *function, fws_payload *payload)
{
    payload->has_view = false;
    payload->is_text = PyUnicode_Check(value);
    if (payload->is_text) {
        Py_ssize_t size;
        payload->data = PyUnicode_AsUTF8AndSize(value, &size); /* lone surrogates: an error */
        payload->size = (size_t)size;
        return payload->data != NULL;
    }
    if (PyBytes_CheckExact(value)) { /* the usual case, without the cost of a view */
        payload->data = PyBytes_AS_STRING(value);
        payload->size = (size_t)PyBytes_GET_SIZE(value);
        return true;
    }
    if (!PyObject_CheckBuffer(value)) {
        PyErr_Format(PyExc_TypeError, "%s takes str or a bytes-like object, not %.100s%s", function,
                     Py_TYPE(value)->tp_name,
                     strcmp(function, "send()") == 0 ? "; send_json() takes what is sent as JSON"
                                                     : "");
        return false;
    }
    if (PyObject_GetBuffer(value, &payload->view, PyBUF_SIMPLE) < 0)
        return false;
    payload->has_view = true;
    payload->data = payload->view.buf;
    payload->size = (size_t)payload->view.len;
    return true;
}

void fws_argument_release(fws_payload *payload)
{
    if (payload->has_view)
        PyBuffer_Release(&payload->view);
    payload->has_view = false;
}

static bool read_close_code(PyObject *value, uint16_t *code)
{
    int overflow;
    if (!PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "code must be int, not %.100s", Py_TYPE(value)->tp_name);
        return false;
    }
    PyObject *number = PyNumber_Index(value);
    if (number == NULL)
        return false;
    long given = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (given < 0 || given > UINT16_MAX || !fws_close_code_is_legal((uint16_t)given)) {
        PyErr_Format(PyExc_ValueError,
                     "close code %R may not be sent: take 1000 to 1003, 1007 to 1014 or 3000 to "
                     "4999 (RFC 6455 section 7.4)",
                     value);
        return false;
    }
    *code = (uint16_t)given;
    return true;
}

bool fws_argument_close(PyObject *code, PyObject *reason, fws_close_argument *close)
{
    *close = (fws_close_argument){.code = FWS_CLOSE_NORMAL};
    if (code != NULL && !read_close_code(code, &close->code))
        return false;
    if (reason == NULL || reason == Py_None)
        return true;
    if (!PyUnicode_Check(reason)) {
        PyErr_Format(PyExc_TypeError, "reason must be str, not %.100s", Py_TYPE(reason)->tp_name);
        return false;
    }
    Py_ssize_t size;
    close->reason = PyUnicode_AsUTF8AndSize(reason, &size); /* lone surrogates: an error */
    if (close->reason == NULL)
        return false;
    if (size > FWS_CLOSE_REASON_MAX) {
        PyErr_Format(PyExc_ValueError, "reason has at most %d bytes in UTF-8, not %zd",
                     FWS_CLOSE_REASON_MAX, size);
        return false;
    }
    close->size = (size_t)size;
    return true;
}

static bool read_name(PyObject *value, fws_channel_name *name)
{
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "channel names are str, not %.100s", Py_TYPE(value)->tp_name);
        return false;
    }
    Py_ssize_t size;
    name->data = PyUnicode_AsUTF8AndSize(value, &size);
    if (name->data == NULL)
        return false;
    name->size = (size_t)size;
    if (size == 0) {
        PyErr_SetString(PyExc_ValueError, "a channel name must not be empty");
        return false;
    }
    if (size > FWS_CHANNEL_NAME_MAX) {
        PyErr_Format(PyExc_ValueError, "a channel name has at most %d bytes in UTF-8, not %zd",
                     FWS_CHANNEL_NAME_MAX, size);
        return false;
    }
    return true;
}

static size_t names_size(const fws_channels *channels)
{
    return (channels->count ? channels->count : 1) * sizeof *channels->names;
}

bool fws_argument_channels(PyObject *value, fws_channels *channels)
{
    channels->names = NULL;
    channels->count = 0;
    if (PyUnicode_Check(value)) {
        channels->owner = PyTuple_Pack(1, value);
    } else if (PyObject_CheckBuffer(value)) { /* bytes would be a sequence of numbers */
        PyErr_Format(PyExc_TypeError, "channels must be a str or an iterable of str, not %.100s",
                     Py_TYPE(value)->tp_name);
        channels->owner = NULL;
    } else {
        channels->owner = PySequence_Tuple(value);
        if (channels->owner == NULL && PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError,
                         "channels must be a str or an iterable of str, not %.100s",
                         Py_TYPE(value)->tp_name);
    }
    if (channels->owner == NULL)
        return false;
    channels->count = (size_t)PyTuple_GET_SIZE(channels->owner);
    channels->names = fws_temporary_allocate(names_size(channels));
    if (channels->names == NULL) {
        PyErr_NoMemory();
        fws_argument_channels_release(channels);
        return false;
    }
    for (size_t i = 0; i < channels->count; i++) {
        if (!read_name(PyTuple_GET_ITEM(channels->owner, (Py_ssize_t)i), &channels->names[i])) {
            fws_argument_channels_release(channels);
            return false;
        }
    }
    return true;
}

bool fws_argument_deflate(PyObject *value, fws_deflate_parameters *parameters)
{
    int server_alone, client_alone;
    unsigned char server_bits, client_bits;
    if (!PyTuple_Check(value)) {
        PyErr_Format(PyExc_TypeError, "deflate parameters are a tuple, not %.100s",
                     Py_TYPE(value)->tp_name);
        return false;
    }
    if (!PyArg_ParseTuple(value, "ppbb:deflate parameters", &server_alone, &client_alone,
                          &server_bits, &client_bits))
        return false;
    if (server_bits < FWS_DEFLATE_BITS_MIN || server_bits > FWS_DEFLATE_BITS_MAX ||
        client_bits < FWS_DEFLATE_BITS_MIN || client_bits > FWS_DEFLATE_BITS_MAX) {
        PyErr_SetString(PyExc_ValueError, "window bits are 8 to 15");
        return false;
    }
    *parameters = (fws_deflate_parameters){.server_no_context_takeover = server_alone,
                                           .client_no_context_takeover = client_alone,
                                           .server_max_window_bits = server_bits,
                                           .client_max_window_bits = client_bits};
    return true;
}

PyObject *fws_argument_deflate_tuple(const fws_deflate_parameters *parameters)
{
    return Py_BuildValue("(NNii)", PyBool_FromLong(parameters->server_no_context_takeover),
                         PyBool_FromLong(parameters->client_no_context_takeover),
                         (int)parameters->server_max_window_bits,
                         (int)parameters->client_max_window_bits);
}

void fws_argument_channels_release(fws_channels *channels)
{
    fws_temporary_free(channels->names, names_size(channels));
    Py_CLEAR(channels->owner);
    channels->names = NULL;
}
