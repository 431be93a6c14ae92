/* While a callback runs, somebody watches, or it runs apart: the loop is led whatever blocks. */
#include "evented.h"

#include "engine/apart.h"
#include "tuning.h"

#include <sys/socket.h>
#include <unistd.h>

/* A batch that lasts for 2 ms, which is not long enough to be overtaken, so that what is sent
 * meanwhile becomes due at once. */
static void hold_the_leader(int i)
{
    send_message(i, "sleep 2");
    usleep(500);
}

/* So many that are known as slow and one that is known as fast block at once. */
static void slow_and_fast_block_at_once(uint32_t threads)
{
    int slow = (int)threads, fast = slow, idle = slow + 1;
    start_with(threads, slow + 2);
    for (int i = 0; i < slow; i++)
        make_slow(i);
    make_fast(fast);
    let_suspicion_pass();
    hold_the_leader(fast);
    for (int i = 0; i < slow; i++)
        send_message(i, "sleep 1000");
    send_message(fast, "sleep 1000");
    usleep(50 * 1000);
    assert_in_range(atomic_load(&asleep), 1, threads);
    expect_quick_pong(idle);
    for (int i = 0; i < slow; i++) {
        expect_text(i, "asleep");
        expect_text(i, "sleep 1000");
    }
    expect_text(fast, "asleep");
    expect_text(fast, "sleep 2");
    expect_text(fast, "asleep");
    expect_text(fast, "sleep 1000");
    assert_in_range(atomic_load(&most_asleep), 1, threads);
    stop_with(slow + 2);
}

static void test_slow_and_fast_block_at_once_1(void **state)
{
    (void)state;
    slow_and_fast_block_at_once(1);
}

static void test_slow_and_fast_block_at_once_2(void **state)
{
    (void)state;
    slow_and_fast_block_at_once(2);
}

static void test_slow_and_fast_block_at_once_4(void **state)
{
    (void)state;
    slow_and_fast_block_at_once(4);
}

static void test_slow_and_fast_block_at_once_64(void **state)
{
    (void)state;
    slow_and_fast_block_at_once(64);
}

/* Threads that were hired and stand by are no watch: one of them has to be called to be it. */
static void test_the_watch_is_overtaken_as_well(void **state)
{
    (void)state;
    start_with(8, 7);
    for (int i = 3; i < 7; i++)
        make_fast(i);
    for (int i = 0; i < 3; i++)
        send_message(i, "sleep 100"); /* threads are hired for them */
    for (int i = 0; i < 3; i++) {
        expect_text(i, "asleep");
        expect_text(i, "sleep 100");
    }
    let_suspicion_pass();
    for (int i = 3; i < 6; i++) { /* each blocks a leader that was a watch before */
        send_message(i, "sleep 1000");
        expect_text(i, "asleep");
        expect_quick_pong(6);
    }
    send_message(6, "not held up");
    expect_text(6, "not held up");
    for (int i = 3; i < 6; i++)
        expect_text(i, "sleep 1000");
    stop_with(7);
}

/* With two threads in all, callbacks that run apart need the watch, and the others need it too. */
static void test_both_kinds_take_turns_with_two_threads(void **state)
{
    (void)state;
    enum { ROUNDS = 20 };
    start_with(1, 2);
    make_slow(0);
    make_fast(1);
    let_suspicion_pass();
    for (int i = 0; i < ROUNDS; i++) {
        send_message(0, "sleep 5");
        send_message(1, "fast");
    }
    for (int i = 0; i < ROUNDS; i++) {
        expect_text(1, "fast");
        expect_text(0, "asleep");
        expect_text(0, "sleep 5");
    }
    assert_int_equal(atomic_load(&most_asleep), 1);
    stop_with(2);
}

/* The same, while there is always something for the leader to run: neither kind starves. */
static void test_a_flood_does_not_starve_what_runs_apart(void **state)
{
    (void)state;
    start_with(1, 2);
    make_slow(1);
    make_fast(0);
    let_suspicion_pass();
    begin_flood();
    for (int i = 0; i < 10; i++) {
        unsigned before = atomic_load(&owners[0].messages);
        fws_ns begun = fws_clock_now();
        send_message(1, "sleep 5");
        expect_text(1, "asleep");
        expect_text(1, "sleep 5");
        assert_true(fws_clock_now() - begun < FWS_NS_PER_S);
        WAIT_FOR(atomic_load(&owners[0].messages) > before + 1000);
    }
    end_flood();
    stop_with(2);
}

