/* What a peer may cost: each limit, and what is beyond it. */
#include "pair.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static fws_engine *engine;
static pair p;

static void start_with(const fws_engine_config *config)
{
    engine = fws_engine_new(config);
    open_bare_pair(&p, engine);
}

static void stop(void)
{
    close_pair(&p);
    fws_engine_free(engine);
}

static void expect_failed(unsigned code, const char *reason)
{
    fws_message message;
    assert_int_equal(receive(p.server, 5 * FWS_NS_PER_S, &message), FWS_CLOSED);
    fws_websocket_status status;
    fws_websocket_get_status(p.server, &status);
    assert_int_equal(status.close_code, code);
    assert_int_equal(status.close_reason_size, strlen(reason));
    assert_memory_equal(status.close_reason, reason, strlen(reason));
}

static void expect_close_frame(unsigned code, const char *reason)
{
    uint8_t frame[200] = {0x88, (uint8_t)(2 + strlen(reason)), (uint8_t)(code >> 8), (uint8_t)code};
    memcpy(frame + 4, reason, strlen(reason));
    expect_bytes(&p, (const char *)frame, 4 + strlen(reason));
}

/* ---- pings ---- */

/* `count` pings in one send, so that they arrive in few reads. */
static void send_pings(int count)
{
    char *wire = malloc((size_t)count * 16);
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        char payload[16];
        int size = sprintf(payload, "%d", i);
        wire[used++] = (char)0x89;
        wire[used++] = (char)(0x80 | size);
        memset(wire + used, 0, 4);
        memcpy(wire + used + 4, payload, (size_t)size);
        used += 4 + (size_t)size;
    }
    assert_int_equal(send(p.fd, wire, used, MSG_NOSIGNAL), used);
    free(wire);
}

static void test_a_few_pings_are_answered_one_by_one(void **state)
{
    (void)state;
    start_with(&default_config);
    send_pings(16);
    for (int i = 0; i < 16; i++) {
        char pong[16] = "\x8A";
        pong[1] = (char)sprintf(pong + 2, "%d", i);
        expect_bytes(&p, pong, 2 + strlen(pong + 2));
    }
    stop();
}

static void test_of_a_flood_of_pings_the_latest_is_answered(void **state)
{
    (void)state;
    enum { FLOOD = 5000 };
    start_with(&default_config);
    send_pings(FLOOD);
    int pongs = 0;
    char payload[8] = "";
    while (strcmp(payload, "4999") != 0) {
        uint8_t head[2];
        assert_int_equal(recv(p.fd, head, 2, MSG_WAITALL), 2);
        assert_int_equal(head[0], 0x8A);
        assert_int_equal(recv(p.fd, payload, head[1], MSG_WAITALL), head[1]);
        payload[head[1]] = '\0';
        pongs++;
    }
    assert_in_range(pongs, 1, FLOOD / 10);
    stop();
}

static void test_pongs_for_a_peer_that_does_not_read_are_few(void **state)
{
    (void)state;
    static char data[100000];
    start_with(&default_config);
    while (fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, false) == FWS_OK)
        ;
    size_t before = buffered(p.server);
    for (int i = 0; i < 20; i++)
        send_pings(500);
    usleep(200 * 1000);
    assert_true(buffered(p.server) <= before + 16 * FWS_FRAME_CONTROL_SIZE_MAX);
    stop();
}

/* ---- messages ---- */

static void test_too_many_fragments_are_1008(void **state)
{
    (void)state;
    fws_engine_config config = default_config;
    config.limits.max_fragments = 10;
    start_with(&config);
    for (int i = 0; i < 10; i++)
        send_frame(&p, i == 9, i == 0 ? FWS_OPCODE_TEXT : FWS_OPCODE_CONTINUATION, "", 0);
    expect_message(p.server, "");
    for (int i = 0; i < 11; i++)
        send_frame(&p, false, i == 0 ? FWS_OPCODE_TEXT : FWS_OPCODE_CONTINUATION, "x", 1);
    expect_failed(1008, "message in too many fragments");
    expect_close_frame(1008, "message in too many fragments");
    stop();
}

static void test_a_rate_above_the_limit_is_1008(void **state)
{
    (void)state;
    fws_engine_config config = default_config;
    config.max_message_rate = 20;
    start_with(&config);
    for (int i = 0; i < 21; i++)
        send_frame(&p, true, FWS_OPCODE_TEXT, "x", 1);
    for (int i = 0; i < 20; i++)
        expect_message(p.server, "x"); /* a second's worth at once is in order */
    expect_failed(1008, "too many messages a second");
    expect_close_frame(1008, "too many messages a second");
    stop();
}

static void test_a_rate_below_the_limit_goes_on(void **state)
{
    (void)state;
    fws_engine_config config = default_config;
    config.max_message_rate = 200;
    start_with(&config);
    for (int i = 0; i < 300; i++) {
        send_frame(&p, true, FWS_OPCODE_TEXT, "x", 1);
        expect_message(p.server, "x");
        usleep(6000);
    }
    stop();
}

static void *send_messages(void *argument)
{
    static char data[400000];
    (void)argument;
    for (int i = 0; i < 40; i++)
        send_frame(&p, true, FWS_OPCODE_BINARY, data, sizeof data);
    return NULL;
}

