#include "slow_peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static void use_small_buffers(int fd, int option)
{
    int size = 16 * 1024;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &size, sizeof size), 0);
}

void open_slow_pair(pair *p, fws_engine *engine)
{
    open_bare_pair(p, engine);
    use_small_buffers(p->server->fd, SO_SNDBUF);
    use_small_buffers(p->fd, SO_RCVBUF);
}

void open_slow_evented_pair(pair *p, fws_engine *engine, void *owner)
{
    open_evented_pair(p, engine, owner);
    use_small_buffers(p->server->fd, SO_SNDBUF);
    use_small_buffers(p->fd, SO_RCVBUF);
}

static uint8_t number_of(size_t message)
{
    return (uint8_t)(message % 251);
}

fws_status send_numbered(const pair *p, size_t message)
{
    static uint8_t data[NUMBERED_SIZE];
    memset(data, number_of(message), sizeof data);
    return fws_websocket_send(p->server, FWS_OPCODE_BINARY, data, sizeof data, false);
}

void queue_numbered(const pair *p, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(send_numbered(p, i), FWS_OK);
    assert_true(buffered(p->server) > count * NUMBERED_SIZE / 2);
}

static uint8_t *got; /* what it has read */
static size_t got_size, got_room;

bool read_slowly(const pair *p, fws_ns duration, size_t bytes_a_ms)
{
    fws_ns begun = fws_clock_now();
    for (size_t may = 0; fws_clock_now() - begun < duration;) {
        size_t due = (size_t)((fws_clock_now() - begun) / MS) * bytes_a_ms;
        if (may < due) {
            if (got_room < got_size + due - may)
                got = realloc(got, got_room = 2 * got_room + due - may);
            ssize_t more = recv(p->fd, got + got_size, due - may, MSG_DONTWAIT);
            if (more == 0)
                return false;
            got_size += more > 0 ? (size_t)more : 0;
            may = due;
        }
        usleep(5000);
    }
    return true;
}

bool read_until_quiet(const pair *p, int ms)
{
    struct pollfd polled = {.fd = p->fd, .events = POLLIN};
    while (poll(&polled, 1, ms) == 1) {
        if (got_room < got_size + 65536)
            got = realloc(got, got_room = 2 * got_room + 65536);
        ssize_t more = recv(p->fd, got + got_size, 65536, 0);
        if (more <= 0)
            return false;
        got_size += (size_t)more;
    }
    return true;
}

void forget_what_was_read(void)
{
    free(got);
    got = NULL;
    got_size = got_room = 0;
}

int next_frame(size_t *place, const uint8_t **payload, size_t *length)
{
    while (*place + 2 <= got_size) {
        const uint8_t *head = got + *place;
        size_t header = head[1] < 126 ? 2 : head[1] == 126 ? 4 : 10;
        *length = 0;
        for (size_t i = 2; i < header; i++)
            *length = *length << 8 | head[i];
        if (header == 2)
            *length = head[1];
        *payload = head + header;
        *place += header + *length;
        if ((head[0] & 15) != FWS_OPCODE_PING)
            return head[0] & 15;
    }
    return -1;
}

void expect_numbered(size_t *place, size_t count)
{
    const uint8_t *payload;
    size_t length;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(next_frame(place, &payload, &length), FWS_OPCODE_BINARY);
        assert_int_equal(length, NUMBERED_SIZE);
        assert_int_equal(payload[0], number_of(i));
        assert_int_equal(payload[length - 1], number_of(i));
    }
}

void expect_close(size_t *place, unsigned code)
{
    const uint8_t *payload;
    size_t length;
    assert_int_equal(next_frame(place, &payload, &length), FWS_OPCODE_CLOSE);
    assert_int_equal(payload[0] << 8 | payload[1], code);
    assert_int_equal(*place, got_size);
}
