/* Large messages that are sent from where they are, by senders that do not wait. */
#include "pair.h"

#include "websocket/internal.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE ((size_t)8 << 20)
#define HEADER_SIZE 10

static fws_engine *engine;
static fws_notifier *notifier;
static pair p;
static uint8_t *bytes; /* a mapping of its own: to read it after it is freed is seen */
static fws_loan *loan;

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 7 + (at >> 12));
}

static int start_with(fws_ns timeout)
{
    fws_engine_config config = default_config;
    config.close_timeout = config.send_timeout = timeout;
    engine = fws_engine_new(&config);
    notifier = fws_notifier_new();
    open_notified_pair(&p, engine, notifier);
    bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = pattern(i);
    loan = NULL;
    return 0;
}

static int start(void **state)
{
    (void)state;
    return start_with(20 * FWS_NS_PER_S);
}

static int start_impatient(void **state)
{
    (void)state;
    return start_with(200 * FWS_NS_PER_MS);
}

static int stop(void **state)
{
    (void)state;
    free(bytes);
    close_pair(&p);
    fws_engine_free(engine);
    fws_notifier_close(notifier);
    return 0;
}

static void lend(void)
{
    assert_int_equal(fws_websocket_lend(p.server, FWS_OPCODE_BINARY, bytes, SIZE, &loan), FWS_OK);
    assert_non_null(loan);
}

static void give_up_the_bytes(void)
{
    memset(bytes, 0xEE, SIZE);
    free(bytes);
    bytes = NULL;
}

/* Reads `size` bytes of the stream, `at` being how many have been read, and compares. */
static void read_stream(size_t at, size_t size)
{
    static uint8_t piece[1 << 16];
    for (size_t end = at + size; at < end;) {
        struct pollfd polled = {.fd = p.fd, .events = POLLIN};
        assert_int_equal(poll(&polled, 1, 5000), 1);
        size_t most = end - at < sizeof piece ? end - at : sizeof piece;
        ssize_t got = recv(p.fd, piece, most, 0);
        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++, at++)
            if (at >= HEADER_SIZE && at < HEADER_SIZE + SIZE &&
                piece[i] != pattern(at - HEADER_SIZE))
                fail_msg("byte %zu is %u", at, piece[i]);
    }
}

static bool is_named(fws_ns timeout)
{
    fws_websocket *changed;
    struct pollfd polled = {.fd = fws_notifier_fd(notifier), .events = POLLIN};
    if (poll(&polled, 1, (int)(timeout / FWS_NS_PER_MS)) != 1 ||
        fws_notifier_drain(notifier, &changed, 1) != 1)
        return false;
    fws_websocket_drop(changed);
    return true;
}

static void test_the_notifier_tells_when_the_bytes_are_sent(void **state)
{
    (void)state;
    lend();
    assert_int_equal(fws_websocket_poll_loan(p.server, loan), FWS_WOULD_BLOCK);
    assert_false(is_named(20 * FWS_NS_PER_MS));
    read_stream(0, HEADER_SIZE + SIZE);
    while (fws_websocket_poll_loan(p.server, loan) == FWS_WOULD_BLOCK)
        assert_true(is_named(5 * FWS_NS_PER_S));
    assert_int_equal(fws_websocket_poll_loan(p.server, loan), FWS_OK);
    fws_websocket_end_loan(p.server, loan);
    give_up_the_bytes();
    send_text(p.server, "next");
    expect_bytes(&p, "\x81\x04next", 6);
}

static void test_small_messages_and_those_that_the_socket_takes_need_no_loan(void **state)
{
    (void)state;
    assert_int_equal(fws_websocket_lend(p.server, FWS_OPCODE_TEXT, "hi", 2, &loan), FWS_OK);
    assert_null(loan);
    expect_bytes(&p, "\x81\x02hi", 4);
    assert_int_equal(fws_websocket_lend(p.server, FWS_OPCODE_BINARY, bytes, 1 << 20, &loan),
                     FWS_OK);
    assert_null(loan); /* as much may be queued */
}

static void test_without_room_nothing_is_lent(void **state)
{
    (void)state;
    lend();
    fws_loan *second;
    assert_int_equal(fws_websocket_lend(p.server, FWS_OPCODE_BINARY, bytes, SIZE, &second),
                     FWS_WOULD_BLOCK);
    assert_null(second);
    fws_websocket_end_loan(p.server, loan);
}

/* Whether nothing, some or much of it is sent. */
static void test_bytes_that_are_taken_back_arrive_all_the_same(void **state)
{
    (void)state;
    static const size_t read_before[] = {0, 1 << 20, 6 << 20};
    for (size_t i = 0; i < 3; i++) {
        lend();
        read_stream(0, read_before[i]);
        fws_websocket_end_loan(p.server, loan);
        give_up_the_bytes();
        read_stream(read_before[i], HEADER_SIZE + SIZE - read_before[i]);
        send_text(p.server, "next");
        expect_bytes(&p, "\x81\x04next", 6);
        bytes = malloc(SIZE);
        for (size_t at = 0; at < SIZE; at++)
            bytes[at] = pattern(at);
    }
}

