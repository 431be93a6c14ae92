/* The type Loan: the bytes of a large message, while a coroutine waits for them to be sent. It
 * keeps the bytes alive, and the buffer of a mutable object exported, so that its size cannot
 * change. */
#include "binding.h"

typedef struct {
    PyObject_HEAD fws_websocket_object *websocket;
    fws_loan *core; /* NULL once it is ended */
    fws_payload payload;
    PyObject *data; /* what the payload was read from */
} loan_object;

PyObject *fws_loan_object_new(fws_websocket_object *websocket, fws_loan *core, PyObject *data,
                              fws_payload *payload)
{
    PyTypeObject *type = websocket->state->loan_type;
    loan_object *self = (loan_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        fws_websocket_end_loan(websocket->core, core);
        return NULL;
    }
    self->websocket = (fws_websocket_object *)Py_NewRef((PyObject *)websocket);
    self->core = core;
    self->payload = *payload;
    self->data = Py_NewRef(data);
    payload->has_view = false; /* released by end() */
    return (PyObject *)self;
}

static void end(loan_object *self)
{
    fws_loan *core = self->core;
    fws_websocket *websocket = self->websocket->core;
    self->core = NULL;
    if (core == NULL)
        return;
    Py_BEGIN_ALLOW_THREADS fws_websocket_end_loan(websocket, core); /* which may copy the bytes */
    Py_END_ALLOW_THREADS fws_argument_release(&self->payload);
    Py_CLEAR(self->data);
}

static void loan_dealloc(PyObject *object)
{
    loan_object *self = (loan_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    end(self);
    Py_DECREF(self->websocket);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(is_over_doc, "is_over($self, /)\n--\n\n"
                          "True: all bytes are sent. False: the notifier will give the token of\n"
                          "the websocket once it is to be called again. ConnectionClosed when\n"
                          "they were given up.");

static PyObject *loan_is_over(PyObject *object, PyObject *Py_UNUSED(none))
{
    loan_object *self = (loan_object *)object;
    fws_status status = FWS_OK;
    if (self->core != NULL)
        status = fws_websocket_poll_loan(self->websocket->core, self->core);
    if (status == FWS_CLOSED) {
        fws_websocket_object_raise(self->websocket, status);
        return NULL;
    }
    return PyBool_FromLong(status == FWS_OK);
}

PyDoc_STRVAR(end_doc, "end($self, /)\n--\n\n"
                      "Give the bytes back; what is not sent yet is copied and will be.");

static PyObject *loan_end(PyObject *object, PyObject *Py_UNUSED(none))
{
    end((loan_object *)object);
    Py_RETURN_NONE;
}

static PyMethodDef loan_methods[] = {
    {"is_over", loan_is_over, METH_NOARGS, is_over_doc},
    {"end", loan_end, METH_NOARGS, end_doc},
    {0},
};

static PyType_Slot loan_slots[] = {
    {Py_tp_doc, "The bytes of a message that are sent from where they are."},
    {Py_tp_dealloc, loan_dealloc},
    {Py_tp_methods, loan_methods},
    {0, NULL},
};

PyType_Spec fws_loan_spec = {
    .name = "flask_websockets._core.Loan",
    .basicsize = sizeof(loan_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = loan_slots,
};
