/* How connections end: handshakes, time-outs, faults. */
#include "pair.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static fws_engine *engine;
static pair p;

static void start_with(const fws_engine_config *config, bool bare)
{
    engine = fws_engine_new(config);
    if (bare)
        open_bare_pair(&p, engine);
    else
        open_pair(&p, engine);
}

static int start(void **state)
{
    (void)state;
    start_with(&default_config, false);
    return 0;
}

static int start_bare(void **state)
{
    (void)state;
    start_with(&default_config, true);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    close_pair(&p);
    fws_engine_free(engine);
    return 0;
}

static void expect_closed(fws_websocket *websocket, unsigned code)
{
    fws_message message;
    assert_int_equal(receive(websocket, 5 * FWS_NS_PER_S, &message), FWS_CLOSED);
    assert_int_equal(close_code_of(websocket), code);
    assert_int_equal(send_text(websocket, "too late"), FWS_CLOSED);
}

static void test_a_close_from_our_side(void **state)
{
    (void)state;
    send_text(p.server, "last words");
    assert_int_equal(fws_websocket_close(p.server, 4001, "enough", 6), FWS_OK);
    assert_int_equal(fws_websocket_close(p.server, 1000, NULL, 0), FWS_CLOSED);
    expect_closed(p.server, 4001);
    expect_message(p.client, "last words");
    expect_closed(p.client, 4001);
    fws_websocket_status status;
    fws_websocket_get_status(p.client, &status);
    assert_memory_equal(status.close_reason, "enough", 6);
    assert_true(fws_engine_wait_empty(engine, 5 * FWS_NS_PER_S));
}

static void test_messages_that_came_before_a_close_are_still_received(void **state)
{
    (void)state;
    send_text(p.client, "one");
    send_text(p.client, "two");
    fws_websocket_close(p.client, 1000, NULL, 0);
    WAIT_FOR(state_of(p.server) != FWS_STATE_OPEN); /* adopted: the engine saw the close */
    expect_message(p.server, "one");
    expect_message(p.server, "two");
    expect_closed(p.server, 1000);
}

static fws_ns woken_at;

static void *wait_for_close(void *argument)
{
    fws_message message;
    fws_status status = fws_websocket_receive_wait(argument, FWS_FOREVER, &message);
    woken_at = fws_clock_now();
    return (void *)(intptr_t)status;
}

static void test_a_close_wakes_a_blocked_receive_at_once(void **state)
{
    (void)state;
    pthread_t thread;
    void *status;
    pthread_create(&thread, NULL, wait_for_close, p.server);
    usleep(50 * 1000);
    fws_ns closed_at = fws_clock_now();
    fws_websocket_close(p.server, 1000, NULL, 0);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, FWS_CLOSED);
    assert_true(woken_at - closed_at < 50 * FWS_NS_PER_MS);
}

static void test_a_peer_that_vanishes_is_1006(void **state)
{
    (void)state;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(p.fd);
    p.fd = -1;
    expect_closed(p.server, 1006);
    assert_int_equal(state_of(p.server), FWS_STATE_CLOSED);
}

static void test_a_peer_that_half_closes_without_a_close_frame_is_1006(void **state)
{
    (void)state;
    shutdown(p.fd, SHUT_WR);
    expect_closed(p.server, 1006);
    assert_true(read_to_the_end(p.fd));
}

static void test_the_engine_notices_while_nobody_receives(void **state)
{
    (void)state;
    close(p.fd);
    p.fd = -1;
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
    assert_int_equal(close_code_of(p.server), 1006);
}

static void test_the_peers_close_is_answered_and_the_stream_ended(void **state)
{
    (void)state;
    send_frame(&p, true, FWS_OPCODE_CLOSE,
               "\x03\xE9"
               "bye",
               5);
    expect_closed(p.server, 1001);
    expect_bytes(&p, "\x88\x02\x03\xE9", 4);
    assert_true(read_to_the_end(p.fd));
    close(p.fd);
    p.fd = -1;
    assert_true(fws_engine_wait_empty(engine, 5 * FWS_NS_PER_S));
}

