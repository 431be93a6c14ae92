/* Class views whose peers do not read what they are answered: their next messages wait, and no
 * thread does. */
#include "slow_peer.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEERS = 20, ECHO = 20000, SEND_BUFFER = 100000 };

static fws_engine *engine;
static pair quick, slow[PEERS];
static atomic_int inside; /* callbacks */

typedef struct {
    atomic_uint messages, closes;
    _Atomic(fws_websocket *) other; /* answers go there */
    atomic_uint answers;            /* to each message */
} owner;

static owner quick_owner, owners[PEERS];

static bool enter(void *context, void **thread, bool leads)
{
    (void)context, (void)thread, (void)leads;
    return true;
}

static void leave(void *context, void **thread)
{
    (void)context, (void)thread;
}

static uint32_t run(void *context, fws_websocket *websocket, void *next)
{
    (void)context, (void)next;
    owner *own = fws_websocket_owner(websocket);
    fws_inbox taken;
    fws_message message;
    uint32_t count = 0;
    atomic_fetch_add(&inside, 1);
    fws_status status = fws_websocket_collect(websocket, &taken);
    if (status == FWS_CLOSED)
        atomic_fetch_add(&own->closes, 1);
    while (status == FWS_OK && fws_inbox_next(&taken, &message)) {
        atomic_fetch_add(&own->messages, 1);
        fws_websocket *other = atomic_load(&own->other), *target = other ? other : websocket;
        for (unsigned i = 0; i < atomic_load(&own->answers); i++)
            fws_websocket_send(target, FWS_OPCODE_BINARY, message.data, message.length, true);
        fws_message_free(&message);
        count++;
        if (taken.count > 0 && fws_websocket_is_held_back(websocket)) {
            fws_websocket_return_messages(websocket, &taken);
            break;
        }
    }
    atomic_fetch_sub(&inside, 1);
    return count;
}

static int start(void **state)
{
    (void)state;
    fws_engine_config config = default_config;
    config.callbacks =
        (fws_callbacks){.enter = enter, .leave = leave, .run = run, .end_thread = leave};
    config.callback_threads = 4;
    config.send_buffer = SEND_BUFFER;
    config.send_timeout = 3000 * MS;
    engine = fws_engine_new(&config);
    memset(owners, 0, sizeof owners);
    quick_owner = (owner){.answers = 1};
    open_evented_pair(&quick, engine, &quick_owner);
    for (int i = 0; i < PEERS; i++) {
        owners[i].answers = 1;
        open_slow_evented_pair(&slow[i], engine, &owners[i]);
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    close_pair(&quick);
    for (int i = 0; i < PEERS; i++)
        close_pair(&slow[i]);
    fws_engine_free(engine);
    return 0;
}

static void expect_a_quick_echo(void)
{
    fws_ns begun = fws_clock_now();
    send_frame(&quick, true, FWS_OPCODE_BINARY, "hello", 5);
    expect_bytes(&quick, "\x82\x05hello", 7);
    assert_true(fws_clock_now() - begun < 1000 * MS);
}

static void ask(const pair *p, uint8_t number, size_t size)
{
    static uint8_t data[1 << 20];
    memset(data, number, size);
    send_frame(p, true, FWS_OPCODE_BINARY, data, size);
}

/* Until the peer's own sends do not get through any more. */
static unsigned flood(const pair *p)
{
    struct timeval patience = {.tv_usec = 100 * 1000};
    static uint8_t frame[FWS_FRAME_HEADER_MAX + ECHO];
    const uint8_t key[4] = {0};
    unsigned count = 0;
    setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (;; count++) {
        size_t header = fws_frame_encode(frame, true, FWS_OPCODE_BINARY, ECHO, key);
        memset(frame + header, (uint8_t)count, ECHO);
        if (send(p->fd, frame, header + ECHO, MSG_NOSIGNAL) != (ssize_t)(header + ECHO))
            return count;
    }
}

static void test_peers_that_do_not_read_stall_nobody(void **state)
{
    (void)state;
    for (int i = 0; i < PEERS; i++)
        flood(&slow[i]);
    expect_a_quick_echo();
    for (int i = 0; i < PEERS; i++) {
        WAIT_FOR(fws_websocket_is_held_back(slow[i].server));
        assert_true(buffered(slow[i].server) <= SEND_BUFFER + ECHO + FWS_FRAME_HEADER_MAX);
        /* What was given back, and what had come since it was taken. */
        assert_in_range(inbox_count(slow[i].server), 0, 2 * default_config.receive_queue);
    }
    WAIT_FOR(atomic_load(&inside) == 0);
    for (int i = 0; i < PEERS; i++)
        assert_in_range(atomic_load(&owners[i].messages), 5, 30);
}

static void test_once_they_read_on_they_get_all_in_order(void **state)
{
    (void)state;
    unsigned count = flood(&slow[0]);
    assert_true(count > 10);
    size_t place = 0, length;
    const uint8_t *payload;
    assert_true(read_until_quiet(&slow[0], 500));
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(next_frame(&place, &payload, &length), FWS_OPCODE_BINARY);
        assert_int_equal(length, ECHO);
        assert_int_equal(payload[0], (uint8_t)i);
        assert_int_equal(payload[length - 1], (uint8_t)i);
    }
    forget_what_was_read();
}

