/* Connections that have agreed on compression: what goes in, what comes out, and what must not. */
#include "deflating.h"

#include "protocol/connection.h"
#include "protocol/mask.h"

static void fixed_key(uint8_t out[4])
{
    memcpy(out, "\x11\x22\x33\x44", 4);
}

static fws_connection client, server;

static void connect_with(const fws_deflate_parameters *parameters, uint64_t max_message_size)
{
    fws_limits limits = {.max_message_size = max_message_size, .max_fragments = 1000};
    fws_connection_init(&client, FWS_ROLE_CLIENT, &limits, fixed_key);
    fws_connection_init(&server, FWS_ROLE_SERVER, &limits, NULL);
    assert_true(fws_connection_use_compression(&client, &pool, parameters));
    assert_true(fws_connection_use_compression(&server, &pool, parameters));
}

static void disconnect(void)
{
    fws_connection_clear(&client);
    fws_connection_clear(&server);
}

/* A frame of the client's with this payload, RSV1 set; returns its size. */
static size_t compressed_frame(uint8_t *wire, bool first, bool final, const uint8_t *payload,
                               size_t size)
{
    uint8_t key[4];
    size_t header = fws_connection_encode_header(
        &client, wire, final, first ? FWS_OPCODE_TEXT : FWS_OPCODE_CONTINUATION, size, key);
    if (first)
        fws_frame_mark_compressed(wire);
    memcpy(wire + header, payload, size);
    fws_mask_apply(wire + header, size, key, 0);
    return header + size;
}

/* Feeds it in pieces; the event that is the outcome, FWS_EVENT_NONE if none comes. */
static fws_event_type feed(uint8_t *wire, size_t size, size_t piece, fws_event *event)
{
    for (size_t at = 0; at < size; at += piece) {
        uint8_t *cursor = wire + at, *end = wire + (size - at < piece ? size : at + piece);
        while (fws_connection_receive(&server, &cursor, end, event) == FWS_EVENT_MORE)
            assert_true(cursor < end);
        if (event->type != FWS_EVENT_NONE)
            return event->type;
    }
    return FWS_EVENT_NONE;
}

static void send_and_expect(const uint8_t *text, size_t length, size_t fragment, size_t piece)
{
    uint8_t *payload = malloc(length + 64), *wire = malloc(length * 20 + 64);
    size_t size, used = 0;
    assert_true(
        fws_compression_deflate(client.compression, text, length, payload, length + 64, &size));
    for (size_t at = 0; at < size; at += fragment) {
        size_t part = size - at < fragment ? size - at : fragment;
        used += compressed_frame(wire + used, at == 0, at + part == size, payload + at, part);
    }
    fws_event event;
    assert_int_equal(feed(wire, used, piece, &event), FWS_EVENT_MESSAGE);
    assert_int_equal(event.opcode, FWS_OPCODE_TEXT);
    assert_int_equal(event.length, length);
    assert_memory_equal(event.data, text, length);
    assert_true(event.assembled);
    free(fws_connection_detach_message(&server));
    free(payload);
    free(wire);
}

static void test_messages_get_through_however_fragmented_and_cut(void **state)
{
    (void)state;
    uint8_t text[3000];
    for (unsigned variant = 0; variant < 4; variant++) {
        fws_deflate_parameters parameters = {.server_no_context_takeover = variant & 1,
                                             .client_no_context_takeover = variant & 1,
                                             .server_max_window_bits = variant & 2 ? 9 : 15,
                                             .client_max_window_bits = variant & 2 ? 9 : 15};
        connect_with(&parameters, 1 << 20);
        for (size_t fragment = 1; fragment < 500; fragment = fragment * 3 + 1) {
            for (size_t piece = 1; piece < 2000; piece = piece * 5 + 1) {
                fill(text, sizeof text, (uint32_t)(fragment * piece));
                send_and_expect(text, sizeof text, fragment, piece);
                send_and_expect(text, 10, fragment, piece);
            }
        }
        disconnect();
    }
}