/* The peer reads as fast as it can while the bytes are taken back: the socket takes further ones
 * while they are copied. */
static atomic_bool reading;

static void *read_all(void *argument)
{
    (void)argument;
    atomic_store(&reading, true);
    read_stream(0, HEADER_SIZE + SIZE);
    return NULL;
}

static void test_bytes_are_taken_back_while_they_are_sent(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        pthread_t reader;
        atomic_store(&reading, false);
        lend();
        pthread_create(&reader, NULL, read_all, NULL);
        WAIT_FOR(atomic_load(&reading));
        usleep((useconds_t)(i * 400));
        fws_websocket_end_loan(p.server, loan);
        memset(bytes, 0xEE, SIZE);
        pthread_join(reader, NULL);
        for (size_t at = 0; at < SIZE; at++)
            bytes[at] = pattern(at);
        WAIT_FOR(buffered(p.server) == 0);
    }
}

static void test_behind_other_messages_too(void **state)
{
    (void)state;
    /* Queued, but no more than may be. */
    static uint8_t filling[1 << 20];
    size_t queued = 0;
    while (buffered(p.server) == 0) {
        assert_int_equal(
            fws_websocket_send(p.server, FWS_OPCODE_BINARY, filling, sizeof filling, false),
            FWS_OK);
        queued += HEADER_SIZE + sizeof filling;
    }
    lend();
    fws_websocket_end_loan(p.server, loan);
    give_up_the_bytes();
    for (size_t left = queued; left > 0;) {
        ssize_t got = recv(p.fd, filling, left < sizeof filling ? left : sizeof filling, 0);
        assert_true(got > 0);
        left -= (size_t)got;
    }
    read_stream(0, HEADER_SIZE + SIZE);
}

static void test_a_peer_that_vanishes_gives_the_bytes_back(void **state)
{
    (void)state;
    lend();
    shutdown(p.fd, SHUT_RDWR);
    close(p.fd);
    while (fws_websocket_poll_loan(p.server, loan) == FWS_WOULD_BLOCK)
        assert_true(is_named(5 * FWS_NS_PER_S));
    assert_int_equal(fws_websocket_poll_loan(p.server, loan), FWS_CLOSED);
    give_up_the_bytes();
    fws_websocket_end_loan(p.server, loan);
    int ends[2]; /* for close_pair */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    close(ends[0]);
    p.fd = ends[1];
}

static void test_a_close_comes_behind_what_is_lent(void **state)
{
    (void)state;
    lend();
    fws_websocket_close(p.server, 1000, NULL, 0);
    read_stream(0, HEADER_SIZE + SIZE);
    while (fws_websocket_poll_loan(p.server, loan) == FWS_WOULD_BLOCK)
        assert_true(is_named(5 * FWS_NS_PER_S));
    assert_int_equal(fws_websocket_poll_loan(p.server, loan), FWS_OK);
    fws_websocket_end_loan(p.server, loan);
    expect_bytes(&p, "\x88\x02\x03\xe8", 4);
}

/* It reads nothing either. */
static void test_a_peer_that_does_not_answer_the_close_gives_the_bytes_back(void **state)
{
    (void)state;
    lend();
    fws_websocket_close(p.server, 1000, NULL, 0);
    while (fws_websocket_poll_loan(p.server, loan) == FWS_WOULD_BLOCK)
        assert_true(is_named(5 * FWS_NS_PER_S));
    assert_int_equal(fws_websocket_poll_loan(p.server, loan), FWS_CLOSED);
    give_up_the_bytes();
    fws_websocket_end_loan(p.server, loan);
}

/* However much the peer takes: others have their turn in between. */
static void test_a_long_message_is_written_in_portions(void **state)
{
    (void)state;
    fws_websocket_lock(p.server);
    assert_true(fws_websocket_queue(p.server, fws_buffer_join(bytes, SIZE, NULL, 0)));
    fws_websocket_flush(p.server);
    assert_in_range(p.server->bytes_written, 1, FWS_READS_PER_TURN * FWS_PIECE);
    assert_true(p.server->flush_queued);
    fws_websocket_unlock(p.server);
    static uint8_t piece[1 << 16];
    for (size_t at = 0; at < SIZE;) {
        ssize_t got = recv(p.fd, piece, sizeof piece, 0);
        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++, at++)
            if (piece[i] != pattern(at))
                fail_msg("byte %zu is %u", at, piece[i]);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(the_notifier_tells_when_the_bytes_are_sent),
        TEST(small_messages_and_those_that_the_socket_takes_need_no_loan),
        TEST(without_room_nothing_is_lent),
        TEST(bytes_that_are_taken_back_arrive_all_the_same),
        TEST(bytes_are_taken_back_while_they_are_sent),
        TEST(behind_other_messages_too),
        TEST(a_peer_that_vanishes_gives_the_bytes_back),
        TEST(a_close_comes_behind_what_is_lent),
        TEST(a_long_message_is_written_in_portions),
        cmocka_unit_test_setup_teardown(
            test_a_peer_that_does_not_answer_the_close_gives_the_bytes_back, start_impatient, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
