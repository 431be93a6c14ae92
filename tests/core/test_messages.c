/* Messages between a handler and its peer: direct reads, adoption, waiting, several threads. */
#include "pair.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static fws_engine *engine;
static pair p;

static int start(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    open_pair(&p, engine);
    return 0;
}

static int start_bare(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    open_bare_pair(&p, engine);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    close_pair(&p);
    fws_engine_free(engine);
    return 0;
}

static void test_echo_both_ways(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        char text[32];
        sprintf(text, "message %d", i);
        assert_int_equal(send_text(p.client, text), FWS_OK);
        expect_message(p.server, text);
        assert_int_equal(send_text(p.server, text), FWS_OK);
        expect_message(p.client, text);
    }
}

static void *send_large(void *argument)
{
    uint8_t *data = malloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i++)
        data[i] = (uint8_t)(i * 131 >> 3);
    for (int i = 0; i < 5; i++)
        assert_int_equal(fws_websocket_send(argument, FWS_OPCODE_BINARY, data, 1 << 20, true),
                         FWS_OK);
    free(data);
    return NULL;
}

static void check_large(fws_websocket *from, fws_websocket *to)
{
    pthread_t thread;
    pthread_create(&thread, NULL, send_large, from);
    for (int i = 0; i < 5; i++) {
        fws_message message;
        assert_int_equal(receive(to, 10 * FWS_NS_PER_S, &message), FWS_OK);
        assert_int_equal(message.opcode, FWS_OPCODE_BINARY);
        assert_int_equal(message.length, 1 << 20);
        for (size_t k = 0; k < 1 << 20; k++)
            if (message.data[k] != (uint8_t)(k * 131 >> 3))
                fail_msg("byte %zu is wrong", k);
        fws_message_free(&message);
    }
    pthread_join(thread, NULL);
}

static void test_a_mebibyte_each_way(void **state)
{
    (void)state;
    check_large(p.client, p.server);
    check_large(p.server, p.client);
}

#define SENDERS 64
#define EACH 50

static void *send_many(void *argument)
{
    static atomic_int number;
    char text[200];
    int mine = atomic_fetch_add(&number, 1);
    for (int i = 0; i < EACH; i++) {
        sprintf(text, "%02d %02d ", mine, i);
        size_t length = 6 + (size_t)(mine * 7 + i) % 150;
        memset(text + 6, 'a' + mine % 26, length - 6);
        assert_int_equal(fws_websocket_send(argument, FWS_OPCODE_TEXT, text, length, true), FWS_OK);
    }
    return NULL;
}

static void test_64_senders_never_interleave(void **state)
{
    (void)state;
    pthread_t threads[SENDERS];
    int next[SENDERS] = {0};
    for (int i = 0; i < SENDERS; i++)
        pthread_create(&threads[i], NULL, send_many, p.server);
    for (int i = 0; i < SENDERS * EACH; i++) {
        fws_message message;
        assert_int_equal(receive(p.client, 10 * FWS_NS_PER_S, &message), FWS_OK);
        assert_true(message.length >= 6);
        char number[7] = {0};
        memcpy(number, message.data, 6);
        int sender = atoi(number), index = atoi(number + 3);
        assert_in_range(sender, 0, SENDERS - 1);
        assert_int_equal(index, next[sender]); /* each sender's own order holds */
        next[sender]++;
        for (size_t k = 6; k < message.length; k++)
            assert_int_equal(message.data[k], 'a' + sender % 26);
        fws_message_free(&message);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
}

#define RECEIVERS 8

static atomic_int received_by_all;

static void *receive_until_closed(void *argument)
{
    fws_message message;
    while (receive(argument, 10 * FWS_NS_PER_S, &message) == FWS_OK) {
        atomic_fetch_add(&received_by_all, 1);
        fws_message_free(&message);
    }
    return NULL;
}

static void test_several_receivers_share_the_messages(void **state)
{
    (void)state;
    pthread_t threads[RECEIVERS];
    atomic_store(&received_by_all, 0);
    for (int i = 0; i < RECEIVERS; i++)
        pthread_create(&threads[i], NULL, receive_until_closed, p.server);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(send_text(p.client, "one of them gets it"), FWS_OK);
    WAIT_FOR(atomic_load(&received_by_all) == 2000);
    fws_websocket_close(p.client, 1000, NULL, 0);
    for (int i = 0; i < RECEIVERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&received_by_all), 2000);
}