/* What is due while as many are inside as may be is run when one of them ends, and not before. */
static void test_due_callbacks_beyond_the_limit_wait(void **state)
{
    (void)state;
    start_with(2, 4);
    make_fast(3);
    let_suspicion_pass();
    send_message(0, "sleep 300");
    send_message(1, "sleep 600");
    expect_text(0, "asleep");
    expect_text(1, "asleep");
    send_message(3, "waits");
    usleep(100 * 1000);
    assert_int_equal(atomic_load(&owners[3].messages), 50);
    expect_quick_pong(3);
    expect_text(0, "sleep 300");
    expect_text(3, "waits");
    assert_int_equal(atomic_load(&asleep), 1);
    expect_text(1, "sleep 600");
    stop_with(4);
}

/* The watch sleeps while there is nothing to watch, and is there when there is again. */
static void test_a_watch_that_sleeps_is_called(void **state)
{
    (void)state;
    start_with(4, 2);
    make_fast(0);
    for (int round = 0; round < 3; round++) {
        WAIT_FOR(atomic_load(&engine->crew.watch.asleep));
        let_suspicion_pass();
        send_message(0, "sleep 900");
        expect_text(0, "asleep"); /* was overtaken, or it would be sent after it */
        assert_int_equal(atomic_load(&asleep), 1);
        expect_text(0, "sleep 900");
        for (int k = 0; k < 40; k++) { /* until it is known as fast again */
            send_message(0, "hello");
            expect_text(0, "hello");
        }
    }
    stop_with(2);
}

/* Whichever of the two was first. */
static void expect_told_and_slept(void)
{
    char header[10];
    bool told = false, slept = false;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(recv(pairs[0].fd, header, 1, MSG_PEEK | MSG_WAITALL), 1);
        if (header[0] == (char)0x82) {
            static const char size[8] = {
                0, 0, 0, 0, 0, TOLD >> 16, (char)(TOLD >> 8 & 255), (char)(TOLD & 255)};
            static const char zeros[TOLD];
            assert_false(told);
            told = true;
            expect_bytes(&pairs[0], "\x82\x7f", 2);
            expect_bytes(&pairs[0], size, 8);
            expect_bytes(&pairs[0], zeros, TOLD);
        } else if (!slept) {
            slept = true;
            expect_text(0, "asleep");
        } else {
            expect_text(0, "sleep 30");
        }
    }
    assert_true(told && slept);
}

/* A callback sends to a websocket, which is then in the list of what is to be written; the next in
 * the same batch is that one's own, and is overtaken. */
static void test_one_that_is_to_be_written_is_overtaken(void **state)
{
    (void)state;
    start_with(4, 3);
    for (int i = 0; i < 3; i++)
        make_fast(i);
    for (int round = 0; round < 5; round++) {
        make_fast(0); /* again */
        let_suspicion_pass();
        hold_the_leader(2);
        send_message(1, "tell 0");
        send_message(0, "sleep 30");
        expect_told_and_slept();
        expect_text(1, "tell 0");
        expect_text(2, "asleep");
        expect_text(2, "sleep 2");
        expect_quick_pong(1);
    }
    stop_with(3);
}

/* While the callback of another one was overtaken just now, or a while ago. */
static bool runs_apart(int i, bool while_suspicious)
{
    pthread_mutex_lock(&engine->work.lock);
    pairs[i].server->tally->overtaken_at =
        fws_clock_now() - (while_suspicious ? 0 : FWS_SUSPICIOUS_FOR);
    bool apart = fws_apart_is_for(pairs[i].server);
    pthread_mutex_unlock(&engine->work.lock);
    return apart;
}

static void test_who_is_trusted_does_not_wait_with_those_that_are_overtaken(void **state)
{
    (void)state;
    start_with(4, 3);
    make_slow(0);
    for (int k = 0; k < FWS_TRUSTED; k++) {
        assert_true(runs_apart(1, true));
        send_message(1, "hello");
        expect_text(1, "hello");
    }
    WAIT_FOR(!runs_apart(1, true));
    assert_true(runs_apart(2, true));
    assert_false(runs_apart(2, false));
    assert_true(runs_apart(0, false));
    stop_with(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_and_fast_block_at_once_1),
        cmocka_unit_test(test_slow_and_fast_block_at_once_2),
        cmocka_unit_test(test_slow_and_fast_block_at_once_4),
        cmocka_unit_test(test_slow_and_fast_block_at_once_64),
        cmocka_unit_test(test_the_watch_is_overtaken_as_well),
        cmocka_unit_test(test_both_kinds_take_turns_with_two_threads),
        cmocka_unit_test(test_a_flood_does_not_starve_what_runs_apart),
        cmocka_unit_test(test_due_callbacks_beyond_the_limit_wait),
        cmocka_unit_test(test_a_watch_that_sleeps_is_called),
        cmocka_unit_test(test_one_that_is_to_be_written_is_overtaken),
        cmocka_unit_test(test_who_is_trusted_does_not_wait_with_those_that_are_overtaken),
    };
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
