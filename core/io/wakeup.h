/* A descriptor that becomes readable when another thread rings: what a thread in poll or epoll also
 * waits on, so that it can be called away.
 *
 * Threads: fws_wakeup_ring from any; the others as their owner arranges.
 */
#ifndef FWS_IO_WAKEUP_H
#define FWS_IO_WAKEUP_H

#include <stdbool.h>

typedef struct {
    int read_fd; /* the one to poll; -1 before fws_wakeup_open */
    int write_fd;
} fws_wakeup;

#define FWS_WAKEUP_CLOSED ((fws_wakeup){.read_fd = -1, .write_fd = -1})

bool fws_wakeup_open(fws_wakeup *wakeup);
void fws_wakeup_close(fws_wakeup *wakeup);

/* Makes it readable, until fws_wakeup_clear. Ringing twice is ringing once. */
void fws_wakeup_ring(const fws_wakeup *wakeup);
void fws_wakeup_clear(const fws_wakeup *wakeup);

#endif
