/* A handler whose messages come fast waits in recv, where nobody can wake it. */
#include "pair.h"

#include "engine/internal.h"
#include "websocket/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHORTLY (50 * FWS_NS_PER_MS)

static fws_engine *engine;
static pair p;

/* What the handler got. */
static struct {
    pthread_t thread;
    fws_status status;
    fws_message message;
    fws_ns ended_at;
} handler;

static void *run_handler(void *argument)
{
    (void)argument;
    handler.status = fws_websocket_receive_wait(p.server, FWS_FOREVER, &handler.message);
    handler.ended_at = fws_clock_now();
    return NULL;
}

static void start_handler(void)
{
    pthread_create(&handler.thread, NULL, run_handler, NULL);
}

static fws_status join_handler(void)
{
    pthread_join(handler.thread, NULL);
    return handler.status;
}

static bool is_receiving(void)
{
    fws_websocket_lock(p.server);
    bool receiving = p.server->blocking_receive.active;
    fws_websocket_unlock(p.server);
    return receiving;
}

static bool is_polling(void)
{
    fws_websocket_lock(p.server);
    bool polling = p.server->pollers > 0 && !p.server->blocking_receive.active;
    fws_websocket_unlock(p.server);
    return polling;
}

static void exchange(const char *text)
{
    fws_message message;
    send_frame(&p, true, FWS_OPCODE_TEXT, text, strlen(text));
    assert_int_equal(fws_websocket_receive_wait(p.server, FWS_FOREVER, &message), FWS_OK);
    assert_int_equal(message.length, strlen(text));
    assert_memory_equal(message.data, text, message.length);
    fws_message_free(&message);
}

static int start(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    open_bare_pair(&p, engine);
    /* As gevent and others leave it. */
    fcntl(p.server->fd, F_SETFL, fcntl(p.server->fd, F_GETFL) | O_NONBLOCK);
    assert_false(p.server->blocking_receive.prepared);
    for (int i = 0; i < FWS_SHORT_WAITS + 1; i++)
        exchange("hello");
    assert_true(p.server->blocking_receive.prepared);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    close_pair(&p);
    fws_engine_free(engine);
    return 0;
}

static void start_handler_in_recv(void)
{
    start_handler();
    WAIT_FOR(is_receiving());
    usleep(1000);
}

static void test_messages(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        char text[32];
        sprintf(text, "message %d", i);
        exchange(text);
    }
    start_handler_in_recv();
    send_frame(&p, true, FWS_OPCODE_TEXT, "one", 3);
    assert_int_equal(join_handler(), FWS_OK);
    fws_message_free(&handler.message);
}

static void test_a_message_larger_than_its_buffer(void **state)
{
    (void)state;
    size_t size = 1 << 20;
    char *text = malloc(size);
    memset(text, 'x', size);
    start_handler_in_recv();
    send_frame(&p, true, FWS_OPCODE_TEXT, text, size);
    assert_int_equal(join_handler(), FWS_OK);
    assert_int_equal(handler.message.length, size);
    assert_memory_equal(handler.message.data, text, size);
    fws_message_free(&handler.message);
    free(text);
}

static void test_several_that_come_together(void **state)
{
    (void)state;
    fws_message message;
    start_handler_in_recv();
    fws_websocket_lock(p.server); /* so that all are there when it reads */
    send_frame(&p, true, FWS_OPCODE_TEXT, "one", 3);
    send_frame(&p, true, FWS_OPCODE_TEXT, "two", 3);
    send_frame(&p, true, FWS_OPCODE_CLOSE, "\x0f\xa1", 2);
    usleep(10 * 1000);
    fws_websocket_unlock(p.server);
    assert_int_equal(join_handler(), FWS_OK);
    assert_memory_equal(handler.message.data, "one", 3);
    fws_message_free(&handler.message);
    expect_message(p.server, "two");
    assert_int_equal(receive(p.server, FWS_NS_PER_S, &message), FWS_CLOSED);
    assert_int_equal(close_code_of(p.server), 4001);
}

static void test_one_that_falls_silent_can_be_woken(void **state)
{
    (void)state;
    start_handler_in_recv();
    WAIT_FOR(is_polling());
    usleep(2 * FWS_SHORT_WAIT / 1000);
    assert_true(is_polling()); /* and not back in recv */
    fws_ns begun = fws_clock_now();
    fws_websocket_close(p.server, 1001, NULL, 0);
    assert_int_equal(join_handler(), FWS_CLOSED);
    assert_true(handler.ended_at - begun < SHORTLY);
}