static void test_a_time_out_is_accurate_and_loses_nothing(void **state)
{
    (void)state;
    fws_message message;
    fws_ns least = FWS_NS_PER_S; /* a busy machine may make some of them longer */
    for (int i = 0; i < 5; i++) {
        fws_ns begun = fws_clock_now();
        assert_int_equal(receive(p.server, 60 * FWS_NS_PER_MS, &message), FWS_TIMEOUT);
        fws_ns taken = fws_clock_now() - begun;
        assert_true(taken >= 60 * FWS_NS_PER_MS);
        least = taken < least ? taken : least;
    }
    assert_true(least <= 80 * FWS_NS_PER_MS);
    assert_int_equal(receive(p.server, 0, &message), FWS_TIMEOUT);
    send_text(p.client, "late");
    expect_message(p.server, "late");
}

static void test_half_a_message_waits_for_its_other_half(void **state)
{
    (void)state;
    fws_message message;
    send_frame(&p, false, FWS_OPCODE_TEXT, "one ", 4);
    assert_int_equal(receive(p.server, 30 * FWS_NS_PER_MS, &message), FWS_TIMEOUT);
    send_frame(&p, true, FWS_OPCODE_CONTINUATION, "whole", 5);
    expect_message(p.server, "one whole");
}

static void test_pings_are_answered_while_the_handler_is_away(void **state)
{
    (void)state;
    usleep(100 * 1000); /* longer than FWS_ADOPT_AFTER, and nobody is in receive */
    send_frame(&p, true, FWS_OPCODE_PING, "there?", 6);
    expect_bytes(&p, "\x8A\x06there?", 8);
}

static void test_pings_are_answered_while_the_handler_waits(void **state)
{
    (void)state;
    pthread_t thread;
    pthread_create(&thread, NULL, receive_until_closed, p.server);
    send_frame(&p, true, FWS_OPCODE_PING, "there?", 6);
    expect_bytes(&p, "\x8A\x06there?", 8);
    close(p.fd);
    p.fd = -1;
    pthread_join(thread, NULL);
    assert_int_equal(close_code_of(p.server), 1006);
}

