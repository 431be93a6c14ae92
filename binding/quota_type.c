/* The types Quota, which counts by name and refuses beyond a limit, and Admission, what it has
 * counted: as long as there is that object, or until discard().
 *
 * They are written in C so that each step is one that nothing interrupts: the GIL is held, and no
 * Python code runs before the step is done, because a name is exactly a str, a count exactly an
 * int, and a member has no __hash__ or __eq__ of its own. So there is no lock that a signal handler
 * or a __del__ could meet a second time, and no other code can run between to decide and to count.
 * (Without a GIL each method would have to be a critical section of its object.)
 *
 * And what was counted is counted out however its owner ends. A `finally` alone does not do that:
 * an exception that another thread raises in this one (PyThreadState_SetAsyncExc, by which
 * time-outs are made) may come before the first instruction of a Python function that it calls. */
#include "binding.h"

typedef struct {
    PyObject_HEAD PyObject *counts; /* a dict from the name to its count, which is never 0 */
    PyObject *members;              /* a dict from each member to its name */
    Py_ssize_t total;
} quota_object;

typedef struct {
    PyObject_HEAD quota_object *quota; /* NULL once it is discarded, as the others */
    PyObject *name;
    PyObject *member; /* NULL when there is none */
} admission_object;

/* ---- counting ---- */

/* The count of `name`; -1 with an exception set. */
static Py_ssize_t count_of(quota_object *self, PyObject *name)
{
    PyObject *count = PyDict_GetItemWithError(self->counts, name);
    if (count == NULL)
        return PyErr_Occurred() ? -1 : 0;
    return PyLong_AsSsize_t(count);
}

static bool set_count(quota_object *self, PyObject *name, Py_ssize_t count)
{
    if (count == 0)
        return PyDict_DelItem(self->counts, name) == 0;
    PyObject *number = PyLong_FromSsize_t(count);
    bool set = number != NULL && PyDict_SetItem(self->counts, name, number) == 0;
    Py_XDECREF(number);
    return set;
}

/* ---- Admission ---- */

/* Counts out what is counted; does nothing the second time. Keeps the exception that is set. */
static void end(admission_object *self)
{
    quota_object *quota = self->quota;
    PyObject *name = self->name, *member = self->member;
    if (quota == NULL)
        return;
    self->quota = NULL;
    self->name = self->member = NULL;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    quota->total--;
    Py_ssize_t count = count_of(quota, name);
    if (count < 0 || !set_count(quota, name, count - 1))
        PyErr_WriteUnraisable(
            (PyObject *)quota); /* no memory for a number: one is counted for ever */
    /* From here on Python code may run, of what belongs to the member. */
    if (member != NULL && PyDict_DelItem(quota->members, member) < 0)
        PyErr_Clear(); /* the garbage collector has cleared the quota */
    PyErr_Restore(type, value, traceback);
    Py_XDECREF(member);
    Py_DECREF(name);
    Py_DECREF(quota);
}

static void admission_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    end((admission_object *)object);
    type->tp_free(object);
    Py_DECREF(type);
}

static int admission_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((admission_object *)object)->quota);
    Py_VISIT(((admission_object *)object)->member);
    return 0;
}

static int admission_clear(PyObject *object)
{
    end((admission_object *)object);
    return 0;
}

PyDoc_STRVAR(discard_doc, "discard($self, /)\n--\n\n"
                          "Count it out. Does nothing the second time.");

static PyObject *admission_discard(PyObject *object, PyObject *Py_UNUSED(none))
{
    end((admission_object *)object);
    Py_RETURN_NONE;
}

static PyMethodDef admission_methods[] = {
    {"discard", admission_discard, METH_NOARGS, discard_doc},
    {0},
};

static PyType_Slot admission_slots[] = {
    {Py_tp_doc, "What a Quota has counted; it is counted out by discard(), or with this object."},
    {Py_tp_dealloc, admission_dealloc},
    {Py_tp_traverse, admission_traverse},
    {Py_tp_clear, admission_clear},
    {Py_tp_methods, admission_methods},
    {0, NULL},
};

