/* Publishing through the engine: who gets what, in which order, and slow subscribers. */
#include "publishing.h"

#include <sys/socket.h>
#include <unistd.h>

static void test_each_subscriber_gets_it_once(void **state)
{
    (void)state;
    pair a, b, c;
    open_pair(&a, engine);
    open_pair(&b, engine);
    open_pair(&c, engine);
    subscribe(&a, "news");
    subscribe(&a, "sport");
    subscribe(&b, "news");
    assert_int_equal(publish("both", "news", "sport", NULL), 2);
    assert_int_equal(publish("sport", "sport", NULL, NULL), 1);
    assert_int_equal(publish("not you", "news", NULL, a.server), 1);
    assert_int_equal(publish("nobody", "weather", NULL, NULL), 0);
    expect_message(a.client, "both");
    expect_message(a.client, "sport");
    expect_message(b.client, "both");
    expect_message(b.client, "not you");
    fws_message message;
    assert_int_equal(receive(a.client, 30 * FWS_NS_PER_MS, &message), FWS_TIMEOUT);
    assert_int_equal(receive(c.client, 0, &message), FWS_TIMEOUT);
    close_pair(&a);
    close_pair(&b);
    close_pair(&c);
}

static void test_the_order_of_one_publisher_holds(void **state)
{
    (void)state;
    pair a;
    char text[20];
    open_pair(&a, engine);
    subscribe(&a, "count");
    for (int i = 0; i < 2000; i++) {
        sprintf(text, "%d", i);
        assert_int_equal(
            i % 3 ? publish(text, "count", NULL, NULL) : send_text(a.server, text) == FWS_OK, 1);
    }
    for (int i = 0; i < 2000; i++) {
        sprintf(text, "%d", i);
        expect_message(a.client, text);
    }
    close_pair(&a);
}

static void test_a_closed_websocket_has_no_subscriptions(void **state)
{
    (void)state;
    pair a;
    open_pair(&a, engine);
    subscribe(&a, "news");
    fws_websocket_close(a.server, 1000, NULL, 0);
    assert_int_equal(publish("late", "news", NULL, NULL), 0);
    fws_channel_name one = name("news");
    assert_int_equal(fws_engine_subscribe(engine, a.server, &one, 1), FWS_TABLE_ENDED);
    assert_int_equal(fws_engine_count_channels(engine, a.server), 1);
    assert_true(fws_engine_unsubscribe(engine, a.server, &one, 1));
    assert_int_equal(fws_engine_count_channels(engine, a.server), 0);
    close_pair(&a);
}

/* A peer that reads nothing, until it was sent more than it has room for; how much is queued. */
static size_t fill(pair *a, const fws_engine_config *config, long *reached)
{
    static char text[50001];
    memset(text, 'x', 50000);
    fws_engine_free(engine);
    engine = fws_engine_new(config);
    open_bare_pair(a, engine);
    subscribe(a, "flood");
    *reached = 0;
    for (int i = 0; i < 1000; i++) {
        fws_ns begun = fws_clock_now();
        *reached += publish(text, "flood", NULL, NULL);
        assert_true(fws_clock_now() - begun < FWS_NS_PER_S); /* publishing never waits */
    }
    WAIT_FOR(atomic_load(&engine->table.backlog.newest) == 0);
    return buffered(a->server);
}

static void test_a_slow_subscriber_is_closed_with_1013(void **state)
{
    (void)state;
    pair a;
    long reached;
    fill(&a, &default_config, &reached);
    assert_in_range(reached, 20, 999); /* as many as there were: none once it was closed */
    assert_int_equal(close_code_of(a.server), 1013);
    assert_in_range(atomic_load(&engine->work.tally.slow_consumers), 1, 1);
    assert_true(read_to_the_end(a.fd));
    close_pair(&a);
}

