/* Every number of the C part that was chosen by measurement, or for patience, and not by a
 * standard, a type or the documented interface. Nothing else is in here, and no such number stands
 * elsewhere (tests/lint/sizes.py).
 *
 * A build can have another value: -Dc_args=-DNAME=VALUE. `python bench/tuning.py NAME` builds the
 * package with half and with double the value, and measures both against the value here, with the
 * workloads that stand behind "Measure:". Where another program or a test shows the effect, that is
 * named instead.
 *
 * "By reasoning" says that no figure chose the number. Times are in ns; a file that uses one
 * includes io/clock.h. Sizes are in bytes. Those of callbacks, handlers and the GIL stand in
 * tuning_threads.h, which this one includes.
 */
#ifndef FWS_TUNING_H
#define FWS_TUNING_H

#include "tuning_threads.h"

/* ---- turns: how long one goes on before others have theirs ---- */

/* What is dealt with together in one turn: websockets that go through receiving, callbacks and
 * writing together, messages of one of them, buffers in one writev, finished ones that wait to be
 * freed, subscriptions that are ended, names that are looked up with the GIL held, and what one
 * take() of a notifier gives. With 16, five hundred greenlets that echo lose 2 % to the further
 * turns of their event loop.
 * Half: the GIL is taken twice as often. Double: an echo beside a flood waits for twice as long,
 * and what a websocket needs may have left the cache before it is written to.
 * Measure: class-50 class-500 pipelined fanout */
#ifndef FWS_BATCH
#define FWS_BATCH 64
#endif

/* What one wait for the kernel may report. By reasoning: four batches, so that the wait and the
 * timers cost a message little.
 * Half: a wait more for each 256 messages. Double: 3 KiB more of stack, and what is reported last
 * is older when its turn comes.
 * Measure: class-500 fanout */
#ifndef FWS_READY_MAX
#define FWS_READY_MAX 256
#endif

/* Reads of one websocket in one turn, each of up to FWS_PIECE. By reasoning: together they read
 * what a socket's default receive buffer holds.
 * Half: a peer that sends much needs twice as many turns. Double: it holds up the others for twice
 * as long.
 * Measure: pipelined; tests/python/test_fairness.py for the others */
#ifndef FWS_READS_PER_TURN
#define FWS_READS_PER_TURN 4
#endif

/* For so long may what need not wait go on before others run: sends and receives of one thread;
 * and in one turn of the leader each of long messages, timers, writing, and delivering what is
 * published. A thread pauses for some 60 us after it. (With a fifth of it for delivering, one
 * publish to 500 takes two dozen turns.)
 * Half: the pauses cost a peer that floods us a twentieth more of its messages. Double: the first
 * of the dozen times that a page needs the GIL may come 1 ms later.
 * Measure: tests/soak/test_flood.py */
#ifndef FWS_SLICE
#define FWS_SLICE FWS_NS_PER_MS
#endif

/* The same where others are known to wait: a page needs the GIL, or the event loop, a dozen times,
 * and then waits for about a millisecond in all. By reasoning.
 * Half: more of the time goes into pauses of some 60 us. Double: the page waits for 2 ms.
 * Measure: tests/soak/test_flood.py */
#ifndef FWS_SHARED_SLICE
#define FWS_SHARED_SLICE (FWS_NS_PER_MS / 10)
#endif

/* So many messages end a slice, in whatever time: what they bring about elsewhere is bounded, too.
 * By reasoning: an echo takes some microseconds, so the clock is usually first.
 * Half: short messages that are only received end it in half the time. Double: the reverse.
 * Measure: tests/soak/test_flood.py */
#ifndef FWS_SLICE_MESSAGES
#define FWS_SLICE_MESSAGES 1024
#endif

/* The clock is looked at once in so many short messages, and for each that is longer than
 * FWS_JOIN_MAX. By reasoning: a look costs less than 1 % of the shortest echo then.
 * Half: twice as many looks. Double: a slice may last for 16 slow messages, as with compression.
 * Measure: blocking-50 */
