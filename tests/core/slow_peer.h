/* A peer that reads as slowly as a test wants it to, and what it has read.
 *
 * For one test at a time: what was read is the file's own.
 */
#ifndef FWS_TEST_SLOW_PEER_H
#define FWS_TEST_SLOW_PEER_H

#include "pair.h"

#define MS FWS_NS_PER_MS

enum { NUMBERED_SIZE = 50000 };

/* A bare pair with so small buffers on both sides that what is queued is queued in the outbox. */
void open_slow_pair(pair *p, fws_engine *engine);
/* The same, event-driven. */
void open_slow_evented_pair(pair *p, fws_engine *engine, void *owner);

/* Sends a message of NUMBERED_SIZE bytes that tell its number, without waiting. */
fws_status send_numbered(const pair *p, size_t number);
/* Sends so many of them, most of which stay in the outbox. */
void queue_numbered(const pair *p, size_t count);

/* Reads for so long, about `bytes_a_ms`. False: the stream has ended. */
bool read_slowly(const pair *p, fws_ns duration, size_t bytes_a_ms);
/* Reads what comes until nothing does for so long. False: the stream has ended. */
bool read_until_quiet(const pair *p, int ms);

/* Returns the opcode of the frame at *place of what was read, and moves *place behind it; passes
 * over pings. -1: there is no whole frame. */
int next_frame(size_t *place, const uint8_t **payload, size_t *length);
void expect_numbered(size_t *place, size_t count);
/* At the end of all that was read. */
void expect_close(size_t *place, unsigned code);

void forget_what_was_read(void);

#endif
