/* What is counted of the websockets that belong together, those of one route: as stats() shows it.
 * The tallies of an engine, added up, are what the engine has counted.
 *
 * A websocket refers to its tally from the lines that each message needs, so that to count for a
 * route costs what it costs to count for the engine.
 *
 * Threads: any, see counter.h; but values are added to a histogram by one thread at a time, which
 * the caller arranges, which goes for what is known of callbacks as well. Memory: those of an
 * engine are linked, the first is part of the engine, and the others are freed with it.
 */
#ifndef FWS_STATS_TALLY_H
#define FWS_STATS_TALLY_H

#include "counter.h"
#include "histogram.h"

#include "../io/clock.h"

#define FWS_CLOSE_CODES 4000 /* from 1000 on */

typedef struct fws_tally {
    _Atomic(struct fws_tally *) next; /* of the same engine; NULL: this is the last */
    fws_counter messages_in, messages_out, bytes_in, bytes_out;
    fws_counter queued;             /* bytes queued that sockets have not taken yet */
    atomic_uint_least64_t opens;    /* websockets attached */
    atomic_uint_least64_t refusals; /* handshakes that the code around the engine has refused */
    atomic_uint_least64_t
        slow_consumers; /* subscribers closed, or messages dropped, because they were slow */
    atomic_uint_least32_t
        closes[FWS_CLOSE_CODES]; /* finished websockets by close code, less 1000 */
    fws_histogram callback_time; /* ns */
    /* What engine/apart.c knows of the callbacks of this route, for itself. */
    fws_ns overtaken_at; /* when one was overtaken last; 0: never */
    uint32_t overtaken;  /* how many were lately */
} fws_tally;

/* A new one, behind the first of its engine. NULL when there is no memory. */
fws_tally *fws_tally_new(fws_tally *first);

/* Frees those behind the first. */
void fws_tally_free_others(fws_tally *first);

/* A websocket is finished, with this close code. */
void fws_tally_count_close(fws_tally *tally, unsigned code);

/* Adds what is counted to `sum`, which no other thread uses. */
void fws_tally_add_to(const fws_tally *tally, fws_tally *sum);

#endif
