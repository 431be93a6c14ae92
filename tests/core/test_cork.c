/* Sends of a handler that comes back for the next message are written when it does. */
#include "pair.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOUR (3600 * FWS_NS_PER_S)

static fws_engine *engine;
static pair p;

/* The loop does not look unless it is told to. */
static int start(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    engine->work.cork.patience = HOUR;
    open_bare_pair(&p, engine);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    close_pair(&p);
    fws_engine_free(engine);
    return 0;
}

static void come_back(unsigned times)
{
    fws_message message;
    for (unsigned i = 0; i < times; i++)
        assert_int_equal(receive(p.server, 0, &message), FWS_TIMEOUT);
    pthread_mutex_lock(&p.server->lock);
    p.server->adopt_at = 0; /* however slow this machine is, the handler is not away */
    pthread_mutex_unlock(&p.server->lock);
}

/* A field of the websocket's. */
#define FIELD(name_)                                                                               \
    (pthread_mutex_lock(&p.server->lock), field = p.server->name_,                                 \
     pthread_mutex_unlock(&p.server->lock), field)
static unsigned field;

static bool loop_looks(void)
{
    pthread_mutex_lock(&engine->work.lock);
    bool looks = engine->work.cork.flush_at != 0;
    pthread_mutex_unlock(&engine->work.lock);
    return looks;
}

static void expect_nothing(void)
{
    char byte;
    assert_int_equal(recv(p.fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void test_written_when_the_handler_comes_back(void **state)
{
    (void)state;
    come_back(FWS_PROVEN);
    send_text(p.server, "one");
    send_text(p.server, "two");
    expect_nothing();
    come_back(1);
    expect_bytes(&p, "\x81\x03one\x81\x03two", 10);
    send_text(p.server, "three");
    expect_nothing();
    come_back(1);
    expect_bytes(&p, "\x81\x05three", 7);
}

static void test_not_before_it_has_come_back_often(void **state)
{
    (void)state;
    come_back(FWS_PROVEN - 1);
    send_text(p.server, "one");
    expect_bytes(&p, "\x81\x03one", 5);
    assert_false(FIELD(corking.corked));
}

static void test_a_handler_that_stays_away(void **state)
{
    (void)state;
    engine->work.cork.patience = FWS_LOOK_INTERVAL; /* the loop has not looked yet */
    come_back(FWS_PROVEN);
    send_text(p.server, "one");
    expect_bytes(&p, "\x81\x03one", 5);
    WAIT_FOR(FIELD(corking.quick_returns) == 0);
    WAIT_FOR(!FIELD(flush_queued));
    send_text(p.server, "two"); /* at once */
    assert_false(FIELD(flush_queued));
    expect_bytes(&p, "\x81\x03two", 5);
}

static void test_the_loop_stops_looking(void **state)
{
    (void)state;
    engine->work.cork.patience = FWS_NS_PER_MS;
    come_back(FWS_PROVEN);
    send_text(p.server, "one");
    come_back(1);
    expect_bytes(&p, "\x81\x03one", 5);
    WAIT_FOR(!loop_looks());
    expect_no_wake_ups(engine); /* once a timer of the handler's is over */
}

static void test_what_is_published_does_not_wait(void **state)
{
    (void)state;
    come_back(FWS_PROVEN);
    send_text(p.server, "one");
    fws_channel_name name = {"channel", 7};
    assert_int_equal(fws_engine_subscribe(engine, p.server, &name, 1), FWS_TABLE_OK);
    assert_int_equal(fws_engine_publish(engine, FWS_OPCODE_TEXT, "two", 3, &name, 1, NULL, 0), 1);
    expect_bytes(&p, "\x81\x03one\x81\x03two", 10);
}

static void test_neither_does_what_is_large(void **state)
{
    (void)state;
    static char large[FWS_SHORT_SEND];
    memset(large, 'x', sizeof large);
    come_back(FWS_PROVEN);
    send_text(p.server, "one");
    fws_websocket_send(p.server, FWS_OPCODE_BINARY, large, sizeof large, true);
    expect_bytes(&p, "\x81\x03one\x82\x7e\x40\x00xxxx", 13);
}

static void test_nor_a_close_frame(void **state)
{
    (void)state;
    come_back(FWS_PROVEN);
    send_text(p.server, "one");
    fws_websocket_close(p.server, 1000, NULL, 0);
    expect_bytes(&p, "\x81\x03one\x88\x02\x03\xe8", 9);
}

static void *send_two(void *argument)
{
    (void)argument;
    send_text(p.server, "two");
    return NULL;
}

static void *wait_for_a_message(void *argument)
{
    (void)argument;
    expect_message(p.server, "hello");
    return NULL;
}

static void test_nor_what_another_thread_sends_meanwhile(void **state)
{
    (void)state;
    pthread_t handler, other;
    come_back(FWS_PROVEN);
    pthread_create(&handler, NULL, wait_for_a_message, NULL);
    WAIT_FOR(FIELD(pollers) > 0);
    pthread_create(&other, NULL, send_two, NULL);
    expect_bytes(&p, "\x81\x03two", 5);
    send_frame(&p, true, FWS_OPCODE_TEXT, "hello", 5);
    pthread_join(handler, NULL);
    pthread_join(other, NULL);
}

static void test_the_close_code_of_a_peer_that_has_gone(void **state)
{
    (void)state;
    fws_message message;
    come_back(FWS_PROVEN);
    send_text(p.server, "one");
    send_frame(&p, true, FWS_OPCODE_CLOSE, "\x0f\xa0", 2);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(p.fd);
    p.fd = -1;
    assert_int_equal(receive(p.server, 5 * FWS_NS_PER_S, &message), FWS_CLOSED);
    assert_int_equal(close_code_of(p.server), 4000);
}

static void test_stopping_with_something_left(void **state)
{
    (void)state;
    come_back(FWS_PROVEN);
    send_text(p.server, "one");
    assert_true(FIELD(corking.corked));
    fws_engine_stop(engine);
    assert_int_equal(state_of(p.server), FWS_STATE_CLOSED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_written_when_the_handler_comes_back),
        TEST(test_not_before_it_has_come_back_often),
        TEST(test_a_handler_that_stays_away),
        TEST(test_the_loop_stops_looking),
        TEST(test_what_is_published_does_not_wait),
        TEST(test_neither_does_what_is_large),
        TEST(test_nor_a_close_frame),
        TEST(test_nor_what_another_thread_sends_meanwhile),
        TEST(test_the_close_code_of_a_peer_that_has_gone),
        TEST(test_stopping_with_something_left),
    };
    return cmocka_run_group_tests_name("cork", tests, NULL, NULL);
}
