/* Who is in which channel, without websockets. */
#include "testing.h"

#include "channels/table_internal.h"

#include <time.h>

#define SUBSCRIBERS 50
#define CHANNELS 200

static fws_table table;
static fws_subscriber *subscribers[SUBSCRIBERS];

static int start(void **state)
{
    (void)state;
    fws_table_init(&table);
    for (int i = 0; i < SUBSCRIBERS; i++)
        subscribers[i] = fws_subscriber_new(&table, &subscribers[i], 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (int i = 0; i < SUBSCRIBERS; i++) {
        fws_subscriber_end(subscribers[i]);
        fws_subscriber_free(subscribers[i]);
    }
    while (fws_table_tidy(&table))
        ;
    assert_int_equal(table.names.count, 0);
    assert_int_equal(table.subscriptions.count, 0);
    assert_int_equal(table.id_limit, 0);
    assert_null(table.all);
    fws_table_clear(&table);
    return 0;
}

static void count_one(void *context, const char *data, size_t size)
{
    (void)data;
    (void)size;
    ++*(size_t *)context;
}

static size_t channels_of(fws_subscriber *subscriber)
{
    size_t count = 0;
    fws_table_visit(subscriber, count_one, &count);
    return count;
}

static fws_channel_name name(const char *text)
{
    return (fws_channel_name){.data = text, .size = strlen(text)};
}

static void subscribe(fws_subscriber *subscriber, const char *text)
{
    fws_channel_name one = name(text);
    assert_int_equal(fws_table_subscribe(subscriber, &one, 1), FWS_TABLE_OK);
}

static void unsubscribe(fws_subscriber *subscriber, const char *text)
{
    fws_channel_name one = name(text);
    assert_true(fws_table_unsubscribe(subscriber, &one, 1));
}

/* How many a publication would reach. */
static size_t audience(const fws_channel_name *names, size_t count, fws_subscriber *excluded)
{
    fws_subscriber **list = NULL;
    fws_bitmap ids = {0};
    size_t reached;
    bool is_exact;
    if (excluded) {
        list = malloc(2 * sizeof *list);
        list[0] = list[1] = excluded; /* twice is as good as once */
    }
    fws_dispatch *dispatch = fws_dispatch_new(&table, names, count, list, excluded ? 2 : 0);
    assert_non_null(dispatch);
    pthread_mutex_lock(&table.lock);
    assert_true(fws_audience_count(&table, dispatch, &ids, &reached, &is_exact));
    pthread_mutex_unlock(&table.lock);
    fws_bitmap_clear(&ids);
    fws_dispatch_free(&table, dispatch);
    return reached;
}

static void test_subscribing_and_unsubscribing_at_random(void **state)
{
    (void)state;
    static unsigned times[SUBSCRIBERS][CHANNELS];
    static char texts[CHANNELS][20];
    uint32_t seed = 7;
    memset(times, 0, sizeof times);
    for (unsigned c = 0; c < CHANNELS; c++)
        sprintf(texts[c], "channel %u", c);
    for (int step = 0; step < 50000; step++) {
        seed = seed * 1664525 + 1013904223;
        unsigned s = (seed >> 8) % SUBSCRIBERS, c = (seed >> 16) % CHANNELS;
        unsigned d = (c + (seed >> 27)) % CHANNELS; /* often the same */
        fws_channel_name names[3] = {name(texts[c]), name(texts[d]), name(texts[c])};
        if (seed >> 31) {
            assert_int_equal(fws_table_subscribe(subscribers[s], names, 3), FWS_TABLE_OK);
            times[s][c]++;
            times[s][d] += c != d;
        } else {
            assert_true(fws_table_unsubscribe(subscribers[s], names, 3));
            times[s][c] -= times[s][c] > 0;
            times[s][d] -= c != d && times[s][d] > 0;
        }
        if (step % 100)
            continue;
        fws_subscriber *excluded = step % 200 ? subscribers[s] : NULL;
        size_t one = 0, both = 0;
        for (unsigned i = 0; i < SUBSCRIBERS; i++) {
            bool counts = !(excluded && i == s);
            one += counts && times[i][c] > 0;
            both += counts && (times[i][c] > 0 || times[i][d] > 0);
        }
        assert_int_equal(audience(names, 1, excluded), one);
        assert_int_equal(audience(names, 3, excluded), both);
    }
    size_t used[CHANNELS] = {0}, all = 0;
    for (int s = 0; s < SUBSCRIBERS; s++) {
        size_t wanted = 0;
        for (int c = 0; c < CHANNELS; c++) {
            wanted += times[s][c] > 0;
            used[c] += times[s][c] > 0;
        }
        assert_int_equal(channels_of(subscribers[s]), wanted);
    }
    for (int c = 0; c < CHANNELS; c++)
        all += used[c] > 0;
    assert_int_equal(table.names.count, all);
}

static void test_large_channels_count_the_same_as_small_ones(void **state)
{
    (void)state;
    enum { CROWD = 1000 };
    static fws_subscriber *crowd[CROWD];
    fws_channel_name names[3] = {name("even"), name("third"), name("few")};
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = fws_subscriber_new(&table, &crowd[i], 0);
        if (i % 2 == 0)
            subscribe(crowd[i], "even");
        if (i % 3 == 0)
            subscribe(crowd[i], "third");
        if (i < 10)
            subscribe(crowd[i], "few");
    }
    assert_int_equal(audience(names, 1, NULL), 500);
    assert_int_equal(audience(names, 2, NULL), 667);
    assert_int_equal(audience(names, 3, NULL), 670); /* and 1, 5 and 7 */
    assert_int_equal(audience(names, 3, crowd[7]), 669);
    assert_int_equal(audience(names, 1, crowd[7]), 500);
    for (int i = 0; i < CROWD; i++) {
        if (i % 2 == 0 && i >= 10)
            unsubscribe(crowd[i], "even");
        fws_subscriber_end(crowd[i < 500 ? i : 0]);
    }
    assert_int_equal(audience(names, 2, NULL), 167);
    for (int i = 0; i < CROWD; i++)
        fws_subscriber_free(crowd[i]);
    assert_int_equal(audience(names, 3, NULL), 0);
}

