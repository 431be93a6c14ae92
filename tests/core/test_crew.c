/* Event-driven websockets: whose callbacks run when, and by whom, while others block. */
#include "evented.h"

#include <sys/socket.h>
#include <unistd.h>

#define SOME 40

static void test_messages_and_the_close(void **state)
{
    (void)state;
    start_with(4, 1);
    for (int i = 0; i < 1000; i++) {
        send_message(0, "one");
        expect_text(0, "one");
    }
    send_frame(&pairs[0], true, FWS_OPCODE_CLOSE, "\x0f\xa1", 2);
    WAIT_FOR(atomic_load(&owners[0].closes) == 1);
    assert_int_equal(atomic_load(&owners[0].close_code), 4001);
    assert_int_equal(atomic_load(&owners[0].messages), 1000);
    stop_with(1);
}

/* More than the inbox holds, and than one read: none is lost, whatever the loop is told. */
static void test_many_messages_at_once(void **state)
{
    (void)state;
    enum { COUNT = 20000, SIZE = 100 };
    start_with(4, 1);
    uint8_t *frames = malloc(COUNT * SIZE);
    size_t size = 0;
    for (int i = 0; i < COUNT; i++) {
        const uint8_t key[4] = {0};
        char text[32];
        int length = snprintf(text, sizeof text, "message %d", i);
        size += fws_frame_encode(frames + size, true, FWS_OPCODE_TEXT, (size_t)length, key);
        memcpy(frames + size, text, (size_t)length);
        size += (size_t)length;
    }
    size_t sent = 0;
    int next = 0;
    char expected[64], input[65536];
    size_t have = 0;
    while (next < COUNT) {
        if (sent < size) {
            ssize_t done = send(pairs[0].fd, frames + sent, size - sent, MSG_DONTWAIT);
            sent += done > 0 ? (size_t)done : 0;
        }
        ssize_t got =
            recv(pairs[0].fd, input + have, sizeof input - have, sent < size ? MSG_DONTWAIT : 0);
        have += got > 0 ? (size_t)got : 0;
        size_t used = 0;
        while (have - used >= 2 && have - used >= 2 + (size_t)(uint8_t)input[used + 1]) {
            int length = snprintf(expected, sizeof expected, "message %d", next++);
            assert_int_equal((uint8_t)input[used + 1], length);
            assert_memory_equal(input + used + 2, expected, (size_t)length);
            used += 2 + (size_t)length;
        }
        memmove(input, input + used, have - used);
        have -= used;
    }
    free(frames);
    stop_with(1);
}

/* However long the queue of one peer may be, the others have their turn between. */
static void test_a_flood_does_not_starve_the_others(void **state)
{
    (void)state;
    enum { ASKED = 200 };
    receive_queue = 100000;
    start_with(4, 2);
    receive_queue = 16;
    make_fast(0);
    make_fast(1);
    begin_flood();
    fws_ns begun = fws_clock_now();
    for (int i = 0; i < ASKED; i++) {
        send_message(1, "asked");
        expect_text(1, "asked");
    }
    fws_ns each = (fws_clock_now() - begun) / ASKED;
    end_flood();
    assert_in_range(atomic_load(&most_messages), 2, 64);
    assert_true(each < 20 * FWS_NS_PER_MS);
    stop_with(2);
}

static void test_callbacks_that_block_hold_up_nobody(void **state)
{
    (void)state;
    start_with(SOME, SOME);
    for (int round = 0; round < 2; round++) {
        fws_ns begun = fws_clock_now();
        for (int i = 1; i < SOME; i++)
            send_message(i, "sleep 500");
        for (int i = 0; i < 50; i++) {
            send_message(0, "awake");
            expect_text(0, "awake");
        }
        for (int i = 1; i < SOME; i++) {
            expect_text(i, "asleep"); /* before it wakes */
            expect_text(i, "sleep 500");
        }
        assert_true(fws_clock_now() - begun < 3 * FWS_NS_PER_S);
    }
    assert_true(atomic_load(&most_asleep) > SOME / 2);
    stop_with(SOME);
}

static void test_no_more_at_once_than_there_are_threads(void **state)
{
    (void)state;
    start_with(3, 12);
    for (int i = 0; i < 12; i++)
        send_message(i, "sleep 50");
    for (int i = 0; i < 12; i++) {
        expect_text(i, "asleep");
        expect_text(i, "sleep 50");
    }
    assert_in_range(atomic_load(&most_asleep), 2, 3);
    stop_with(12);
}

/* While all threads are inside callbacks, the loop goes on: pings are answered. */
static void test_the_loop_goes_on_without_callbacks(void **state)
{
    (void)state;
    start_with(1, 2);
    send_message(0, "sleep 1000");
    expect_text(0, "asleep");
    expect_quick_pong(1);
    send_message(1, "after");
    expect_text(1, "after");
    expect_text(0, "sleep 1000");
    stop_with(2);
}