static void test_pings_are_still_answered(void **state)
{
    (void)state;
    ask(&slow[0], 0, 4 * SEND_BUFFER);
    WAIT_FOR(fws_websocket_is_held_back(slow[0].server));
    send_frame(&slow[0], true, FWS_OPCODE_PING, "?", 1);
    WAIT_FOR(buffered(slow[0].server) > 0);
    assert_true(read_until_quiet(&slow[0], 300));
    size_t place = 0, length;
    const uint8_t *payload;
    assert_int_equal(next_frame(&place, &payload, &length), FWS_OPCODE_BINARY);
    assert_int_equal(next_frame(&place, &payload, &length), FWS_OPCODE_PONG);
    forget_what_was_read();
}

static void test_nothing_is_collected_until_the_peer_has_taken_enough(void **state)
{
    (void)state;
    static uint8_t data[4 * SEND_BUFFER];
    fws_websocket *websocket = slow[0].server;
    fws_inbox taken;
    fws_websocket_lock(websocket);
    websocket->callbacks_state = FWS_CALLBACKS_RUNNING; /* this thread runs them */
    fws_websocket_unlock(websocket);
    ask(&slow[0], 1, 5);
    WAIT_FOR(inbox_count(websocket) == 1);
    fws_websocket_send(websocket, FWS_OPCODE_BINARY, data, sizeof data, false);
    assert_int_equal(fws_websocket_collect(websocket, &taken), FWS_WOULD_BLOCK);
    assert_true(read_until_quiet(&slow[0], 300));
    assert_int_equal(fws_websocket_collect(websocket, &taken), FWS_OK);
    fws_inbox_clear(&taken);
    fws_websocket_release_callbacks(websocket);
    forget_what_was_read();
}

static void test_the_application_may_close_one(void **state)
{
    (void)state;
    flood(&slow[0]);
    unsigned before = atomic_load(&owners[0].messages);
    fws_websocket_close(slow[0].server, 4000, NULL, 0);
    WAIT_FOR(atomic_load(&owners[0].closes) == 1);
    assert_int_equal(atomic_load(&owners[0].messages), before); /* nothing more is given out */
}

static void test_one_that_leaves_is_noticed(void **state)
{
    (void)state;
    flood(&slow[0]);
    close(slow[0].fd);
    slow[0].fd = -1;
    WAIT_FOR(atomic_load(&owners[0].closes) == 1);
    assert_int_equal(close_code_of(slow[0].server), 1006);
}

static void test_one_that_never_reads_is_cut_off(void **state)
{
    (void)state;
    flood(&slow[0]);
    fws_ns begun = fws_clock_now();
    WAIT_FOR(atomic_load(&owners[0].closes) == 1);
    assert_in_range((fws_clock_now() - begun) / MS, 2000, 4800);
    assert_int_equal(close_code_of(slow[0].server), 1006);
}

/* What one callback sends before it waits: 8 * SEND_BUFFER, in `count` messages. */
static void expect_wait_for(const pair *reader, unsigned count)
{
    WAIT_FOR(atomic_load(&inside) == 1);
    usleep(100 * 1000);
    assert_int_equal(atomic_load(&inside), 1); /* it waits */
    assert_in_range(buffered(reader->server), FWS_CALLBACK_BUFFERS * SEND_BUFFER,
                    FWS_CALLBACK_BUFFERS * SEND_BUFFER + 50100);
    expect_a_quick_echo();
    assert_true(read_until_quiet(reader, 500));
    WAIT_FOR(atomic_load(&inside) == 0);
    assert_true(read_until_quiet(reader, 500));
    size_t place = 0, length;
    const uint8_t *payload;
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(next_frame(&place, &payload, &length), FWS_OPCODE_BINARY);
    forget_what_was_read();
}

