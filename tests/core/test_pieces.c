/* Long messages: compressed and decompressed in pieces, while others have their turn, and what
 * happens to the connection between two pieces. */
#include "pair.h"

#include "protocol/mask.h"

#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const fws_deflate_parameters alone = {.server_no_context_takeover = true,
                                             .client_no_context_takeover = true,
                                             .server_max_window_bits = 15,
                                             .client_max_window_bits = 15};
static const fws_deflate_parameters takeover = {.server_max_window_bits = 15,
                                                .client_max_window_bits = 15};

#define LONG ((size_t)6 << 20) /* of a message, decompressed */

static fws_engine *engine;

static int start_at_level(int level)
{
    fws_engine_config config = default_config;
    config.limits.max_message_size = 16 << 20;
    config.send_buffer = 32 << 20;
    config.compression_level = level;
    config.compression_threshold = 16;
    engine = fws_engine_new(&config);
    return 0;
}

static int start(void **state)
{
    (void)state;
    return start_at_level(3);
}

static int start_thorough(void **state)
{
    (void)state;
    return start_at_level(9);
}

static int stop(void **state)
{
    (void)state;
    fws_engine_free(engine);
    return 0;
}

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
        assert_in_range(connection.message_size - seen, 1, FWS_INFLATE_PIECE);
        assert_true(cursor < frame + size);
        seen = connection.message_size;
        calls++;
        if (calls % 2 == 0) { /* the same without the lock */
            fws_connection_inflate(&connection, &cursor, frame + size);
            assert_in_range(connection.message_size - seen, 1, FWS_INFLATE_PIECE);
            seen = connection.message_size;
        }
    }
    assert_int_equal(event.type, FWS_EVENT_MESSAGE);
    assert_int_equal(event.length, LONG);
    assert_ptr_equal(cursor, frame + size);
    assert_in_range(calls, LONG / FWS_INFLATE_PIECE / 2, LONG / FWS_INFLATE_PIECE + 1);
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
    assert_in_range(pieces, MESSAGES * EACH / FWS_INFLATE_PIECE, MESSAGES);
    fws_connection_clear(&connection);
    fws_deflate_pool_clear(&pool);
    fws_deflater_free(deflater);
}

/* ---- decompressing, in an engine ---- */

static uint64_t turns(void)
{
    return atomic_load(&engine->work.counters.loop_wakeups);
}

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
    assert_true(turns() - before >= LONG / FWS_INFLATE_PIECE / 2);
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

/* ---- compressing ---- */

/* A message that says who sent it, and which it is, and what all of it is. */
static char *numbered(unsigned sender, unsigned number, size_t length)
{
    char *text = malloc(length + 1);
    uint32_t seed = sender * 1000 + number;
    size_t used = (size_t)snprintf(text, length + 1, "%03u %05u ", sender, number);
    while (used < length) {
        seed = seed * 1664525 + 1013904223;
        used += (size_t)snprintf(text + used, length + 1 - used, "word%u ", seed >> 26);
    }
    text[length] = '\0';
    return text;
}

static void expect_numbered(const fws_message *message, unsigned *sender, unsigned *number)
{
    assert_true(message->length > 10);
    assert_int_equal(sscanf((const char *)message->data, "%3u %5u", sender, number), 2);
    char *text = numbered(*sender, *number, message->length);
    assert_memory_equal(message->data, text, message->length);
    free(text);
}

#define SENDERS 3
#define EACH 24

typedef struct {
    pair *p;
    unsigned number;
    bool wait;
} sender;

static size_t length_of(unsigned number)
{
    return number % 3 == 0 ? 200 + number : FWS_COMPRESSED_AT_ONCE_MAX + number * 3000;
}

static void *send_all(void *argument)
{
    sender *self = argument;
    for (unsigned i = 0; i < EACH; i++) {
        char *text = numbered(self->number, i, length_of(i));
        fws_status status = FWS_WOULD_BLOCK;
        while (status == FWS_WOULD_BLOCK) {
            status = fws_websocket_send(self->p->server, FWS_OPCODE_TEXT, text, strlen(text),
                                        self->wait);
            if (status == FWS_WOULD_BLOCK)
                sched_yield();
        }
        assert_int_equal(status, FWS_OK);
        free(text);
    }
    return NULL;
}

static void *publish_all(void *argument)
{
    sender *self = argument;
    fws_channel_name name = {"all", 3};
    for (unsigned i = 0; i < EACH; i++) {
        char *text = numbered(self->number, i, length_of(i));
        assert_int_equal(
            fws_engine_publish(engine, FWS_OPCODE_TEXT, text, strlen(text), &name, 1, NULL, 0), 1);
        free(text);
        usleep(300);
    }
    return NULL;
}

