#include "testing.h"

#include "io/timers.h"

#define COUNT 500

static fws_timer timer[COUNT];
static fws_timers timers;

static int start(void **state)
{
    (void)state;
    fws_timers_init(&timers);
    assert_true(fws_timers_reserve(&timers, COUNT));
    for (int i = 0; i < COUNT; i++)
        fws_timer_init(&timer[i]);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fws_timers_clear(&timers);
    return 0;
}

static uint32_t random_number(void)
{
    static uint32_t seed = 1;
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static void test_they_expire_in_the_order_of_their_deadlines(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT; i++)
        fws_timers_arm(&timers, &timer[i], random_number() % 1000);
    fws_ns last = 0;
    for (int i = 0; i < COUNT; i++) {
        fws_ns next = fws_timers_next(&timers);
        assert_null(fws_timers_expired(&timers, next - 1));
        fws_timer *expired = fws_timers_expired(&timers, next);
        assert_non_null(expired);
        assert_true(expired->deadline >= last);
        assert_false(fws_timer_armed(expired));
        last = expired->deadline;
    }
    assert_true(fws_timers_next(&timers) == FWS_FOREVER);
    assert_null(fws_timers_expired(&timers, INT64_MAX));
}

static void test_moving_and_cancelling_at_random(void **state)
{
    (void)state;
    for (int step = 0; step < 20000; step++) {
        fws_timer *one = &timer[random_number() % COUNT];
        if (random_number() % 3 == 0)
            fws_timers_cancel(&timers, one);
        else
            fws_timers_arm(&timers, one, random_number() % 100000);
        if (step % 50 == 0) { /* the earliest is what a search finds */
            fws_ns earliest = FWS_FOREVER;
            size_t armed = 0;
            for (int i = 0; i < COUNT; i++) {
                if (!fws_timer_armed(&timer[i]))
                    continue;
                armed++;
                if (earliest == FWS_FOREVER || timer[i].deadline < earliest)
                    earliest = timer[i].deadline;
            }
            assert_int_equal(timers.count, armed);
            assert_true(fws_timers_next(&timers) == earliest);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_they_expire_in_the_order_of_their_deadlines, start,
                                        stop),
        cmocka_unit_test_setup_teardown(test_moving_and_cancelling_at_random, start, stop),
    };
    return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
