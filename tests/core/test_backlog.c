/* What is published and not delivered yet: who is given what, in which order. Without websockets,
 * but for the random part, which is fuzz/fuzz_channels.c with random input. */
#include "testing.h"

#include "channels/table_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static fws_table table;
static fws_deflate_pool pool;
static fws_subscriber *a, *b, *c;

static int start(void **state)
{
    (void)state;
    fws_table_init(&table);
    fws_deflate_pool_init(&pool, 1);
    a = fws_subscriber_new(&table, "a", 0);
    b = fws_subscriber_new(&table, "b", 0);
    c = fws_subscriber_new(&table, "c", 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fws_subscriber_free(a);
    fws_subscriber_free(b);
    fws_subscriber_free(c);
    while (fws_table_tidy(&table))
        ;
    fws_table_clear(&table);
    fws_deflate_pool_clear(&pool);
    return 0;
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

static fws_dispatch *prepare(const char *text, const fws_channel_name *names, size_t count,
                             fws_subscriber *excluded)
{
    fws_subscriber **list = excluded ? malloc(sizeof *list) : NULL;
    if (list)
        *list = excluded;
    fws_dispatch *dispatch = fws_dispatch_new(&table, names, count, list, excluded ? 1 : 0);
    assert_non_null(dispatch);
    assert_true(fws_publication_init(&dispatch->publication, &pool, 1000, FWS_OPCODE_TEXT, text,
                                     strlen(text)));
    return dispatch;
}

static size_t publish_without(const char *text, const char *channel, fws_subscriber *excluded)
{
    fws_channel_name one = name(channel);
    fws_dispatch *dispatch = prepare(text, &one, 1, excluded);
    size_t reached = 0;
    if (fws_backlog_join(&table, dispatch, &reached) == FWS_JOIN_NOBODY)
        fws_dispatch_free(&table, dispatch);
    return reached;
}

static size_t publish(const char *text, const char *channel)
{
    return publish_without(text, channel, NULL);
}

/* Takes all, and compares it with these messages of a letter each. */
static void expect(fws_subscriber *subscriber, const char *letters)
{
    fws_buffer *frames[FWS_PUBLISHED_AHEAD];
    char got[FWS_PUBLISHED_AHEAD + 1] = "";
    size_t count = fws_backlog_take(subscriber, UINT64_MAX, frames);
    assert_in_range(count, 0, FWS_PUBLISHED_AHEAD - 1);
    for (size_t i = 0; i < count; i++) {
        got[i] = (char)frames[i]->bytes[frames[i]->size - 1];
        fws_buffer_drop(frames[i]);
    }
    assert_string_equal(got, letters);
}

static void do_not_keep(void *owner)
{
    assert_non_null(owner);
}

/* Whom it names next, a letter each. */
static const char *collect(size_t maximum)
{
    static char got[8];
    fws_target targets[8];
    bool more = true;
    size_t count = 0;
    while (more && count == 0)
        count = fws_backlog_collect(&table, targets, maximum, do_not_keep, &more);
    for (size_t i = 0; i < count; i++)
        got[i] = *(const char *)targets[i].owner;
    got[count] = '\0';
    return got;
}

static void test_whoever_joins_later_is_not_reached(void **state)
{
    (void)state;
    subscribe(a, "x");
    assert_int_equal(publish("1", "x"), 1);
    subscribe(b, "x");
    assert_int_equal(publish("2", "x"), 2);
    expect(a, "12");
    expect(b, "2");
}

static void test_whoever_leaves_and_comes_back_is_not_reached(void **state)
{
    (void)state;
    subscribe(a, "x");
    subscribe(b, "x");
    publish("1", "x");
    unsubscribe(a, "x");
    subscribe(a, "x");
    expect(a, "");
    assert_string_equal(collect(8), "b");
}

static void test_a_member_of_several_of_its_channels_is_given_it_once_and_in_order(void **state)
{
    (void)state;
    fws_channel_name both[2] = {name("x"), name("y")};
    size_t reached;
    subscribe(a, "x");
    subscribe(a, "y");
    publish("1", "y");
    assert_int_equal(fws_backlog_join(&table, prepare("2", both, 2, NULL), &reached),
                     FWS_JOIN_DONE);
    assert_int_equal(reached, 1);
    publish("3", "x");
    expect(a, "123");
    expect(a, "");
    assert_string_equal(collect(8), "");
    assert_int_equal(table.backlog.count, 0);
    assert_int_equal(table.backlog.deliveries, 0);
    assert_int_equal(table.backlog.bytes, 0);
}

static void test_who_is_excluded_is_not_given_it(void **state)
{
    (void)state;
    subscribe(a, "x");
    subscribe(b, "x");
    assert_int_equal(publish_without("1", "x", a), 1);
    assert_int_equal(publish_without("2", "x", c), 2);
    expect(a, "2");
    expect(b, "12");
}

static void test_members_that_leave_while_it_is_delivered_do_not_stop_it(void **state)
{
    (void)state;
    subscribe(a, "x");
    subscribe(b, "x");
    subscribe(c, "x");
    publish("1", "x");
    assert_string_equal(collect(1), "a");
    expect(a, "1");
    unsubscribe(b, "x"); /* it would be the next */
    assert_string_equal(collect(1), "c");
    expect(c, "1");
    assert_string_equal(collect(1), "");
    assert_int_equal(table.backlog.count, 0);
}

static void test_a_channel_lives_until_what_is_published_to_it_is_delivered(void **state)
{
    (void)state;
    subscribe(a, "x");
    publish("1", "x");
    unsubscribe(a, "x");
    assert_int_equal(table.names.count, 1);
    assert_string_equal(collect(8), "");
    assert_int_equal(table.names.count, 0);
}

static void test_whoever_has_ended_is_not_counted_and_not_given_it(void **state)
{
    (void)state;
    subscribe(a, "x");
    subscribe(b, "x");
    publish("1", "x");
    fws_subscriber_end(a);
    assert_int_equal(publish("2", "x"), 1);
    expect(a, "");
    assert_string_equal(collect(8), "b");
    expect(b, "12");
}

static void test_nothing_is_queued_when_nobody_is_there(void **state)
{
    (void)state;
    assert_int_equal(publish("1", "x"), 0);
    subscribe(a, "x");
    assert_int_equal(publish_without("1", "x", a), 0);
    assert_int_equal(table.backlog.count, 0);
    assert_int_equal(atomic_load(&table.backlog.newest), 0);
}

static void test_a_frame_is_asked_for_when_somebody_has_come_who_needs_it(void **state)
{
    (void)state;
    size_t reached;
    fws_channel_name one = name("x");
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    subscribe(a, "x");
    fws_dispatch *dispatch = prepare(text, &one, 1, NULL);
    dispatch->publication.threshold = 0;
    assert_int_equal(fws_dispatch_windows(&table, dispatch), 1);
    fws_subscriber *compressing = fws_subscriber_new(&table, "d", 15);
    subscribe(compressing, "x");
    assert_int_equal(fws_backlog_join(&table, dispatch, &reached), FWS_JOIN_FRAMES);
    fws_publication_compress(&dispatch->publication, fws_dispatch_windows(&table, dispatch));
    assert_int_equal(fws_backlog_join(&table, dispatch, &reached), FWS_JOIN_DONE);
    assert_int_equal(reached, 2);
    fws_buffer *frames[FWS_PUBLISHED_AHEAD];
    assert_int_equal(fws_backlog_take(compressing, UINT64_MAX, frames), 1);
    assert_true(frames[0]->compressed);
    fws_buffer_drop(frames[0]);
    fws_subscriber_free(compressing);
}

static void test_the_limits(void **state)
{
    (void)state;
    subscribe(a, "x");
    for (int i = 0; i < FWS_BACKLOG_DISPATCHES; i++)
        publish("1", "x");
    assert_false(atomic_load(&table.backlog.is_over));
    publish("1", "x");
    assert_true(atomic_load(&table.backlog.is_over));
    fws_buffer *frames[FWS_PUBLISHED_AHEAD];
    while (*collect(1)) {
        size_t count = fws_backlog_take(a, 0, frames);
        assert_int_equal(table.backlog.deliveries + count > 0, true);
        while (count > 0)
            fws_buffer_drop(frames[--count]);
    }
    assert_false(atomic_load(&table.backlog.is_over));
    char *large = malloc(FWS_BACKLOG_BYTES + 1);
    memset(large, 'x', FWS_BACKLOG_BYTES);
    large[FWS_BACKLOG_BYTES] = '\0';
    publish(large, "x");
    assert_true(atomic_load(&table.backlog.is_over));
    expect(a, "x");
    collect(1);
    assert_false(atomic_load(&table.backlog.is_over));
    free(large);
}

static void test_very_many_channels(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    static char texts[MANY][16];
    static fws_channel_name many[MANY];
    size_t reached;
    for (int i = 0; i < MANY; i++) {
        sprintf(texts[i], "many %d", i);
        many[i] = name(texts[i]);
    }
    assert_int_equal(fws_table_subscribe(a, many, MANY), FWS_TABLE_OK);
    subscribe(b, "many 2999");
    subscribe(c, "other");
    assert_int_equal(fws_backlog_join(&table, prepare("1", many, MANY, NULL), &reached),
                     FWS_JOIN_DONE);
    assert_int_equal(reached, 2);
    publish("2", "many 2999");
    expect(a, "12");
    expect(c, "");
    assert_string_equal(collect(8), "b");
    expect(b, "12");
    assert_string_equal(collect(8), "");
    assert_int_equal(table.backlog.count, 0);
}

static void test_at_random(void **state)
{
    (void)state;
    static uint8_t data[4000];
    uint32_t seed = 3;
    for (int round = 0; round < 300; round++) {
        size_t size = 0;
        while (size + 4 < sizeof data) {
            seed = seed * 1664525 + 1013904223;
            data[size++] = (uint8_t)(seed >> 24); /* what, and who */
            data[size] = (uint8_t)(seed >> 8 & 1);
            data[size + 1] = (uint8_t)('a' + (seed >> 16) % 6);
            data[size + 2] = 'z';
            size += 2 + data[size];
        }
        LLVMFuzzerTestOneInput(data, size);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_whoever_joins_later_is_not_reached),
        TEST(test_whoever_leaves_and_comes_back_is_not_reached),
        TEST(test_a_member_of_several_of_its_channels_is_given_it_once_and_in_order),
        TEST(test_who_is_excluded_is_not_given_it),
        TEST(test_members_that_leave_while_it_is_delivered_do_not_stop_it),
        TEST(test_a_channel_lives_until_what_is_published_to_it_is_delivered),
        TEST(test_whoever_has_ended_is_not_counted_and_not_given_it),
        TEST(test_nothing_is_queued_when_nobody_is_there),
        TEST(test_a_frame_is_asked_for_when_somebody_has_come_who_needs_it),
        TEST(test_the_limits),
        TEST(test_very_many_channels),
        cmocka_unit_test(test_at_random),
    };
    return cmocka_run_group_tests_name("backlog", tests, NULL, NULL);
}