static void test_a_broken_protocol_is_said_so_and_ended(void **state)
{
    (void)state;
    assert_int_equal(send(p.fd, "\x81\x01x", 3, 0), 3); /* not masked */
    expect_closed(p.server, 1002);
    expect_bytes(&p,
                 "\x88\x1C\x03\xEA"
                 "client frame is not masked",
                 30);
    assert_true(read_to_the_end(p.fd));
}

static void test_a_peer_that_never_answers_a_close_is_cut_off(void **state)
{
    (void)state;
    fws_engine_config config = default_config;
    config.close_timeout = 200 * FWS_NS_PER_MS;
    start_with(&config, true);
    fws_websocket_close(p.server, 1000, NULL, 0);
    fws_ns begun = fws_clock_now();
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
    assert_in_range((fws_clock_now() - begun) / FWS_NS_PER_MS, 150, 1000);
    stop(state);
}

static void test_a_missing_pong_is_1011(void **state)
{
    (void)state;
    fws_engine_config config = default_config;
    config.ping_interval = 100 * FWS_NS_PER_MS;
    config.ping_timeout = 100 * FWS_NS_PER_MS;
    start_with(&config, true);
    expect_closed(p.server, 1011);
    expect_bytes(&p, "\x89\x00\x88\x0E\x03\xF3ping timeout", 18);
    stop(state);
}

static void test_pings_come_at_their_interval_also_when_the_timeout_is_longer(void **state)
{
    (void)state;
    fws_engine_config config = default_config;
    config.ping_interval = 100 * FWS_NS_PER_MS;
    config.ping_timeout = 1500 * FWS_NS_PER_MS;
    start_with(&config, true);
    /* The first is not answered, and its time runs on while others are sent. */
    for (int i = 0; i < 4; i++)
        expect_bytes(&p, "\x89\x00", 2);
    expect_closed(p.server, 1011);
    stop(state);
}

static void test_a_peer_that_answers_pings_stays(void **state)
{
    (void)state;
    fws_engine_config config = default_config;
    config.ping_interval = 50 * FWS_NS_PER_MS;
    config.ping_timeout = 1000 * FWS_NS_PER_MS;
    start_with(&config, false); /* the client's own engine half answers */
    usleep(1500 * 1000);
    assert_int_equal(state_of(p.server), FWS_STATE_OPEN);
    assert_int_equal(state_of(p.client), FWS_STATE_OPEN);
    stop(state);
}

static void test_a_close_overtakes_nothing_but_a_failure_overtakes_what_waits(void **state)
{
    (void)state;
    static char data[100000];
    while (fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, false) == FWS_OK)
        ;
    size_t waiting = buffered(p.server);
    assert_true(waiting > 1 << 20);
    assert_int_equal(send(p.fd, "\x83\x80", 2, 0), 2); /* a reserved opcode */
    WAIT_FOR(state_of(p.server) != FWS_STATE_OPEN);
    assert_true(buffered(p.server) < 2 * sizeof data); /* the frame that had begun, and the close */
    assert_true(read_to_the_end(p.fd));
}

static void test_a_sender_that_waits_for_room_wakes_at_the_end(void **state)
{
    (void)state;
    static char data[100000];
    while (fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, false) == FWS_OK)
        ;
    close(p.fd);
    p.fd = -1;
    assert_int_equal(fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, true),
                     FWS_CLOSED);
}

/* Both close frames are there: the server closes at once and does not wait for the client to. */
static void test_the_server_is_through_when_both_close_frames_are_there(void **state)
{
    (void)state;
    send_frame(&p, true, FWS_OPCODE_CLOSE, "\x03\xe8", 2);
    expect_bytes(&p, "\x88\x02\x03\xe8", 4);
    assert_true(fws_engine_wait_empty(engine, FWS_NS_PER_S)); /* and we have not closed yet */
    assert_true(read_to_the_end(p.fd));
}

/* Bytes that nobody reads would have the kernel reset the connection, and our close frame with it.
 */