static void test_context_takeover_makes_the_second_message_smaller(void **state)
{
    (void)state;
    const fws_deflate_parameters takeover = {.server_max_window_bits = 15,
                                             .client_max_window_bits = 15};
    uint8_t text[1000], out[1100];
    size_t first, second, third;
    fill(text, sizeof text, 5);
    connect_with(&takeover, 0);
    fws_compression *writer = client.compression;
    fws_compression_deflate(writer, text, sizeof text, out, sizeof out, &first);
    fws_compression_deflate(writer, text, sizeof text, out, sizeof out, &second);
    assert_true(second < first / 4);
    /* Something else went out meanwhile: it begins anew. */
    fws_compression_mark_stale(writer);
    fws_compression_deflate(writer, text, sizeof text, out, sizeof out, &third);
    assert_int_equal(third, first);
    disconnect();
}

static const fws_deflate_parameters alone = {.server_no_context_takeover = true,
                                             .client_no_context_takeover = true,
                                             .server_max_window_bits = 15,
                                             .client_max_window_bits = 15};

/* One compressed text message with this payload, whole and byte by byte. */
static void expect_outcome(const char *payload, size_t size, unsigned code, const char *words)
{
    for (size_t piece = 1; piece <= 100; piece += 99) {
        uint8_t wire[200];
        fws_event event;
        connect_with(&alone, 1000);
        size_t used = compressed_frame(wire, true, true, (const uint8_t *)payload, size);
        fws_event_type type = feed(wire, used, piece, &event);
        if (code == 0) {
            assert_int_equal(type, FWS_EVENT_MESSAGE);
            assert_int_equal(event.length, strlen(words));
            assert_memory_equal(event.data, words, event.length);
        } else {
            assert_int_equal(type, FWS_EVENT_FAILED);
            assert_int_equal(event.code, code);
            assert_int_equal(event.length, strlen(words));
            assert_memory_equal(event.data, words, event.length);
            assert_true(event.reply_size > 4); /* a close frame that says so */
        }
        disconnect();
    }
}

