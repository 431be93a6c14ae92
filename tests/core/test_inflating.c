/* Long messages that arrive compressed: they are decompressed in pieces, while others have their
 * turn, and the connection may change hands, close or fail between two pieces. */
#include "long_messages.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* A compressed text message of LONG letters, as a masked frame with a key of zeros. */
static uint8_t *bomb(size_t *size)
{
    static const uint8_t key[4];
    fws_deflater *deflater = fws_deflater_new(15, 6);
    uint8_t *text = malloc(LONG), *payload = malloc(LONG), *frame = malloc(LONG);
    size_t length;
    memset(text, 'a', LONG);
    assert_true(fws_deflater_message(deflater, text, LONG, payload, LONG, &length));
    size_t header = fws_frame_encode(frame, true, FWS_OPCODE_TEXT, length, key);
    fws_frame_mark_compressed(frame);
    memcpy(frame + header, payload, length);
    *size = header + length;
    fws_deflater_free(deflater);
    free(payload);
    free(text);
    return frame;
}

static void expect_long_message(const fws_message *message)
{
    assert_int_equal(message->length, LONG);
    for (size_t i = 0; i < LONG; i += 997)
        assert_int_equal(message->data[i], 'a');
}

/* ---- the connection by itself ---- */

static void
test_a_call_decompresses_one_piece_and_leaves_bytes_as_long_as_there_is_more(void **state)
{
    (void)state;
    fws_deflate_pool pool;
    fws_connection connection;
    fws_event event;
    size_t size, seen = 0, calls = 0;
    uint8_t *frame = bomb(&size), *cursor = frame;
    fws_deflate_pool_init(&pool, 6);
    fws_connection_init(&connection, FWS_ROLE_SERVER, &(fws_limits){0}, NULL);
    assert_true(fws_connection_use_compression(&connection, &pool, &alone));
    while (fws_connection_receive(&connection, &cursor, frame + size, &event) == FWS_EVENT_MORE) {
        assert_in_range(connection.message_size - seen, 1, FWS_PIECE);
        assert_true(cursor < frame + size);
        seen = connection.message_size;
        calls++;
        if (calls % 2 == 0) { /* the same without the lock */
            fws_connection_inflate(&connection, &cursor, frame + size);
            assert_in_range(connection.message_size - seen, 1, FWS_PIECE);
            seen = connection.message_size;
        }
    }
    assert_int_equal(event.type, FWS_EVENT_MESSAGE);
    assert_int_equal(event.length, LONG);
    assert_ptr_equal(cursor, frame + size);
    assert_in_range(calls, LONG / FWS_PIECE / 2, LONG / FWS_PIECE + 1);
    fws_connection_clear(&connection);
    fws_deflate_pool_clear(&pool);
    free(frame);
}

static void test_many_short_messages_share_what_one_call_may_decompress(void **state)
{
    (void)state;
    enum { MESSAGES = 40, EACH = 10000 };
    static uint8_t text[EACH], wire[MESSAGES * 200];
    static const uint8_t key[4];
    fws_deflate_pool pool;
    fws_connection connection;
    fws_event event;
    size_t size, used = 0, given = 0, pieces = 0;
    memset(text, 'b', sizeof text);
    fws_deflater *deflater = fws_deflater_new(15, 6);
    for (int i = 0; i < MESSAGES; i++) {
        uint8_t payload[150];
        fws_deflater_reset(deflater);
        assert_true(fws_deflater_message(deflater, text, EACH, payload, sizeof payload, &size));
        size_t header = fws_frame_encode(wire + used, true, FWS_OPCODE_TEXT, size, key);
        fws_frame_mark_compressed(wire + used);
        memcpy(wire + used + header, payload, size);
        used += header + size;
    }
    fws_deflate_pool_init(&pool, 6);
    fws_connection_init(&connection, FWS_ROLE_SERVER, &(fws_limits){0}, NULL);
    assert_true(fws_connection_use_compression(&connection, &pool, &alone));
    uint8_t *cursor = wire;
    while (fws_connection_receive(&connection, &cursor, wire + used, &event) != FWS_EVENT_NONE) {
        pieces += event.type == FWS_EVENT_MORE;
        if (event.type == FWS_EVENT_MESSAGE)
            assert_int_equal(event.length, EACH);
        given += event.type == FWS_EVENT_MESSAGE;
    }
    assert_int_equal(given, MESSAGES);
    assert_in_range(pieces, MESSAGES * EACH / FWS_PIECE, MESSAGES);
    fws_connection_clear(&connection);
    fws_deflate_pool_clear(&pool);
    fws_deflater_free(deflater);
}

/* ---- decompressing, in an engine ---- */

/* The peer is a bare descriptor. */
static void open_compressed_bare_pair(pair *p, fws_notifier *notifier)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fws_attachment attachment = {
        .role = FWS_ROLE_SERVER, .compression = &alone, .notifier = notifier};
    p->engine = engine;
    p->client = NULL;
    p->fd = ends[1];
    p->server = fws_engine_attach(engine, ends[0], &attachment);
    assert_non_null(p->server);
}

static void send_bomb(const pair *p)
{
    size_t size;
    uint8_t *frame = bomb(&size);
    assert_int_equal(send(p->fd, frame, size, MSG_NOSIGNAL), size);
    free(frame);
}