static void test_a_name_twice_in_a_call_is_one_subscription(void **state)
{
    (void)state;
    fws_channel_name names[2] = {name("twice"), name("twice")};
    assert_int_equal(fws_table_subscribe(subscribers[0], names, 2), FWS_TABLE_OK);
    assert_int_equal(channels_of(subscribers[0]), 1);
    unsubscribe(subscribers[0], "twice");
    assert_int_equal(channels_of(subscribers[0]), 0);
}

static void test_the_end_of_an_inner_block_leaves_the_outer_its_channel(void **state)
{
    (void)state;
    fws_channel_name one = name("room");
    subscribe(subscribers[0], "room");
    subscribe(subscribers[0], "room");
    unsubscribe(subscribers[0], "room");
    assert_int_equal(audience(&one, 1, NULL), 1);
    unsubscribe(subscribers[0], "room");
    unsubscribe(subscribers[0], "room");
    assert_int_equal(audience(&one, 1, NULL), 0);
    subscribe(subscribers[0], "room");
    subscribe(subscribers[0], "room");
    assert_true(fws_table_unsubscribe(subscribers[0], NULL, 0)); /* all, however often */
    assert_int_equal(channels_of(subscribers[0]), 0);
}

static void test_names_are_bytes_zero_included(void **state)
{
    (void)state;
    fws_channel_name names[3] = {{"a\0b", 3}, {"a\0c", 3}, {"a", 1}};
    assert_int_equal(fws_table_subscribe(subscribers[0], names, 3), FWS_TABLE_OK);
    assert_int_equal(channels_of(subscribers[0]), 3);
    assert_int_equal(table.names.count, 3);
}

static void test_a_name_that_is_too_long_is_refused(void **state)
{
    (void)state;
    static char data[FWS_CHANNEL_NAME_MAX + 1];
    fws_channel_name names[2] = {name("short"), {data, sizeof data}};
    assert_int_equal(fws_table_subscribe(subscribers[0], names, 2), FWS_TABLE_NO_MEMORY);
    assert_int_equal(channels_of(subscribers[0]), 0); /* and nothing of that call */
    names[1].size--;
    assert_int_equal(fws_table_subscribe(subscribers[0], names, 2), FWS_TABLE_OK);
}

/* Subscribes to MANY channels. */
enum { MANY = 100000 };

static char many_texts[MANY][16];
static fws_channel_name many[MANY];

static void subscribe_to_many(fws_subscriber *subscriber)
{
    for (int i = 0; i < MANY; i++) {
        sprintf(many_texts[i], "many %d", i);
        many[i] = name(many_texts[i]);
    }
    assert_int_equal(fws_table_subscribe(subscriber, many, MANY), FWS_TABLE_OK);
}