static void test_bytes_behind_a_close_frame_do_not_reset_it(void **state)
{
    (void)state;
    static const uint8_t bytes[] = "\x88\x82\0\0\0\0\x03\xe8\x81\x84\0\0\0\0rest";
    assert_int_equal(send(p.fd, bytes, sizeof bytes - 1, 0), sizeof bytes - 1);
    expect_bytes(&p, "\x88\x02\x03\xe8", 4);
    assert_true(read_to_the_end(p.fd));
    assert_int_equal(fws_engine_count(engine), 1); /* it waits for our end */
    send_frame(&p, true, FWS_OPCODE_TEXT, "more", 4);
    close(p.fd);
    p.fd = -1;
    assert_true(fws_engine_wait_empty(engine, 5 * FWS_NS_PER_S));
}

static void test_a_pong_may_come_after_the_close_frame(void **state)
{
    (void)state;
    fws_ping *ping;
    assert_int_equal(fws_websocket_ping_send(p.server, "?", 1, &ping), FWS_OK);
    expect_bytes(&p, "\x89\x01?", 3);
    send_frame(&p, true, FWS_OPCODE_CLOSE, "\x03\xe8", 2);
    expect_bytes(&p, "\x88\x02\x03\xe8", 4);
    assert_true(read_to_the_end(p.fd));
    assert_int_equal(fws_engine_count(engine), 1);
    send_frame(&p, true, FWS_OPCODE_PONG, "?", 1);
    usleep(20 * 1000);
    send_frame(&p, true, FWS_OPCODE_PONG, "?",
               1); /* fails when the first was answered by a reset */
    fws_websocket_ping_free(p.server, ping);
    close(p.fd);
    p.fd = -1;
    assert_true(fws_engine_wait_empty(engine, 5 * FWS_NS_PER_S));
}

static void test_after_our_close_nothing_that_had_come_is_given_out(void **state)
{
    (void)state;
    fws_message message;
    for (int by_peer_first = 0; by_peer_first < 2; by_peer_first++) {
        pair q;
        open_bare_pair(&q, engine);
        for (int i = 0; i < 3; i++)
            send_frame(&q, true, FWS_OPCODE_TEXT, "before", 6);
        if (by_peer_first)
            send_frame(&q, true, FWS_OPCODE_CLOSE, "\x03\xe8", 2);
        WAIT_FOR(inbox_count(q.server) == 3);
        WAIT_FOR(!by_peer_first || state_of(q.server) != FWS_STATE_OPEN);
        fws_websocket_close(q.server, 4000, NULL, 0);
        assert_int_equal(fws_websocket_receive_ready(q.server, &message), FWS_CLOSED);
        assert_int_equal(fws_websocket_receive_wait(q.server, FWS_FOREVER, &message), FWS_CLOSED);
        close_pair(&q);
    }
}

/* What is on the wire, and what is kept, of a reason of any size. */
static void expect_reason(fws_websocket *websocket, int fd, const char *reason, size_t size)
{
    char frame[200] = "\x88";
    fws_websocket_status status;
    pair q = {.fd = fd};
    frame[1] = (char)(2 + size);
    memcpy(frame + 2, "\x0f\xa0", 2);
    memcpy(frame + 4, reason, size);
    expect_bytes(&q, frame, 4 + size);
    fws_websocket_get_status(websocket, &status);
    assert_int_equal(status.close_reason_size, size);
    assert_memory_equal(status.close_reason, reason, size);
}

static void test_a_reason_of_any_size_is_cut_at_a_character(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 123, 124, 200, 255, 256, 257, 300, 379, 70000};
    static char plain[70000], wide[70000];
    memset(plain, 'x', sizeof plain);
    for (size_t i = 0; i + 2 < sizeof wide; i += 3)
        memcpy(wide + i, "\xe2\x82\xac", 3); /* 41 of them are 123 bytes */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int kind = 0; kind < 3; kind++) {
            pair q;
            open_bare_pair(&q, engine);
            const char *reason = kind == 0 ? plain : kind == 1 ? wide : wide + 1;
            size_t fits = kind == 2 ? 122 : 123; /* after two bytes come 40 characters */
            if (kind == 0)
                fws_websocket_close(q.server, 4000, reason, sizes[i]);
            else
                fws_engine_close_all(engine, 4000, reason, sizes[i]);
            expect_reason(q.server, q.fd, reason,
                          sizes[i] < 123    ? sizes[i]
                          : sizes[i] == 123 ? 123
                                            : fits);
            close_pair(&q);
        }
    }
}

