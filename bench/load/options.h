/* The command line of the load generator. */
#ifndef FWS_BENCH_OPTIONS_H
#define FWS_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    unsigned port, connections, in_flight;
    const char *path;
    size_t size;
    double warm_up, seconds;
    int server_pid;
    bool compressed, mixed, fanout, socketio, tls;
    unsigned idle;
} load_options;

extern load_options options; /* constant once main has read them */

#endif