static void test_an_ended_subscriber_knows_its_channels_and_is_in_none(void **state)
{
    (void)state;
    subscribe_to_many(subscribers[0]);
    subscribe(subscribers[1], "many 7");
    assert_int_equal(audience(&many[7], 2, NULL), 2);
    assert_true(fws_subscriber_end(subscribers[0]));
    /* From this moment on, though it is taken out of most of them later. */
    assert_int_equal(audience(&many[7], 1, NULL), 1);
    assert_int_equal(audience(&many[MANY - 1], 1, NULL), 0);
    assert_int_equal(audience(many, MANY, NULL), 1);
    assert_int_equal(audience(&many[7], 1, subscribers[0]), 1);
    assert_int_equal(fws_table_subscribe(subscribers[0], many, 1), FWS_TABLE_ENDED);
    int pieces = 0;
    while (fws_table_tidy(&table))
        pieces++;
    assert_in_range(pieces, MANY / FWS_TABLE_PIECE - 1, MANY / FWS_TABLE_PIECE + 1);
    assert_int_equal(audience(many, MANY, NULL), 1);
    assert_int_equal(channels_of(subscribers[0]), MANY);
    assert_true(fws_table_unsubscribe(subscribers[0], many, 7));
    assert_int_equal(channels_of(subscribers[0]), MANY - 7);
    assert_int_equal(table.names.count, MANY - 7);
}

static void test_the_cost_of_one_does_not_grow_with_their_number(void **state)
{
    (void)state;
    clock_t begun = clock();
    for (int s = 0; s < 2; s++) {
        subscribe_to_many(subscribers[s]);
        subscribe_to_many(subscribers[s]);
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(fws_table_unsubscribe(subscribers[0], &many[i], 1));
        assert_true(fws_table_unsubscribe(subscribers[1], &many[MANY - 1 - i], 1));
    }
    assert_int_equal(channels_of(subscribers[0]), MANY);
    assert_true(fws_table_unsubscribe(subscribers[0], many, MANY));
    assert_true(fws_table_unsubscribe(subscribers[1], NULL, 0));
    assert_int_equal(table.names.count, 0);
    /* 0.5 s under the sanitizers; one look at all of them for each would take minutes. */
    assert_true(clock() - begun < 10 * CLOCKS_PER_SEC);
}

static void *subscribe_and_unsubscribe(void *argument)
{
    fws_subscriber *subscriber = argument;
    for (int round = 0; round < 30; round++) {
        assert_int_equal(fws_table_subscribe(subscriber, many, 1000), FWS_TABLE_OK);
        channels_of(subscriber);
        assert_true(fws_table_unsubscribe(subscriber, many, 1000));
        audience(many, 1000, subscribers[0]);
    }
    return NULL;
}

static void test_many_threads_on_the_same_channels_and_the_same_subscriber(void **state)
{
    (void)state;
    pthread_t threads[8];
    subscribe_to_many(subscribers[8]); /* for the names */
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, subscribe_and_unsubscribe, subscribers[i / 2]);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(channels_of(subscribers[i]), 0);
    assert_int_equal(audience(many, 1000, NULL), 1);
}

static void test_what_is_freed_is_freed_in_pieces(void **state)
{
    (void)state;
    fws_subscriber *other = fws_subscriber_new(&table, NULL, 0);
    subscribe_to_many(other);
    assert_true(fws_subscriber_free(other));
    assert_in_range(table.subscriptions.count, MANY - FWS_BATCH, MANY - 1);
    int pieces = 0;
    while (fws_table_tidy(&table))
        pieces++;
    assert_in_range(pieces, MANY / FWS_TABLE_PIECE - 1, MANY / FWS_TABLE_PIECE + 1);
    assert_int_equal(table.subscriptions.count, 0);
}

static void test_after_a_fork_everybody_is_left_behind(void **state)
{
    (void)state;
    subscribe(subscribers[0], "room");
    fws_table before = table;
    fws_table_after_fork(&table);
    assert_int_equal(channels_of(subscribers[0]), 0);
    fws_channel_name one = name("room");
    assert_int_equal(fws_table_subscribe(subscribers[0], &one, 1), FWS_TABLE_ENDED);
    assert_true(fws_table_unsubscribe(subscribers[0], &one, 1));
    assert_false(fws_subscriber_end(subscribers[0]));
    assert_int_equal(audience(&one, 1, NULL), 0);
    fws_table_clear(&table);
    table = before; /* the parent's */
    pthread_mutex_init(&table.lock, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_subscribing_and_unsubscribing_at_random),
        TEST(test_large_channels_count_the_same_as_small_ones),
        TEST(test_a_name_twice_in_a_call_is_one_subscription),
        TEST(test_the_end_of_an_inner_block_leaves_the_outer_its_channel),
        TEST(test_names_are_bytes_zero_included),
        TEST(test_a_name_that_is_too_long_is_refused),
        TEST(test_an_ended_subscriber_knows_its_channels_and_is_in_none),
        TEST(test_the_cost_of_one_does_not_grow_with_their_number),
        TEST(test_many_threads_on_the_same_channels_and_the_same_subscriber),
        TEST(test_what_is_freed_is_freed_in_pieces),
        TEST(test_after_a_fork_everybody_is_left_behind),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