/* With context takeover, what arrives can only be read in the order in which it was compressed. */
static void send_from_everywhere(const fws_deflate_parameters *parameters)
{
    pair p;
    open_compressed_pair(&p, engine, parameters);
    fws_channel_name name = {"all", 3};
    fws_engine_subscribe(engine, p.server, &name, 1);
    pthread_t threads[SENDERS + 1];
    sender senders[SENDERS + 1];
    unsigned next[SENDERS + 1] = {0};
    for (unsigned i = 0; i <= SENDERS; i++) {
        senders[i] = (sender){.p = &p, .number = i, .wait = i != 1};
        pthread_create(&threads[i], NULL, i < SENDERS ? send_all : publish_all, &senders[i]);
    }
    for (unsigned i = 0; i < (SENDERS + 1) * EACH; i++) {
        fws_message message;
        unsigned from, number;
        assert_int_equal(receive(p.client, 20 * FWS_NS_PER_S, &message), FWS_OK);
        expect_numbered(&message, &from, &number);
        assert_in_range(from, 0, SENDERS);
        assert_int_equal(number, next[from]++);
        fws_message_free(&message);
    }
    for (unsigned i = 0; i <= SENDERS; i++)
        pthread_join(threads[i], NULL);
    close_pair(&p);
}

static void test_messages_of_all_senders_arrive_in_order(void **state)
{
    (void)state;
    send_from_everywhere(&takeover);
    send_from_everywhere(&alone);
}

static void expect_next(fws_websocket *websocket, const char *text)
{
    fws_message message;
    assert_int_equal(receive(websocket, 20 * FWS_NS_PER_S, &message), FWS_OK);
    assert_int_equal(message.length, strlen(text));
    assert_memory_equal(message.data, text, message.length);
    fws_message_free(&message);
}

static void test_whoever_may_not_wait_leaves_the_compression_to_the_leader(void **state)
{
    (void)state;
    pair p;
    char *text = numbered(7, 7, LONG);
    open_compressed_pair(&p, engine, &takeover);
    uint64_t before = turns();
    assert_int_equal(fws_websocket_send(p.server, FWS_OPCODE_TEXT, text, LONG, false), FWS_OK);
    assert_true(buffered(p.server) >= LONG); /* it counts as what it is until it is compressed */
    /* Others wait for their turn, or are told to. */
    assert_int_equal(fws_websocket_send(p.server, FWS_OPCODE_TEXT, "no", 2, false),
                     FWS_WOULD_BLOCK);
    assert_int_equal(send_text(p.server, "next"), FWS_OK);
    assert_true(turns() - before >= LONG / fws_deflate_pool_piece(&engine->work.deflate) / 4);
    expect_next(p.client, text);
    expect_next(p.client, "next");
    close_pair(&p);
    free(text);
}

static void test_what_compression_makes_no_smaller_goes_out_as_it_is(void **state)
{
    (void)state;
    pair p;
    static uint8_t noise[300000];
    uint32_t seed = 3;
    for (size_t i = 0; i < sizeof noise; i++) {
        seed = seed * 1664525 + 1013904223;
        /* Promising at first, so that it is tried. */
        noise[i] = (uint8_t)(i < 4096 ? 'a' : seed >> 24);
    }
    open_compressed_pair(&p, engine, &takeover);
    for (int wait = 0; wait < 2; wait++) {
        fws_message message;
        fws_websocket *from[2] = {p.server, p.client}, *to[2] = {p.client, p.server};
        for (int i = 0; i < 2; i++) {
            assert_int_equal(
                fws_websocket_send(from[i], FWS_OPCODE_BINARY, noise, sizeof noise, wait), FWS_OK);
            assert_int_equal(send_text(from[i], "a text that is compressed, too"), FWS_OK);
            assert_int_equal(receive(to[i], 5 * FWS_NS_PER_S, &message), FWS_OK);
            assert_int_equal(message.length, sizeof noise);
            assert_memory_equal(message.data, noise, sizeof noise);
            fws_message_free(&message);
            expect_next(to[i], "a text that is compressed, too");
        }
    }
    close_pair(&p);
}

