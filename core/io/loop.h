/* Readiness of descriptors, one file for each mechanism: loop_epoll.c, loop_poll.c. The build
 * option `loop` chooses; both pass the same tests.
 *
 * Level-triggered: a descriptor is reported as long as it is ready. With FWS_EDGE, where the
 * mechanism has that, it is reported only when something new has arrived, or when it is watched
 * anew. The caller must then read until the socket is empty, and after FWS_HUNG_UP until
 * end-of-file.
 *
 * Threads: fws_loop_wait from one thread at a time; fws_loop_watch and fws_loop_wake from any
 * thread, also while another one waits. Memory: `owner` is the caller's. When watching ends, a wait
 * that has begun before may still report the descriptor once, so what `owner` points to must exist
 * until that wait has returned and its result was handled.
 */
#ifndef FWS_IO_LOOP_H
#define FWS_IO_LOOP_H

#include "clock.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    FWS_READABLE = 1,
    FWS_WRITABLE = 2,
    FWS_EDGE = 4,    /* only for fws_loop_watch */
    FWS_HUNG_UP = 8, /* only reported: the peer has ended its side, or the connection has failed */
};

typedef struct fws_loop fws_loop;

typedef struct {
    void *owner;
    uint8_t ready; /* an error or a hang-up is reported as readable and writable as well */
} fws_readiness;

/* NULL when descriptors or memory are used up. */
fws_loop *fws_loop_new(void);
void fws_loop_free(fws_loop *loop);

/* Changes what is watched from `old_events` to `new_events`, either of which may be 0. False, with
 * errno, when the mechanism refuses. */
bool fws_loop_watch(fws_loop *loop, int fd, uint8_t old_events, uint8_t new_events, void *owner);

/* Waits at most `timeout` ns (FWS_FOREVER: no limit) and returns how many entries of `ready` it
 * filled: 0 after a time-out, a wake or a signal. */
int fws_loop_wait(fws_loop *loop, fws_readiness *ready, int maximum, fws_ns timeout);

/* Makes the present wait, or the next, return at once. */
void fws_loop_wake(fws_loop *loop);

/* "epoll" or "poll". */
const char *fws_loop_name(void);

#endif