#ifndef FWS_SLICE_LOOK
#define FWS_SLICE_LOOK 8
#endif

/* ---- channels ---- */

/* Subscribers that are collected under one lock and then delivered to, at some 3 us each. By
 * reasoning: the clock is looked at after each such piece.
 * Half: the table's lock is taken twice as often. Double: a turn delivers for 0.1 ms longer than
 * FWS_SLICE.
 * Measure: fanout; bench/run.py --workloads channels */
#ifndef FWS_DELIVERED_TOGETHER
#define FWS_DELIVERED_TOGETHER 16
#endif

/* Publications that are looked at, and taken, for one subscriber at once: what several publishes
 * have queued for it leaves in one write. By reasoning: more are seldom behind.
 * Half: under many publishers a subscriber is written to more often. Double: the table's lock is
 * held for twice as long.
 * Measure: fanout; bench/run.py --workloads channels */
#ifndef FWS_PUBLISHED_AHEAD
#define FWS_PUBLISHED_AHEAD 32
#endif

/* Names, members or subscriptions that are dealt with before the table's lock is given up: some 30
 * us. By reasoning: publish() has to return within 50 us.
 * Half: the lock is taken twice as often. Double: a publish waits for 60 us behind a departure.
 * Measure: bench/run.py --workloads channels */
#ifndef FWS_TABLE_PIECE
#define FWS_TABLE_PIECE 256
#endif

/* Subscriptions that are fetched into the cache before they are removed; a multiple of 3. The time
 * is that of the memory: without this twice as long.
 * Half: less of the memory's time is hidden. Double: what was fetched first may be gone again.
 * Measure: bench/run.py --workloads channels */
#ifndef FWS_FETCH_AHEAD
#define FWS_FETCH_AHEAD 12
#endif

/* Above any of these three, a thread that publishes delivers before it goes on, so that memory is
 * bounded, and what the leader is behind with: at some 3 us for each delivery, 3 s. By reasoning.
 * Half: publishers of long bursts are slowed down earlier. Double: twice the memory, twice the
 * delay.
 * Measure: tests/core/test_backlog.c; bench/run.py --workloads channels */
#ifndef FWS_BACKLOG_DISPATCHES
#define FWS_BACKLOG_DISPATCHES 256
#endif
#ifndef FWS_BACKLOG_BYTES
#define FWS_BACKLOG_BYTES ((size_t)16 << 20)
#endif
#ifndef FWS_BACKLOG_DELIVERIES
#define FWS_BACKLOG_DELIVERIES ((size_t)1 << 20)
#endif

/* Channels with names within so many bytes are allocated from the same blocks. By reasoning: 16
 * bytes are lost on average.
 * Half: twice as many kinds of blocks, each with one that is not full. Double: 32 bytes are lost.
 * Measure: bench/run.py --workloads channels */
#ifndef FWS_NAME_STEP
#define FWS_NAME_STEP 32
#endif

/* A block of objects of one size; a power of two, and its alignment. By reasoning: it is given
 * back when all its objects are gone, and one of each size is kept.
 * Half: twice as many mappings. Double: fewer blocks become empty where objects go at random.
 * Measure: bench/run.py --workloads channels */
#ifndef FWS_SLAB_BLOCK
#define FWS_SLAB_BLOCK ((size_t)64 * 1024)
#endif

/* Buckets of a hash table for each entry, above which there are too many, and how many are given
 * up at a time then. Most are empty by then: to put entries together earlier takes as long as all
 * the rest of the removal.
 * Half: see there. Double: a table that has shrunk keeps twice the memory.
 * Measure: bench/run.py --workloads channels */
#ifndef FWS_HASH_SPARSE
#define FWS_HASH_SPARSE 8
#endif

/* ---- bytes ---- */

/* Up to so many bytes are copied to lie in one piece with what goes with them: with the header of
 * their frame, or behind other frames in one buffer. sendmsg with two pieces costs the kernel more
 * than to copy a kilobyte: a twelfth of an echo under gevent.
 * Half: frames above 512 bytes are two pieces. Double: a buffer for frames is taken the slow way
 * of malloc, whose fast way ends at 1032 bytes.
 * Measure: class-50 pipelined fanout */
