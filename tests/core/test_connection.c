#include "testing.h"

#include "protocol/connection.h"
#include "protocol/mask.h"

/* ---- a stream of frames, and what is to come out of it ---- */

static uint8_t wire[1 << 16];
static size_t wire_size;

static void fixed_key(uint8_t out[4])
{
    memcpy(out, "\x11\x22\x33\x44", 4);
}

static void add_frame(fws_role sender, bool final, fws_opcode opcode, const void *payload,
                      size_t length)
{
    uint8_t key[4];
    fixed_key(key);
    wire_size += fws_frame_encode(wire + wire_size, final, opcode, length,
                                  sender == FWS_ROLE_CLIENT ? key : NULL);
    if (length > 0)
        memcpy(wire + wire_size, payload, length);
    if (sender == FWS_ROLE_CLIENT)
        fws_mask_apply(wire + wire_size, length, key, 0);
    wire_size += length;
}

static void add_text(bool final, fws_opcode opcode, const char *text)
{
    add_frame(FWS_ROLE_CLIENT, final, opcode, text, strlen(text));
}

/* Everything that came out, as one text: events with their contents, replies with their bytes. */
static char said[1 << 17];

static void say(const char *what, const void *data, size_t size)
{
    strcat(said, what);
    for (size_t i = 0; i < size; i++)
        sprintf(said + strlen(said), "%02x", ((const uint8_t *)data)[i]);
    strcat(said, "\n");
}

static void note(const fws_event *event)
{
    static const char *const names[] = {"",      "more ",  "message ", "ping ",
                                        "pong ", "close ", "failed "};
    if (event->type == FWS_EVENT_MESSAGE)
        strcat(said, event->opcode == FWS_OPCODE_TEXT ? "text " : "binary ");
    if (event->type == FWS_EVENT_CLOSE || event->type == FWS_EVENT_FAILED)
        sprintf(said + strlen(said), "%u ", event->code);
    say(names[event->type], event->data, event->length);
    if (event->reply_size > 0)
        say("reply ", event->reply, event->reply_size);
}

static void feed(fws_connection *connection, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1); /* its own memory, so that a sanitizer sees a byte too far */
    memcpy(copy, data, size);
    uint8_t *cursor = copy;
    fws_event event;
    while (fws_connection_receive(connection, &cursor, copy + size, &event) != FWS_EVENT_NONE)
        note(&event);
    assert_ptr_equal(cursor, copy + size);
    free(copy);
}

static fws_limits limits;

static void run_in_pieces(fws_role role, size_t piece)
{
    fws_connection connection;
    fws_connection_init(&connection, role, &limits, fixed_key);
    said[0] = '\0';
    for (size_t at = 0; at < wire_size; at += piece)
        feed(&connection, wire + at, wire_size - at < piece ? wire_size - at : piece);
    fws_connection_clear(&connection);
}

static int start(void **state)
{
    (void)state;
    wire_size = 0;
    limits = (fws_limits){.max_message_size = 1 << 20};
    return 0;
}

/* Checks the outcome for the stream whole, byte by byte, and cut at every place. */
static void expect(fws_role role, const char *wanted)
{
    static char copy[sizeof said];
    strcpy(copy, wanted);
    for (size_t piece = 1; piece <= wire_size; piece += piece < 70 ? 1 : 61) {
        run_in_pieces(role, piece);
        assert_string_equal(said, copy);
    }
    for (size_t cut = 0; cut <= wire_size && wire_size < 1000; cut++) {
        fws_connection connection;
        fws_connection_init(&connection, role, &limits, fixed_key);
        said[0] = '\0';
        feed(&connection, wire, cut);
        feed(&connection, wire + cut, wire_size - cut);
        fws_connection_clear(&connection);
        assert_string_equal(said, copy);
    }
}

/* ---- messages ---- */

static void test_messages_of_both_kinds(void **state)
{
    (void)state;
    add_text(true, FWS_OPCODE_TEXT, "Hi");
    add_frame(FWS_ROLE_CLIENT, true, FWS_OPCODE_BINARY, "\0\xff", 2);
    add_text(true, FWS_OPCODE_TEXT, "");
    expect(FWS_ROLE_SERVER, "text message 4869\nbinary message 00ff\ntext message \n");
}

