/* Readiness of descriptors, one mechanism per file: loop_epoll.c, loop_poll.c. Chosen by the build
 * option `loop`; both pass the same tests.
 *
 * Level-triggered: a descriptor is reported as long as it is ready. With FWS_EDGE, where there is
 * such a thing, only when something new has come, or it is watched anew; who asks for that reads
 * until there is no more, and after FWS_HUNG_UP until the end.
 *
 * Threads: fws_loop_wait from one thread; fws_loop_watch and fws_loop_wake from any,
 * also while another waits. After watching has ended a wait that had begun before may still report
 * the descriptor once, so what `owner` points to must live until that wait's thread has come round.
 */
#ifndef FWS_IO_LOOP_H
#define FWS_IO_LOOP_H

#include "clock.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    FWS_READABLE = 1,
    FWS_WRITABLE = 2,
    FWS_EDGE = 4,    /* to watch with */
    FWS_HUNG_UP = 8, /* reported: the peer has ended its side, or the connection has failed */
};

typedef struct fws_loop fws_loop;

typedef struct {
    void *owner;
    uint8_t ready; /* an error or hang-up shows as readable and writable as well */
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