static void test_dropping_the_oldest_keeps_the_connection_and_the_bound(void **state)
{
    (void)state;
    pair a;
    long reached;
    fws_engine_config config = default_config;
    config.slow_consumer = FWS_SLOW_DROP_OLDEST;
    size_t queued = fill(&a, &config, &reached);
    assert_int_equal(reached, 1000);
    assert_in_range(queued, 1, 1 << 20);
    assert_int_equal(state_of(a.server), FWS_STATE_OPEN);
    assert_int_equal(publish("newest", "flood", NULL, NULL), 1);
    send_frame(&a, true, FWS_OPCODE_CLOSE, "\x03\xE8", 2);
    assert_true(read_to_the_end(a.fd)); /* whole frames, or the end would not come */
    close_pair(&a);
}

static void test_dropping_the_newest_keeps_the_connection_and_the_bound(void **state)
{
    (void)state;
    pair a;
    long reached;
    fws_engine_config config = default_config;
    config.slow_consumer = FWS_SLOW_DROP_NEWEST;
    size_t queued = fill(&a, &config, &reached);
    assert_int_equal(reached, 1000); /* subscribers, whatever becomes of the message */
    assert_in_range(queued, 1, 1 << 20);
    assert_int_equal(state_of(a.server), FWS_STATE_OPEN);
    close_pair(&a);
}

static void test_a_published_message_comes_before_what_its_publisher_does_next(void **state)
{
    (void)state;
    pair a, b;
    open_pair(&a, engine);
    open_pair(&b, engine);
    subscribe(&a, "news");
    subscribe(&b, "news");
    for (int i = 0; i < 200; i++) {
        publish("published", "news", NULL, NULL);
        send_text(a.server, "sent");
        expect_message(a.client, "published");
        expect_message(a.client, "sent");
        expect_message(b.client, "published");
    }
    publish("last", "news", NULL, NULL);
    fws_websocket_close(a.server, 1000, NULL, 0);
    fws_channel_name one = name("news");
    assert_true(fws_engine_unsubscribe(engine, b.server, &one, 1));
    send_text(b.server, "unsubscribed");
    expect_message(a.client, "last");
    expect_message(b.client, "last");
    expect_message(b.client, "unsubscribed");
    close_pair(&a);
    close_pair(&b);
}

static void test_a_stop_delivers_what_is_published_before_it(void **state)
{
    (void)state;
    enum { MANY = 50 };
    static pair pairs[MANY];
    for (int i = 0; i < MANY; i++) {
        open_bare_pair(&pairs[i], engine);
        subscribe(&pairs[i], "news");
    }
    usleep(10 * 1000); /* the leader sleeps, and nobody calls it before the stop */
    pthread_mutex_lock(&engine->table.backlog.delivering);
    atomic_store(&engine->table.backlog.is_busy, true);
    assert_int_equal(publish("1", "news", NULL, NULL), MANY);
    assert_int_equal(publish("2", "news", NULL, NULL), MANY);
    usleep(10 * 1000);
    pthread_mutex_unlock(&engine->table.backlog.delivering);
    atomic_store(&engine->table.backlog.is_busy, false);
    fws_engine_stop(engine);
    for (int i = 0; i < MANY; i++) {
        expect_bytes(&pairs[i],
                     "\x81\x01"
                     "1\x81\x01"
                     "2",
                     6);
        close_pair(&pairs[i]);
    }
}

static void test_excluding_a_websocket_of_another_engine_changes_nothing(void **state)
{
    (void)state;
    fws_engine *other = fws_engine_new(&default_config), *ours = engine;
    pair a, b, late; /* that one has not subscribed when it is excluded */
    open_pair(&a, ours);
    open_pair(&b, other);
    open_pair(&late, ours);
    subscribe(&a, "x");
    subscribe(&b, "x");
    subscribe(&b, "also");
    for (int i = 0; i < 5; i++) {
        engine = ours;
        assert_int_equal(publish("a", "x", NULL, b.server), 1);
        engine = other;
        assert_int_equal(publish("b", "x", "also", a.server), 1);
        expect_message(a.client, "a");
        expect_message(b.client, "b");
    }
    assert_int_equal(publish("b", "x", NULL, late.server), 1);
    expect_message(b.client, "b");
    subscribe(&late, "late");
    engine = ours;
    assert_int_equal(publish("late", "late", NULL, b.server), 1);
    expect_message(late.client, "late");
    fws_channel_name one = name("y");
    assert_int_equal(fws_engine_subscribe(ours, b.server, &one, 1), FWS_TABLE_ENDED);
    close_pair(&a);
    close_pair(&b);
    close_pair(&late);
    fws_engine_free(other);
}

