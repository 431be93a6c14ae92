/* The table of channels by itself, with many names. */
#include "testing.h"

#include "engine/internal.h"
#include "engine/internal.h"
#include "websocket/internal.h"

#define SOCKETS 50
#define CHANNELS 200

static fws_engine *engine;
static fws_websocket *sockets[SOCKETS];

static int start(void **state)
{
    (void)state;
    fws_engine_config config = {.receive_queue = 1};
    engine = fws_engine_new(&config);
    for (int i = 0; i < SOCKETS; i++)
        sockets[i] = fws_websocket_new(&engine->work, &engine->table, -1, FWS_ROLE_SERVER);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (int i = 0; i < SOCKETS; i++) {
        fws_table_forget(&engine->table, sockets[i]);
        fws_websocket_drop(sockets[i]);
    }
    assert_int_equal(engine->table.channel_count, 0);
    fws_engine_free(engine);
    return 0;
}

static void count_one(void *context, const char *data, size_t size)
{
    (void)data;
    (void)size;
    ++*(size_t *)context;
}

static size_t channels_of(fws_websocket *websocket)
{
    size_t count = 0;
    fws_table_visit(&engine->table, websocket, count_one, &count);
    return count;
}

static void test_subscribing_and_unsubscribing_at_random(void **state)
{
    (void)state;
    static bool member[SOCKETS][CHANNELS];
    uint32_t seed = 7;
    for (int step = 0; step < 50000; step++) {
        seed = seed * 1664525 + 1013904223;
        unsigned s = (seed >> 8) % SOCKETS, c = (seed >> 16) % CHANNELS;
        char text[20];
        sprintf(text, "channel %u", c);
        fws_channel_name name = {.data = text, .size = strlen(text)};
        if (seed >> 31) {
            assert_int_equal(fws_table_subscribe(&engine->table, sockets[s], &name, 1),
                             FWS_TABLE_OK);
            member[s][c] = true;
        } else {
            fws_table_unsubscribe(&engine->table, sockets[s], &name, 1);
            member[s][c] = false;
        }
    }
    size_t used[CHANNELS] = {0}, all = 0;
    for (int s = 0; s < SOCKETS; s++) {
        size_t wanted = 0;
        for (int c = 0; c < CHANNELS; c++) {
            wanted += member[s][c];
            used[c] += member[s][c];
        }
        assert_int_equal(channels_of(sockets[s]), wanted);
    }
    for (int c = 0; c < CHANNELS; c++)
        all += used[c] > 0;
    assert_int_equal(engine->table.channel_count, all);
}

static void test_a_name_twice_is_one_subscription(void **state)
{
    (void)state;
    fws_channel_name names[2] = {{"twice", 5}, {"twice", 5}};
    assert_int_equal(fws_table_subscribe(&engine->table, sockets[0], names, 2), FWS_TABLE_OK);
    assert_int_equal(fws_table_subscribe(&engine->table, sockets[0], names, 1), FWS_TABLE_OK);
    assert_int_equal(channels_of(sockets[0]), 1);
    fws_table_unsubscribe(&engine->table, sockets[0], NULL, 0);
    assert_int_equal(channels_of(sockets[0]), 0);
}

static void test_names_are_bytes_zero_included(void **state)
{
    (void)state;
    fws_channel_name names[3] = {{"a\0b", 3}, {"a\0c", 3}, {"a", 1}};
    assert_int_equal(fws_table_subscribe(&engine->table, sockets[0], names, 3), FWS_TABLE_OK);
    assert_int_equal(channels_of(sockets[0]), 3);
    assert_int_equal(engine->table.channel_count, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_subscribing_and_unsubscribing_at_random),
        TEST(test_a_name_twice_is_one_subscription),
        TEST(test_names_are_bytes_zero_included),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
