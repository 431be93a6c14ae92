/* Publishing through the engine: who gets what, slow subscribers, and publishing while sockets come
 * and go. */
#include "pair.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static fws_engine *engine;

static int start(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fws_engine_free(engine);
    return 0;
}

static fws_channel_name name(const char *text)
{
    return (fws_channel_name){.data = text, .size = strlen(text)};
}

static void subscribe(const pair *p, const char *channel)
{
    fws_channel_name one = name(channel);
    assert_int_equal(fws_table_subscribe(&p->engine->table, p->server, &one, 1), FWS_TABLE_OK);
}

static long publish(const char *text, const char *first, const char *second,
                    fws_websocket *excluded)
{
    fws_channel_name names[2] = {name(first), name(second ? second : first)};
    fws_publication publication;
    fws_publication_init(&publication, &engine->work.deflate, 0, FWS_OPCODE_TEXT, text,
                         strlen(text));
    long count = fws_table_publish(&engine->table, &publication, names, second ? 2 : 1, &excluded,
                                   excluded ? 1 : 0);
    fws_publication_clear(&publication);
    return count;
}

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
    assert_int_equal(fws_table_subscribe(&engine->table, a.server, &one, 1), FWS_TABLE_ENDED);
    assert_int_equal(engine->table.channel_count, 0);
    close_pair(&a);
}

/* A peer that reads nothing; what it was sent until it was full. */
static size_t fill(pair *a, const fws_engine_config *config, long *delivered)
{
    static char text[50001];
    memset(text, 'x', 50000);
    fws_engine_free(engine);
    engine = fws_engine_new(config);
    open_bare_pair(a, engine);
    subscribe(a, "flood");
    *delivered = 0;
    for (int i = 0; i < 1000; i++) {
        fws_ns begun = fws_clock_now();
        *delivered += publish(text, "flood", NULL, NULL);
        assert_true(fws_clock_now() - begun < FWS_NS_PER_S); /* publishing never waits */
    }
    return buffered(a->server);
}

static void test_a_slow_subscriber_is_closed_with_1013(void **state)
{
    (void)state;
    pair a;
    long delivered;
    fill(&a, &default_config, &delivered);
    assert_in_range(delivered, 20, 900);
    assert_int_equal(close_code_of(a.server), 1013);
    assert_in_range(atomic_load(&engine->work.counters.slow_consumers), 1, 1);
    assert_true(read_to_the_end(a.fd));
    close_pair(&a);
}

static void test_dropping_the_oldest_keeps_the_connection_and_the_bound(void **state)
{
    (void)state;
    pair a;
    long delivered;
    fws_engine_config config = default_config;
    config.slow_consumer = FWS_SLOW_DROP_OLDEST;
    size_t queued = fill(&a, &config, &delivered);
    assert_int_equal(delivered, 1000);
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
    long delivered;
    fws_engine_config config = default_config;
    config.slow_consumer = FWS_SLOW_DROP_NEWEST;
    size_t queued = fill(&a, &config, &delivered);
    assert_in_range(delivered, 20, 900);
    assert_in_range(queued, 1, 1 << 20);
    assert_int_equal(state_of(a.server), FWS_STATE_OPEN);
    close_pair(&a);
}

static atomic_bool running;

static void *publish_for_ever(void *argument)
{
    (void)argument;
    while (atomic_load(&running))
        publish("storm", "storm", "calm", NULL);
    return NULL;
}

static void *come_and_go(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 60; i++) {
        pair a;
        fws_message message;
        open_pair(&a, engine);
        subscribe(&a, "storm");
        subscribe(&a, "calm");
        if (receive(a.client, 5 * FWS_NS_PER_S, &message) == FWS_OK)
            fws_message_free(&message);
        seed = seed * 1103515245 + 12345;
        fws_channel_name one = name("storm");
        if (seed & 0x10000)
            fws_table_unsubscribe(&engine->table, a.server, &one, 1);
        if (seed & 0x20000)
            fws_websocket_close(a.client, 1000, NULL, 0);
        /* The storm may have filled the client's queue: read on, or its close would not be seen. */
        fws_websocket_close(a.server, 1000, NULL, 0);
        while (receive(a.client, 5 * FWS_NS_PER_S, &message) == FWS_OK)
            fws_message_free(&message);
        close_pair(&a);
    }
    return NULL;
}

static void test_publishing_while_sockets_come_and_go(void **state)
{
    (void)state;
    pthread_t publishers[2], others[4];
    atomic_store(&running, true);
    for (int i = 0; i < 2; i++)
        pthread_create(&publishers[i], NULL, publish_for_ever, NULL);
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&others[i], NULL, come_and_go, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(others[i], NULL);
    atomic_store(&running, false);
    for (int i = 0; i < 2; i++)
        pthread_join(publishers[i], NULL);
    assert_true(fws_engine_wait_empty(engine, 5 * FWS_NS_PER_S));
    assert_int_equal(engine->table.channel_count, 0);
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
        TEST(test_publishing_while_sockets_come_and_go),
    };
    return cmocka_run_group_tests_name("channels", tests, NULL, NULL);
}
