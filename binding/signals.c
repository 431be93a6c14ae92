/* Signals that end a process, and have a Python handler for the case that it serves WebSockets.
 * Python runs such a handler in the main thread, between two of its instructions: a program that
 * only imports the application would end late, and not at all while it is in a function of C. So
 * until the process serves, the signal has its default effect, at once.
 *
 * Any thread may be interrupted here, so only async-signal-safe functions are called. */
#include "binding.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

/* Of the process, as its signals are. `handlers`: what Python has set, each written before its
 * signal comes here. */
static atomic_bool serving;
static void (*handlers[NSIG])(int);

static void on_signal(int number)
{
    if (atomic_load(&serving)) {
        handlers[number](number); /* Python's, which notes it for the main thread */
        return;
    }
    int before = errno;
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigaction(number, &by_default, NULL);
    raise(number); /* it is blocked until this returns, and ends the process then */
    errno = before;
}

PyDoc_STRVAR(
    guard_signal_doc,
    "guard_signal($module, number, /)\n--\n\n"
    "Have a signal its default effect until set_serving(True), though Python has a handler for\n"
    "it. To be called after each signal.signal().\n\n"
    "number: of a signal that a Python function handles. ValueError for another.");

static PyObject *guard_signal(PyObject *Py_UNUSED(module), PyObject *number_object)
{
    long number = PyLong_AsLong(number_object);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    struct sigaction action;
    if (number < 1 || number >= NSIG || sigaction((int)number, NULL, &action) != 0 ||
        (action.sa_flags & SA_SIGINFO) || action.sa_handler == SIG_DFL ||
        action.sa_handler == SIG_IGN) {
        PyErr_Format(PyExc_ValueError, "no Python function handles the signal %ld", number);
        return NULL;
    }
    if (action.sa_handler == on_signal)
        Py_RETURN_NONE;
    handlers[number] = action.sa_handler;
    action.sa_handler = on_signal;
    if (sigaction((int)number, &action, NULL) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_serving_doc,
             "set_serving($module, on, /)\n--\n\n"
             "Say whether this process serves WebSockets, so that the Python handlers of guarded\n"
             "signals run. on: bool.");

static PyObject *set_serving(PyObject *Py_UNUSED(module), PyObject *on)
{
    int truth = PyObject_IsTrue(on);
    if (truth < 0)
        return NULL;
    atomic_store(&serving, truth != 0);
    Py_RETURN_NONE;
}

PyMethodDef fws_signal_functions[] = {
    {"guard_signal", guard_signal, METH_O, guard_signal_doc},
    {"set_serving", set_serving, METH_O, set_serving_doc},
    {0},
};