static void test_the_leader_decompresses_one_piece_in_each_turn(void **state)
{
    (void)state;
    pair p;
    fws_message message;
    fws_notifier *notifier = fws_notifier_new();
    open_compressed_bare_pair(&p, notifier);
    uint64_t before = turns();
    send_bomb(&p);
    WAIT_FOR(fws_websocket_receive_ready(p.server, &message) == FWS_OK);
    expect_long_message(&message);
    fws_message_free(&message);
    /* Two for each turn: the first after a recv is done at once. */
    assert_true(turns() - before >= LONG / FWS_PIECE / 2);
    close_pair(&p);
    fws_notifier_close(notifier);
}

static void test_a_handler_decompresses_with_the_lock_released(void **state)
{
    (void)state;
    pair p;
    fws_message message;
    open_compressed_bare_pair(&p, NULL);
    send_bomb(&p);
    assert_int_equal(receive(p.server, 5 * FWS_NS_PER_S, &message), FWS_OK);
    expect_long_message(&message);
    fws_message_free(&message);
    /* A time-out is kept in the middle of a message, and nothing is lost by it. */
    send_bomb(&p);
    usleep(1000);
    fws_status status = FWS_TIMEOUT;
    int tries = 0;
    while (status == FWS_TIMEOUT) {
        status = receive(p.server, 0, &message);
        tries++;
    }
    assert_int_equal(status, FWS_OK);
    assert_true(tries > 10);
    expect_long_message(&message);
    fws_message_free(&message);
    close_pair(&p);
}

/* A handler that was away while the loop read goes on with the message that the loop has begun. */
static void test_the_reading_changes_hands_in_the_middle_of_a_message(void **state)
{
    (void)state;
    pair p;
    fws_message message;
    open_compressed_bare_pair(&p, NULL);
    for (int round = 0; round < 5; round++) {
        usleep(80 * 1000); /* the loop adopts the reading */
        send_bomb(&p);
        send_bomb(&p);
        usleep((useconds_t)round * 500);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(receive(p.server, 5 * FWS_NS_PER_S, &message), FWS_OK);
            expect_long_message(&message);
            fws_message_free(&message);
        }
    }
    close_pair(&p);
}

static void *close_soon(void *websocket)
{
    usleep(500);
    fws_websocket_close(websocket, 1001, NULL, 0);
    return NULL;
}

static void test_a_close_or_the_end_of_the_peer_in_the_middle_of_a_message(void **state)
{
    (void)state;
    for (int round = 0; round < 40; round++) {
        pair p;
        fws_message message;
        pthread_t closer;
        fws_notifier *notifier = round % 2 ? fws_notifier_new() : NULL;
        open_compressed_bare_pair(&p, notifier);
        send_bomb(&p);
        if (round % 4 < 2)
            pthread_create(&closer, NULL, close_soon, p.server);
        else
            shutdown(p.fd, SHUT_RDWR);
        usleep((useconds_t)round * 50);
        if (notifier == NULL && receive(p.server, 2 * FWS_NS_PER_S, &message) == FWS_OK)
            fws_message_free(&message);
        if (round % 4 < 2)
            pthread_join(closer, NULL);
        close(p.fd);
        p.fd = -1;
        close_pair(&p);
        if (notifier)
            fws_notifier_close(notifier);
    }
}

/* The peer's close frame has arrived with the message, and no byte comes after it. */
static void test_a_close_finds_the_close_frame_behind_a_long_message(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        pair p;
        fws_message message;
        pthread_t closer;
        size_t size;
        uint8_t *frame = bomb(&size), both[1 << 16];
        open_compressed_bare_pair(&p, NULL);
        memcpy(both, frame, size);
        memcpy(both + size, "\x88\x82\0\0\0\0\x03\xe8", 8);
        free(frame);
        assert_int_equal(send(p.fd, both, size + 8, MSG_NOSIGNAL), size + 8);
        pthread_create(&closer, NULL, close_soon, p.server);
        if (receive(p.server, 2 * FWS_NS_PER_S, &message) == FWS_OK)
            fws_message_free(&message);
        fws_ns begun = fws_clock_now();
        assert_true(read_to_the_end(p.fd));
        assert_true(fws_clock_now() - begun < default_config.close_timeout / 2);
        pthread_join(closer, NULL);
        close_pair(&p);
    }
}

static void test_the_engine_stops_in_the_middle_of_messages(void **state)
{
    (void)state;
    fws_notifier *notifier = fws_notifier_new();
    pair pairs[8];
    for (int i = 0; i < 8; i++) {
        open_compressed_bare_pair(&pairs[i], notifier);
        send_bomb(&pairs[i]);
    }
    usleep(3000);
    fws_engine_stop(engine);
    for (int i = 0; i < 8; i++) {
        close(pairs[i].fd);
        fws_websocket_drop(pairs[i].server);
    }
    fws_notifier_close(notifier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_a_call_decompresses_one_piece_and_leaves_bytes_as_long_as_there_is_more),
        cmocka_unit_test(test_many_short_messages_share_what_one_call_may_decompress),
        TEST(test_the_leader_decompresses_one_piece_in_each_turn),
        TEST(test_a_handler_decompresses_with_the_lock_released),
        TEST(test_the_reading_changes_hands_in_the_middle_of_a_message),
        TEST(test_a_close_or_the_end_of_the_peer_in_the_middle_of_a_message),
        TEST(test_a_close_finds_the_close_frame_behind_a_long_message),
        TEST(test_the_engine_stops_in_the_middle_of_messages),
    };
    return cmocka_run_group_tests_name("inflating", tests, NULL, NULL);
}
