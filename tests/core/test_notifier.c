/* Handlers that are greenlets: they wait in an event loop that watches the notifier's descriptor.
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* SCHED_BATCH */
#endif

#include "pair.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static fws_engine *engine;
static fws_notifier *notifier;
static pair p;

static int start(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    notifier = fws_notifier_new();
    open_notified_pair(&p, engine, notifier);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    close_pair(&p);
    fws_engine_free(engine);
    fws_notifier_close(notifier);
    return 0;
}

/* What an event loop does: sleeps until the notifier has something, then takes it. */
static size_t changes(fws_ns timeout, fws_websocket **changed, size_t maximum)
{
    struct pollfd polled = {.fd = fws_notifier_fd(notifier), .events = POLLIN};
    if (poll(&polled, 1, (int)(timeout / FWS_NS_PER_MS)) != 1)
        return 0;
    size_t count = fws_notifier_drain(notifier, changed, maximum);
    for (size_t i = 0; i < count; i++)
        fws_websocket_drop(changed[i]);
    return count;
}

static void expect_change(void)
{
    fws_websocket *changed[2];
    assert_int_equal(changes(5 * FWS_NS_PER_S, changed, 2), 1);
    assert_ptr_equal(changed[0], p.server);
}

static void expect_no_change(void)
{
    fws_websocket *changed[1];
    assert_int_equal(changes(50 * FWS_NS_PER_MS, changed, 1), 0);
}

static void test_who_awaits_its_turn_is_named_at_once_behind_the_others(void **state)
{
    (void)state;
    pair other;
    fws_websocket *changed[4];
    open_notified_pair(&other, engine, notifier);
    assert_true(fws_websocket_yield(other.server));
    assert_true(fws_websocket_yield(p.server));
    assert_true(fws_websocket_yield(p.server));
    assert_int_equal(changes(0, changed, 4), 2);
    assert_ptr_equal(changed[0], other.server);
    assert_ptr_equal(changed[1], p.server);
    close_pair(&other);
}

static void test_a_message_is_told_once(void **state)
{
    (void)state;
    fws_message message;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fws_websocket_receive_ready(p.server, &message), FWS_WOULD_BLOCK);
        if (fws_websocket_await(p.server, FWS_AWAIT_MESSAGE)) {
            send_frame(&p, true, FWS_OPCODE_TEXT, "hello", 5);
            expect_change();
        }
        assert_false(fws_websocket_await(p.server, FWS_AWAIT_MESSAGE));
        assert_int_equal(fws_websocket_receive_ready(p.server, &message), FWS_OK);
        assert_memory_equal(message.data, "hello", 5);
        fws_message_free(&message);
    }
    expect_no_change();
}

static void test_what_nobody_awaits_is_not_told(void **state)
{
    (void)state;
    send_frame(&p, true, FWS_OPCODE_TEXT, "hello", 5);
    expect_no_change();
    fws_message message;
    assert_int_equal(fws_websocket_receive_ready(p.server, &message), FWS_OK);
    fws_message_free(&message);
}

static void test_a_full_inbox_is_read_on(void **state)
{
    (void)state;
    fws_message message;
    const unsigned count = 20 * default_config.receive_queue;
    for (unsigned i = 0; i < count; i++)
        send_frame(&p, true, FWS_OPCODE_BINARY, &i, sizeof i);
    for (unsigned i = 0; i < count;) {
        fws_status status = fws_websocket_receive_ready(p.server, &message);
        if (status == FWS_WOULD_BLOCK) {
            if (fws_websocket_await(p.server, FWS_AWAIT_MESSAGE))
                expect_change();
            continue;
        }
        assert_int_equal(status, FWS_OK);
        assert_memory_equal(message.data, &i, sizeof i);
        fws_message_free(&message);
        i++;
    }
}

static void test_the_end_is_told(void **state)
{
    (void)state;
    fws_message message;
    assert_true(fws_websocket_await(p.server, FWS_AWAIT_MESSAGE));
    send_frame(&p, true, FWS_OPCODE_CLOSE, "\x03\xe8", 2);
    expect_change();
    assert_false(fws_websocket_await(p.server, FWS_AWAIT_MESSAGE));
    assert_int_equal(fws_websocket_receive_ready(p.server, &message), FWS_CLOSED);
}

static void test_our_own_close_is_told(void **state)
{
    (void)state;
    assert_true(fws_websocket_await(p.server, FWS_AWAIT_MESSAGE));
    fws_websocket_close(p.server, 1001, NULL, 0);
    expect_change();
}

static void test_room_to_send_is_told(void **state)
{
    (void)state;
    static char data[200000];
    fws_status status;
    unsigned sent = 0;
    while ((status = fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, false)) ==
           FWS_OK)
        sent++;
    assert_int_equal(status, FWS_WOULD_BLOCK);
    assert_true(fws_websocket_await(p.server, FWS_AWAIT_ROOM));
    expect_no_change();
    size_t left = sent * (sizeof data + 10);
    fws_websocket *changed[1];
    while (changes(left > 0 ? 0 : 5 * FWS_NS_PER_S, changed, 1) == 0) {
        static char buffer[65536];
        assert_true(left > 0); /* else: all is read, and still no word */
        ssize_t size = recv(p.fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (size > 0)
            left -= (size_t)size;
    }
    assert_false(fws_websocket_await(p.server, FWS_AWAIT_ROOM));
    assert_int_equal(fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, false),
                     FWS_OK);
}

