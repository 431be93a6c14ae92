/* Calls that may have to wait. A thread releases the GIL and sleeps in the core. A greenlet
 * switches to the event loop of its thread, and continues when the notifier has named its
 * websocket. */
#include "binding.h"

static _Thread_local fws_budget budget;

/* Does the handler of this websocket run in an event loop, and is it the calling thread's? Other
 * threads may use the websocket as well; they sleep in the core. */
static bool in_event_loop(const fws_websocket_object *self)
{
    return self->wait != NULL && self->thread == PyThread_get_thread_ident();
}

/* Lets the event loop run until the notifier names this websocket, or `deadline`. False when an
 * exception was thrown into the greenlet; it is set. */
static bool switch_away(fws_websocket_object *self, fws_ns deadline)
{
    PyObject *seconds = Py_None;
    if (deadline != FWS_FOREVER) {
        fws_ns now = fws_clock_now();
        double left = deadline > now ? (double)(deadline - now) / (double)FWS_NS_PER_S : 0;
        seconds = PyFloat_FromDouble(left);
    } else {
        Py_INCREF(seconds);
    }
    PyObject *token = PyLong_FromVoidPtr(self->core);
    PyObject *result = NULL;
    if (token != NULL && seconds != NULL)
        result = PyObject_CallFunctionObjArgs(self->wait, token, seconds, NULL);
    Py_XDECREF(token);
    Py_XDECREF(seconds);
    Py_XDECREF(result);
    fws_budget_renew(&budget);
    return result != NULL;
}

void fws_init_gates(fws_module_state *state)
{
    fws_gate_init(&state->gate, FWS_GATE_WIDE);
    fws_gate_init(&state->callbacks_gate, FWS_CALLBACKS_WIDE);
}

/* Threads that wait for the GIL wake every few milliseconds to ask for it. When thousands of
 * handlers wake at once, as for a publish or at the end of the server, the process would do
 * nothing else. So one of them at a time waits for the GIL, and the others sleep at the gate; a
 * few at a time, when threads of the server, which do not pass the gate, want the GIL as much.
 * No thread waits at the gate with the GIL held. */
void fws_restore_thread(fws_module_state *state, PyThreadState *thread)
{
    fws_ns entered = fws_gate_enter(&state->gate);
    PyEval_RestoreThread(thread);
    fws_gate_leave(&state->gate, entered);
}

/* ---- letting others run ---- */

/* Releases the GIL, so that other threads can take it: one that the release wakes does so during
 * the pause. When it takes longer than the pause to get it back, another thread wants it. */
static void yield_gil(fws_websocket_object *self)
{
    struct timespec pause = fws_clock_timespec(FWS_GIL_PAUSE);
    PyThreadState *thread = PyEval_SaveThread();
    nanosleep(&pause, NULL);
    fws_ns paused = fws_clock_now();
    fws_restore_thread(self->state, thread);
    if (fws_clock_now() - paused > FWS_GIL_PAUSE)
        fws_budget_shorten(&budget);
    fws_budget_renew(&budget);
}

/* Lets the other greenlets of this thread run. Whether any of them is ready cannot be seen, so
 * that is assumed. */
static bool yield_event_loop(fws_websocket_object *self)
{
    fws_budget_shorten(&budget);
    fws_budget_renew(&budget);
    return !fws_websocket_yield(self->core) || switch_away(self, FWS_FOREVER);
}

/* Called before a message that need not be waited for: lets others run if the budget is spent.
 * False when an exception was thrown into the greenlet; it is set. */
static bool yield_if_spent(fws_websocket_object *self)
{
    if (!budget.spent)
        return true;
    if (in_event_loop(self))
        return yield_event_loop(self);
    yield_gil(self);
    return true;
}

/* The same for callers that call again when the notifier names the websocket, as coroutines do.
 * True: the caller must return to its event loop first; the notifier names the websocket again
 * at once. */
static bool must_yield_first(fws_websocket_object *self)
{
    if (!budget.spent || self->has_yielded) {
        self->has_yielded = false;
        return false;
    }
    self->has_yielded =
        true; /* the next call continues, even if other code has spent the budget meanwhile */
    if (in_event_loop(self)) {
        fws_budget_shorten(&budget);
        fws_budget_renew(&budget);
    } else {
        yield_gil(self); /* the event loop has a thread of its own, beside those of the server */
    }
    return fws_websocket_yield(self->core);
}

void fws_renew_budget(void)
{
    fws_budget_renew(&budget);
}

static bool is_over(fws_ns deadline)
{
    return deadline != FWS_FOREVER && fws_clock_now() >= deadline;
}

/* ---- receiving ---- */

