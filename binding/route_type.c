/* The type Route: the websockets of one rule of URLs, as far as they are counted together. */
#include "binding.h"

static PyObject *route_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "", "", NULL};
    PyObject *engine, *rule, *endpoint;
    fws_module_state *state = fws_module_state_of(type);
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!UU:Route", keywords, state->engine_type,
                                     &engine, &rule, &endpoint))
        return NULL;
    fws_route_object *self = (fws_route_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->engine = (fws_engine_object *)Py_NewRef(engine);
    self->rule = Py_NewRef(rule);
    self->endpoint = Py_NewRef(endpoint);
    self->tally = fws_engine_new_tally(self->engine->core);
    if (self->tally == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void route_dealloc(PyObject *object)
{
    fws_route_object *self = (fws_route_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->engine);
    Py_XDECREF(self->rule);
    Py_XDECREF(self->endpoint);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(note_refusal_doc, "note_refusal($self, /)\n--\n\n"
                               "A handshake of this route was refused.");

static PyObject *route_note_refusal(PyObject *object, PyObject *Py_UNUSED(none))
{
    fws_tally *tally = ((fws_route_object *)object)->tally;
    atomic_fetch_add_explicit(&tally->refusals, 1, memory_order_relaxed);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(counters_doc, "counters($self, /)\n--\n\n"
                           "What has been counted of its websockets: a dict; see "
                           "WebSockets.stats().");

static PyObject *route_counters(PyObject *object, PyObject *Py_UNUSED(none))
{
    return fws_statistics_of_tally(((fws_route_object *)object)->tally);
}

static PyMethodDef route_methods[] = {
    {"note_refusal", route_note_refusal, METH_NOARGS, note_refusal_doc},
    {"counters", route_counters, METH_NOARGS, counters_doc},
    {0},
};

static PyMemberDef route_members[] = {
    {"rule", T_OBJECT_EX, offsetof(fws_route_object, rule), READONLY, "The rule, str."},
    {"endpoint", T_OBJECT_EX, offsetof(fws_route_object, endpoint), READONLY,
     "The name of its view, str."},
    {0},
};

static PyType_Slot route_slots[] = {
    {Py_tp_doc, "Route(engine, rule, endpoint, /): counts the websockets of one rule of URLs."},
    {Py_tp_new, route_new},
    {Py_tp_dealloc, route_dealloc},
    {Py_tp_methods, route_methods},
    {Py_tp_members, route_members},
    {0, NULL},
};

PyType_Spec fws_route_spec = {
    .name = "flask_websockets._core.Route",
    .basicsize = sizeof(fws_route_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = route_slots,
};