static void test_a_pong_is_told(void **state)
{
    (void)state;
    fws_ping *ping;
    fws_ns round_trip;
    assert_int_equal(fws_websocket_ping_send(p.server, "abc", 3, &ping), FWS_OK);
    assert_int_equal(fws_websocket_ping_poll(p.server, ping, &round_trip), FWS_WOULD_BLOCK);
    expect_bytes(&p,
                 "\x89\x03"
                 "abc",
                 5);
    send_frame(&p, true, FWS_OPCODE_PONG, "abc", 3);
    expect_change();
    assert_int_equal(fws_websocket_ping_poll(p.server, ping, &round_trip), FWS_OK);
    assert_in_range(round_trip, 1, 5 * FWS_NS_PER_S);
    fws_websocket_ping_free(p.server, ping);
}

static void test_a_ping_is_given_up(void **state)
{
    (void)state;
    fws_ping *ping;
    fws_ns round_trip;
    assert_int_equal(fws_websocket_ping_send(p.server, "abc", 3, &ping), FWS_OK);
    assert_int_equal(fws_websocket_ping_poll(p.server, ping, &round_trip), FWS_WOULD_BLOCK);
    fws_websocket_ping_free(p.server, ping);
    send_frame(&p, true, FWS_OPCODE_PONG, "abc", 3); /* nobody's any more */
    send_frame(&p, true, FWS_OPCODE_TEXT, "fine", 4);
    expect_message(p.server, "fine");
}

/* A thread that is no greenlet may receive too: it sleeps in the core. */
static void *receive_in_thread(void *argument)
{
    expect_message(argument, "for the thread");
    return NULL;
}

static void test_a_thread_receives_beside_the_event_loop(void **state)
{
    (void)state;
    pthread_t thread;
    pthread_create(&thread, NULL, receive_in_thread, p.server);
    usleep(20000);
    send_frame(&p, true, FWS_OPCODE_TEXT, "for the thread", 14);
    pthread_join(thread, NULL);
}

#define MANY 200

static void *send_to_all(void *argument)
{
    pair *pairs = argument;
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < MANY; i++)
            send_frame(&pairs[i], true, FWS_OPCODE_TEXT, "x", 1);
    return NULL;
}

static void test_many_websockets_have_one_descriptor(void **state)
{
    (void)state;
    static pair pairs[MANY];
    fws_message message;
    for (int i = 0; i < MANY; i++) {
        open_notified_pair(&pairs[i], engine, notifier);
        fws_websocket_await(pairs[i].server, FWS_AWAIT_MESSAGE);
    }
    pthread_t thread;
    pthread_create(&thread, NULL, send_to_all, pairs);
    for (int received = 0; received < 20 * MANY;) {
        fws_websocket *changed[16];
        size_t count = changes(5 * FWS_NS_PER_S, changed, 16);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            while (fws_websocket_receive_ready(changed[i], &message) == FWS_OK) {
                fws_message_free(&message);
                received++;
            }
            while (!fws_websocket_await(changed[i], FWS_AWAIT_MESSAGE)) {
                if (fws_websocket_receive_ready(changed[i], &message) == FWS_OK) {
                    fws_message_free(&message);
                    received++;
                }
            }
        }
    }
    pthread_join(thread, NULL);
    for (int i = 0; i < MANY; i++)
        close_pair(&pairs[i]);
    fws_websocket *rest[MANY];
    changes(0, rest, MANY);
}

#ifdef __linux__
/* Of all threads of this process: how many have the policy? */
static int threads_with(int policy)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; (task = readdir(tasks)) != NULL;)
        count += sched_getscheduler(atoi(task->d_name)) == policy && atoi(task->d_name) > 0;
    closedir(tasks);
    return count;
}

static void test_the_engine_does_not_interrupt_the_event_loop(void **state)
{
    (void)state;
    fws_message message;
    assert_true(fws_websocket_await(p.server, FWS_AWAIT_MESSAGE));
    send_frame(&p, true, FWS_OPCODE_TEXT, "one", 3);
    expect_change();
    assert_int_equal(fws_websocket_receive_ready(p.server, &message), FWS_OK);
    fws_message_free(&message);
    WAIT_FOR(threads_with(SCHED_BATCH | SCHED_RESET_ON_FORK) == 1);
}
#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_who_awaits_its_turn_is_named_at_once_behind_the_others),
        TEST(test_a_message_is_told_once),
        TEST(test_what_nobody_awaits_is_not_told),
        TEST(test_a_full_inbox_is_read_on),
        TEST(test_the_end_is_told),
        TEST(test_our_own_close_is_told),
        TEST(test_room_to_send_is_told),
        TEST(test_a_pong_is_told),
        TEST(test_a_ping_is_given_up),
        TEST(test_a_thread_receives_beside_the_event_loop),
        TEST(test_many_websockets_have_one_descriptor),
#ifdef __linux__
        TEST(test_the_engine_does_not_interrupt_the_event_loop),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
