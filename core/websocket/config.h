/* The settings of one engine, which its websockets read.
 *
 * Threads: any; nothing changes once the first websocket is attached. Memory: the engine keeps a
 * copy of what it was given.
 */
#ifndef FWS_WEBSOCKET_CONFIG_H
#define FWS_WEBSOCKET_CONFIG_H

#include "../io/clock.h"
#include "../protocol/connection.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fws_websocket fws_websocket;

/* What publish does when more than send_buffer published bytes wait for one subscriber. */
typedef enum {
    FWS_SLOW_CLOSE,       /* the subscriber is closed with 1013 */
    FWS_SLOW_DROP_OLDEST, /* the subscriber does not get the oldest of these messages */
    FWS_SLOW_DROP_NEWEST, /* the subscriber does not get this message */
} fws_slow_consumer;

/* What the engine calls for event-driven websockets, always without a lock of the core.
 * `*thread` belongs to the calling thread, and is NULL when the thread calls for the first time. */
typedef struct {
    void *context;
    /* `enter` takes what callbacks need (in the binding: the GIL), `leave` gives it back. False:
     * it cannot be had at present, and the engine tries again after FWS_RETRY_AFTER. `leads`: the
     * calling thread is the leader. At most one such call waits, and all other websockets for it,
     * so it goes before the rest. */
    bool (*enter)(void *context, void **thread, bool leads);
    void (*leave)(void *context, void **thread);
    /* Called between the two: runs the callbacks for what fws_websocket_collect gives, and
     * returns how many it has run. `next`: the owner of the websocket that is probably called
     * next, whose memory may be prefetched; may be NULL. */
    uint32_t (*run)(void *context, fws_websocket *websocket, void *next);
    /* The calling thread ends. Called only if *thread is not NULL. */
    void (*end_thread)(void *context, void **thread);
} fws_callbacks;

typedef struct {
    fws_ns ping_interval; /* 0: no pings */
    fws_ns ping_timeout;  /* 0: a missing pong is not punished */
    fws_ns
        close_timeout;   /* for the peer to answer our close frame and end its side of the stream */
    fws_ns send_timeout; /* for a peer that takes none of the bytes queued for it; 0: no limit */
    fws_limits limits;   /* of one message */
    uint32_t max_message_rate; /* messages a second from one peer; 0: no limit */
    uint32_t receive_queue;    /* messages kept while no handler receives; at least 1 */
    size_t
        send_buffer; /* bytes: senders wait above it; published ones above it are slow_consumer's */
    fws_slow_consumer slow_consumer;
    int compression_level;        /* zlib's, 1 to 9 */
    size_t compression_threshold; /* smaller messages are sent as they are; bytes */
    fws_callbacks callbacks;      /* of event-driven websockets; may be empty without any */
    uint32_t callback_threads;    /* how many threads may be inside callbacks at once */
} fws_engine_config;

#endif
