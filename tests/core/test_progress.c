/* Slow peers, and such as have stopped: a peer that goes on taking what it is sent is alive,
 * whatever the clock says; one that does not is ended in time. */
#include "slow_peer.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static fws_engine *engine;
static pair p;

static fws_engine_config impatient(void)
{
    fws_engine_config config = default_config;
    config.send_timeout = 600 * MS;
    config.close_timeout = 300 * MS;
    config.send_buffer = 4 << 20;
    return config;
}

static void start_with(const fws_engine_config *config)
{
    engine = fws_engine_new(config);
    open_slow_pair(&p, engine);
}

static void stop(void)
{
    close_pair(&p);
    fws_engine_free(engine);
}

/* ---- pings ---- */

static fws_engine_config pinging(void)
{
    fws_engine_config config = impatient();
    config.send_timeout = 0;
    config.ping_interval = 200 * MS;
    config.ping_timeout = 300 * MS;
    return config;
}

static void test_a_peer_that_takes_what_it_is_sent_is_not_asked_for_its_pong(void **state)
{
    (void)state;
    fws_engine_config config = pinging();
    start_with(&config);
    queue_numbered(&p, 60); /* 3 MB, behind which each ping lies */
    assert_true(read_slowly(&p, 2000 * MS, 1000));
    assert_int_equal(state_of(p.server), FWS_STATE_OPEN);
    assert_true(buffered(p.server) > 0);
    assert_true(read_until_quiet(&p, 100));
    fws_ns begun = fws_clock_now(); /* now it has all, and the pings with it, but says nothing */
    WAIT_FOR(state_of(p.server) != FWS_STATE_OPEN);
    assert_int_equal(close_code_of(p.server), 1011);
    assert_true(fws_clock_now() - begun < 1800 * MS);
    size_t place = 0;
    expect_numbered(&place, 60);
    forget_what_was_read();
    stop();
}

static void test_one_that_takes_nothing_either_is_1011(void **state)
{
    (void)state;
    fws_engine_config config = pinging();
    start_with(&config);
    queue_numbered(&p, 60);
    fws_ns begun = fws_clock_now();
    WAIT_FOR(state_of(p.server) != FWS_STATE_OPEN);
    assert_int_equal(close_code_of(p.server), 1011);
    assert_true(fws_clock_now() - begun < 1500 * MS);
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED); /* nor for its close frame */
    assert_true(fws_clock_now() - begun < 2500 * MS);
    stop();
}

static void test_what_it_is_sent_after_a_ping_excuses_nobody(void **state)
{
    (void)state;
    fws_engine_config config = pinging();
    start_with(&config);
    fws_ns begun = fws_clock_now();
    while (state_of(p.server) == FWS_STATE_OPEN && fws_clock_now() - begun < 5000 * MS) {
        send_text(p.server, "tick"); /* which its kernel takes */
        read_slowly(&p, 20 * MS, 100);
    }
    assert_int_equal(close_code_of(p.server), 1011);
    forget_what_was_read();
    stop();
}

/* ---- closing ---- */

static void answer_close(void)
{
    send_frame(&p, true, FWS_OPCODE_CLOSE, "\x03\xe8", 2);
}

static void test_what_was_sent_arrives_before_a_close(void **state)
{
    (void)state;
    fws_engine_config config = impatient();
    start_with(&config);
    queue_numbered(&p, 60);
    fws_websocket_close(p.server, 1000, NULL, 0);
    assert_true(read_slowly(&p, 2000 * MS, 1000)); /* for more than the time-outs together */
    assert_int_equal(state_of(p.server), FWS_STATE_CLOSING);
    assert_true(read_until_quiet(&p, 100));
    size_t place = 0;
    expect_numbered(&place, 60);
    expect_close(&place, 1000);
    answer_close();
    assert_true(read_to_the_end(p.fd));
    forget_what_was_read();
    stop();
}

