/* The gate: few at a time, nobody for ever, and nobody lost. */
#include "testing.h"

#include "../../binding/gate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS 50
#define TURNS 200

static fws_gate gate;
static atomic_uint inside;
static atomic_ulong turns;
static atomic_bool stop;

static void *take_turns(void *argument)
{
    (void)argument;
    for (int i = 0; i < TURNS; i++) {
        fws_ns entered = fws_gate_enter(&gate);
        assert_in_range(atomic_fetch_add(&inside, 1) + 1, 1, FWS_GATE_WIDE);
        atomic_fetch_add(&turns, 1);
        if (i % 16 == 0)
            usleep(10);
        atomic_fetch_sub(&inside, 1);
        fws_gate_leave(&gate, entered);
    }
    return NULL;
}

static void come_through(void)
{
    pthread_t threads[THREADS];
    atomic_store(&turns, 0);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, take_turns, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&turns), THREADS * TURNS);
    assert_int_equal(gate.inside, 0);
    assert_null(gate.first);
    assert_int_equal(atomic_load(&gate.sleepers), 0);
}

static void test_everybody_comes_through(void **state)
{
    (void)state;
    fws_gate_init(&gate, FWS_GATE_WIDE);
    come_through();
}

static void *close_and_open(void *argument)
{
    while (!atomic_load(&stop)) {
        fws_gate_close(&gate);
        usleep(20);
        fws_gate_open(&gate);
        usleep(20);
    }
    return argument;
}

/* Nobody is forgotten who came when it was closed, or opened, just then. */
static void test_everybody_comes_through_while_it_is_closed_and_opened(void **state)
{
    (void)state;
    pthread_t closing;
    atomic_store(&stop, false);
    fws_gate_init(&gate, FWS_GATE_WIDE);
    pthread_create(&closing, NULL, close_and_open, NULL);
    come_through();
    atomic_store(&stop, true);
    pthread_join(closing, NULL);
}

/* Goes in, and stays until `stop`. */
static void *stay(void *argument)
{
    (void)argument;
    fws_ns entered = fws_gate_enter(&gate);
    atomic_fetch_add(&inside, 1);
    while (!atomic_load(&stop))
        usleep(100);
    fws_gate_leave(&gate, entered);
    return NULL;
}

/* Until somebody sleeps at the gate, and for longer than whoever is inside may make it wait. */
static void let_it_be_long(void)
{
    bool asleep = false;
    for (int i = 0; i < 1000 && !asleep; i++) {
        usleep(1000);
        pthread_mutex_lock(&gate.lock);
        asleep = gate.first != NULL;
        pthread_mutex_unlock(&gate.lock);
    }
    assert_true(asleep);
    usleep(2 * FWS_GATE_STALL / 1000);
}

static void one_more(pthread_t *thread, unsigned expected)
{
    pthread_create(thread, NULL, stay, NULL);
    usleep(2 * FWS_GATE_STALL / 1000);
    for (int i = 0; i < 1000 && atomic_load(&inside) < expected; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&inside), expected);
}

static void test_one_at_a_time_until_it_is_long(void **state)
{
    (void)state;
    pthread_t threads[FWS_GATE_WIDE + 2];
    fws_gate_init(&gate, FWS_GATE_WIDE);
    atomic_store(&stop, false);
    atomic_store(&inside, 0);
    one_more(&threads[0], 1);
    one_more(&threads[1], 1); /* who finds that out needs somebody to come after it */
    let_it_be_long();
    assert_int_equal(atomic_load(&inside), 1);
    for (unsigned i = 2; i < FWS_GATE_WIDE; i++)
        one_more(&threads[i], i + 1);
    one_more(&threads[FWS_GATE_WIDE], FWS_GATE_WIDE);
    one_more(&threads[FWS_GATE_WIDE + 1], FWS_GATE_WIDE);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < FWS_GATE_WIDE + 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&inside), FWS_GATE_WIDE + 2);

    /* Narrow again, after so many short turns (of which this machine may make a long one). */
    for (int i = 0; i < 10000 && gate.width > 1; i++)
        fws_gate_leave(&gate, fws_gate_enter(&gate));
    assert_int_equal(gate.width, 1);
    assert_int_equal(gate.inside, 0);
}

static void test_nobody_comes_in_while_it_is_closed(void **state)
{
    (void)state;
    pthread_t threads[3];
    fws_gate_init(&gate, FWS_GATE_WIDE);
    atomic_store(&stop, true);
    atomic_store(&inside, 0);
    fws_gate_close(&gate);
    for (unsigned i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, stay, NULL);
    let_it_be_long();
    assert_int_equal(atomic_load(&inside), 0);
    fws_gate_close(&gate); /* by another one */
    fws_gate_open(&gate);
    usleep(20 * 1000);
    assert_int_equal(atomic_load(&inside), 0);
    fws_gate_open(&gate);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&inside), 3);
    assert_int_equal(gate.inside, 0);
}

static void test_who_comes_out_late_makes_it_wide(void **state)
{
    (void)state;
    pthread_t thread;
    fws_gate_init(&gate, FWS_GATE_WIDE);
    atomic_store(&stop, true);
    atomic_store(&inside, 0);
    fws_ns entered = fws_gate_enter(&gate);
    pthread_create(&thread, NULL, stay, NULL);
    let_it_be_long();
    assert_int_equal(atomic_load(&inside), 0);
    assert_int_equal(gate.width, 1);
    fws_gate_leave(&gate, entered);
    pthread_join(thread, NULL);
    assert_in_range(gate.width, FWS_GATE_WIDE - 1, FWS_GATE_WIDE);
}

/* Is inside nearly always: whoever waits finds it free for an instant at most. */
static void *hog(void *argument)
{
    (void)argument;
    while (!atomic_load(&stop)) {
        fws_ns entered = fws_gate_enter(&gate);
        fws_ns end = fws_clock_now() + FWS_NS_PER_MS / 2;
        while (fws_clock_now() < end)
            ;
        fws_gate_leave(&gate, entered);
    }
    return NULL;
}

static void test_nobody_waits_long(void **state)
{
    (void)state;
    pthread_t thread;
    fws_gate_init(&gate, FWS_GATE_WIDE);
    atomic_store(&stop, false);
    pthread_create(&thread, NULL, hog, NULL);
    usleep(1000);
    for (int i = 0; i < 10; i++) {
        fws_ns begun = fws_clock_now();
        fws_ns entered = fws_gate_enter(&gate);
        fws_ns waited = fws_clock_now() - begun;
        fws_gate_leave(&gate, entered);
        /* Ten times the promise, for a machine that is busy otherwise. */
        assert_true(waited < 10 * FWS_GATE_PATIENCE);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_comes_through),
        cmocka_unit_test(test_everybody_comes_through_while_it_is_closed_and_opened),
        cmocka_unit_test(test_nobody_comes_in_while_it_is_closed),
        cmocka_unit_test(test_one_at_a_time_until_it_is_long),
        cmocka_unit_test(test_who_comes_out_late_makes_it_wide),
        cmocka_unit_test(test_nobody_waits_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
