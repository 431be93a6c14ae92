/* A connection to the server: TCP, or TLS over it (OpenSSL). Used by one thread. Every failure
 * ends the program. */
#ifndef FWS_BENCH_LINE_H
#define FWS_BENCH_LINE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    int fd;
    void *tls; /* NULL: TCP */
} load_line;

/* Connects to 127.0.0.1; the certificate is not verified. */
void line_open(load_line *line, unsigned port, bool tls);

/* Returns how many bytes were sent without waiting. */
size_t line_send(load_line *line, const void *data, size_t size);

/* Returns how many bytes were received; 0 when there are none now, which cannot be with `wait`. */
size_t line_receive(load_line *line, void *data, size_t size, bool wait);

/* May there be more, after `size` bytes of at most `room` came? */
bool line_may_have_more(const load_line *line, size_t size, size_t room);

#endif