#ifndef FWS_JOIN_MAX
#define FWS_JOIN_MAX 1024
#endif

/* Memory that is taken at once for what is likely to follow: messages of the same read, frames of
 * the same turn, the rest of a message that arrives in parts. By reasoning: a page.
 * Half: 16 short messages in flight need two pieces of memory. Double: a message that arrives in
 * parts, and is then given up, has cost 8 KiB.
 * Measure: pipelined */
#ifndef FWS_AHEAD_MAX
#define FWS_AHEAD_MAX 4096
#endif

/* What is received, compressed or decompressed at once, and up to this length with the lock held.
 * To decompress as much takes some 0.2 ms; compressing takes its input in half of that, and, from
 * FWS_THOROUGH_LEVEL on, in an eighth. At least 4 KiB.
 * Half: 64 KiB of messages take two reads. Double: others wait for 0.4 ms.
 * Measure: large compressed */
#ifndef FWS_PIECE
#define FWS_PIECE ((size_t)64 * 1024)
#endif

/* What is moved at once of a large message that becomes a Python object; shorter ones are made
 * with the GIL held. By reasoning: a megabyte takes a millisecond, as long as a slice.
 * Half: the GIL is given away twice as often. Double: an event loop waits for 2 ms.
 * Measure: tests/python/test_long_messages.py */
#ifndef FWS_CONVERSION_PIECE
#define FWS_CONVERSION_PIECE ((size_t)1 << 20)
#endif

/* So few need no memory besides their owner's, or keep it: names of one call, buckets of a hash
 * table, buffers in the queue of an idle websocket. A power of two. By reasoning: most calls name
 * one channel, and 8 pointers are a cache line.
 * Half: more calls of malloc. Double: 64 bytes more for each.
 * Measure: fanout; bench/run.py --workloads channels */
#ifndef FWS_FEW
#define FWS_FEW 8
#endif

/* So many buffers to read into, and states of compressors, are kept for the next who needs one. By
 * reasoning: about as many threads read or compress at the same instant.
 * Half: on machines with more cores, malloc for each message. Double: up to 0.5 MiB of buffers and
 * 3 MiB of states more, once as many were needed.
 * Measure: blocking-500 compressed */
#ifndef FWS_KEPT
#define FWS_KEPT 8
#endif

/* ---- what one peer may cost ---- */

/* How many times send_buffer a callback may queue before its send waits. By reasoning: some
 * answers are a few megabytes, and 1,000 peers that never read must not cost gigabytes.
 * Half: one that answers with 4 MiB waits. Double: a peer may cost twice as much.
 * Measure: tests/core/test_held_back.c */
#ifndef FWS_CALLBACK_BUFFERS
#define FWS_CALLBACK_BUFFERS 8
#endif

/* Pongs that wait to be sent to one peer; a later one replaces the newest (RFC 6455 section
 * 5.5.3). By reasoning: an honest peer does not ask more often without reading.
 * Half, double: so many pings at once are answered each.
 * Measure: tests/core/test_limits.c */
#ifndef FWS_PONGS_KEPT
#define FWS_PONGS_KEPT 16
#endif

/* ---- time ---- */

/* When a handler has been away for as long, the loop reads for it; at most a third later. By
 * reasoning: it is away for less when it only answers, and a ping or a close is seen soon.
 * Half: handlers that work for 25 ms lose the reading, and take it back with two system calls.
 * Double: a ping waits for 130 ms.
 * Measure: blocking-500 */
#ifndef FWS_ADOPT_AFTER
#define FWS_ADOPT_AFTER (50 * FWS_NS_PER_MS)
#endif

/* Deadlines that need no precision fall on a grid, so that many websockets share a wake-up. By
 * reasoning: a quarter of the shortest ping interval that makes sense, a second.
 * Half: an idle process with many peers wakes up to 8 times a second. Double: a time-out of a
 * second may be half a second late.
 * Measure: bench/run.py --workloads crowd */
