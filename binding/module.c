/* The extension module flask_websockets._core: its state, its types, and the few functions that
 * need no object. Multi-phase initialisation, no global Python objects. */
#include "binding.h"

#include "../core/protocol/handshake.h"

fws_module_state *fws_module_state_of(PyTypeObject *type)
{
    /* PyType_GetModuleByDef would do; Python 3.10 lacks it. */
    PyObject *order = type->tp_mro;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(order); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(order, i);
        if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE))
            continue;
        PyObject *module = ((PyHeapTypeObject *)base)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == &fws_module)
            return PyModule_GetState(module);
    }
    PyErr_SetString(PyExc_SystemError, "the type does not come from flask_websockets._core");
    return NULL;
}

void fws_wait_for_gil(fws_module_state *state, PyThreadState *thread)
{
    pthread_mutex_lock(&state->gate);
    PyEval_RestoreThread(thread);
    pthread_mutex_unlock(&state->gate);
}

/* ---- handshake ---- */

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

static PyMethodDef module_functions[] = {
    {"key_valid", key_valid, METH_O, key_valid_doc},
    {"is_token", is_token, METH_O, is_token_doc},
    {"list_contains", list_contains, METH_VARARGS, list_contains_doc},
    {"split_list", split_list, METH_O, split_list_doc},
    {0},
};

/* ---- the module ---- */

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL)
        return NULL;
    if (PyModule_AddType(module, (PyTypeObject *)type) < 0)
        Py_CLEAR(type);
    return (PyTypeObject *)type;
}

static int module_exec(PyObject *module)
{
    fws_module_state *state = PyModule_GetState(module);
    pthread_mutex_init(&state->gate, NULL);
    PyObject *errors = PyImport_ImportModule("flask_websockets.errors");
    if (errors == NULL)
        return -1;
    state->connection_closed = PyObject_GetAttrString(errors, "ConnectionClosed");
    Py_DECREF(errors);
    if (state->connection_closed == NULL)
        return -1;
    state->open_name = PyUnicode_InternFromString("_open");
    state->load_json_name = PyUnicode_InternFromString("_load_json");
    if (state->open_name == NULL || state->load_json_name == NULL)
        return -1;
    state->engine_type = add_type(module, &fws_engine_spec);
    state->websocket_type = add_type(module, &fws_websocket_spec);
    state->iterator_type = add_type(module, &fws_iterator_spec);
    if (!state->engine_type || !state->websocket_type || !state->iterator_type)
        return -1;
    return PyModule_AddStringConstant(module, "LOOP", fws_loop_name());
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fws_module_state *state = PyModule_GetState(module);
    Py_VISIT(state->engine_type);
    Py_VISIT(state->websocket_type);
    Py_VISIT(state->iterator_type);
    Py_VISIT(state->connection_closed);
    return 0;
}

static int module_clear(PyObject *module)
{
    fws_module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->engine_type);
    Py_CLEAR(state->websocket_type);
    Py_CLEAR(state->iterator_type);
    Py_CLEAR(state->connection_closed);
    Py_CLEAR(state->open_name);
    Py_CLEAR(state->load_json_name);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef fws_module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "flask_websockets._core",
    .m_doc = "The C core of flask_websockets: I/O engine, channel hub and protocol.",
    .m_size = sizeof(fws_module_state),
    .m_methods = module_functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&fws_module);
}
