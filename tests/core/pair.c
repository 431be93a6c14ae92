#include "pair.h"

#include "protocol/mask.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

const fws_engine_config default_config = {
    .close_timeout = 2 * FWS_NS_PER_S,
    .limits = {.max_message_size = 1 << 20},
    .receive_queue = 16,
    .send_buffer = 1 << 20,
    .slow_consumer = FWS_SLOW_CLOSE,
    .compression_level = 3,
};

static void connect_tcp(int ends[2])
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&address, &size);
    ends[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(ends[1], (struct sockaddr *)&address, size), 0);
    ends[0] = accept(listener, NULL, NULL);
    assert_true(ends[0] >= 0);
    close(listener);
}

void open_bare_pair(pair *p, fws_engine *engine)
{
    open_notified_pair(p, engine, NULL);
}

static void open_with(pair *p, fws_engine *engine, fws_attachment attachment)
{
    int ends[2];
    attachment.role = FWS_ROLE_SERVER;
    connect_tcp(ends);
    p->engine = engine;
    p->server = fws_engine_attach(engine, ends[0], &attachment);
    assert_non_null(p->server);
    p->client = NULL;
    p->fd = ends[1];
}

void open_notified_pair(pair *p, fws_engine *engine, fws_notifier *notifier)
{
    open_with(p, engine, (fws_attachment){.notifier = notifier});
}

void open_evented_pair(pair *p, fws_engine *engine, void *owner)
{
    open_with(p, engine, (fws_attachment){.owner = owner});
    fws_websocket_release_callbacks(p->server);
}

void open_compressed_pair(pair *p, fws_engine *engine, const fws_deflate_parameters *parameters)
{
    int ends[2];
    connect_tcp(ends);
    fws_attachment attachment = {.role = FWS_ROLE_SERVER, .compression = parameters};
    p->engine = engine;
    p->fd = -1;
    p->server = fws_engine_attach(engine, ends[0], &attachment);
    attachment.role = FWS_ROLE_CLIENT;
    p->client = fws_engine_attach(engine, ends[1], &attachment);
    assert_true(p->server && p->client);
}

void open_pair(pair *p, fws_engine *engine)
{
    open_bare_pair(p, engine);
    p->client = fws_engine_attach(engine, p->fd, &(fws_attachment){.role = FWS_ROLE_CLIENT});
    assert_non_null(p->client);
    p->fd = -1;
}

void close_pair(pair *p)
{
    if (p->fd >= 0)
        close(p->fd);
    fws_websocket_close(p->server, 1000, NULL, 0);
    if (p->client) {
        fws_websocket_close(p->client, 1000, NULL, 0);
        WAIT_FOR(state_of(p->client) == FWS_STATE_CLOSED);
        fws_websocket_drop(p->client);
    }
    WAIT_FOR(state_of(p->server) == FWS_STATE_CLOSED);
    fws_websocket_drop(p->server);
}

void send_frame(const pair *p, bool final, fws_opcode opcode, const void *data, size_t size)
{
    const uint8_t key[4] = {9, 8, 7, 6};
    uint8_t *frame = malloc(FWS_FRAME_HEADER_MAX + size);
    size_t header = fws_frame_encode(frame, final, opcode, size, key);
    if (size > 0)
        memcpy(frame + header, data, size);
    fws_mask_apply(frame + header, size, key, 0);
    assert_int_equal(send(p->fd, frame, header + size, MSG_NOSIGNAL), header + size);
    free(frame);
}

static bool readable(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 5000) == 1;
}

void expect_bytes(const pair *p, const char *bytes, size_t size)
{
    char *got = malloc(size);
    for (size_t have = 0; have < size;) {
        if (!readable(p->fd))
            fail_msg("only %zu of %zu bytes came", have, size);
        ssize_t more = recv(p->fd, got + have, size - have, 0);
        assert_true(more > 0);
        have += (size_t)more;
    }
    assert_memory_equal(got, bytes, size);
    free(got);
}

bool read_to_the_end(int fd)
{
    char buffer[65536];
    while (readable(fd)) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got <= 0)
            return got == 0;
    }
    return false;
}

fws_status receive(fws_websocket *websocket, fws_ns timeout, fws_message *message)
{
    fws_status status = fws_websocket_receive_ready(websocket, message);
    if (status == FWS_WOULD_BLOCK)
        status = fws_websocket_receive_wait(websocket, fws_clock_now() + timeout, message);
    return status;
}

void expect_message(fws_websocket *websocket, const char *text)
{
    fws_message message;
    assert_int_equal(receive(websocket, 5 * FWS_NS_PER_S, &message), FWS_OK);
    assert_int_equal(message.length, strlen(text));
    if (message.length > 0)
        assert_memory_equal(message.data, text, message.length);
    fws_message_free(&message);
}

fws_status send_text(fws_websocket *websocket, const char *text)
{
    return fws_websocket_send(websocket, FWS_OPCODE_TEXT, text, strlen(text), true);
}

fws_state state_of(fws_websocket *websocket)
{
    fws_websocket_status status;
    fws_websocket_get_status(websocket, &status);
    return status.state;
}

unsigned close_code_of(fws_websocket *websocket)
{
    fws_websocket_status status;
    fws_websocket_get_status(websocket, &status);
    return status.close_code;
}

size_t buffered(fws_websocket *websocket)
{
    fws_websocket_status status;
    fws_websocket_get_status(websocket, &status);
    return status.buffered;
}

size_t inbox_count(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    size_t count = websocket->inbox.count;
    fws_websocket_unlock(websocket);
    return count;
}

void expect_no_wake_ups(fws_engine *engine)
{
    uint64_t before = UINT64_MAX;
    fws_ns begun = fws_clock_now();
    while (atomic_load(&engine->work.counters.loop_wakeups) != before) {
        if (fws_clock_now() - begun > 5 * FWS_NS_PER_S)
            fail_msg("the loop thread wakes up again and again");
        before = atomic_load(&engine->work.counters.loop_wakeups);
        usleep(300 * 1000);
    }
}
