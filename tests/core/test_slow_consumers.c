/* What is published to a subscriber that does not keep up. */
#include "slow_peer.h"

static fws_engine *engine;
static pair p;

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

static bool publish_text(char fill, size_t size)
{
    uint8_t header[FWS_FRAME_HEADER_MAX];
    char *data = malloc(size);
    memset(data, fill, size);
    size_t head = fws_frame_encode(header, true, FWS_OPCODE_TEXT, size, NULL);
    fws_buffer *frame = fws_buffer_join(header, head, data, size);
    frame->published = true;
    fws_websocket_lock(p.server);
    bool queued = fws_websocket_enqueue(p.server, frame);
    if (p.server->state != FWS_STATE_CLOSED)
        fws_websocket_write(p.server);
    fws_websocket_unlock(p.server);
    free(data);
    return queued;
}

static fws_engine_config publishing(fws_slow_consumer policy)
{
    fws_engine_config config = default_config;
    config.send_buffer = 1 << 20;
    config.send_timeout = 600 * MS;
    config.slow_consumer = policy;
    return config;
}

static void fill_with_own(void)
{
    for (size_t i = 0; send_numbered(&p, i) == FWS_OK; i++)
        ;
}

static void test_a_queue_full_of_what_its_handler_sent_makes_no_slow_consumer(void **state)
{
    (void)state;
    for (fws_slow_consumer policy = FWS_SLOW_CLOSE; policy <= FWS_SLOW_DROP_NEWEST; policy++) {
        fws_engine_config config = publishing(policy);
        start_with(&config);
        fill_with_own();
        assert_true(publish_text('0', 2 << 20)); /* one, whatever its size */
        stop();
        start_with(&config);
        fill_with_own();
        for (char c = 'a'; c <= 'z'; c++)
            assert_true(publish_text(c, 10000));
        assert_int_equal(state_of(p.server), FWS_STATE_OPEN);
        assert_true(read_until_quiet(&p, 500));
        size_t place = 0, length;
        const uint8_t *payload;
        int opcode;
        while ((opcode = next_frame(&place, &payload, &length)) == FWS_OPCODE_BINARY)
            ;
        for (char c = 'a'; c <= 'z'; c++) {
            assert_int_equal(opcode, FWS_OPCODE_TEXT);
            assert_int_equal(payload[0], c);
            opcode = next_frame(&place, &payload, &length);
        }
        forget_what_was_read();
        stop();
    }
}

static void test_one_with_more_published_than_send_buffer_is(void **state)
{
    (void)state;
    fws_engine_config config = publishing(FWS_SLOW_CLOSE);
    start_with(&config);
    fill_with_own();
    size_t own = buffered(p.server);
    unsigned published = 0;
    while (publish_text('x', 10000))
        published++;
    assert_in_range(published, 100, (1 << 20) / 10000);
    assert_int_equal(close_code_of(p.server), 1013);
    assert_true(own > 1 << 20);
    stop();
}

static void test_only_what_is_published_is_dropped(void **state)
{
    (void)state;
    fws_engine_config config = publishing(FWS_SLOW_DROP_OLDEST);
    start_with(&config);
    fill_with_own();
    size_t own = buffered(p.server), place = 0, length, texts = 0;
    for (int i = 0; i < 300; i++)
        assert_true(publish_text(i < 250 ? 'o' : 'n', 10000));
    assert_in_range(buffered(p.server), own + 1000000, own + (1 << 20));
    assert_true(read_until_quiet(&p, 500));
    const uint8_t *payload;
    int opcode;
    while ((opcode = next_frame(&place, &payload, &length)) >= 0)
        texts += opcode == FWS_OPCODE_TEXT && payload[0] == 'n';
    assert_int_equal(texts, 50); /* the newest are there */
    forget_what_was_read();
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_queue_full_of_what_its_handler_sent_makes_no_slow_consumer),
        cmocka_unit_test(test_one_with_more_published_than_send_buffer_is),
        cmocka_unit_test(test_only_what_is_published_is_dropped),
    };
    return cmocka_run_group_tests_name("slow consumers", tests, NULL, NULL);
}