static void test_what_comes_meanwhile_is_kept_up_to_the_limit_and_then_held_back(void **state)
{
    (void)state;
    static char body[60000];
    size_t total = 200; /* 12 MB: more than the queue and what the kernel holds */
    int small = 1 << 16;
    setsockopt(p.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    memset(body, 'x', sizeof body);
    struct timeval limit = {.tv_usec = 300 * 1000};
    setsockopt(p.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    const uint8_t key[4] = {0};
    uint8_t header[FWS_FRAME_HEADER_MAX];
    size_t header_size = fws_frame_encode(header, true, FWS_OPCODE_TEXT, sizeof body, key);
    size_t stream_size = total * (header_size + sizeof body), sent = 0;
    char *stream = malloc(stream_size);
    for (size_t i = 0; i < total; i++) {
        memcpy(stream + i * (header_size + sizeof body), header, header_size);
        memcpy(stream + i * (header_size + sizeof body) + header_size, body, sizeof body);
    }
    ssize_t more;
    while (sent < stream_size && (more = send(p.fd, stream + sent, stream_size - sent, 0)) > 0)
        sent += (size_t)more;
    assert_true(sent < stream_size); /* TCP pushed back: the peer had to stop */
    /* The handler comes back, and everything that was sent is there. */
    size_t whole = sent / (header_size + sizeof body);
    for (size_t i = 0; i < whole; i++) {
        fws_message message;
        assert_int_equal(receive(p.server, 5 * FWS_NS_PER_S, &message), FWS_OK);
        assert_int_equal(message.length, sizeof body);
        fws_message_free(&message);
    }
    free(stream);
}

static void test_a_burst_larger_than_the_queue_is_all_received(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        char text[16];
        send_frame(&p, true, FWS_OPCODE_TEXT, text, (size_t)sprintf(text, "%d", i));
    }
    usleep(150 * 1000); /* adopted: sixteen in the queue, the rest undecoded */
    for (int i = 0; i < 300; i++) {
        char text[16];
        sprintf(text, "%d", i);
        expect_message(p.server, text);
    }
}

static void test_bytes_read_ahead_by_the_server_come_first(void **state)
{
    (void)state;
    const char ahead[] = "\x81\x82\0\0\0\0hi\x81\x83\0\0\0\0re"; /* the second is not complete */
    int ends[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    fws_attachment attachment = {.role = FWS_ROLE_SERVER,
                                 .reply = "HTTP",
                                 .reply_size = 4,
                                 .received = ahead,
                                 .received_size = sizeof ahead - 1};
    fws_websocket *server = fws_engine_attach(engine, ends[0], &attachment);
    assert_non_null(server);
    assert_int_equal(send(ends[1], "d", 1, 0), 1);
    expect_message(server, "hi");
    expect_message(server, "red");
    char reply[4];
    assert_int_equal(recv(ends[1], reply, 4, MSG_WAITALL), 4);
    assert_memory_equal(reply, "HTTP", 4);
    close(ends[1]);
    WAIT_FOR(state_of(server) == FWS_STATE_CLOSED);
    fws_websocket_drop(server);
}

static void *answer_pings(void *argument)
{
    return receive_until_closed(argument);
}

static fws_status ping(fws_websocket *websocket, fws_ns deadline, fws_ns *round_trip)
{
    fws_ping *begun;
    fws_status status = fws_websocket_ping_send(websocket, "abc", 3, &begun);
    if (status != FWS_OK)
        return status;
    status = fws_websocket_ping_wait(websocket, begun, deadline, round_trip);
    fws_websocket_ping_free(websocket, begun);
    return status;
}

static void test_ping_gives_the_round_trip_and_keeps_messages(void **state)
{
    (void)state;
    pthread_t thread;
    fws_ns round_trip = 0;
    atomic_store(&received_by_all, 0);
    pthread_create(&thread, NULL, answer_pings, p.client);
    send_text(p.client, "meanwhile");
    assert_int_equal(ping(p.server, fws_clock_now() + 5 * FWS_NS_PER_S, &round_trip), FWS_OK);
    assert_in_range(round_trip, 1, 5 * FWS_NS_PER_S);
    expect_message(p.server, "meanwhile");
    fws_websocket_close(p.server, 1000, NULL, 0);
    pthread_join(thread, NULL);
}

static void test_ping_times_out_without_a_pong(void **state)
{
    (void)state;
    fws_ns round_trip;
    fws_ns deadline = fws_clock_now() + 50 * FWS_NS_PER_MS;
    assert_int_equal(ping(p.server, deadline, &round_trip), FWS_TIMEOUT);
    send_frame(&p, true, FWS_OPCODE_PONG, "abc", 3); /* too late, and nobody's */
    send_frame(&p, true, FWS_OPCODE_TEXT, "fine", 4);
    expect_message(p.server, "fine");
}

static void test_a_sender_waits_for_a_slow_reader(void **state)
{
    (void)state;
    static char data[100000];
    fws_status status = FWS_OK;
    int sent = 0;
    while (status == FWS_OK && sent < 1000) {
        status = fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, false);
        sent++;
    }
    assert_int_equal(status, FWS_WOULD_BLOCK);
    assert_in_range(buffered(p.server), 1 << 20, (1 << 20) + 2 * sizeof data);
    pthread_t thread;
    pthread_create(&thread, NULL, send_large, p.server); /* waits for room: five MiB more */
    size_t wanted = (size_t)(sent - 1) * (sizeof data + 10) + 5 * ((1 << 20) + 10);
    char *all = malloc(wanted);
    size_t have = 0;
    while (have < wanted) {
        ssize_t more = recv(p.fd, all + have, wanted - have, 0);
        assert_true(more > 0);
        have += (size_t)more;
    }
    pthread_join(thread, NULL);
    free(all);
    WAIT_FOR(buffered(p.server) == 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define BARE(name) cmocka_unit_test_setup_teardown(name, start_bare, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_echo_both_ways),
        TEST(test_a_mebibyte_each_way),
        TEST(test_64_senders_never_interleave),
        TEST(test_several_receivers_share_the_messages),
        TEST(test_a_time_out_is_accurate_and_loses_nothing),
        BARE(test_half_a_message_waits_for_its_other_half),
        BARE(test_pings_are_answered_while_the_handler_is_away),
        BARE(test_pings_are_answered_while_the_handler_waits),
        BARE(test_what_comes_meanwhile_is_kept_up_to_the_limit_and_then_held_back),
        BARE(test_a_burst_larger_than_the_queue_is_all_received),
        TEST(test_bytes_read_ahead_by_the_server_come_first),
        TEST(test_ping_gives_the_round_trip_and_keeps_messages),
        BARE(test_ping_times_out_without_a_pong),
        BARE(test_a_sender_waits_for_a_slow_reader),
    };
    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