static void test_a_close_by_another_thread(void **state)
{
    (void)state;
    start_handler_in_recv();
    fws_ns begun = fws_clock_now();
    fws_websocket_close(p.server, 4000, NULL, 0);
    assert_int_equal(join_handler(), FWS_CLOSED);
    assert_true(handler.ended_at - begun < SHORTLY);
    expect_bytes(&p, "\x88\x02\x0f\xa0", 4);
    /* The loop thread reads from now on. */
    send_frame(&p, true, FWS_OPCODE_CLOSE, "\x0f\xa0", 2);
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
    assert_int_equal(close_code_of(p.server), 4000);
}

static void test_what_it_receives_after_a_close_is_not_overtaken(void **state)
{
    (void)state;
    const uint8_t half[] = {0x82, 0x84, 0, 0};
    const uint8_t other_half[] = {0, 0, 'd', 'a', 't', 'a', 0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa0};
    int yes = 1;
    setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* each piece by itself */
    start_handler_in_recv();
    uint64_t before = fws_counter_read(&engine->work.tally.bytes_in);
    send(p.fd, half, sizeof half, 0);
    WAIT_FOR(fws_counter_read(&engine->work.tally.bytes_in) == before + sizeof half);
    WAIT_FOR(is_receiving());
    usleep(1000);
    fws_websocket_close(p.server, 4000, NULL, 0);
    fws_websocket_lock(p.server);
    send(p.fd, other_half, 3, 0);
    usleep(10 * 1000); /* it is out of recv with that; the rest is for the loop thread, but later */
    send(p.fd, other_half + 3, sizeof other_half - 3, 0);
    fws_websocket_adopt(p.server);
    assert_false(p.server->watched & FWS_READABLE);
    fws_websocket_unlock(p.server);
    assert_int_equal(join_handler(), FWS_CLOSED);
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
    assert_true(p.server->nothing_more); /* it has understood the close frame at the end */
    expect_bytes(&p, "\x88\x02\x0f\xa0", 4);
    assert_true(read_to_the_end(p.fd));
}

static void test_a_peer_that_vanishes(void **state)
{
    (void)state;
    start_handler_in_recv();
    close(p.fd);
    p.fd = -1;
    assert_int_equal(join_handler(), FWS_CLOSED);
    assert_int_equal(close_code_of(p.server), 1006);
}

/* Others find out at once that the peer is gone; why, is what the handler is just receiving. */
static void test_the_close_code_of_a_peer_that_is_gone(void **state)
{
    (void)state;
    struct linger at_once = {.l_onoff = 1};
    start_handler_in_recv();
    fws_websocket_lock(p.server);
    send_frame(&p, true, FWS_OPCODE_CLOSE, "\x0f\xa1", 2);
    usleep(10 * 1000);
    setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(p.fd); /* resets it */
    p.fd = -1;
    usleep(10 * 1000);
    assert_true(fws_websocket_push(p.server, "\x82\x00", 2));
    fws_websocket_write(p.server);
    assert_true(p.server->blocking_receive.failed);
    fws_websocket_unlock(p.server);
    assert_int_equal(join_handler(), FWS_CLOSED);
    assert_int_equal(close_code_of(p.server), 4001);
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
}

static void test_cut_off_meanwhile(void **state)
{
    (void)state;
    start_handler_in_recv();
    fws_engine_stop(engine);
    assert_int_equal(join_handler(), FWS_CLOSED);
    assert_int_equal(p.server->fd, -1);
}

static void do_nothing(int number)
{
    (void)number;
}

static void test_a_signal_interrupts_it(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = do_nothing}, before;
    sigaction(SIGUSR1, &action, &before);
    start_handler_in_recv();
    pthread_kill(handler.thread, SIGUSR1);
    assert_int_equal(join_handler(), FWS_INTERRUPTED);
    sigaction(SIGUSR1, &before, NULL);
    exchange("still there");
}

