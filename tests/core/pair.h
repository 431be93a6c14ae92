/* A server-role websocket and its peer over real TCP on loopback, for the tests of the engine. */
#ifndef FWS_TEST_PAIR_H
#define FWS_TEST_PAIR_H

#include "testing.h"

#include "engine/internal.h"
#include "websocket/websocket.h"

extern const fws_engine_config default_config;

typedef struct {
    fws_engine *engine;
    fws_websocket *server;
    fws_websocket *client; /* NULL: the peer is the bare descriptor `fd` */
    int fd;
} pair;

/* The peer is a websocket in the client role, on the same engine. */
void open_pair(pair *p, fws_engine *engine);
/* The same, with permessage-deflate agreed on. */
void open_compressed_pair(pair *p, fws_engine *engine, const fws_deflate_parameters *parameters);
/* The server's handler is a greenlet, and the peer a bare descriptor. */
void open_notified_pair(pair *p, fws_engine *engine, fws_notifier *notifier);
/* The server is event-driven, its callbacks may begin, and the peer is a bare descriptor. */
void open_evented_pair(pair *p, fws_engine *engine, void *owner);
/* The peer is a descriptor on which the test writes and reads bytes itself. */
void open_bare_pair(pair *p, fws_engine *engine);
/* Closes what is open and waits until the engine has finished both. */
void close_pair(pair *p);

/* Sends a masked frame on the bare descriptor. */
void send_frame(const pair *p, bool final, fws_opcode opcode, const void *data, size_t size);
/* Reads exactly `size` bytes within 5 s and compares. */
void expect_bytes(const pair *p, const char *bytes, size_t size);
/* Reads and drops bytes until end-of-file; false when that does not come within 5 s. */
bool read_to_the_end(int fd);

/* Receives within 5 s and compares. */
void expect_message(fws_websocket *websocket, const char *text);
fws_status receive(fws_websocket *websocket, fws_ns timeout, fws_message *message);
fws_status send_text(fws_websocket *websocket, const char *text);
fws_state state_of(fws_websocket *websocket);
unsigned close_code_of(fws_websocket *websocket);
size_t buffered(fws_websocket *websocket);
/* How many messages have arrived and were not given out. */
size_t inbox_count(fws_websocket *websocket);

/* Waits up to 5 s for a condition; a test of something that happens on another thread. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        fws_ns begun_ = fws_clock_now();                                                           \
        while (!(condition)) {                                                                     \
            if (fws_clock_now() - begun_ > 5 * FWS_NS_PER_S)                                       \
                fail_msg("in vain waited for: %s", #condition);                                    \
            usleep(100);                                                                           \
        }                                                                                          \
    } while (0)

/* Waits until the loop thread has slept for 300 ms; fails when it never does in 5 s. How long it
 * takes until then is not part of it, because on a busy machine that may be anything. */
void expect_no_wake_ups(fws_engine *engine);

#endif