static void test_a_ping_of_more_than_125_bytes_is_refused(void **state)
{
    (void)state;
    static char data[70000];
    static const size_t sizes[] = {126, 255, 256, 300, 70000};
    uint8_t out[FWS_FRAME_CONTROL_SIZE_MAX];
    fws_ping *ping;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(fws_websocket_ping_send(p.server, data, sizes[i], &ping), FWS_TOO_LONG);
        assert_int_equal(fws_connection_encode_control(&p.server->protocol, out, FWS_OPCODE_PING,
                                                       (uint8_t *)data, sizes[i]),
                         0);
    }
    assert_int_equal(fws_websocket_ping_send(p.server, data, 125, &ping), FWS_OK);
    fws_websocket_ping_free(p.server, ping);
}

/* Each is dropped by the loop thread in the end, however many end without its help. */
static void test_many_that_end_without_the_loop_thread(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        pair q;
        open_bare_pair(&q, engine);
        send_frame(&q, true, FWS_OPCODE_CLOSE, "\x03\xe8", 2);
        expect_closed(q.server, 1000); /* our own thread reads it */
        assert_true(read_to_the_end(q.fd));
        WAIT_FOR(atomic_load(&q.server->references) == 1 || i % 64 < 63);
        close_pair(&q);
    }
}

#define ROUNDS 300

static void *close_it(void *argument)
{
    fws_websocket_close(argument, 1000, NULL, 0);
    return NULL;
}

static void test_both_sides_close_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        pair q;
        pthread_t first, second, reader;
        open_pair(&q, engine);
        pthread_create(&reader, NULL, wait_for_close, q.server);
        pthread_create(&first, NULL, close_it, q.server);
        pthread_create(&second, NULL, close_it, q.client);
        pthread_join(first, NULL);
        pthread_join(second, NULL);
        pthread_join(reader, NULL);
        close_pair(&q);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define BARE(name) cmocka_unit_test_setup_teardown(name, start_bare, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_a_close_from_our_side),
        TEST(test_messages_that_came_before_a_close_are_still_received),
        TEST(test_a_close_wakes_a_blocked_receive_at_once),
        BARE(test_a_peer_that_vanishes_is_1006),
        BARE(test_a_peer_that_half_closes_without_a_close_frame_is_1006),
        BARE(test_the_engine_notices_while_nobody_receives),
        BARE(test_the_peers_close_is_answered_and_the_stream_ended),
        BARE(test_a_broken_protocol_is_said_so_and_ended),
        cmocka_unit_test(test_a_peer_that_never_answers_a_close_is_cut_off),
        cmocka_unit_test(test_a_missing_pong_is_1011),
        cmocka_unit_test(test_pings_come_at_their_interval_also_when_the_timeout_is_longer),
        cmocka_unit_test(test_a_peer_that_answers_pings_stays),
        BARE(test_a_close_overtakes_nothing_but_a_failure_overtakes_what_waits),
        BARE(test_a_sender_that_waits_for_room_wakes_at_the_end),
        TEST(test_both_sides_close_at_once),
        BARE(test_the_server_is_through_when_both_close_frames_are_there),
        BARE(test_bytes_behind_a_close_frame_do_not_reset_it),
        BARE(test_a_pong_may_come_after_the_close_frame),
        BARE(test_after_our_close_nothing_that_had_come_is_given_out),
        BARE(test_a_reason_of_any_size_is_cut_at_a_character),
        BARE(test_a_ping_of_more_than_125_bytes_is_refused),
        BARE(test_many_that_end_without_the_loop_thread),
    };
    return cmocka_run_group_tests_name("closing", tests, NULL, NULL);
}
