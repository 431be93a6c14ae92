/* Threads that cannot be hired, and callbacks that cannot be entered: what is due is run later, in
 * its order, nothing spins, and nothing is lost. */
#include "evented.h"
#include "refused_threads.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define FOR_EVER 1000000

static uint64_t wakeups(void)
{
    return atomic_load(&engine->work.counters.loop_wakeups);
}

static uint64_t counted(void)
{
    return atomic_load(&engine->work.counters.threads_refused);
}

static uint32_t threads(void)
{
    pthread_mutex_lock(&engine->work.lock);
    uint32_t count = engine->crew.threads;
    pthread_mutex_unlock(&engine->work.lock);
    return count;
}

/* Over half a second the loop wakes about as often as it tries again, and not once for each message
 * or all the time. */
static void expect_few_wakeups(void)
{
    uint64_t before = wakeups();
    usleep(500 * 1000);
    assert_in_range(wakeups() - before, 1, 10);
}

static void test_the_first_thread_is_refused(void **state)
{
    (void)state;
    int ends[2];
    start_with(2, 0);
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    fws_attachment plain = {.role = FWS_ROLE_SERVER};
    atomic_store(&refused_threads, 1);
    assert_null(fws_engine_attach(engine, ends[0], &plain));
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(counted(), 1);
    fws_websocket *websocket = fws_engine_attach(engine, ends[0], &plain); /* it is still ours */
    assert_non_null(websocket);
    fws_websocket_drop(websocket);
    close(ends[1]);
    fws_engine_free(engine);
}

/* With the leader alone nobody could watch: callbacks wait, and the loop goes on. */
static void test_no_thread_to_watch(void **state)
{
    (void)state;
    start_with(4, 3);
    atomic_store(&refused_threads, FOR_EVER);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 2; i++)
            send_message(i, k == 0 ? "first" : k == 1 ? "second" : "third");
    WAIT_FOR(counted() > 0);
    expect_few_wakeups();
    expect_quick_pong(2);
    assert_int_equal(atomic_load(&owners[0].messages) + atomic_load(&owners[1].messages), 0);
    assert_in_range(counted(), 2, 20);
    atomic_store(&refused_threads, 0);
    for (int i = 0; i < 2; i++) {
        expect_text(i, "first");
        expect_text(i, "second");
        expect_text(i, "third");
    }
    stop_with(3);
}

/* Nothing else wakes the loop: it knows itself when to try again. */
static void test_a_thread_is_had_later(void **state)
{
    (void)state;
    start_with(4, 1);
    atomic_store(&refused_threads, 1);
    fws_ns begun = fws_clock_now();
    send_message(0, "hello");
    expect_text(0, "hello");
    assert_in_range(fws_clock_now() - begun, FWS_RETRY_AFTER / 2, 10 * FWS_RETRY_AFTER);
    assert_int_equal(counted(), 1);
    stop_with(1);
}

/* The leader and one more: it watches, and runs what is to run apart, in turn. */
static void test_two_threads_do_everything(void **state)
{
    (void)state;
    start_with(8, 3);
    make_fast(1);
    atomic_store(&refused_threads, FOR_EVER);
    make_slow(0);
    for (int k = 0; k < 10; k++) {
        send_message(0, "sleep 5");
        send_message(1, "fast");
        expect_quick_pong(2);
        expect_text(0, "asleep");
        expect_text(0, "sleep 5");
        expect_text(1, "fast");
    }
    assert_int_equal(threads(), 2);
    atomic_store(&refused_threads, 0);
    stop_with(3);
}

/* The leader was deposed, the watch leads, and there is no third one to watch it: what is due waits
 * until one can be had, or the deposed one is back. */
static void test_nobody_watches_the_next_leader(void **state)
{
    (void)state;
    start_with(8, 2);
    make_fast(0);
    make_fast(1);
    atomic_store(&refused_threads, FOR_EVER);
    send_message(0, "sleep 400");
    expect_text(0, "asleep");
    send_message(1, "waits");
    expect_few_wakeups();
    expect_text(0, "sleep 400");
    expect_text(1, "waits");
    assert_int_equal(threads(), 2);
    atomic_store(&refused_threads, 0);
    stop_with(2);
}