static void test_what_is_closed_inside_gives_out_nothing_more(void **state)
{
    (void)state;
    start_with(4, 1);
    static const uint8_t both[] = "\x81\x85\0\0\0\0close\x81\x84\0\0\0\0more";
    assert_int_equal(send(pairs[0].fd, both, sizeof both - 1, 0), sizeof both - 1);
    WAIT_FOR(atomic_load(&owners[0].closes) == 1);
    assert_int_equal(atomic_load(&owners[0].messages), 1);
    assert_int_equal(atomic_load(&owners[0].close_code), 4000);
    stop_with(1);
}

static void *come_and_go(void *argument)
{
    (void)argument;
    for (int i = 0; i < 100; i++) {
        owner own = {0};
        pair p;
        open_evented_pair(&p, engine, &own);
        send_frame(&p, true, FWS_OPCODE_TEXT, i % 10 == 0 ? "sleep 5" : "hello",
                   5 + 2 * (i % 10 == 0));
        if (i % 3 == 0)
            send_frame(&p, true, FWS_OPCODE_CLOSE, "\x03\xe8", 2);
        else if (i % 3 == 1)
            fws_websocket_close(p.server, 1000, NULL, 0);
        close_pair(&p);
        WAIT_FOR(atomic_load(&own.closes) == 1);
        WAIT_FOR(atomic_load(&own.inside) == 0);
    }
    return NULL;
}

static void test_many_come_and_go(void **state)
{
    (void)state;
    pthread_t threads[8];
    start_with(6, 0);
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, come_and_go, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    stop_with(0);
}

/* One that never returns does not keep the engine from stopping; when it returns after all, nothing
 * of the engine's is there any more but what the thread itself holds. */
static void test_the_engine_stops_around_a_callback_that_stays(void **state)
{
    (void)state;
    start_with(2, 2);
    atomic_store(&stay, true);
    send_message(0, "stay");
    send_message(1, "works");
    expect_text(1, "works");
    unsigned ended = atomic_load(&threads_ended);
    close(pairs[0].fd);
    close(pairs[1].fd);
    fws_websocket_close(pairs[1].server, 1000, NULL, 0);
    fws_websocket_drop(pairs[0].server);
    fws_websocket_drop(pairs[1].server);
    fws_ns begun = fws_clock_now();
    fws_engine_free(engine);
    assert_true(fws_clock_now() - begun < 3 * FWS_NS_PER_S);
    atomic_store(&stay, false);
    WAIT_FOR(atomic_load(&threads_ended) > ended);
    usleep(20 * 1000);
}

static bool is_watched(void)
{
    pthread_mutex_lock(&engine->work.lock);
    bool watched = engine->crew.watch.appointed && !engine->crew.watch.open;
    pthread_mutex_unlock(&engine->work.lock);
    return watched;
}

static void test_a_callback_that_forks(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* ThreadSanitizer cannot follow a thread of a forked child's */
#endif
    start_with(2, 1);
    /* AddressSanitizer's allocator does not survive a fork while another thread is inside it, as
     * one that has just been hired is. */
    send_message(0, "first");
    expect_text(0, "first");
    WAIT_FOR(is_watched());
    send_message(0, "fork");
    expect_text(0, "fork");
    send_message(0, "again");
    expect_text(0, "again");
    stop_with(1);
}

static void test_idle_threads_leave(void **state)
{
    (void)state;
    start_with(SOME, SOME);
    for (int i = 0; i < SOME; i++)
        send_message(i, "sleep 20");
    for (int i = 0; i < SOME; i++)
        expect_text(i, "asleep");
    pthread_mutex_lock(&engine->work.lock);
    assert_true(engine->crew.threads > 3);
    pthread_mutex_unlock(&engine->work.lock);
    fws_ns begun = fws_clock_now();
    uint32_t left = SOME;
    while (left > 3 && fws_clock_now() - begun < 15 * FWS_NS_PER_S) {
        usleep(100 * 1000);
        pthread_mutex_lock(&engine->work.lock);
        left = engine->crew.threads;
        pthread_mutex_unlock(&engine->work.lock);
    }
    assert_in_range(left, 1, 3);
    stop_with(SOME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_and_the_close),
        cmocka_unit_test(test_many_messages_at_once),
        cmocka_unit_test(test_a_flood_does_not_starve_the_others),
        cmocka_unit_test(test_callbacks_that_block_hold_up_nobody),
        cmocka_unit_test(test_no_more_at_once_than_there_are_threads),
        cmocka_unit_test(test_the_loop_goes_on_without_callbacks),
        cmocka_unit_test(test_what_is_closed_inside_gives_out_nothing_more),
        cmocka_unit_test(test_many_come_and_go),
        cmocka_unit_test(test_the_engine_stops_around_a_callback_that_stays),
        cmocka_unit_test(test_a_callback_that_forks),
        cmocka_unit_test(test_idle_threads_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