static int receive_in_thread(fws_websocket_object *self, fws_ns deadline, fws_message *message)
{
    fws_status status;
    /* A thread that has used little of its budget renews it without reading the clock. */
    fws_ns begun = budget.since != 0 ? fws_clock_now() : 0;
    do {
        PyThreadState *thread = PyEval_SaveThread();
        status = fws_websocket_receive_wait(self->core, deadline, message);
        fws_restore_thread(self->state, thread);
        if (status == FWS_INTERRUPTED && PyErr_CheckSignals() < 0)
            return -1;
    } while (status == FWS_INTERRUPTED);
    if (begun == 0 || fws_clock_now() - begun > FWS_GIL_PAUSE)
        fws_budget_renew(&budget);
    return (int)status;
}

static int receive_in_greenlet(fws_websocket_object *self, fws_ns deadline, fws_message *message)
{
    for (;;) {
        if (fws_websocket_await(self->core, FWS_AWAIT_MESSAGE) && !switch_away(self, deadline))
            return -1;
        fws_status status = fws_websocket_receive_ready(self->core, message);
        if (status != FWS_WOULD_BLOCK)
            return (int)status;
        if (is_over(deadline))
            return FWS_TIMEOUT;
    }
}

/* Nothing is given out after this side has closed the websocket (RFC 6455 section 1.4). */
static void drop_after_close(fws_websocket_object *self)
{
    if (self->conversion == NULL || fws_conversion_is_busy(self->conversion) ||
        !fws_websocket_is_closed_here(self->core))
        return;
    fws_conversion_free(self->conversion);
    self->conversion = NULL;
}

bool fws_websocket_object_continue(fws_websocket_object *self, bool wait, PyObject **data)
{
    *data = NULL;
    for (;;) {
        drop_after_close(self);
        fws_conversion *conversion = self->conversion;
        if (conversion == NULL || fws_conversion_is_busy(conversion))
            return false;
        if (fws_conversion_continue(conversion, data)) {
            self->conversion = NULL;
            fws_conversion_free(conversion);
            return true;
        }
        if (wait && !in_event_loop(self))
            continue;
        fws_websocket_yield(self->core);
        if (!wait || !switch_away(self, FWS_FOREVER))
            return true;
    }
}

bool fws_websocket_object_convert(fws_websocket_object *self, fws_message *message, bool wait,
                                  PyObject **data)
{
    bool has_loop = !wait || in_event_loop(self);
    if (!has_loop || !fws_message_is_large(message) || self->conversion != NULL) {
        *data = fws_message_object(message);
        return true;
    }
    self->conversion = fws_conversion_new(message);
    *data = NULL;
    return self->conversion == NULL || fws_websocket_object_continue(self, wait, data);
}

int fws_websocket_object_next(fws_websocket_object *self, fws_message *message)
{
    fws_status status = FWS_CLOSED;
    if (must_yield_first(self))
        return FWS_WOULD_BLOCK;
    do {
        if (!fws_websocket_is_closed_here(self->core))
            status = fws_websocket_receive_ready(self->core, message);
    } while (status == FWS_WOULD_BLOCK && !fws_websocket_await(self->core, FWS_AWAIT_MESSAGE));
    if (status == FWS_OK)
        fws_budget_charge(&budget, message->length);
    else if (status == FWS_WOULD_BLOCK)
        fws_budget_renew(&budget); /* it goes back to its event loop */
    if (status == FWS_CLOSED)
        fws_websocket_object_raise(self, status);
    return status == FWS_CLOSED ? -1 : (int)status;
}

int fws_websocket_object_receive(fws_websocket_object *self, fws_ns timeout_ns,
                                 fws_message *message)
{
    if (self->on_message != NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a class view does not receive: its messages come to on_message()");
        return -1;
    }
    if (!yield_if_spent(self))
        return -1;
    int status = (int)fws_websocket_receive_ready(self->core, message);
    if (status == FWS_OK)
        fws_budget_charge(&budget, message->length);
    if (status == FWS_WOULD_BLOCK) {
        fws_ns deadline = timeout_ns == FWS_FOREVER ? FWS_FOREVER : fws_clock_now() + timeout_ns;
        status = in_event_loop(self) ? receive_in_greenlet(self, deadline, message)
                                     : receive_in_thread(self, deadline, message);
    }
    if (status == FWS_OK || status == FWS_CLOSED || status == FWS_TIMEOUT || status == -1)
        return status;
    fws_websocket_object_raise(self, (fws_status)status);
    return -1;
}

/* ---- sending ---- */

/* Is it a class view whose callbacks the engine's threads run? They let others run after each
 * batch. */
static bool is_called_by_crew(const fws_websocket_object *self)
{
    return self->on_message != NULL && self->wait == NULL;
}

/* Waits until the bytes that a greenlet has lent are sent. If an exception is thrown in before
 * that, a copy of the rest is sent. */
