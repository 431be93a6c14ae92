/* A descriptor that becomes readable when another thread rings: a thread in poll or epoll waits on
 * it as well, so that it can be woken.
 *
 * Threads: fws_wakeup_ring from any; the other functions as the owner's lock arranges.
 */
#ifndef FWS_IO_WAKEUP_H
#define FWS_IO_WAKEUP_H

#include <stdbool.h>

typedef struct {
    int read_fd; /* the one to poll; -1: it is not open */
    int write_fd;
} fws_wakeup;

#define FWS_WAKEUP_CLOSED ((fws_wakeup){.read_fd = -1, .write_fd = -1})

bool fws_wakeup_open(fws_wakeup *wakeup);
void fws_wakeup_close(fws_wakeup *wakeup);

/* Makes it readable, until fws_wakeup_clear. Ringing twice is ringing once. */
void fws_wakeup_ring(const fws_wakeup *wakeup);
void fws_wakeup_clear(const fws_wakeup *wakeup);

#endif
