/* A connection to the server: TCP, or TLS over it (OpenSSL). For one thread. What fails ends the
 * program. */
#ifndef FWS_BENCH_LINE_H
#define FWS_BENCH_LINE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    int fd;
    void *tls; /* NULL: TCP */
} load_line;

/* To 127.0.0.1; nobody asks who signed the certificate. */
void line_open(load_line *line, unsigned port, bool tls);

/* How many bytes were taken without waiting. */
size_t line_send(load_line *line, const void *data, size_t size);

/* How many bytes came; 0 when there is nothing just now, which cannot be if it waits. */
size_t line_receive(load_line *line, void *data, size_t size, bool wait);

/* May there be more, after `size` bytes of at most `room` came? */
bool line_may_have_more(const load_line *line, size_t size, size_t room);

#endif