static void test_the_client_role_reads_unmasked_frames(void **state)
{
    (void)state;
    add_frame(FWS_ROLE_SERVER, true, FWS_OPCODE_TEXT, "Hi", 2);
    add_frame(FWS_ROLE_SERVER, true, FWS_OPCODE_PING, "p", 1);
    /* The pong is masked with the fixed key: 'p' ^ 0x11. */
    expect(FWS_ROLE_CLIENT, "text message 4869\nping 70\nreply 8a811122334461\n");
}

static void test_fragments_with_control_frames_between_them(void **state)
{
    (void)state;
    add_text(false, FWS_OPCODE_TEXT, "a");
    add_text(true, FWS_OPCODE_PING, "1");
    add_text(false, FWS_OPCODE_CONTINUATION, "");
    add_text(true, FWS_OPCODE_PONG, "2");
    add_text(true, FWS_OPCODE_CONTINUATION, "b");
    expect(FWS_ROLE_SERVER, "ping 31\nreply 8a0131\npong 32\ntext message 6162\n");
}

static void test_a_character_cut_by_fragments(void **state)
{
    (void)state;
    add_text(false, FWS_OPCODE_TEXT, "\xE2");
    add_text(false, FWS_OPCODE_CONTINUATION, "\x82");
    add_text(true, FWS_OPCODE_CONTINUATION, "\xAC");
    expect(FWS_ROLE_SERVER, "text message e282ac\n");
}

static void test_large_messages_in_both_length_forms(void **state)
{
    (void)state;
    static uint8_t payload[60000];
    static char wanted[sizeof said];
    strcpy(wanted, "binary message ");
    for (size_t i = 0; i < sizeof payload; i++) {
        payload[i] = (uint8_t)(i * 31);
        sprintf(wanted + 15 + 2 * i, "%02x", payload[i]);
    }
    strcat(wanted, "\n");
    add_frame(FWS_ROLE_CLIENT, true, FWS_OPCODE_BINARY, payload, sizeof payload);
    static const size_t pieces[] = {1, 7, 4096, 59999, 60008, 65536};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        run_in_pieces(FWS_ROLE_SERVER, pieces[i]);
        assert_string_equal(said, wanted);
    }
}

static void test_a_whole_message_is_not_copied(void **state)
{
    (void)state;
    add_text(true, FWS_OPCODE_TEXT, "in place");
    fws_connection connection;
    fws_event event;
    uint8_t *cursor = wire;
    fws_connection_init(&connection, FWS_ROLE_SERVER, &(fws_limits){0}, NULL);
    assert_int_equal(fws_connection_receive(&connection, &cursor, wire + wire_size, &event),
                     FWS_EVENT_MESSAGE);
    assert_true(event.data >= wire && event.data < wire + wire_size);
    assert_false(event.assembled);
    fws_connection_clear(&connection);
}

static void test_an_assembled_message_can_be_taken(void **state)
{
    (void)state;
    add_text(false, FWS_OPCODE_TEXT, "ta");
    add_text(true, FWS_OPCODE_CONTINUATION, "ke");
    add_text(false, FWS_OPCODE_TEXT, "next");
    fws_connection connection;
    fws_event event;
    uint8_t *cursor = wire;
    fws_connection_init(&connection, FWS_ROLE_SERVER, &(fws_limits){0}, NULL);
    fws_connection_receive(&connection, &cursor, wire + wire_size, &event);
    assert_true(event.assembled);
    uint8_t *taken = fws_connection_detach_message(&connection);
    assert_int_equal(fws_connection_receive(&connection, &cursor, wire + wire_size, &event),
                     FWS_EVENT_NONE);
    assert_memory_equal(taken, "take", 4);
    free(taken);
    fws_connection_clear(&connection);
}

/* ---- closing ---- */

static void test_every_legal_close_code_is_answered_in_kind(void **state)
{
    static const unsigned codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                     1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char wanted[100];
        uint8_t payload[] = {(uint8_t)(codes[i] >> 8), (uint8_t)codes[i], 'o', 'k'};
        start(state);
        add_frame(FWS_ROLE_CLIENT, true, FWS_OPCODE_CLOSE, payload, sizeof payload);
        add_text(true, FWS_OPCODE_TEXT, "too late");
        sprintf(wanted, "%u close 6f6b\nreply 8802%04x\n", codes[i], codes[i]);
        expect(FWS_ROLE_SERVER, wanted);
    }
}