static void test_what_is_being_compressed_arrives_before_our_close(void **state)
{
    (void)state;
    pair p;
    char *text = numbered(1, 2, LONG);
    open_compressed_pair(&p, engine, &takeover);
    assert_int_equal(fws_websocket_send(p.server, FWS_OPCODE_TEXT, text, LONG, false), FWS_OK);
    assert_int_equal(fws_websocket_close(p.server, 1000, NULL, 0), FWS_OK);
    expect_next(p.client, text);
    fws_message message;
    assert_int_equal(receive(p.client, 5 * FWS_NS_PER_S, &message), FWS_CLOSED);
    assert_int_equal(close_code_of(p.client), 1000);
    close_pair(&p);
    free(text);
}

static void test_a_connection_that_fails_gives_up_what_is_being_compressed(void **state)
{
    (void)state;
    char *text = numbered(1, 2, LONG);
    for (int round = 0; round < 10; round++) {
        pair p;
        open_compressed_pair(&p, engine, round % 2 ? &takeover : &alone);
        assert_int_equal(fws_websocket_send(p.server, FWS_OPCODE_TEXT, text, LONG, false), FWS_OK);
        usleep((useconds_t)round * 300);
        fws_websocket_lock(p.server);
        if (round % 3 == 0)
            fws_websocket_finish(p.server);
        else
            fws_websocket_fail(p.server, 1011, "a test");
        fws_websocket_unlock(p.server);
        WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
        fws_websocket_drop(p.server);
        WAIT_FOR(state_of(p.client) == FWS_STATE_CLOSED);
        fws_websocket_drop(p.client);
    }
    free(text);
}

/* ---- bytes that change while they are sent ---- */

static uint8_t changing[100000];
static atomic_bool enough;

/* As readinto() does in Python: another thread's system call, which no sanitizer sees. */
static void *change(void *descriptors)
{
    const int *fds = descriptors;
    static uint8_t contents[2][sizeof changing];
    for (size_t i = 0; i < sizeof changing; i++) {
        contents[0][i] = (uint8_t)("abcd"[i * 7 % 4]);
        contents[1][i] = (uint8_t)(i * i / 7);
    }
    for (int i = 0; !atomic_load(&enough); i++) {
        size_t at = (size_t)i * 61 % (sizeof changing - 4096);
        assert_int_equal(write(fds[1], contents[i / 67 % 2] + at, 4096), 4096);
        assert_int_equal(syscall(SYS_read, fds[0], changing + at, 4096), 4096);
    }
    return NULL;
}

static void test_bytes_that_another_thread_changes_break_no_frame(void **state)
{
    (void)state;
    static const size_t lengths[] = {100, 3000, 4096, 30000, 60000, sizeof changing};
    int fds[2];
    pthread_t changer;
    assert_int_equal(pipe(fds), 0);
    atomic_store(&enough, false);
    pthread_create(&changer, NULL, change, fds);
    for (int mode = 0; mode < 2; mode++) {
        pair p;
        open_compressed_pair(&p, engine, mode ? &takeover : &alone);
        for (unsigned i = 0; i < 600; i++) {
            fws_message message;
            size_t length = lengths[i % 6];
            fws_websocket *from = i % 7 < 4 ? p.server : p.client;
            assert_int_equal(
                fws_websocket_send(from, FWS_OPCODE_BINARY, changing, length, i % 5 < 3), FWS_OK);
            assert_int_equal(
                receive(from == p.server ? p.client : p.server, 5 * FWS_NS_PER_S, &message),
                FWS_OK);
            assert_int_equal(message.length, length);
            fws_message_free(&message);
            if (i % 5 >= 3) /* until it is another's turn */
                WAIT_FOR(buffered(from) == 0);
        }
        close_pair(&p);
    }
    atomic_store(&enough, true);
    pthread_join(changer, NULL);
    close(fds[0]);
    close(fds[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define THOROUGH(name) {"thorough_" #name, name, start_thorough, stop, NULL}

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
        TEST(test_the_engine_stops_in_the_middle_of_messages),
        TEST(test_messages_of_all_senders_arrive_in_order),
        TEST(test_whoever_may_not_wait_leaves_the_compression_to_the_leader),
        THOROUGH(test_whoever_may_not_wait_leaves_the_compression_to_the_leader),
        TEST(test_what_compression_makes_no_smaller_goes_out_as_it_is),
        TEST(test_what_is_being_compressed_arrives_before_our_close),
        TEST(test_a_connection_that_fails_gives_up_what_is_being_compressed),
        TEST(test_bytes_that_another_thread_changes_break_no_frame),
    };
    return cmocka_run_group_tests_name("pieces", tests, NULL, NULL);
}
