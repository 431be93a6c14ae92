/* The peer is gone, and the first to notice is a write: what it has sent before is given out as
 * always, in order, up to its close frame, and nothing can be sent any more. */
#include "evented.h"

#include <sys/socket.h>
#include <unistd.h>

static char large[200000];

static void add_frame(uint8_t *to, size_t *size, uint8_t opcode, const void *data, size_t length)
{
    uint8_t header[6] = {(uint8_t)(0x80 | opcode), (uint8_t)(0x80 | length)};
    memcpy(to + *size, header, sizeof header);
    memcpy(to + *size + sizeof header, data, length);
    *size += sizeof header + length;
}

static void send_bytes(const pair *p, const uint8_t *bytes, size_t size)
{
    assert_int_equal(send(p->fd, bytes, size, MSG_NOSIGNAL), size);
}

/* The server's kernel gets a reset, as from a process that ends before it has read everything. */
static void vanish(pair *p)
{
    struct linger none = {.l_onoff = 1};
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(p->fd);
    p->fd = -1;
}

/* `count` messages "0", "1" and so on, a close frame with 4001, and the end. */
static void send_last_words(pair *p, int count)
{
    uint8_t bytes[2048];
    char text[16];
    size_t size = 0;
    for (int i = 0; i < count; i++)
        add_frame(bytes, &size, FWS_OPCODE_TEXT, text,
                  (size_t)snprintf(text, sizeof text, "%d", i));
    add_frame(bytes, &size, FWS_OPCODE_CLOSE, "\x0f\xa1", 2);
    send_bytes(p, bytes, size);
    vanish(p);
}

static void queue_much(fws_websocket *websocket)
{
    for (int i = 0; i < 100 && buffered(websocket) == 0; i++)
        fws_websocket_send(websocket, FWS_OPCODE_BINARY, large, sizeof large, false);
    assert_int_not_equal(buffered(websocket), 0);
}

static void expect_numbers(fws_websocket *websocket, int count)
{
    char text[16];
    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%d", i);
        expect_message(websocket, text);
    }
}

/* Its handler sends, reads nothing, and then reads. */
static void test_a_handler_gets_what_had_arrived(void **state)
{
    fws_message message;
    (void)state;
    for (int round = 0; round < 20; round++) {
        pair p;
        open_bare_pair(&p, engine);
        queue_much(p.server);
        send_last_words(&p, 40); /* more than the inbox takes */
        WAIT_FOR(state_of(p.server) != FWS_STATE_OPEN);
        assert_int_equal(send_text(p.server, "lost"), FWS_CLOSED);
        assert_int_equal(buffered(p.server), 0);
        expect_numbers(p.server, 40);
        assert_int_equal(receive(p.server, 5 * FWS_NS_PER_S, &message), FWS_CLOSED);
        assert_int_equal(close_code_of(p.server), 4001);
        close_pair(&p);
    }
}

static void test_a_handler_that_does_not_read_may_close(void **state)
{
    (void)state;
    pair p;
    open_bare_pair(&p, engine);
    queue_much(p.server);
    send_last_words(&p, 40);
    WAIT_FOR(state_of(p.server) != FWS_STATE_OPEN);
    fws_websocket_close(p.server, 1000, NULL, 0);
    assert_int_equal(state_of(p.server), FWS_STATE_CLOSED);
    close_pair(&p);
}

/* The write that fails is that of a pong, in the middle of decoding. */
static void test_a_pong_that_cannot_be_sent(void **state)
{
    fws_message message;
    (void)state;
    for (int round = 0; round < 20; round++) {
        pair p;
        uint8_t bytes[512];
        size_t size = 0, first;
        open_bare_pair(&p, engine);
        for (unsigned i = 0; i < FWS_PROVEN; i++)
            assert_int_equal(receive(p.server, 0, &message), FWS_TIMEOUT);
        add_frame(bytes, &size, FWS_OPCODE_TEXT, "first", 5);
        add_frame(bytes, &size, FWS_OPCODE_PING, "?", 1);
        add_frame(bytes, &size, FWS_OPCODE_TEXT, "0", 1);
        add_frame(bytes, &size, FWS_OPCODE_TEXT, "1", 1);
        first = size + 6; /* the payload of the last one, which looks like frames, comes apart */
        add_frame(bytes, &size, FWS_OPCODE_TEXT, "\x81\x80\0\0\0\0\x81\x80\0\0\0\0", 12);
        add_frame(bytes, &size, FWS_OPCODE_CLOSE, "\x0f\xa1", 2);
        send_bytes(&p, bytes, first);
        expect_message(p.server, "first");
        send_bytes(&p, bytes + first, size - first);
        vanish(&p);
        usleep(2000);
        send_text(p.server, "echo"); /* is corked, or fails */
        expect_numbers(p.server, 2);
        assert_int_equal(receive(p.server, 5 * FWS_NS_PER_S, &message), FWS_CLOSED);
        /* "\x81" is no UTF-8. */
        assert_int_equal(close_code_of(p.server), FWS_CLOSE_INVALID_DATA);
        close_pair(&p);
    }
}

static int start_engine(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    return 0;
}

static int free_engine(void **state)
{
    (void)state;
    fws_engine_free(engine);
    return 0;
}

/* The callbacks get all that has come, whether they run when the write fails or not. */
static void test_an_event_driven_one_gets_what_had_arrived(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        start_with(2, 1);
        queue_much(pairs[0].server);
        send_last_words(&pairs[0], 40);
        WAIT_FOR(atomic_load(&owners[0].closes) == 1);
        assert_int_equal(atomic_load(&owners[0].messages), 40);
        assert_int_equal(atomic_load(&owners[0].close_code), 4001);
        stop_with(1);
    }
}

static void test_an_event_driven_one_that_is_held_back(void **state)
{
    (void)state;
    start_with(2, 1);
    while (buffered(pairs[0].server) <= default_config.send_buffer)
        fws_websocket_send(pairs[0].server, FWS_OPCODE_BINARY, large, sizeof large, false);
    send_last_words(&pairs[0], 40);
    WAIT_FOR(atomic_load(&owners[0].closes) == 1);
    assert_int_equal(atomic_load(&owners[0].messages), 40);
    assert_int_equal(atomic_load(&owners[0].close_code), 4001);
    stop_with(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_handler_gets_what_had_arrived, start_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(test_a_handler_that_does_not_read_may_close, start_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(test_a_pong_that_cannot_be_sent, start_engine, free_engine),
        cmocka_unit_test(test_an_event_driven_one_gets_what_had_arrived),
        cmocka_unit_test(test_an_event_driven_one_that_is_held_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