/* The kernel keeps what the outbox does not. */
static void test_also_from_the_kernel(void **state)
{
    (void)state;
    int size = 2 << 20;
    fws_engine_config config = impatient();
    start_with(&config);
    setsockopt(p.server->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(send_numbered(&p, i), FWS_OK);
    fws_websocket_close(p.server, 1000, NULL, 0);
    assert_int_equal(buffered(p.server), 0);
    assert_true(read_slowly(&p, 1200 * MS, 200));
    assert_int_equal(state_of(p.server), FWS_STATE_CLOSING);
    assert_true(read_until_quiet(&p, 100));
    size_t place = 0;
    expect_numbered(&place, 6);
    expect_close(&place, 1000);
    answer_close();
    assert_true(read_to_the_end(p.fd));
    forget_what_was_read();
    stop();
}

static void expect_end_between(fws_ns earliest, fws_ns latest)
{
    fws_ns begun = fws_clock_now();
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
    fws_ns took = fws_clock_now() - begun;
    assert_in_range(took / MS, earliest / MS, latest / MS);
}

static void test_a_peer_that_stops_reading_is_not_waited_for(void **state)
{
    (void)state;
    fws_engine_config config = impatient();
    start_with(&config);
    queue_numbered(&p, 60);
    fws_websocket_close(p.server, 1000, NULL, 0);
    assert_true(read_slowly(&p, 500 * MS, 1000));
    expect_end_between(400 * MS, 1600 * MS);
    forget_what_was_read();
    stop();
}

static void test_not_even_without_a_send_timeout(void **state)
{
    (void)state;
    fws_engine_config config = impatient();
    config.send_timeout = 0;
    start_with(&config);
    queue_numbered(&p, 60);
    usleep(600 * 1000);
    assert_int_equal(state_of(p.server), FWS_STATE_OPEN);
    fws_websocket_close(p.server, 1000, NULL, 0);
    expect_end_between(200 * MS, 1200 * MS);
    stop();
}

static void test_one_that_has_failed_us_is_waited_for_the_shorter_time(void **state)
{
    (void)state;
    fws_engine_config config = impatient();
    config.send_timeout = 20 * FWS_NS_PER_S;
    start_with(&config);
    queue_numbered(&p, 60);
    send_frame(&p, true, (fws_opcode)3, "x", 1); /* a reserved opcode */
    expect_end_between(200 * MS, 1600 * MS);
    stop();
}

/* ---- a peer that says Close while it is being sent to ---- */

static void *send_one_large(void *argument)
{
    static char large[6 << 20];
    *(fws_status *)argument =
        fws_websocket_send(p.server, FWS_OPCODE_BINARY, large, sizeof large, true);
    return NULL;
}

/* With a FIN behind it, or without. */
static void say_close(bool fin)
{
    answer_close();
    if (fin)
        shutdown(p.fd, SHUT_WR);
    WAIT_FOR(state_of(p.server) != FWS_STATE_OPEN);
    usleep(50 * 1000);
}

static void test_what_is_under_way_is_finished_then_comes_our_close(void **state)
{
    (void)state;
    for (int fin = 0; fin < 2; fin++) {
        fws_engine_config config = impatient();
        start_with(&config);
        queue_numbered(&p, 20);
        say_close(fin);
        assert_int_equal(state_of(p.server), FWS_STATE_ENDING);
        read_slowly(&p, 400 * MS, 1000);
        assert_false(read_until_quiet(&p, 500));
        size_t place = 0;
        expect_numbered(&place, 20);
        expect_close(&place, 1000);
        assert_int_equal(close_code_of(p.server), 1000);
        forget_what_was_read();
        stop();
    }
}

static void test_also_one_that_is_lent(void **state)
{
    (void)state;
    for (int fin = 0; fin < 2; fin++) {
        pthread_t sender;
        fws_status status;
        fws_engine_config config = impatient();
        start_with(&config);
        pthread_create(&sender, NULL, send_one_large, &status);
        WAIT_FOR(buffered(p.server) > 4 << 20);
        say_close(fin);
        assert_true(read_slowly(&p, 500 * MS, 2000));
        assert_false(read_until_quiet(&p, 500));
        pthread_join(sender, NULL);
        const uint8_t *payload;
        size_t place = 0, length;
        assert_int_equal(next_frame(&place, &payload, &length), FWS_OPCODE_BINARY);
        assert_int_equal(length, 6 << 20);
        expect_close(&place, 1000);
        forget_what_was_read();
        stop();
    }
}

static void test_a_fin_after_our_close_cuts_nothing_off(void **state)
{
    (void)state;
    fws_engine_config config = impatient();
    start_with(&config);
    queue_numbered(&p, 20);
    fws_websocket_close(p.server, 1000, NULL, 0);
    shutdown(p.fd, SHUT_WR);
    read_slowly(&p, 400 * MS, 1000);
    assert_false(read_until_quiet(&p, 500));
    size_t place = 0;
    expect_numbered(&place, 20);
    expect_close(&place, 1000);
    forget_what_was_read();
    stop();
}

static void test_a_fin_without_a_close_is_1006_after_what_came_before_it(void **state)
{
    (void)state;
    fws_message message;
    fws_engine_config config = impatient();
    start_with(&config);
    queue_numbered(&p, 20);
    for (int i = 0; i < 30; i++) /* more than receive_queue */
        send_frame(&p, true, FWS_OPCODE_TEXT, "before", 6);
    shutdown(p.fd, SHUT_WR);
    usleep(200 * 1000);
    for (int i = 0; i < 30; i++)
        expect_message(p.server, "before");
    assert_int_equal(receive(p.server, FWS_NS_PER_S, &message), FWS_CLOSED);
    assert_int_equal(close_code_of(p.server), 1006);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peer_that_takes_what_it_is_sent_is_not_asked_for_its_pong),
        cmocka_unit_test(test_one_that_takes_nothing_either_is_1011),
        cmocka_unit_test(test_what_it_is_sent_after_a_ping_excuses_nobody),
        cmocka_unit_test(test_what_was_sent_arrives_before_a_close),
        cmocka_unit_test(test_also_from_the_kernel),
        cmocka_unit_test(test_a_peer_that_stops_reading_is_not_waited_for),
        cmocka_unit_test(test_not_even_without_a_send_timeout),
        cmocka_unit_test(test_one_that_has_failed_us_is_waited_for_the_shorter_time),
        cmocka_unit_test(test_what_is_under_way_is_finished_then_comes_our_close),
        cmocka_unit_test(test_also_one_that_is_lent),
        cmocka_unit_test(test_a_fin_after_our_close_cuts_nothing_off),
        cmocka_unit_test(test_a_fin_without_a_close_is_1006_after_what_came_before_it),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