static void test_an_illegal_close_code_is_1002(void **state)
{
    static const unsigned codes[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65535};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        uint8_t payload[] = {(uint8_t)(codes[i] >> 8), (uint8_t)codes[i]};
        start(state);
        add_frame(FWS_ROLE_CLIENT, true, FWS_OPCODE_CLOSE, payload, sizeof payload);
        run_in_pieces(FWS_ROLE_SERVER, 1);
        assert_memory_equal(said, "1002 failed ", 12);
        assert_non_null(strstr(said, "reply 881403ea"));
    }
}

static void test_an_empty_close_is_1005_and_answered_empty(void **state)
{
    (void)state;
    add_text(true, FWS_OPCODE_CLOSE, "");
    expect(FWS_ROLE_SERVER, "1005 close \nreply 8800\n");
}

static void test_after_our_own_close_only_the_peers_close_counts(void **state)
{
    (void)state;
    fws_connection connection;
    uint8_t frame[FWS_FRAME_CONTROL_SIZE_MAX];
    fws_connection_init(&connection, FWS_ROLE_SERVER, &(fws_limits){0}, NULL);
    assert_int_equal(fws_connection_close(&connection, frame, 1000, "bye", 3), 7);
    assert_memory_equal(frame,
                        "\x88\x05\x03\xE8"
                        "bye",
                        7);
    assert_int_equal(fws_connection_close(&connection, frame, 1001, "", 0), 0);
    add_text(false, FWS_OPCODE_TEXT, "not given out");
    add_text(true, FWS_OPCODE_PING, "nor answered");
    add_text(true, FWS_OPCODE_CONTINUATION, "");
    add_frame(FWS_ROLE_CLIENT, true, FWS_OPCODE_CLOSE, "\x03\xE8", 2);
    said[0] = '\0';
    feed(&connection, wire, wire_size);
    assert_string_equal(said, "1000 close \n");
    fws_connection_clear(&connection);
}

static void test_a_long_reason_is_cut_between_characters(void **state)
{
    (void)state;
    fws_connection connection;
    uint8_t frame[FWS_FRAME_CONTROL_SIZE_MAX];
    char reason[130];
    for (size_t i = 0; i + 2 < sizeof reason; i += 2)
        memcpy(reason + i, "\xC3\xA9", 2);
    fws_connection_init(&connection, FWS_ROLE_SERVER, &(fws_limits){0}, NULL);
    size_t size = fws_connection_close(&connection, frame, 1000, reason, 128);
    assert_int_equal(size, 2 + 2 + 122); /* 123 would end inside a character */
    uint16_t code;
    assert_int_equal(fws_close_decode(frame + 2, size - 2, &code), FWS_CLOSE_OK);
    fws_connection_clear(&connection);
}

/* ---- what breaks the protocol ---- */

static void expect_failure(fws_role role, unsigned code)
{
    char wanted[20];
    sprintf(wanted, "%u failed ", code);
    for (size_t piece = 1; piece <= wire_size; piece++) {
        run_in_pieces(role, piece);
        char *last = strstr(said, wanted);
        assert_non_null(last);
        assert_non_null(strstr(last, "reply 88")); /* a close frame that says why */
        assert_null(strstr(last, "message"));      /* and nothing after it */
    }
}

static void test_masking_the_wrong_way_is_1002(void **state)
{
    for (int role = FWS_ROLE_SERVER; role <= FWS_ROLE_CLIENT; role++) {
        start(state);
        /* What this role itself would send is what it must not accept. */
        add_frame((fws_role)role, true, FWS_OPCODE_TEXT, "x", 1);
        expect_failure((fws_role)role, 1002);
    }
}

static void test_fragments_out_of_order_are_1002(void **state)
{
    add_text(true, FWS_OPCODE_CONTINUATION, "of nothing");
    expect_failure(FWS_ROLE_SERVER, 1002);
    start(state);
    add_text(false, FWS_OPCODE_TEXT, "begun");
    add_text(true, FWS_OPCODE_TEXT, "another");
    expect_failure(FWS_ROLE_SERVER, 1002);
    start(state);
    add_text(true, FWS_OPCODE_TEXT, "done");
    add_text(true, FWS_OPCODE_CONTINUATION, "more");
    expect_failure(FWS_ROLE_SERVER, 1002);
}

static void test_a_bad_frame_header_is_1002(void **state)
{
    static const char *const headers[] = {"\xC1\x80", "\x83\x80", "\x09\x80", "\x89\xFE",
                                          "\x82\xFE\x00\x01"};
    static const size_t sizes[] = {2, 2, 2, 2, 4};
    for (size_t i = 0; i < 5; i++) {
        start(state);
        memcpy(wire, headers[i], sizes[i]);
        wire_size = sizes[i];
        expect_failure(FWS_ROLE_SERVER, 1002);
    }
}

