#include "testing.h"

#include "io/loop.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 400

static fws_loop *loop;
static int ends[PAIRS][2];

static int start(void **state)
{
    (void)state;
    loop = fws_loop_new();
    assert_non_null(loop);
    for (int i = 0; i < PAIRS; i++)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]), 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fws_loop_free(loop);
    for (int i = 0; i < PAIRS; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
    }
    return 0;
}

static void watch(int i, uint8_t before, uint8_t after)
{
    assert_true(fws_loop_watch(loop, ends[i][0], before, after, ends[i]));
}

static void test_readable_and_writable(void **state)
{
    (void)state;
    fws_readiness ready[8];
    watch(0, 0, FWS_READABLE);
    assert_int_equal(fws_loop_wait(loop, ready, 8, 0), 0);
    assert_int_equal(write(ends[0][1], "x", 1), 1);
    for (int turn = 0; turn < 2; turn++) { /* level-triggered: again, as long as it is so */
        assert_int_equal(fws_loop_wait(loop, ready, 8, FWS_NS_PER_S), 1);
        assert_ptr_equal(ready[0].owner, ends[0]);
        assert_int_equal(ready[0].ready, FWS_READABLE);
    }
    watch(0, FWS_READABLE, FWS_READABLE | FWS_WRITABLE);
    assert_int_equal(fws_loop_wait(loop, ready, 8, FWS_NS_PER_S), 1);
    assert_int_equal(ready[0].ready, FWS_READABLE | FWS_WRITABLE);
    watch(0, FWS_READABLE | FWS_WRITABLE, 0);
    assert_int_equal(fws_loop_wait(loop, ready, 8, 0), 0);
}

static void test_a_hang_up_is_readable(void **state)
{
    (void)state;
    fws_readiness ready[8];
    watch(0, 0, FWS_READABLE);
    shutdown(ends[0][1], SHUT_RDWR);
    assert_int_equal(fws_loop_wait(loop, ready, 8, FWS_NS_PER_S), 1);
    assert_true(ready[0].ready & FWS_READABLE);
    watch(0, FWS_READABLE, 0);
}

static void test_all_get_their_turn_when_more_are_ready_than_fit(void **state)
{
    (void)state;
    bool seen[PAIRS] = {false};
    fws_readiness ready[8];
    int missing = PAIRS;
    for (int i = 0; i < PAIRS; i++)
        watch(i, 0, FWS_WRITABLE);
    for (int turn = 0; turn < 4 * PAIRS / 8 && missing > 0; turn++) {
        int count = fws_loop_wait(loop, ready, 8, FWS_NS_PER_S);
        for (int i = 0; i < count; i++) {
            size_t which = (size_t)((int (*)[2])ready[i].owner - ends);
            missing -= seen[which] ? 0 : 1;
            seen[which] = true;
        }
    }
    assert_int_equal(missing, 0);
    for (int i = 0; i < PAIRS; i++)
        watch(i, FWS_WRITABLE, 0);
}

static void *wake_soon(void *argument)
{
    usleep(20000);
    watch(1, 0, FWS_WRITABLE); /* a change of the set by another thread counts as well */
    fws_loop_wake(argument);
    return NULL;
}

static void test_waking_and_time(void **state)
{
    (void)state;
    fws_readiness ready[8];
    fws_ns begun = fws_clock_now();
    assert_int_equal(fws_loop_wait(loop, ready, 8, 30 * FWS_NS_PER_MS), 0);
    fws_ns waited = fws_clock_now() - begun;
    assert_in_range(waited / FWS_NS_PER_MS, 29, 200);

    pthread_t thread;
    pthread_create(&thread, NULL, wake_soon, loop);
    begun = fws_clock_now();
    int count = 0;
    while (count == 0)
        count = fws_loop_wait(loop, ready, 8, FWS_FOREVER);
    assert_true(fws_clock_now() - begun < 5 * FWS_NS_PER_S);
    assert_ptr_equal(ready[0].owner, ends[1]);
    pthread_join(thread, NULL);
    watch(1, FWS_WRITABLE, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_readable_and_writable),
        TEST(test_a_hang_up_is_readable),
        TEST(test_all_get_their_turn_when_more_are_ready_than_fit),
        TEST(test_waking_and_time),
    };
    printf("loop: %s\n", fws_loop_name());
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
