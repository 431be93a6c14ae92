/* Bytes over a stream socket, never waiting: the system calls and what their errors mean.
 *
 * Threads: any; the websocket that owns the descriptor keeps it open for the length of a call.
 */
#ifndef FWS_IO_TRANSPORT_H
#define FWS_IO_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef enum {
    FWS_TRANSPORT_OK,    /* *moved bytes went */
    FWS_TRANSPORT_AGAIN, /* nothing to read, or no room to write, just now */
    FWS_TRANSPORT_EOF,   /* the peer has ended its side */
    FWS_TRANSPORT_BROKEN,
} fws_transport_status;

fws_transport_status fws_transport_receive(int fd, void *buffer, size_t size, size_t *moved);

/* Lets fws_transport_receive_blocking be used on `fd`, for up to `timeout_ms`; false where that is
 * not possible.
 */
bool fws_transport_allow_blocking(int fd, unsigned timeout_ms);

/* As fws_transport_receive, but waits for something; FWS_TRANSPORT_AGAIN when the time is over, or,
 * with errno EINTR, when a signal has come. */
fws_transport_status fws_transport_receive_blocking(int fd, void *buffer, size_t size,
                                                    size_t *moved);

/* `end_follows`: fws_transport_end_output comes next, so that the last bytes and the end are one
 * packet.
 */
fws_transport_status fws_transport_send(int fd, struct iovec *vector, int count, bool end_follows,
                                        size_t *moved);

/* How much of what fws_transport_send has moved the peer has not taken yet: bytes, with the
 * kernel's own overhead on a Unix socket. 0 where the system does not say. */
size_t fws_transport_unsent(int fd);

/* No delay for small frames: each message is written as a whole, so there is nothing to wait for.
 */
void fws_transport_set_no_delay(int fd);

/* Takes a connection out of the hands of whoever owns `fd`: *ours is a new descriptor of it, and
 * `fd` itself becomes one end of a socket pair, where what is written goes nowhere and reading is
 * at its end. *far_end is the other end, to be kept open for as long as `fd` is written to. False:
 * errno says why, and `fd` is as it was. */
bool fws_transport_take_over(int fd, int *ours, int *far_end);

/* The same, but `fd` becomes another descriptor of `by`, whatever that is. */
bool fws_transport_exchange(int fd, int by, int *ours);

/* Ends our side of the stream; the peer reads end-of-file after what was sent. */
void fws_transport_end_output(int fd);

#endif