static void test_much_at_once_makes_no_slow_consumer_of_a_peer_that_reads(void **state)
{
    (void)state;
    enum { MESSAGES = 16, SIZE = 100000 }; /* 1.6 MB, and send_buffer is 1 MiB */
    static char text[SIZE + 1];
    pair a;
    memset(text, 'x', SIZE);
    open_bare_pair(&a, engine);
    subscribe(&a, "much");
    pthread_mutex_lock(&engine->table.backlog.delivering);
    atomic_store(&engine->table.backlog.is_busy, true);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(fws_engine_publish(engine, FWS_OPCODE_TEXT, text, SIZE,
                                            &(fws_channel_name){"much", 4}, 1, NULL, 0),
                         1);
    atomic_store(&engine->table.backlog.is_busy, false);
    pthread_mutex_unlock(&engine->table.backlog.delivering);
    fws_publish_deliver_all(&engine->work, &engine->table);
    for (int i = 0; i < MESSAGES; i++) {
        expect_bytes(&a, "\x81\x7f\0\0\0\0\0\x01\x86\xa0", 10);
        expect_bytes(&a, text, SIZE);
    }
    assert_int_equal(state_of(a.server), FWS_STATE_OPEN);
    assert_int_equal(atomic_load(&engine->work.tally.slow_consumers), 0);
    close_pair(&a);
}

static void test_a_publisher_that_is_far_ahead_does_the_work_itself(void **state)
{
    (void)state;
    pair a;
    char text[20];
    open_pair(&a, engine);
    subscribe(&a, "count");
    /* Nobody delivers: the test does as if it did. */
    pthread_mutex_lock(&engine->table.backlog.delivering);
    atomic_store(&engine->table.backlog.is_busy, true);
    for (int i = 0; i <= FWS_BACKLOG_DISPATCHES; i++) {
        sprintf(text, "%d", i);
        fws_channel_name one = name("count");
        assert_int_equal(
            fws_engine_publish(engine, FWS_OPCODE_TEXT, text, strlen(text), &one, 1, NULL, 0), 1);
        assert_int_equal(fws_engine_is_behind(engine), i == FWS_BACKLOG_DISPATCHES);
    }
    atomic_store(&engine->table.backlog.is_busy, false);
    pthread_mutex_unlock(&engine->table.backlog.delivering);
    fws_engine_catch_up(engine);
    assert_false(fws_engine_is_behind(engine));
    for (int i = 0; i <= FWS_BACKLOG_DISPATCHES; i++) {
        sprintf(text, "%d", i);
        expect_message(a.client, text);
    }
    close_pair(&a);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_each_subscriber_gets_it_once),
        TEST(test_the_order_of_one_publisher_holds),
        TEST(test_a_closed_websocket_has_no_subscriptions),
        TEST(test_a_slow_subscriber_is_closed_with_1013),
        TEST(test_dropping_the_oldest_keeps_the_connection_and_the_bound),
        TEST(test_dropping_the_newest_keeps_the_connection_and_the_bound),
        TEST(test_a_published_message_comes_before_what_its_publisher_does_next),
        TEST(test_a_stop_delivers_what_is_published_before_it),
        TEST(test_excluding_a_websocket_of_another_engine_changes_nothing),
        TEST(test_much_at_once_makes_no_slow_consumer_of_a_peer_that_reads),
        TEST(test_a_publisher_that_is_far_ahead_does_the_work_itself),
    };
    return cmocka_run_group_tests_name("channels", tests, NULL, NULL);
}
