/* The gate: one at a time, nobody for ever, and nobody lost. */
#include "testing.h"

#include "engine/gate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS 50
#define TURNS 200

static fws_gate gate;
static unsigned inside; /* protected by the gate */
static unsigned long turns;
static atomic_bool stop;

static void *take_turns(void *argument)
{
    (void)argument;
    for (int i = 0; i < TURNS; i++) {
        fws_gate_enter(&gate);
        assert_int_equal(++inside, 1);
        turns++;
        if (i % 16 == 0)
            usleep(10);
        inside--;
        fws_gate_leave(&gate);
    }
    return NULL;
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    fws_gate_init(&gate);
    turns = 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, take_turns, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(turns, THREADS * TURNS);
    assert_false(gate.taken);
    assert_null(gate.first);
}

/* Is inside nearly always: whoever waits finds it free for an instant at most. */
static void *hog(void *argument)
{
    (void)argument;
    while (!atomic_load(&stop)) {
        fws_gate_enter(&gate);
        fws_ns end = fws_clock_now() + FWS_NS_PER_MS / 2;
        while (fws_clock_now() < end)
            ;
        fws_gate_leave(&gate);
    }
    return NULL;
}

static void test_nobody_waits_long(void **state)
{
    (void)state;
    pthread_t thread;
    fws_gate_init(&gate);
    atomic_store(&stop, false);
    pthread_create(&thread, NULL, hog, NULL);
    usleep(1000);
    for (int i = 0; i < 10; i++) {
        fws_ns begun = fws_clock_now();
        fws_gate_enter(&gate);
        fws_ns waited = fws_clock_now() - begun;
        fws_gate_leave(&gate);
        /* Ten times the promise, for a machine that is busy otherwise. */
        assert_true(waited < 10 * FWS_GATE_PATIENCE);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_nobody_waits_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
