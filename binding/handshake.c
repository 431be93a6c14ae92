/* The functions of the module that need no object: header values of the opening handshake. */
#include "binding.h"

PyDoc_STRVAR(key_valid_doc, "key_valid(key, /)\n--\n\n"
                            "Is this a Sec-WebSocket-Key, the base64 form of 16 bytes?\n"
                            "RFC 6455 section 4.2.1.");

static PyObject *key_valid(PyObject *Py_UNUSED(module), PyObject *value)
{
    Py_ssize_t size;
    const char *key = PyUnicode_AsUTF8AndSize(value, &size);
    if (key == NULL)
        return NULL;
    return PyBool_FromLong(fws_handshake_key_valid(key, (size_t)size));
}

PyDoc_STRVAR(is_token_doc, "is_token(text, /)\n--\n\n"
                           "Is this a token of RFC 7230 section 3.2.6, as a subprotocol must be?");

static PyObject *is_token(PyObject *Py_UNUSED(module), PyObject *value)
{
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(value, &size);
    if (text == NULL)
        return NULL;
    return PyBool_FromLong(fws_handshake_is_token(text, (size_t)size));
}

PyDoc_STRVAR(list_contains_doc,
             "list_contains(header, token, /)\n--\n\n"
             "Does the comma-separated header value hold the token, whatever its\n"
             "case? RFC 6455 section 4.2.1.");

static PyObject *list_contains(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *list, *token;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "s#s:list_contains", &list, &size, &token))
        return NULL;
    return PyBool_FromLong(fws_handshake_list_contains(list, (size_t)size, token));
}

PyDoc_STRVAR(split_list_doc, "split_list(header, /)\n--\n\n"
                             "The elements of a comma-separated header value, a list of str.");

static PyObject *split_list(PyObject *Py_UNUSED(module), PyObject *value)
{
    Py_ssize_t size;
    const char *list = PyUnicode_AsUTF8AndSize(value, &size);
    PyObject *result = list ? PyList_New(0) : NULL;
    size_t position = 0, length;
    const char *element;
    while (result != NULL &&
           fws_handshake_list_next(list, (size_t)size, &position, &element, &length)) {
        PyObject *item = PyUnicode_DecodeUTF8(element, (Py_ssize_t)length, NULL);
        if (item == NULL || PyList_Append(result, item) < 0)
            Py_CLEAR(result);
        Py_XDECREF(item);
    }
    return result;
}

/* ---- permessage-deflate ---- */

static bool read_wanted(PyObject *args, const char *format, const char **list, Py_ssize_t *size,
                        fws_deflate_parameters *wanted)
{
    PyObject *tuple;
    return PyArg_ParseTuple(args, format, list, size, &tuple) &&
           fws_argument_deflate(tuple, wanted);
}

PyDoc_STRVAR(negotiate_doc,
             "negotiate(offers, wanted, /)\n--\n\n"
             "Answer the Sec-WebSocket-Extensions of a client.\n\n"
             "wanted: what we want of permessage-deflate, a tuple (server_no_context_takeover,\n"
             "client_no_context_takeover, server_max_window_bits, client_max_window_bits).\n"
             "Returns the header's value and what is agreed on, a tuple like wanted; or None\n"
             "when there is no offer that can be taken. ValueError when it is no list of\n"
             "extensions. RFC 7692 section 7.1.");

static PyObject *negotiate(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *list;
    Py_ssize_t size;
    fws_deflate_parameters wanted, agreed;
    char answer[FWS_NEGOTIATION_TEXT_MAX];
    if (!read_wanted(args, "s#O:negotiate", &list, &size, &wanted))
        return NULL;
    switch (fws_negotiation_accept(list, (size_t)size, &wanted, &agreed, answer)) {
    case FWS_NEGOTIATION_NONE:
        Py_RETURN_NONE;
    case FWS_NEGOTIATION_AGREED:
        return Py_BuildValue("(sN)", answer, fws_argument_deflate_tuple(&agreed));
    case FWS_NEGOTIATION_MALFORMED:
        break;
    }
    PyErr_SetString(PyExc_ValueError, "not a list of extensions (RFC 6455 section 9.1)");
    return NULL;
}

PyDoc_STRVAR(offer_doc, "offer(wanted, /)\n--\n\n"
                        "The value of Sec-WebSocket-Extensions with which a client offers this\n"
                        "permessage-deflate. RFC 7692 section 7.1.");

static PyObject *offer(PyObject *Py_UNUSED(module), PyObject *value)
{
    fws_deflate_parameters wanted;
    char text[FWS_NEGOTIATION_TEXT_MAX];
    if (!fws_argument_deflate(value, &wanted))
        return NULL;
    fws_negotiation_offer(&wanted, text);
    return PyUnicode_FromString(text);
}

PyDoc_STRVAR(confirm_doc,
             "confirm(answer, wanted, /)\n--\n\n"
             "Read the Sec-WebSocket-Extensions that a server answered to offer(wanted).\n\n"
             "Returns what is agreed on, a tuple like wanted, or None without an extension.\n"
             "ValueError for an answer that a client must not accept. RFC 7692 section 7.1.");

static PyObject *confirm(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *list;
    Py_ssize_t size;
    fws_deflate_parameters wanted, agreed;
    if (!read_wanted(args, "s#O:confirm", &list, &size, &wanted))
        return NULL;
    switch (fws_negotiation_confirm(list, (size_t)size, &wanted, &agreed)) {
    case FWS_NEGOTIATION_NONE:
        Py_RETURN_NONE;
    case FWS_NEGOTIATION_AGREED:
        return fws_argument_deflate_tuple(&agreed);
    case FWS_NEGOTIATION_MALFORMED:
        break;
    }
    PyErr_SetString(PyExc_ValueError, "the server answered with extensions that were not offered");
    return NULL;
}

PyMethodDef fws_handshake_functions[] = {
    {"key_valid", key_valid, METH_O, key_valid_doc},
    {"is_token", is_token, METH_O, is_token_doc},
    {"list_contains", list_contains, METH_VARARGS, list_contains_doc},
    {"split_list", split_list, METH_O, split_list_doc},
    {"negotiate", negotiate, METH_VARARGS, negotiate_doc},
    {"offer", offer, METH_O, offer_doc},
    {"confirm", confirm, METH_VARARGS, confirm_doc},
    {0},
};