PyType_Spec fws_admission_spec = {
    .name = "flask_websockets._core.Admission",
    .basicsize = sizeof(admission_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = admission_slots,
};

/* ---- Quota ---- */

static PyObject *quota_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Quota", keywords))
        return NULL;
    quota_object *self = (quota_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->counts = PyDict_New();
    self->members = PyDict_New();
    if (self->counts == NULL || self->members == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void quota_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_XDECREF(((quota_object *)object)->counts);
    Py_XDECREF(((quota_object *)object)->members);
    type->tp_free(object);
    Py_DECREF(type);
}

static int quota_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((quota_object *)object)->members);
    return 0;
}

/* The dict itself stays, for an admission that ends later. */
static int quota_clear(PyObject *object)
{
    if (((quota_object *)object)->members != NULL)
        PyDict_Clear(((quota_object *)object)->members);
    return 0;
}

PyDoc_STRVAR(
    admit_doc,
    "admit($self, name, limit, limit_of_all, member=None, /)\n--\n\n"
    "Count one more of a name (a str).\n\n"
    "limit: how many the name may have, limit_of_all: how many all names may have\n"
    "together; 0: any number. member: what is in members() until it is counted out, which\n"
    "no other may be at the same time; None: nothing.\n"
    "Returns an Admission, or the limit that it would exceed, \"limit\" or \"limit_of_all\",\n"
    "and then nothing is counted.");

static PyObject *quota_admit(PyObject *object, PyObject *args)
{
    quota_object *self = (quota_object *)object;
    PyObject *name, *member = Py_None;
    Py_ssize_t limit, limit_of_all;
    if (!PyArg_ParseTuple(args, "Onn|O:admit", &name, &limit, &limit_of_all, &member))
        return NULL;
    if (!PyUnicode_CheckExact(name)) {
        PyErr_Format(PyExc_TypeError, "a name must be a str, not %.100s", Py_TYPE(name)->tp_name);
        return NULL;
    }
    fws_module_state *state = fws_module_state_of(Py_TYPE(object));
    if (state == NULL)
        return NULL;
    /* Made first, because the garbage collector may run here, and with it Python code. */
    PyTypeObject *type = state->admission_type;
    admission_object *admission = (admission_object *)type->tp_alloc(type, 0);
    if (admission == NULL)
        return NULL;
    Py_ssize_t count = count_of(self, name);
    const char *exceeded = NULL;
    if (count < 0)
        goto fail;
    if (limit_of_all > 0 && self->total >= limit_of_all)
        exceeded = "limit_of_all";
    else if (limit > 0 && count >= limit)
        exceeded = "limit";
    if (exceeded != NULL) {
        Py_DECREF(admission);
        return PyUnicode_FromString(exceeded);
    }
    if (!set_count(self, name, count + 1))
        goto fail;
    self->total++;
    admission->quota = (quota_object *)Py_NewRef(object);
    admission->name = Py_NewRef(name);
    if (member != Py_None) {
        if (PyDict_SetItem(self->members, member, name) < 0)
            goto fail; /* which counts it out again */
        admission->member = Py_NewRef(member);
    }
    return (PyObject *)admission;
fail:
    Py_DECREF(admission);
    return NULL;
}

PyDoc_STRVAR(members_doc, "members($self, /)\n--\n\n"
                          "The members that are counted now, each with its name: a new dict.");

static PyObject *quota_members(PyObject *object, PyObject *Py_UNUSED(none))
{
    return PyDict_Copy(((quota_object *)object)->members);
}

static PyObject *quota_total(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(((quota_object *)object)->total);
}

static PyMethodDef quota_methods[] = {
    {"admit", quota_admit, METH_VARARGS, admit_doc},
    {"members", quota_members, METH_NOARGS, members_doc},
    {0},
};

static PyGetSetDef quota_attributes[] = {
    {"total", quota_total, NULL, "How many all names have together.", NULL},
    {0},
};

static PyType_Slot quota_slots[] = {
    {Py_tp_doc, "Counts by name, and refuses beyond a limit, in one step that nothing interrupts."},
    {Py_tp_new, quota_new},
    {Py_tp_dealloc, quota_dealloc},
    {Py_tp_traverse, quota_traverse},
    {Py_tp_clear, quota_clear},
    {Py_tp_methods, quota_methods},
    {Py_tp_getset, quota_attributes},
    {0, NULL},
};

PyType_Spec fws_quota_spec = {
    .name = "flask_websockets._core.Quota",
    .basicsize = sizeof(quota_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = quota_slots,
};
