/* The settings of one engine, which its websockets read.
 *
 * Threads: any; nothing changes once the first websocket is attached.
 */
#ifndef FWS_WEBSOCKET_CONFIG_H
#define FWS_WEBSOCKET_CONFIG_H

#include "../io/clock.h"
#include "../protocol/connection.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fws_websocket fws_websocket;

/* What happens to a published message when a subscriber's outbox is over its limit. */
typedef enum {
    FWS_SLOW_CLOSE,       /* the subscriber is closed with 1013 */
    FWS_SLOW_DROP_OLDEST, /* it loses the oldest published messages */
    FWS_SLOW_DROP_NEWEST, /* it loses this one */
} fws_slow_consumer;

/* What event-driven websockets run; all without any lock of the core. `thread` is a place of the
 * calling thread's own, NULL at first. */
typedef struct {
    void *context;
    /* Before callbacks: whatever they need (the GIL); after them. False: it cannot be had at
     * present; it is asked for again, see FWS_RETRY_AFTER in engine/crew.h. */
    bool (*enter)(void *context, void **thread);
    void (*leave)(void *context, void **thread);
    /* Between the two: runs what fws_websocket_collect gives, and says how many callbacks that was.
     * `next`: the owner of the one that comes after it, which may be fetched into the cache
     * meanwhile; may be NULL. */
    uint32_t (*run)(void *context, fws_websocket *websocket, void *next);
    /* The thread ends. */
    void (*end_thread)(void *context, void **thread);
} fws_callbacks;

typedef struct {
    fws_ns ping_interval;      /* 0: no pings */
    fws_ns ping_timeout;       /* 0: a missing pong is not punished */
    fws_ns close_timeout;      /* for the peer's answer to a close, and for its end of the stream */
    fws_ns send_timeout;       /* for a peer that takes nothing of what is queued for it; 0: none */
    fws_limits limits;         /* of one message */
    uint32_t max_message_rate; /* messages a second from one peer; 0: no limit */
    uint32_t receive_queue;    /* messages kept for a handler that is away; at least 1 */
    size_t send_buffer;        /* bytes queued above which senders wait and publishers do not */
    fws_slow_consumer slow_consumer;
    int compression_level;        /* zlib's, 1 to 9 */
    size_t compression_threshold; /* smaller messages are sent as they are; bytes */
    fws_callbacks callbacks;      /* of event-driven websockets; may be empty without any */
    uint32_t callback_threads;    /* that may be inside callbacks at once */
} fws_engine_config;

#endif