/* Whatever callbacks need (Python's part of a thread) cannot be had. */
static void test_callbacks_cannot_be_entered(void **state)
{
    (void)state;
    start_with(4, 3);
    make_fast(0);
    make_slow(1);
    let_suspicion_pass();
    atomic_store(&refusals, FOR_EVER);
    for (int i = 0; i < 2; i++) {
        send_message(i, "first");
        send_message(i, "second");
    }
    WAIT_FOR(counted() > 0);
    expect_few_wakeups();
    expect_quick_pong(2);
    assert_in_range(counted(), 2, 20);
    unsigned before = atomic_load(&owners[0].messages) + atomic_load(&owners[1].messages);
    atomic_store(&refusals, 0);
    for (int i = 0; i < 2; i++) {
        expect_text(i, "first");
        expect_text(i, "second");
    }
    assert_int_equal(atomic_load(&owners[0].messages) + atomic_load(&owners[1].messages),
                     before + 4);
    stop_with(3);
}

/* The same, once each: for the leader, and for one that runs callbacks apart. */
static void test_callbacks_are_entered_later(void **state)
{
    (void)state;
    start_with(4, 2);
    make_fast(0);
    make_slow(1);
    let_suspicion_pass();
    for (int i = 0; i < 2; i++) {
        uint64_t before = counted();
        atomic_store(&refusals, 1);
        fws_ns begun = fws_clock_now();
        send_message(i, "hello");
        expect_text(i, "hello");
        assert_in_range(fws_clock_now() - begun, FWS_RETRY_AFTER / 2, 10 * FWS_RETRY_AFTER);
        assert_int_equal(counted(), before + 1);
    }
    stop_with(2);
}

/* When forty threads are needed at once, and each takes its time, the leader starts one of them. */
static void test_the_leader_does_not_start_all_threads(void **state)
{
    (void)state;
    enum { SLOW = 40 };
    start_with(64, SLOW + 2);
    for (int i = 0; i < SLOW; i++)
        make_slow(i);
    make_fast(SLOW);
    let_suspicion_pass();
    atomic_store(&thread_start_ms, 20);
    send_message(SLOW, "sleep 2"); /* all of these are due at once */
    usleep(500);
    for (int i = 0; i < SLOW; i++)
        send_message(i, "sleep 1500");
    usleep(10 * 1000); /* the leader is at it */
    expect_quick_pong(SLOW + 1);
    expect_text(SLOW, "asleep");
    expect_text(SLOW, "sleep 2");
    for (int i = 0; i < SLOW; i++) {
        expect_text(i, "asleep");
        expect_text(i, "sleep 1500");
    }
    assert_in_range(atomic_load(&most_asleep), SLOW / 2, SLOW);
    atomic_store(&thread_start_ms, 0);
    stop_with(SLOW + 2);
}

/* A stop does not wait for what cannot be had, for longer than for anything else. */
static void test_a_stop_while_nothing_can_be_had(void **state)
{
    (void)state;
    start_with(4, 2);
    make_slow(1);
    atomic_store(&refusals, FOR_EVER);
    send_message(0, "never");
    send_message(1, "never");
    WAIT_FOR(counted() > 0);
    fws_ns begun = fws_clock_now();
    fws_engine_stop(engine);
    assert_in_range(fws_clock_now() - begun, 0, FWS_STOP_TIMEOUT + FWS_NS_PER_S);
    atomic_store(&refusals, 0);
    for (int i = 0; i < 2; i++) {
        close(pairs[i].fd);
        fws_websocket_drop(pairs[i].server);
    }
    fws_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_thread_is_refused),
        cmocka_unit_test(test_no_thread_to_watch),
        cmocka_unit_test(test_a_thread_is_had_later),
        cmocka_unit_test(test_two_threads_do_everything),
        cmocka_unit_test(test_nobody_watches_the_next_leader),
        cmocka_unit_test(test_callbacks_cannot_be_entered),
        cmocka_unit_test(test_callbacks_are_entered_later),
        cmocka_unit_test(test_the_leader_does_not_start_all_threads),
        cmocka_unit_test(test_a_stop_while_nothing_can_be_had),
    };
    return cmocka_run_group_tests_name("refusal", tests, NULL, NULL);
}