static void test_another_thread_gets_the_next_message(void **state)
{
    (void)state;
    fws_message message;
    start_handler_in_recv();
    assert_int_equal(fws_websocket_receive_ready(p.server, &message), FWS_WOULD_BLOCK);
    assert_int_equal(
        fws_websocket_receive_wait(p.server, fws_clock_now() + 5 * FWS_NS_PER_MS, &message),
        FWS_TIMEOUT);
    send_frame(&p, true, FWS_OPCODE_TEXT, "one", 3);
    send_frame(&p, true, FWS_OPCODE_TEXT, "two", 3);
    assert_int_equal(join_handler(), FWS_OK);
    fws_message_free(&handler.message);
    expect_message(p.server, "two");
}

static void test_a_ping_from_another_thread(void **state)
{
    (void)state;
    fws_ping *ping;
    fws_ns round_trip;
    start_handler_in_recv();
    assert_int_equal(fws_websocket_ping_send(p.server, "x", 1, &ping), FWS_OK);
    send_frame(&p, true, FWS_OPCODE_PONG, "x", 1);
    assert_int_equal(
        fws_websocket_ping_wait(p.server, ping, fws_clock_now() + FWS_NS_PER_S, &round_trip),
        FWS_OK);
    fws_websocket_ping_free(p.server, ping);
    send_frame(&p, true, FWS_OPCODE_TEXT, "one", 3);
    assert_int_equal(join_handler(), FWS_OK);
    fws_message_free(&handler.message);
}

/* ---- a peer that sends much, and no message ---- */

static atomic_bool flooding;

static void *flood_with_pings(void *argument)
{
    static uint8_t pings[6 * 20000], pongs[1 << 16];
    (void)argument;
    for (size_t i = 0; i < sizeof pings; i += 6)
        memcpy(pings + i, "\x89\x80\0\0\0\0", 6);
    for (size_t sent = 0; atomic_load(&flooding); sent %= sizeof pings) {
        ssize_t count = send(p.fd, pings + sent, sizeof pings - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += count > 0 ? (size_t)count : 0;
        while (recv(p.fd, pongs, sizeof pongs, MSG_DONTWAIT) > 0)
            ;
    }
    return NULL;
}

static void *end_flood_late(void *argument)
{
    (void)argument;
    for (int i = 0; i < 300 && atomic_load(&flooding); i++)
        usleep(10000);
    atomic_store(&flooding, false);
    return NULL;
}

/* For others the lock is free from time to time, and for the handler its deadline holds. */
static void test_pings_without_end_hold_up_nobody(void **state)
{
    (void)state;
    pthread_t flood, end;
    fws_message message;
    fws_ns longest = 0;
    atomic_store(&flooding, true);
    pthread_create(&flood, NULL, flood_with_pings, NULL);
    pthread_create(&end, NULL, end_flood_late, NULL);
    usleep(20000);
    for (int i = 0; i < 5; i++) {
        fws_ns begun = fws_clock_now();
        assert_int_equal(receive(p.server, 50 * FWS_NS_PER_MS, &message), FWS_TIMEOUT);
        assert_int_equal(fws_websocket_receive_ready(p.server, &message), FWS_WOULD_BLOCK);
        assert_true(fws_clock_now() - begun < 1000 * FWS_NS_PER_MS);
    }
    start_handler();
    for (int i = 0; i < 20; i++) {
        fws_ns begun = fws_clock_now();
        assert_int_equal(state_of(p.server), FWS_STATE_OPEN);
        fws_ns waited = fws_clock_now() - begun;
        longest = waited > longest ? waited : longest;
        usleep(5000);
    }
    assert_true(atomic_load(&flooding)); /* all this was during the flood */
    assert_true(longest < 500 * FWS_NS_PER_MS);
    atomic_store(&flooding, false);
    pthread_join(flood, NULL);
    pthread_join(end, NULL);
    close(p.fd);
    p.fd = -1;
    assert_int_equal(join_handler(), FWS_CLOSED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_messages),
        TEST(test_a_message_larger_than_its_buffer),
        TEST(test_several_that_come_together),
        TEST(test_one_that_falls_silent_can_be_woken),
        TEST(test_a_close_by_another_thread),
        TEST(test_what_it_receives_after_a_close_is_not_overtaken),
        TEST(test_a_peer_that_vanishes),
        TEST(test_the_close_code_of_a_peer_that_is_gone),
        TEST(test_cut_off_meanwhile),
        TEST(test_a_signal_interrupts_it),
        TEST(test_another_thread_gets_the_next_message),
        TEST(test_a_ping_from_another_thread),
        TEST(test_pings_without_end_hold_up_nobody),
    };
    return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