static void test_the_forms_of_a_compressed_hello(void **state)
{
    (void)state;
    expect_outcome("\xf2\x48\xcd\xc9\xc9\x07\x00", 7, 0, "Hello");
    /* Section 7.2.3.3: a block without compression. 7.2.3.4: BFINAL. 7.2.3.5: two blocks. */
    expect_outcome("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, 0, "Hello");
    expect_outcome("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, 0, "Hello");
    expect_outcome("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, 0, "Hello");
    expect_outcome("\x00", 1, 0, "");
    expect_outcome("", 0, 0, "");
}

static void test_what_is_no_stream_is_1007(void **state)
{
    (void)state;
    expect_outcome("\xff\xff\xff\xff", 4, 1007, "compressed message is not a DEFLATE stream");
    expect_outcome("\xf2\x48\xcd\xc9", 4, 1007, "compressed message ends within a block");
    expect_outcome("\x00\x09\x00\xf6\xff\x48", 6, 1007, "text is not valid UTF-8"); /* the tail */
    /* A reference to before the beginning. */
    expect_outcome("\x02\x04\x00", 3, 1007, "compressed message is not a DEFLATE stream");
}

static void test_bad_utf8_inside_is_1007_before_the_message_ends(void **state)
{
    (void)state;
    uint8_t text[400], payload[500], wire[600];
    fill(text, sizeof text, 9);
    text[50] = 0xFF;
    size_t size;
    connect_with(&alone, 0);
    fws_compression_deflate(client.compression, text, sizeof text, payload, sizeof payload, &size);
    size_t used = compressed_frame(wire, true, false, payload, size - 10);
    fws_event event;
    assert_int_equal(feed(wire, used, 7, &event), FWS_EVENT_FAILED);
    assert_int_equal(event.code, 1007);
    disconnect();
    /* A character that the message does not finish. */
    connect_with(&alone, 0);
    memset(text, 'a', sizeof text);
    text[399] = 0xC3;
    fws_compression_deflate(client.compression, text, sizeof text, payload, sizeof payload, &size);
    used = compressed_frame(wire, true, true, payload, size);
    assert_int_equal(feed(wire, used, 600, &event), FWS_EVENT_FAILED);
    assert_int_equal(event.code, 1007);
    disconnect();
}

static void test_a_bomb_stops_at_the_limit(void **state)
{
    (void)state;
    enum { BOMB = 8 << 20, LIMIT = 100000 };
    uint8_t *zeros = calloc(1, BOMB), *payload = malloc(BOMB), *wire = malloc(BOMB);
    size_t size;
    connect_with(&alone, LIMIT);
    fws_compression_deflate(client.compression, zeros, BOMB, payload, BOMB, &size);
    assert_true(size < LIMIT);
    size_t used = compressed_frame(wire, true, true, payload, size);
    uint8_t *cursor = wire;
    fws_event event;
    /* Step by step, to see what it holds. */
    fws_event_type type = FWS_EVENT_NONE;
    size_t held = 0;
    while (cursor < wire + used && (type == FWS_EVENT_NONE || type == FWS_EVENT_MORE)) {
        type = fws_connection_receive(&server, &cursor, cursor + 1, &event);
        held = server.message_capacity > held ? server.message_capacity : held;
    }
    assert_int_equal(type, FWS_EVENT_FAILED);
    assert_int_equal(event.code, 1009);
    assert_memory_equal(event.data, "message too big after decompression", event.length);
    assert_true(held <= LIMIT + 65536);
    assert_true((size_t)(cursor - wire) < used / 10);
    disconnect();
    free(zeros);
    free(payload);
    free(wire);
}

static void test_exactly_the_limit_gets_through(void **state)
{
    (void)state;
    enum { LIMIT = 66000 };
    uint8_t *text = malloc(LIMIT + 1), *payload = malloc(LIMIT + 1000);
    uint8_t *wire = malloc(LIMIT + 1100);
    for (int noise = 0; noise < 2; noise++) {
        for (int over = 0; over < 2; over++) {
            size_t size, length = LIMIT + (size_t)over;
            if (noise) {
                fill_random(text, length);
                for (size_t i = 0; i < length; i++)
                    text[i] &= 0x7F;
            } else {
                fill(text, length, 4);
            }
            connect_with(&alone, LIMIT);
            assert_true(fws_compression_deflate(client.compression, text, length, payload,
                                                LIMIT + 1000, &size));
            size_t used = compressed_frame(wire, true, true, payload, size);
            fws_event event;
            fws_event_type type = feed(wire, used, 50000, &event);
            assert_int_equal(type, over ? FWS_EVENT_FAILED : FWS_EVENT_MESSAGE);
            assert_int_equal(over ? event.code : 1009, 1009);
            disconnect();
        }
    }
    free(text);
    free(payload);
    free(wire);
}

static void test_a_compressed_message_that_is_too_long_is_1009_from_its_header(void **state)
{
    (void)state;
    uint8_t wire[FWS_FRAME_HEADER_MAX], key[4];
    connect_with(&alone, 1 << 20);
    size_t size = fws_connection_encode_header(&client, wire, true, FWS_OPCODE_BINARY,
                                               (uint64_t)10 << 20, key);
    fws_frame_mark_compressed(wire);
    fws_event event;
    assert_int_equal(feed(wire, size, size, &event), FWS_EVENT_FAILED);
    assert_int_equal(event.code, 1009);
    disconnect();
}

static void test_after_our_close_compressed_messages_are_skipped(void **state)
{
    (void)state;
    uint8_t wire[300], frame[FWS_FRAME_CONTROL_SIZE_MAX];
    fws_event event;
    connect_with(&alone, 1000);
    size_t used = compressed_frame(wire, true, false, (const uint8_t *)"\xf2\x48", 2);
    assert_int_equal(feed(wire, used, used, &event), FWS_EVENT_NONE);
    fws_connection_close(&server, frame, 1000, NULL, 0);
    used = compressed_frame(wire, false, true, (const uint8_t *)"\xff\xff\xff", 3);
    used += compressed_frame(wire + used, true, true, (const uint8_t *)"\xff\xff", 2);
    used += fws_connection_close(&client, wire + used, 1000, NULL, 0);
    assert_int_equal(feed(wire, used, 3, &event), FWS_EVENT_CLOSE);
    disconnect();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_messages_get_through_however_fragmented_and_cut),
        TEST(test_context_takeover_makes_the_second_message_smaller),
        TEST(test_the_forms_of_a_compressed_hello),
        TEST(test_what_is_no_stream_is_1007),
        TEST(test_bad_utf8_inside_is_1007_before_the_message_ends),
        TEST(test_a_bomb_stops_at_the_limit),
        TEST(test_exactly_the_limit_gets_through),
        TEST(test_a_compressed_message_that_is_too_long_is_1009_from_its_header),
        TEST(test_after_our_close_compressed_messages_are_skipped),
        FAST(test_messages_get_through_however_fragmented_and_cut),
    };
    return cmocka_run_group_tests_name("compressed", tests, NULL, NULL);
}