static void test_large_messages_that_wait_have_the_bytes_of_few(void **state)
{
    (void)state;
    pthread_t thread;
    fws_engine_config config = default_config;
    config.limits.max_message_size = 1000000;
    start_with(&config);
    pthread_create(&thread, NULL, send_messages, NULL); /* TCP holds it back */
    usleep(400 * 1000);
    fws_message message;
    pthread_mutex_lock(&p.server->lock);
    size_t waiting = p.server->inbox.count, bytes = p.server->inbox.bytes;
    pthread_mutex_unlock(&p.server->lock);
    assert_int_equal(waiting, 3);
    assert_int_equal(bytes, 3 * 400000);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(receive(p.server, 5 * FWS_NS_PER_S, &message), FWS_OK);
        assert_int_equal(message.length, 400000);
        fws_message_free(&message);
    }
    pthread_join(thread, NULL);
    stop();
}

/* ---- peers that do not read ---- */

static void test_a_peer_that_takes_nothing_is_cut_off(void **state)
{
    (void)state;
    static char data[100000];
    fws_engine_config config = default_config;
    config.send_timeout = 300 * FWS_NS_PER_MS;
    start_with(&config);
    fws_ns begun = fws_clock_now();
    fws_status status;
    while ((status = fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, true)) ==
           FWS_OK)
        ;
    assert_int_equal(status, FWS_CLOSED); /* the sender that waited is told */
    fws_ns took = fws_clock_now() - begun;
    assert_in_range(took, 250 * FWS_NS_PER_MS, 2 * FWS_NS_PER_S);
    expect_failed(1006, "the peer does not read");
    stop();
}

static void test_a_peer_that_reads_slowly_is_not(void **state)
{
    (void)state;
    static char data[4 << 20], room[300000];
    fws_engine_config config = default_config;
    config.send_timeout = 300 * FWS_NS_PER_MS;
    config.send_buffer = 8 << 20;
    start_with(&config);
    assert_int_equal(fws_websocket_send(p.server, FWS_OPCODE_BINARY, data, sizeof data, true),
                     FWS_OK);
    for (size_t have = 0; have < sizeof data + 10;) { /* for over a second */
        ssize_t more = recv(p.fd, room, sizeof room, 0);
        assert_true(more > 0);
        have += (size_t)more;
        usleep(60 * 1000);
    }
    assert_int_equal(state_of(p.server), FWS_STATE_OPEN);
    stop();
}

/* ---- messages larger than what may be queued ---- */

enum { LARGE = 16 << 20 };
static char *large;

static void *send_one_large(void *argument)
{
    fws_status *status = argument;
    *status = fws_websocket_send(p.server, FWS_OPCODE_BINARY, large, LARGE, true);
    return NULL;
}

static void read_bytes(size_t wanted)
{
    static char room[65536];
    while (wanted > 0) {
        ssize_t more = recv(p.fd, room, wanted < sizeof room ? wanted : sizeof room, 0);
        assert_true(more > 0);
        wanted -= (size_t)more;
    }
}

static void start_large(pthread_t *thread, fws_status *status)
{
    large = calloc(1, LARGE);
    start_with(&default_config);
    pthread_create(thread, NULL, send_one_large, status);
    WAIT_FOR(buffered(p.server) > (1 << 20));
}

static void test_a_large_message_is_sent_from_where_it_lies(void **state)
{
    (void)state;
    pthread_t thread;
    fws_status status;
    start_large(&thread, &status);
    read_bytes(LARGE + 10);
    pthread_join(thread, NULL);
    assert_int_equal(status, FWS_OK);
    send_text(p.server, "next");
    expect_bytes(&p, "\x81\x04next", 6);
    free(large);
    stop();
}

static void test_a_close_frame_does_not_cut_into_a_large_message(void **state)
{
    (void)state;
    pthread_t thread;
    fws_status status;
    start_large(&thread, &status);
    send_frame(&p, true, (fws_opcode)3, "x", 1); /* a reserved opcode */
    WAIT_FOR(state_of(p.server) == FWS_STATE_ENDING);
    read_bytes(LARGE + 10);
    expect_close_frame(1002, "reserved opcode");
    pthread_join(thread, NULL);
    free(large);
    stop();
}

static void test_who_sends_a_large_message_hears_that_the_peer_is_gone(void **state)
{
    (void)state;
    pthread_t thread;
    fws_status status;
    start_large(&thread, &status);
    close(p.fd);
    p.fd = -1;
    pthread_join(thread, NULL);
    assert_int_equal(status, FWS_CLOSED);
    free(large);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_few_pings_are_answered_one_by_one),
        cmocka_unit_test(test_of_a_flood_of_pings_the_latest_is_answered),
        cmocka_unit_test(test_pongs_for_a_peer_that_does_not_read_are_few),
        cmocka_unit_test(test_too_many_fragments_are_1008),
        cmocka_unit_test(test_a_rate_above_the_limit_is_1008),
        cmocka_unit_test(test_a_rate_below_the_limit_goes_on),
        cmocka_unit_test(test_large_messages_that_wait_have_the_bytes_of_few),
        cmocka_unit_test(test_a_peer_that_takes_nothing_is_cut_off),
        cmocka_unit_test(test_a_peer_that_reads_slowly_is_not),
        cmocka_unit_test(test_a_large_message_is_sent_from_where_it_lies),
        cmocka_unit_test(test_a_close_frame_does_not_cut_into_a_large_message),
        cmocka_unit_test(test_who_sends_a_large_message_hears_that_the_peer_is_gone),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
