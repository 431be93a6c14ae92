/* The extension module flask_websockets._core: its state and its types. Multi-phase initialisation,
 * no global Python objects. */
#include "binding.h"

#include <string.h>

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

/* ---- functions ---- */

PyDoc_STRVAR(
    name_thread_doc,
    "name_thread($module, name, /)\n--\n\n"
    "Name the calling thread for ps and debuggers: the first 15 bytes of a str, where the\n"
    "system has names.");

static PyObject *name_thread(PyObject *Py_UNUSED(module), PyObject *name)
{
    char first[16] = {0};
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (text == NULL)
        return NULL;
    memcpy(first, text, size < 15 ? (size_t)size : 15);
#ifdef __linux__
    pthread_setname_np(pthread_self(), first);
#endif
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    call_after_doc,
    "call_after($module, first, then, argument, /)\n--\n\n"
    "Call first(), drop what it returns or which Exception it raises, and return then(argument).\n"
    "When both are functions of C, no Python code runs in this thread in between: no finalizer, "
    "no\n"
    "signal handler, no exception of another thread.");

static PyObject *call_after(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *first, *then, *argument;
    if (!PyArg_ParseTuple(args, "OOO:call_after", &first, &then, &argument))
        return NULL;
    /* Made before: until 3.11 the garbage collection can run where a tuple is made. */
    PyObject *arguments = PyTuple_Pack(1, argument);
    if (arguments == NULL)
        return NULL;
    PyObject *result = NULL;
    PyObject *dropped = PyObject_CallNoArgs(first);
    if (dropped != NULL || PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        result = PyObject_Call(then, arguments, NULL);
    }
    Py_XDECREF(dropped);
    Py_DECREF(arguments);
    return result;
}

static PyMethodDef functions[] = {
    {"call_after", call_after, METH_VARARGS, call_after_doc},
    {"name_thread", name_thread, METH_O, name_thread_doc},
    {0},
};

/* ---- the module ---- */

/* `base`: NULL for object. */
static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    if (type == NULL)
        return NULL;
    if (PyModule_AddType(module, (PyTypeObject *)type) < 0)
        Py_CLEAR(type);
    return (PyTypeObject *)type;
}

/* A free-threaded build enables its GIL when it loads this module, unless its user has forbidden
 * that. */
static bool has_gil(void)
{
    PyObject *ask = PySys_GetObject("_is_gil_enabled"); /* since 3.13 */
    if (ask == NULL)
        return true;
    PyObject *enabled = PyObject_CallNoArgs(ask);
    if (enabled == NULL)
        return false;
    if (enabled == Py_False)
        PyErr_SetString(PyExc_ImportError,
                        "flask_websockets needs Python's GIL, which is disabled: unset PYTHON_GIL, "
                        "and leave out -X gil=0");
    Py_DECREF(enabled);
    return !PyErr_Occurred();
}

static int module_exec(PyObject *module)
{
    if (!has_gil())
        return -1;
    fws_module_state *state = PyModule_GetState(module);
    fws_init_gates(state);
    state->interpreter = PyInterpreterState_Get();
    if (!fws_hooks_init(&state->hooks))
        return -1;
    state->engine_type = add_type(module, &fws_engine_spec, NULL);
    state->base_websocket_type = add_type(module, &fws_base_websocket_spec, NULL);
    if (!state->engine_type || !state->base_websocket_type)
        return -1;
    state->websocket_type = add_type(module, &fws_websocket_spec, state->base_websocket_type);
    state->iterator_type = add_type(module, &fws_iterator_spec, NULL);
    state->protocol_type = add_type(module, &fws_protocol_spec, NULL);
    state->notifier_type = add_type(module, &fws_notifier_spec, NULL);
    state->quota_type = add_type(module, &fws_quota_spec, NULL);
    state->admission_type = add_type(module, &fws_admission_spec, NULL);
    state->loan_type = add_type(module, &fws_loan_spec, NULL);
    state->descriptor_type = add_type(module, &fws_descriptor_spec, NULL);
    state->route_type = add_type(module, &fws_route_spec, NULL);
    if (!state->websocket_type || !state->iterator_type || !state->protocol_type ||
        !state->notifier_type || !state->quota_type || !state->admission_type ||
        !state->loan_type || !state->descriptor_type || !state->route_type)
        return -1;
    if (PyModule_AddFunctions(module, functions) < 0 ||
        PyModule_AddFunctions(module, fws_descriptor_functions) < 0 ||
        PyModule_AddFunctions(module, fws_signal_functions) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "LOOP", fws_loop_name());
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fws_module_state *state = PyModule_GetState(module);
    Py_VISIT(state->engine_type);
    Py_VISIT(state->base_websocket_type);
    Py_VISIT(state->websocket_type);
    Py_VISIT(state->iterator_type);
    Py_VISIT(state->protocol_type);
    Py_VISIT(state->notifier_type);
    Py_VISIT(state->quota_type);
    Py_VISIT(state->admission_type);
    Py_VISIT(state->loan_type);
    Py_VISIT(state->descriptor_type);
    Py_VISIT(state->route_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    fws_module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->engine_type);
    Py_CLEAR(state->base_websocket_type);
    Py_CLEAR(state->websocket_type);
    Py_CLEAR(state->iterator_type);
    Py_CLEAR(state->protocol_type);
    Py_CLEAR(state->notifier_type);
    Py_CLEAR(state->quota_type);
    Py_CLEAR(state->admission_type);
    Py_CLEAR(state->loan_type);
    Py_CLEAR(state->descriptor_type);
    Py_CLEAR(state->route_type);
    fws_hooks_clear(&state->hooks);
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
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

struct PyModuleDef fws_module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "flask_websockets._core",
    .m_doc = "The C core of flask_websockets: I/O engine, channels and protocol.",
    .m_size = sizeof(fws_module_state),
    .m_methods = fws_handshake_functions,
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
