/* Bytes over a stream socket: the system calls, and what their errors mean. Only
 * fws_transport_receive_blocking waits.
 *
 * Threads: any; the websocket that owns the descriptor keeps it open until a call has returned.
 */
#ifndef FWS_IO_TRANSPORT_H
#define FWS_IO_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef enum {
    FWS_TRANSPORT_OK,    /* *moved bytes were received or sent */
    FWS_TRANSPORT_AGAIN, /* nothing to read, or no room to write, just now */
    FWS_TRANSPORT_EOF,   /* end-of-file: the peer has ended its side */
    FWS_TRANSPORT_BROKEN,
} fws_transport_status;

fws_transport_status fws_transport_receive(int fd, void *buffer, size_t size, size_t *moved);

/* Prepares `fd` for fws_transport_receive_blocking, which then waits for up to `timeout_ms`;
 * false where that is not possible. */
bool fws_transport_allow_blocking(int fd, unsigned timeout_ms);

/* As fws_transport_receive, but waits for bytes. FWS_TRANSPORT_AGAIN when the time is over, or,
 * with errno EINTR, when a signal has interrupted it. */
fws_transport_status fws_transport_receive_blocking(int fd, void *buffer, size_t size,
                                                    size_t *moved);

/* `end_follows`: fws_transport_end_output is called next, so that the last bytes and the end fit
 * into one packet. */
fws_transport_status fws_transport_send(int fd, struct iovec *vector, int count, bool end_follows,
                                        size_t *moved);

/* How many of the sent bytes the peer has not acknowledged yet. On a Unix socket the kernel's
 * own overhead is included. 0 where the system does not tell. */
size_t fws_transport_unsent(int fd);

/* Small frames are sent without delay (TCP_NODELAY): each message is written as a whole, so
 * there is nothing to wait for. */
void fws_transport_set_no_delay(int fd);

/* Takes a connection over from the owner of `fd`: *ours is a new descriptor of the connection,
 * and `fd` becomes one end of a socket pair, where what is written is discarded and reading is
 * at its end. *far_end is the other end of the pair; it must stay open for as long as the owner
 * writes to `fd`. False, with errno: `fd` is as it was. */
bool fws_transport_take_over(int fd, int *ours, int *far_end);

/* The same, but `fd` becomes another descriptor of `by`. */
bool fws_transport_exchange(int fd, int by, int *ours);

/* Ends our side of the stream; the peer reads end-of-file after what was sent. */
void fws_transport_end_output(int fd);

#endif
