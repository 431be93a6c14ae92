/* What an engine has counted, as WebSockets.stats() gives it. */
#include "binding.h"

#include <stdlib.h>

static unsigned long long load(const atomic_uint_least64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static PyObject *closes(const fws_tally *tally)
{
    PyObject *result = PyDict_New();
    for (long i = 0; result != NULL && i < FWS_CLOSE_CODES; i++) {
        unsigned count = atomic_load_explicit(&tally->closes[i], memory_order_relaxed);
        if (count == 0)
            continue;
        PyObject *code = PyLong_FromLong(1000 + i), *number = PyLong_FromUnsignedLong(count);
        if (!code || !number || PyDict_SetItem(result, code, number) < 0)
            Py_CLEAR(result);
        Py_XDECREF(code);
        Py_XDECREF(number);
    }
    return result;
}

static unsigned long long count(const fws_counter *counter)
{
    return fws_counter_read(counter);
}

/* In seconds. */
static PyObject *quantiles(const fws_histogram *histogram)
{
    const double ns = 1e-9;
    return Py_BuildValue("{s:d,s:d,s:d}", "p50",
                         (double)fws_histogram_quantile(histogram, 0.5) * ns, "p99",
                         (double)fws_histogram_quantile(histogram, 0.99) * ns, "max",
                         (double)fws_histogram_quantile(histogram, 1) * ns);
}

PyObject *fws_statistics_of_tally(const fws_tally *tally)
{
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:N,s:N}", "opens", load(&tally->opens),
                         "refusals", load(&tally->refusals), "messages_in",
                         count(&tally->messages_in), "messages_out", count(&tally->messages_out),
                         "bytes_in", count(&tally->bytes_in), "bytes_out", count(&tally->bytes_out),
                         "queued_bytes", count(&tally->queued), "slow_consumers",
                         load(&tally->slow_consumers), "closes", closes(tally), "callback_time",
                         quantiles(&tally->callback_time));
}

/* Of the engine's own work. False with an exception set. */
static bool add_own(PyObject *result, fws_engine *core)
{
    const fws_counters *counters = fws_engine_counters(core);
    PyObject *own = Py_BuildValue(
        "{s:n,s:K,s:K,s:N}", "connections", (Py_ssize_t)fws_engine_count(core), "loop_wakeups",
        load(&counters->loop_wakeups), "threads_refused", load(&counters->threads_refused),
        "loop_lag", quantiles(fws_engine_turn_time(core)));
    bool added = own != NULL && PyDict_Update(result, own) == 0;
    Py_XDECREF(own);
    return added;
}

PyObject *fws_statistics(fws_engine *core)
{
    fws_tally *sum = calloc(1, sizeof *sum);
    if (sum == NULL)
        return PyErr_NoMemory();
    fws_engine_add_tallies(core, sum);
    PyObject *result = fws_statistics_of_tally(sum);
    free(sum);
    if (result != NULL && !add_own(result, core))
        Py_CLEAR(result);
    return result;
}