static int wait_for_loan(fws_websocket_object *self, fws_loan *loan)
{
    fws_status status;
    do
        status = fws_websocket_poll_loan(self->core, loan);
    while (status == FWS_WOULD_BLOCK && switch_away(self, FWS_FOREVER));
    Py_BEGIN_ALLOW_THREADS fws_websocket_end_loan(self->core, loan);
    Py_END_ALLOW_THREADS return status == FWS_WOULD_BLOCK ? -1 : (int)status;
}

static int send_in_greenlet(fws_websocket_object *self, fws_opcode opcode, const void *data,
                            size_t size)
{
    fws_status status;
    fws_loan *loan;
    for (;;) {
        Py_BEGIN_ALLOW_THREADS status = fws_websocket_lend(self->core, opcode, data, size, &loan);
        Py_END_ALLOW_THREADS if (loan != NULL) return wait_for_loan(self, loan);
        if (status != FWS_WOULD_BLOCK)
            return (int)status;
        if (fws_websocket_await(self->core, FWS_AWAIT_ROOM) && !switch_away(self, FWS_FOREVER))
            return -1;
    }
}

int fws_websocket_object_send(fws_websocket_object *self, fws_opcode opcode, const void *data,
                              size_t size)
{
    bool by_crew = is_called_by_crew(self);
    size_t with_gil =
        fws_websocket_window_bits(self->core) ? FWS_SHORT_COMPRESSION : FWS_SHORT_SEND;
    int status = FWS_WOULD_BLOCK;
    if (!by_crew && !yield_if_spent(self))
        return -1;
    if (size <= with_gil)
        status = (int)fws_websocket_send(self->core, opcode, data, size, false);
    if (status == FWS_WOULD_BLOCK && in_event_loop(self)) {
        status = send_in_greenlet(self, opcode, data, size);
    } else if (status == FWS_WOULD_BLOCK) {
        Py_BEGIN_ALLOW_THREADS status =
            (int)fws_websocket_send(self->core, opcode, data, size, true);
        Py_END_ALLOW_THREADS
    }
    if (status == FWS_OK && !by_crew)
        fws_budget_charge(&budget, size);
    if (status > FWS_OK)
        fws_websocket_object_raise(self, (fws_status)status);
    return status == FWS_OK ? 0 : -1;
}

int fws_websocket_object_offer(fws_websocket_object *self, fws_opcode opcode, const void *data,
                               size_t size, fws_loan **loan)
{
    fws_status status;
    *loan = NULL;
    if (must_yield_first(self))
        return FWS_WOULD_BLOCK;
    do
        status = fws_websocket_lend(self->core, opcode, data, size, loan);
    while (status == FWS_WOULD_BLOCK && !fws_websocket_await(self->core, FWS_AWAIT_ROOM));
    if (status == FWS_OK)
        fws_budget_charge(&budget, size);
    else if (status == FWS_WOULD_BLOCK)
        fws_budget_renew(&budget); /* it goes back to its event loop */
    else
        fws_websocket_object_raise(self, status);
    return status == FWS_OK || status == FWS_WOULD_BLOCK ? (int)status : -1;
}

/* ---- pings ---- */

static int ping_wait(fws_websocket_object *self, fws_ping *ping, fws_ns deadline,
                     fws_ns *round_trip)
{
    bool greenlet = in_event_loop(self);
    for (;;) {
        fws_status status;
        if (greenlet) {
            status = fws_websocket_ping_poll(self->core, ping, round_trip);
            if (status == FWS_WOULD_BLOCK && is_over(deadline))
                status = FWS_TIMEOUT;
            if (status == FWS_WOULD_BLOCK && !switch_away(self, deadline))
                return -1;
        } else {
            Py_BEGIN_ALLOW_THREADS status =
                fws_websocket_ping_wait(self->core, ping, deadline, round_trip);
            Py_END_ALLOW_THREADS if (status == FWS_INTERRUPTED && PyErr_CheckSignals() < 0)
            {
                return -1;
            }
        }
        if (status != FWS_WOULD_BLOCK && status != FWS_INTERRUPTED)
            return (int)status;
    }
}

int fws_websocket_object_ping(fws_websocket_object *self, const void *data, size_t size,
                              fws_ns deadline, fws_ns *round_trip)
{
    fws_ping *ping;
    int status = (int)fws_websocket_ping_send(self->core, data, size, &ping);
    if (status == FWS_OK) {
        status = ping_wait(self, ping, deadline, round_trip);
        fws_websocket_ping_free(self->core, ping);
    }
    if (status > FWS_OK)
        fws_websocket_object_raise(self, (fws_status)status);
    return status == FWS_OK ? 0 : -1;
}