#ifndef FWS_DEADLINE_GRID
#define FWS_DEADLINE_GRID (250 * FWS_NS_PER_MS)
#endif

/* ---- compression, masking ---- */

/* Up to this length a message is compressed by deflate_short, in a state that has room for as
 * much: 1 KiB of JSON in 4.2 us to 295 bytes, where zlib takes 10.8 us for 276. At most 4096, the
 * window that goes with it.
 * Half: zlib compresses what is longer than 2 KiB. Double: refused by the compiler.
 * Measure: compressed; bench/run.py --workloads micro */
#ifndef FWS_DEFLATE_SHORT_MAX
#define FWS_DEFLATE_SHORT_MAX 4096
#endif

/* The logarithm of the size of its table of places. By reasoning: 4 KiB, an eighth of the
 * processor's first cache.
 * Less by one: more collisions, and a longer result. More by one: 4 KiB more to be cleared for
 * each message.
 * Measure: bench/run.py --workloads micro */
#ifndef FWS_DEFLATE_SHORT_HASH_BITS
#define FWS_DEFLATE_SHORT_HASH_BITS 11
#endif

/* From this level of zlib's on, all is compressed by zlib, and in smaller pieces. By reasoning:
 * an application that asks for 6 or more, zlib's default, prefers size to time. Less, more by one:
 * that level is zlib's, or deflate_short's. Measure: bench/run.py --workloads micro */
#ifndef FWS_THOROUGH_LEVEL
#define FWS_THOROUGH_LEVEL 6
#endif

/* Of a message of sixteen times this, four samples of this size are compressed first: when none
 * gets smaller, it goes out as it is. By reasoning: zlib spends milliseconds on what does not
 * compress, and the samples are at most a quarter of the message.
 * Half: shorter messages are sampled, less well. Double: 64 KiB and more are, with 16 KiB.
 * Measure: bench/run.py --workloads micro */
#ifndef FWS_SAMPLE_SIZE
#define FWS_SAMPLE_SIZE 2048
#endif

/* A code is sorted by counting where symbols are rarer than this, which nearly all are. By
 * reasoning: an array of 130 bytes.
 * Half: more symbols are sorted by insertion. Double: twice as much to be cleared.
 * Measure: bench/run.py --workloads micro */
#ifndef FWS_HUFFMAN_COUNTED
#define FWS_HUFFMAN_COUNTED 64
#endif

/* A payload that is shorter is unmasked by the portable loop: a call through a pointer costs more
 * than wider registers win. By reasoning: the width of the narrowest of them.
 * Half, double: the loop does one round of 8 bytes, or three, before.
 * Measure: pipelined */
#ifndef FWS_MASK_SHORT
#define FWS_MASK_SHORT 16
#endif

/* ---- speed devices: 1, or 0 in a build that shows what one is worth (docs/performance.md) ---- */

#ifndef FWS_USE_RECV_WAIT
#define FWS_USE_RECV_WAIT 1 /* websocket/blocking_receive.c */
#endif
#ifndef FWS_USE_CORK
#define FWS_USE_CORK 1 /* websocket/corking.c */
#endif
#ifndef FWS_USE_GATE
#define FWS_USE_GATE 1 /* binding/gate.c */
#endif
#ifndef FWS_USE_PREFETCH
#define FWS_USE_PREFETCH 1 /* memory/prefetch.h */
#endif
#ifndef FWS_USE_RAW_CALLS
#define FWS_USE_RAW_CALLS 1 /* io/transport.c */
#endif
#ifndef FWS_USE_SCHED_BATCH
#define FWS_USE_SCHED_BATCH 1 /* io/os.c */
#endif
#ifndef FWS_USE_WIDE_MASK
#define FWS_USE_WIDE_MASK 1 /* protocol/mask.c */
#endif
#ifndef FWS_USE_DEFLATE_SHORT
#define FWS_USE_DEFLATE_SHORT 1 /* protocol/deflate.c */
#endif

#endif
