/* Long messages that are sent compressed: they are compressed in pieces, whoever sends them, arrive
 * in order, and no frame breaks when their bytes change meanwhile. */
#include "long_messages.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

static int start_thorough(void **state)
{
    (void)state;
    return start_at_level(9);
}

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

#define THOROUGH(name) {"thorough_" #name, name, start_thorough, stop, NULL}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_messages_of_all_senders_arrive_in_order),
        TEST(test_whoever_may_not_wait_leaves_the_compression_to_the_leader),
        THOROUGH(test_whoever_may_not_wait_leaves_the_compression_to_the_leader),
        TEST(test_what_compression_makes_no_smaller_goes_out_as_it_is),
        TEST(test_what_is_being_compressed_arrives_before_our_close),
        TEST(test_a_connection_that_fails_gives_up_what_is_being_compressed),
        TEST(test_bytes_that_another_thread_changes_break_no_frame),
    };
    return cmocka_run_group_tests_name("compressing", tests, NULL, NULL);
}
