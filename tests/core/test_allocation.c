/* Memory runs out: every allocation of a scenario fails once, in one run each. Nothing may crash,
 * hang or leak; a connection that cannot go on ends with 1011, a handshake with ENOMEM (which the
 * Flask side answers with 503).
 *
 * malloc and the like of the core are replaced at link time (--wrap); zlib allocates through
 * them too.
 */
#include "pair.h"

#include "io/os.h"

#include "protocol/mask.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

void *__real_malloc(size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static atomic_long countdown; /* allocations that still succeed; below 0: all do */
static atomic_bool failed;

static bool fails(void)
{
    if (atomic_load(&countdown) < 0 || atomic_fetch_sub(&countdown, 1) != 0)
        return false;
    atomic_store(&failed, true);
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

/* Runs it with the first allocation failing, then the second, until none is left to fail. */
static void exhaust(void (*scenario)(void), long at_least)
{
    long number = 0;
    do {
        atomic_store(&failed, false);
        atomic_store(&countdown, number);
        scenario();
        atomic_store(&countdown, -1);
        number++;
    } while (atomic_load(&failed));
    assert_in_range(number, at_least, 1000);
}

static const fws_deflate_parameters alone = {.server_no_context_takeover = true,
                                             .client_no_context_takeover = true,
                                             .server_max_window_bits = 15,
                                             .client_max_window_bits = 15};
static const fws_deflate_parameters takeover = {.server_max_window_bits = 10,
                                                .client_max_window_bits = 10};

/* ---- the protocol by itself ---- */

static const char wire[] = "\x01\x85\0\0\0\0Hello" /* a text in three frames */
                           "\x00\x85\0\0\0\0 and " /* */
                           "\x89\x81\0\0\0\0p"     /* with a ping between them */
                           "\x80\x84\0\0\0\0more"  /* */
                           "\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0" /* a compressed one */
                           "\x82\x83\0\0\0\0abc"                        /* a binary one */
                           "\x88\x82\0\0\0\0\x03\xe8";

static void protocol_scenario(void)
{
    static const fws_deflate_parameters *const modes[] = {&alone, &takeover};
    uint8_t copy[sizeof wire];
    fws_event event = {0};
    fws_connection connection;
    fws_deflate_pool pool;
    fws_deflate_pool_init(&pool, 6);
    for (int mode = 0; mode < 2; mode++) {
        fws_limits limits = {.max_message_size = 1 << 20};
        fws_connection_init(&connection, FWS_ROLE_SERVER, &limits, NULL);
        bool refused = !fws_connection_use_compression(&connection, &pool, modes[mode]);
        memcpy(copy, wire, sizeof wire);
        int messages = 0;
        for (size_t at = 0; at + 1 < sizeof wire && !refused; at++) { /* byte by byte */
            uint8_t *cursor = copy + at;
            while (fws_connection_receive(&connection, &cursor, copy + at + 1, &event)) {
                messages += event.type == FWS_EVENT_MESSAGE;
                if (event.type == FWS_EVENT_FAILED) {
                    assert_true(atomic_load(&failed));
                    assert_int_equal(event.code, 1011);
                    assert_memory_equal(event.data, "out of memory", event.length);
                    refused = true;
                }
                if (event.type == FWS_EVENT_MESSAGE && event.assembled)
                    free(fws_connection_detach_message(&connection));
            }
        }
        assert_true(refused || messages == 3);
        /* Sending falls back to what needs no memory. */
        uint8_t room[64];
        size_t size;
        if (connection.compression)
            fws_compression_deflate(connection.compression, (const uint8_t *)"Hello", 5, room,
                                    sizeof room, &size);
        fws_connection_clear(&connection);
    }
    fws_deflate_pool_clear(&pool);
}

static void test_the_protocol(void **state)
{
    (void)state;
    exhaust(protocol_scenario, 10);
}

/* ---- an engine, and a peer that is a bare descriptor ---- */

static fws_engine *engine;

static fws_engine *new_engine(void)
{
    fws_engine_config config = default_config;
    config.close_timeout = 30 * FWS_NS_PER_MS; /* the bare peer answers no close */
    return fws_engine_new(&config);
}

static void connect_ends(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static long promised, arrived; /* publications: for the subscriber, and at its peer */

/* What the peer has got, up to end-of-file: the close code in it, or 1006. */
static unsigned read_close_code(int fd)
{
    static uint8_t all[1 << 20];
    size_t size = 0;
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    for (ssize_t more = 1; more > 0 && size < sizeof all;) {
        if (poll(&polled, 1, 5000) != 1)
            fail_msg("no end of the stream");
        more = recv(fd, all + size, sizeof all - size, 0);
        size += more > 0 ? (size_t)more : 0;
    }
    fws_connection reader;
    fws_deflate_pool pool;
    fws_event event;
    unsigned code = 1006;
    fws_deflate_pool_init(&pool, 6);
    fws_connection_init(&reader, FWS_ROLE_CLIENT, &(fws_limits){0}, fws_os_entropy);
    fws_connection_use_compression(&reader, &pool, &alone);
    uint8_t *cursor = all;
    while (fws_connection_receive(&reader, &cursor, all + size, &event)) {
        assert_int_not_equal(event.type, FWS_EVENT_FAILED); /* whatever it is, it is legal */
        if (event.type == FWS_EVENT_CLOSE)
            code = event.code;
        arrived += event.type == FWS_EVENT_MESSAGE && event.opcode == FWS_OPCODE_TEXT;
    }
    fws_connection_clear(&reader);
    fws_deflate_pool_clear(&pool);
    return code;
}

static void publish(const char *text)
{
    fws_channel_name name = {"channel", 7};
    long count = fws_engine_publish(engine, FWS_OPCODE_TEXT, text, strlen(text), &name, 1, NULL, 0);
    assert_in_range(count + 1, 0, 2);
    assert_true(count >= 0 || atomic_load(&failed));
    promised += count > 0;
}

static void use(fws_websocket *server, int fd)
{
    static char data[60000];
    fws_channel_name name = {"channel", 7};
    memset(data, 'x', sizeof data);
    fws_table_status subscribed = fws_engine_subscribe(engine, server, &name, 1);
    assert_true(subscribed == FWS_TABLE_OK || atomic_load(&failed));
    publish("published, and compressed, compressed, compressed");
    send(fd, wire, sizeof wire - 9, MSG_NOSIGNAL); /* without the close frame */
    fws_status status = FWS_OK;
    fws_message message;
    for (int i = 0; i < 3 && status == FWS_OK; i++) {
        if (i == 2)
            usleep(80 * 1000); /* the loop thread adopts the reading */
        status = receive(server, 5 * FWS_NS_PER_S, &message);
        if (status == FWS_OK)
            fws_message_free(&message);
    }
    for (int i = 0; i < 8 && status == FWS_OK; i++)
        status = fws_websocket_send(server, FWS_OPCODE_BINARY, data, sizeof data, false);
    publish("once more");
}

static void engine_scenario(void)
{
    int ends[2];
    promised = arrived = 0;
    engine = new_engine();
    if (engine == NULL)
        return;
    connect_ends(ends);
    fws_attachment attachment = {.role = FWS_ROLE_SERVER,
                                 .reply = "",
                                 .received = wire,
                                 .received_size = 5,
                                 .compression = &alone};
    attachment.received = "\x81\x80\0\0\0\0"; /* an empty message, half of it read ahead */
    fws_websocket *server = fws_engine_attach(engine, ends[0], &attachment);
    if (server == NULL) {
        assert_int_equal(errno, ENOMEM);
        close(ends[0]); /* still ours */
    } else {
        fws_message message;
        send(ends[1], "\0", 1, MSG_NOSIGNAL);
        if (receive(server, 5 * FWS_NS_PER_S, &message) == FWS_OK)
            fws_message_free(&message);
        use(server, ends[1]);
        fws_websocket_close(server, 1000, NULL, 0);
        /* One allocation has failed, at most: the close frame has got out. */
        atomic_store(&countdown, -1);
        fws_websocket_status status;
        unsigned seen = read_close_code(ends[1]);
        fws_websocket_get_status(server, &status);
        if (seen == 1006)
            assert_true(atomic_load(&failed));
        else
            assert_int_equal(seen, status.close_code);
        if (status.close_code != 1000)
            assert_true(atomic_load(&failed));
        else if (seen == 1000) /* what was published is not lost in silence */
            assert_int_equal(arrived, promised);
        assert_true(status.close_code == 1000 || status.close_code == 1011 ||
                    status.close_code == 1006);
        fws_websocket_drop(server);
    }
    close(ends[1]);
    fws_engine_free(engine);
}

static void test_an_engine_with_a_client(void **state)
{
    (void)state;
    exhaust(engine_scenario, 30);
}

/* ---- what is received must be kept: the one failure there is 1011, on the wire too ---- */

static void receive_scenario(void)
{
    int ends[2];
    atomic_long later;
    atomic_init(&later, atomic_exchange(&countdown, -1)); /* only what follows the handshake */
    engine = new_engine();
    connect_ends(ends);
    fws_attachment attachment = {.role = FWS_ROLE_SERVER, .compression = &alone};
    fws_websocket *server = fws_engine_attach(engine, ends[0], &attachment);
    assert_non_null(server);
    atomic_store(&countdown, atomic_load(&later));
    send(ends[1], wire, sizeof wire - 9, MSG_NOSIGNAL);
    fws_message message;
    int got = 0;
    while (got < 3 && receive(server, 5 * FWS_NS_PER_S, &message) == FWS_OK) {
        fws_message_free(&message);
        got++;
    }
    atomic_store(&countdown, -1);
    if (got < 3) {
        assert_int_equal(close_code_of(server), 1011);
        assert_int_equal(read_close_code(ends[1]), 1011);
    } else {
        fws_websocket_close(server, 1000, NULL, 0);
        assert_int_equal(read_close_code(ends[1]), 1000);
    }
    close(ends[1]);
    fws_websocket_drop(server);
    fws_engine_free(engine);
}

static void test_receiving(void **state)
{
    (void)state;
    exhaust(receive_scenario, 8);
}

/* ---- a handler whose sends wait until it comes back: what was refused is not sent, nor half of it
 */

static void cork_scenario(void)
{
    int ends[2];
    char got[64];
    fws_message message;
    atomic_long later;
    atomic_init(&later, atomic_exchange(&countdown, -1));
    engine = new_engine();
    connect_ends(ends);
    fws_websocket *server =
        fws_engine_attach(engine, ends[0], &(fws_attachment){.role = FWS_ROLE_SERVER});
    assert_non_null(server);
    for (int i = 0; i < FWS_PROVEN; i++)
        receive(server, 0, &message);
    atomic_store(&countdown, atomic_load(&later));
    size_t sent = 0;
    for (int i = 0; i < 3; i++)
        if (send_text(server, "corked") == FWS_OK)
            sent += 8;
    atomic_store(&countdown, -1);
    assert_true(sent == 24 || atomic_load(&failed));
    receive(server, 0, &message);
    if (sent > 0)
        assert_int_equal(recv(ends[1], got, sent, MSG_WAITALL), sent);
    fws_websocket_close(server, 1000, NULL, 0);
    assert_int_equal(read_close_code(ends[1]), 1000);
    close(ends[1]);
    fws_websocket_drop(server);
    fws_engine_free(engine);
}

static void test_sends_that_wait(void **state)
{
    (void)state;
    exhaust(cork_scenario, 2);
}

/* ---- both roles, with context takeover and large messages ---- */

static void both_roles_scenario(void)
{
    static char data[3 << 20];
    int ends[2];
    engine = new_engine();
    if (engine == NULL)
        return;
    connect_ends(ends);
    fws_attachment attachment = {.role = FWS_ROLE_SERVER, .compression = &takeover};
    fws_websocket *server = fws_engine_attach(engine, ends[0], &attachment);
    attachment.role = FWS_ROLE_CLIENT;
    fws_websocket *client = fws_engine_attach(engine, ends[1], &attachment);
    if (server == NULL)
        close(ends[0]);
    if (client == NULL)
        close(ends[1]);
    if (server && client) {
        fws_message message;
        for (int i = 0; i < 4; i++) {
            size_t length = i >= 2 ? sizeof data / 3 : 1000;
            memset(data, 'a' + i, length);
            bool wait = i < 3; /* else the leader compresses */
            if (fws_websocket_send(server, FWS_OPCODE_BINARY, data, length, wait) == FWS_OK &&
                receive(client, 5 * FWS_NS_PER_S, &message) == FWS_OK) {
                assert_int_equal(message.length, length);
                assert_memory_equal(message.data, data, length);
                fws_message_free(&message);
            }
            if (fws_websocket_send(client, FWS_OPCODE_BINARY, data, length, true) == FWS_OK &&
                receive(server, 5 * FWS_NS_PER_S, &message) == FWS_OK) {
                assert_int_equal(message.length, length);
                assert_memory_equal(message.data, data, length);
                fws_message_free(&message);
            }
        }
    }
    if (server) {
        fws_websocket_close(server, 1000, "done", 4);
        WAIT_FOR(state_of(server) == FWS_STATE_CLOSED);
        fws_websocket_drop(server);
    }
    if (client) {
        WAIT_FOR(state_of(client) == FWS_STATE_CLOSED);
        fws_websocket_drop(client);
    }
    fws_engine_free(engine);
}

static void test_both_roles(void **state)
{
    (void)state;
    exhaust(both_roles_scenario, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_protocol), cmocka_unit_test(test_an_engine_with_a_client),
        cmocka_unit_test(test_receiving),    cmocka_unit_test(test_sends_that_wait),
        cmocka_unit_test(test_both_roles),
    };
    atomic_store(&countdown, -1);
    return cmocka_run_group_tests_name("allocation", tests, NULL, NULL);
}