static void test_bad_utf8_is_1007_at_the_first_bad_byte(void **state)
{
    (void)state;
    add_text(true, FWS_OPCODE_TEXT,
             "good \xCE\xBA then \xED\xA0\x80 and much more that is not read");
    size_t header = 6;
    fws_connection connection;
    fws_connection_init(&connection, FWS_ROLE_SERVER, &limits, NULL);
    said[0] = '\0';
    feed(&connection, wire, header + 14); /* up to and with 0xED, which may begin a character */
    assert_string_equal(said, "");
    feed(&connection, wire + header + 14, 1); /* 0xA0 may not follow it */
    assert_memory_equal(said, "1007 failed ", 12);
    fws_connection_clear(&connection);
    expect_failure(FWS_ROLE_SERVER, 1007);
}

static void test_text_that_ends_inside_a_character_is_1007(void **state)
{
    (void)state;
    add_text(false, FWS_OPCODE_TEXT, "x");
    add_text(true, FWS_OPCODE_CONTINUATION, "\xE2\x82");
    expect_failure(FWS_ROLE_SERVER, 1007);
}

static void test_bad_utf8_in_a_close_reason_is_1007(void **state)
{
    (void)state;
    add_frame(FWS_ROLE_CLIENT, true, FWS_OPCODE_CLOSE, "\x03\xE8\xFF", 3);
    expect_failure(FWS_ROLE_SERVER, 1007);
}

static void test_a_message_over_the_limit_is_1009_from_its_header(void **state)
{
    limits.max_message_size = 10;
    add_text(true, FWS_OPCODE_TEXT, "just right"); /* 10 bytes */
    expect(FWS_ROLE_SERVER, "text message 6a757374207269676874\n");

    start(state);
    limits.max_message_size = 10;
    add_text(true, FWS_OPCODE_TEXT, "eleven byte");
    wire_size = 6; /* the header alone */
    expect_failure(FWS_ROLE_SERVER, 1009);

    start(state);
    limits.max_message_size = 10;
    add_text(false, FWS_OPCODE_TEXT, "six...");
    add_text(true, FWS_OPCODE_CONTINUATION, "five.");
    wire_size -= 5;
    expect_failure(FWS_ROLE_SERVER, 1009);

    start(state);
    limits.max_message_size = 10;
    memcpy(wire, "\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0", 14);
    wire_size = 14;
    expect_failure(FWS_ROLE_SERVER, 1009);
}

static void test_a_header_alone_reserves_no_memory(void **state)
{
    (void)state;
    fws_connection connection;
    fws_connection_init(&connection, FWS_ROLE_SERVER, &(fws_limits){0}, NULL);
    memcpy(wire, "\x82\xFF\x00\x00\x00\x7F\xFF\xFF\xFF\xFF\0\0\0\0x", 15); /* half a TiB promised */
    feed(&connection, wire, 15);
    assert_in_range(connection.message_capacity, 1, 4096);
    fws_connection_clear(&connection);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, start)
    const struct CMUnitTest tests[] = {
        TEST(test_messages_of_both_kinds),
        TEST(test_the_client_role_reads_unmasked_frames),
        TEST(test_fragments_with_control_frames_between_them),
        TEST(test_a_character_cut_by_fragments),
        TEST(test_large_messages_in_both_length_forms),
        TEST(test_a_whole_message_is_not_copied),
        TEST(test_an_assembled_message_can_be_taken),
        TEST(test_every_legal_close_code_is_answered_in_kind),
        TEST(test_an_illegal_close_code_is_1002),
        TEST(test_an_empty_close_is_1005_and_answered_empty),
        TEST(test_after_our_own_close_only_the_peers_close_counts),
        TEST(test_a_long_reason_is_cut_between_characters),
        TEST(test_masking_the_wrong_way_is_1002),
        TEST(test_fragments_out_of_order_are_1002),
        TEST(test_a_bad_frame_header_is_1002),
        TEST(test_bad_utf8_is_1007_at_the_first_bad_byte),
        TEST(test_text_that_ends_inside_a_character_is_1007),
        TEST(test_bad_utf8_in_a_close_reason_is_1007),
        TEST(test_a_message_over_the_limit_is_1009_from_its_header),
        TEST(test_a_header_alone_reserves_no_memory),
    };
    return cmocka_run_group_tests_name("connection", tests, NULL, NULL);
}