static void test_a_callback_that_sends_much_does_not_wait(void **state)
{
    (void)state;
    owners[0].answers = FWS_CALLBACK_BUFFERS - 1;
    ask(&slow[0], 1, SEND_BUFFER);
    ask(&slow[1], 1, 7 * SEND_BUFFER); /* one message larger than the limit is queued, too */
    WAIT_FOR(atomic_load(&owners[1].messages) == 1);
    WAIT_FOR(atomic_load(&owners[0].messages) == 1);
    WAIT_FOR(atomic_load(&inside) == 0);
    assert_true(buffered(slow[0].server) > 5 * SEND_BUFFER);
    assert_true(buffered(slow[1].server) > 5 * SEND_BUFFER);
}

static void test_one_that_sends_far_too_much_does(void **state)
{
    (void)state;
    owners[0].answers = 20;
    ask(&slow[0], 1, 50000);
    expect_wait_for(&slow[0], 20);
}

static void test_also_when_it_sends_to_another(void **state)
{
    (void)state;
    pair function_view;
    open_slow_pair(&function_view, engine);
    owners[0].answers = 20;
    owners[0].other = function_view.server;
    ask(&slow[0], 1, 50000);
    expect_wait_for(&function_view, 20);
    close_pair(&function_view);
}

/* Appends a masked frame, with a key of zeros. */
static void add_frame(uint8_t *wire, size_t *size, bool compressed, const void *data, size_t length)
{
    static const uint8_t key[4];
    size_t header = fws_frame_encode(wire + *size, true, FWS_OPCODE_BINARY, length, key);
    if (compressed)
        fws_frame_mark_compressed(wire + *size);
    memcpy(wire + *size + header, data, length);
    *size += header + length;
}

/* Two messages and a long compressed one have come together; the answers to the first hold it
 * back, so that the second is returned, and the third is half decompressed. */
static void test_what_was_being_decompressed_is_given_out_later(void **state)
{
    (void)state;
    enum { INFLATED = 600000 };
    static const fws_deflate_parameters parameters = {.server_no_context_takeover = true,
                                                      .client_no_context_takeover = true,
                                                      .server_max_window_bits = 15,
                                                      .client_max_window_bits = 15};
    static uint8_t long_message[INFLATED], packed[INFLATED], wire[1 << 16];
    const int small = 20000;
    int ends[2];
    size_t packed_size, size = 0;
    static owner own;
    own = (owner){.answers = 8};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    pair p = {.engine = engine, .fd = ends[1]};
    p.server = fws_engine_attach(
        engine, ends[0],
        &(fws_attachment){.role = FWS_ROLE_SERVER, .owner = &own, .compression = &parameters});
    assert_non_null(p.server);
    fws_websocket_release_callbacks(p.server);

    fws_deflater *deflater = fws_deflater_new(15, 6);
    assert_true(fws_deflater_message(deflater, long_message, INFLATED, packed, sizeof packed,
                                     &packed_size));
    fws_deflater_free(deflater);
    for (uint32_t i = 0, x = 1; i < INFLATED; i++, x = x * 1664525 + 1013904223)
        long_message[i] = (uint8_t)(x >> 24); /* what does not compress */
    add_frame(wire, &size, false, long_message, ECHO);
    add_frame(wire, &size, false, "second", 6);
    add_frame(wire, &size, true, packed, packed_size);
    assert_true(size < sizeof wire);
    assert_int_equal(send(p.fd, wire, size, MSG_NOSIGNAL), size);
    WAIT_FOR(fws_websocket_is_held_back(p.server));
    usleep(50000);
    assert_int_equal(atomic_load(&own.messages), 1);
    for (int i = 0; i < 100 && atomic_load(&own.messages) < 3; i++)
        read_until_quiet(&p, 20);
    assert_int_equal(atomic_load(&own.messages), 3);
    close_pair(&p);
    forget_what_was_read();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_peers_that_do_not_read_stall_nobody),
        TEST(test_once_they_read_on_they_get_all_in_order),
        TEST(test_pings_are_still_answered),
        TEST(test_nothing_is_collected_until_the_peer_has_taken_enough),
        TEST(test_the_application_may_close_one),
        TEST(test_one_that_leaves_is_noticed),
        TEST(test_one_that_never_reads_is_cut_off),
        TEST(test_a_callback_that_sends_much_does_not_wait),
        TEST(test_one_that_sends_far_too_much_does),
        TEST(test_also_when_it_sends_to_another),
        TEST(test_what_was_being_decompressed_is_given_out_later),
    };
    return cmocka_run_group_tests_name("held back", tests, NULL, NULL);
}
