/* What an engine has counted, as WebSockets.stats() gives it. */
#include "binding.h"

static unsigned long long load(const atomic_uint_least64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static PyObject *closes(const fws_counters *counters)
{
    PyObject *result = PyDict_New();
    for (long i = 0; result != NULL && i < FWS_CLOSE_CODES; i++) {
        unsigned count = atomic_load_explicit(&counters->closes[i], memory_order_relaxed);
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

PyObject *fws_statistics(fws_engine *core)
{
    const fws_counters *counters = fws_engine_counters(core);
    return Py_BuildValue(
        "{s:n,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:N,s:N,s:N}", "connections",
        (Py_ssize_t)fws_engine_count(core), "messages_in", count(&counters->messages_in),
        "messages_out", count(&counters->messages_out), "bytes_in", count(&counters->bytes_in),
        "bytes_out", count(&counters->bytes_out), "queued_bytes", count(&counters->queued),
        "slow_consumers", load(&counters->slow_consumers), "loop_wakeups",
        load(&counters->loop_wakeups), "threads_refused", load(&counters->threads_refused),
        "closes", closes(counters), "callback_time", quantiles(fws_engine_callback_time(core)),
        "loop_lag", quantiles(fws_engine_turn_time(core)));
}
