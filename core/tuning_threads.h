/* The numbers of tuning.h that concern threads: which of them runs callbacks, for how long one
 * waits for another, and how they share the GIL. tuning.h says what holds for all of them.
 */
#ifndef FWS_TUNING_THREADS_H
#define FWS_TUNING_THREADS_H

/* ---- callbacks: when the leader is overtaken ---- */

/* A callback that has taken as long is overtaken; a turn of callbacks that took less was fast. By
 * reasoning: well above what a callback takes that only computes a little, and with the next below
 * the 5 ms for which a thread of CPython keeps the GIL.
 * Half: callbacks that compute for 2 ms run apart, with a switch of threads each. Double: all
 * others wait for up to 8 ms for one that blocks.
 * Measure: bench/run.py --workloads crowd; class-50 */
#ifndef FWS_CALLBACK_PATIENCE
#define FWS_CALLBACK_PATIENCE (3 * FWS_NS_PER_MS)
#endif

/* Between two looks at what a thread has left that stays away: the watch's at the running
 * callback, the loop's at sends that are corked. The watch's look interrupts the leader where they
 * share a core.
 * Half: 1 % of a core (class views handle 1.6 and 1.9 % more with 8 ms than with 2 ms). Double: a
 * callback that blocks holds up the others for up to 11 ms, and what is corked leaves 8 ms late.
 * Measure: class-50 class-500 */
#ifndef FWS_LOOK_INTERVAL
#define FWS_LOOK_INTERVAL (4 * FWS_NS_PER_MS)
#endif

/* After so many looks at nothing, in a row, there are no more until there is something. By
 * reasoning: a tenth of a second, so that an idle process does not wake.
 * Half, double: the watch is called, by a system call, more or less often under a load that comes
 * in bursts.
 * Measure: class-50; tests/soak/test_idle.py */
#ifndef FWS_QUIET_LOOKS
#define FWS_QUIET_LOOKS 50
#endif

/* So often in a row must something have been so before one relies on it: callbacks fast, before
 * they run with the others again; a handler back soon, before its sends wait for it; nobody else
 * seen, before slices are long again. At most 255. By
 * reasoning: one whose every fortieth callback blocks holds up the others for 5 ms each time.
 * Half: that is so for every twentieth. Double: one that was slow once is dearer for twice as
 * long.
 * Measure: blocking-50 blocking-500; bench/run.py --workloads crowd */
#ifndef FWS_PROVEN
#define FWS_PROVEN 32
#endif

/* So many callbacks of a websocket, fast in a row, show that they may run with the others while
 * those of another one of its route are overtaken. By reasoning: sooner than its peer has lost its
 * patience.
 * Half, double: so much less or more has to be known of a websocket, and so much sooner or later
 * does it get out of the row of those that run apart.
 * Measure: class-50; bench/beside.py */
#ifndef FWS_TRUSTED
#define FWS_TRUSTED 8
#endif

/* When so many callbacks of a route were overtaken within FWS_SUSPICIOUS_FOR, no websocket of it is
 * trusted, as when the database becomes slow that all of them use. So the callbacks of a route hold
 * up the leader for so many times FWS_CALLBACK_PATIENCE at first, and in each FWS_SUSPICIOUS_FOR.
 * Half, double: so much less or more. On a machine that is too busy callbacks are overtaken that
 * were only kept waiting for a processor, and then all run apart that much sooner or later.
 * Measure: bench/beside.py; class-500 */
#ifndef FWS_OVERTAKEN_MOST
#define FWS_OVERTAKEN_MOST 16
#endif

/* For so long after a callback was overtaken, those of websockets of the same route that are not
 * trusted run apart. By reasoning: when a database becomes slow, the callbacks of all that use it
 * do.
 * Half, double: so much sooner or later do new websockets meet the leader again.
 * Measure: bench/beside.py */
#ifndef FWS_SUSPICIOUS_FOR
#define FWS_SUSPICIOUS_FOR FWS_NS_PER_S
#endif

/* One of so many places inside callbacks is kept for those that are not known to take long: the
 * first of them for what the leader runs, the others for websockets that run apart and are known to
 * be fast. By reasoning: of 64 places, callbacks that wait for a second take 56 at most, and
 * whoever takes one of the rest and is slow after all does not hold up the others.
 * Half: 48 callbacks wait at once for a database. Double: 60.
 * Measure: tests/core/test_apart.c
 */
#ifndef FWS_KEPT
#define FWS_KEPT 8
#endif

/* So many callbacks that run apart may compute at once before further ones have to wait. By
 * reasoning: the GIL is never free, and the leader waits for it 5 ms for each of them.
 * Half: one that computes a little, and then waits for a database, keeps a place that another one
 * could have. Double: everybody waits twice as long for the GIL.
 * Measure: bench/beside.py; asking-500 */
#ifndef FWS_COMPUTING_MOST
#define FWS_COMPUTING_MOST 4
#endif

/* And then one more begins when the last one has run for so long, and twice as long for each that
 * computes more than those. By reasoning: of those that compute for seconds there are ten after 1.3
 * s, and twelve after 5 s. Half, double: one more or fewer. Measure: bench/beside.py
 */
#ifndef FWS_COMPUTING_PAUSE
#define FWS_COMPUTING_PAUSE (20 * FWS_NS_PER_MS)
#endif

/* So often is that doubled at most: 5 s. By reasoning: more do not help those that compute for as
 * long, and one that never returns holds up the others for as long only. Half, double: those that
 * compute for longer than 0.3 s become many; it is 20 minutes.
 * Measure: bench/beside.py
 */
#ifndef FWS_COMPUTING_DOUBLED
#define FWS_COMPUTING_DOUBLED 8
#endif

/* So much processor time shows that a callback computes. By reasoning: more than it takes to ask a
 * database, and less than the 5 ms for which a thread of CPython keeps the GIL.
 * Half: callbacks that wait most of the time count. Double: those that compute are seen later.
 * Measure: bench/beside.py; asking-500 */
#ifndef FWS_COMPUTING_SEEN
#define FWS_COMPUTING_SEEN FWS_NS_PER_MS
#endif

/* One that has used no processor for so long does not compute; and for as much longer as more than
 * FWS_COMPUTING_MOST compute. By reasoning: when four threads want the GIL, each has it every 20
 * ms, some of them later. Half: those that wait for the GIL do not count. Double: those that wait
 * for a database do, for so long. Measure: bench/beside.py; asking-500 */
#ifndef FWS_COMPUTING_FORGOTTEN
#define FWS_COMPUTING_FORGOTTEN (40 * FWS_NS_PER_MS)
#endif

/* So often are they looked at, at most. By reasoning: for so long does a thread of CPython keep the
 * GIL. A look takes a system call for each that is under way.
 * Half: twice as many. Double: more of them begin before it is seen that they compute.
 * Measure: bench/beside.py; asking-500 */
#ifndef FWS_COMPUTING_LOOK
#define FWS_COMPUTING_LOOK (5 * FWS_NS_PER_MS)
#endif

/* A thread of the crew that has stood by for so long ends. By reasoning: a burst of callbacks that
 * block comes again within seconds.
 * Half, double: so much sooner is its memory free, or is it there for the next burst.
 * Measure: bench/run.py --workloads crowd */
#ifndef FWS_IDLE_TIME
#define FWS_IDLE_TIME (5 * FWS_NS_PER_S)
#endif

/* When a thread, or what callbacks need in one (fws_callbacks.enter), could not be had, it is
 * tried again after this. By reasoning.
 * Half: twice as many system calls that fail while the system is short of threads. Double: due
 * callbacks run later once it no longer is.
 * Measure: tests/core/test_refusal.c */
#ifndef FWS_RETRY_AFTER
#define FWS_RETRY_AFTER (100 * FWS_NS_PER_MS)
#endif

/* ---- handlers on threads, and the GIL ---- */

/* A wait that is shorter is short, and in recv there is none that is longer: nobody can wake a
 * thread there. By reasoning: what waits for it, a close or a ping, is late by this at most. A
 * whole number of milliseconds.
 * Half: with hundreds of connections that are all busy, more handlers poll. Double: a stop waits
 * for 40 ms.
 * Measure: blocking-50 blocking-500 */
#ifndef FWS_SHORT_WAIT
#define FWS_SHORT_WAIT (20 * FWS_NS_PER_MS)
#endif

/* So many short waits in a row, and a handler waits in recv. Waiting there saves a system call, and
 * a pause of all peers for longer than FWS_SHORT_WAIT ends it for every handler. With 32, handlers
 * that echo with pauses of 0.1 s between spend 3 % more CPU time for each message (12 pairs).
 * Half, double: so much sooner or later is the system call saved.
 * Measure: blocking-50 blocking-500 */
#ifndef FWS_SHORT_WAITS
#define FWS_SHORT_WAITS 8
#endif

/* What a handler in recv receives into, on its stack; the rest is read into a larger buffer. By
 * reasoning: within the page that the stack uses already.
 * Half: messages above 1 KiB cost a second recv. Double: 2 KiB more for each handler.
 * Measure: compressed blocking-50 */
#ifndef FWS_STACK_BUFFER
#define FWS_STACK_BUFFER 2048
#endif

/* Up to this size a send is one short system call: it keeps the GIL, as to give it away and get it
 * back costs more, and it may wait until its handler comes back. By reasoning.
 * Half: sends of 8 to 16 KiB give the GIL away. Double: others wait for the GIL while up to 32 KiB
 * are copied.
 * Measure: medium blocking-50 */
#ifndef FWS_SHORT_SEND
#define FWS_SHORT_SEND ((size_t)16 * 1024)
#endif

/* The same for a message that is compressed first, and for one that is published: to compress 1
 * KiB takes 4.2 us.
 * Half, double: the GIL is given away for what takes longer than 4 us, or 17 us.
 * Measure: compressed */
#ifndef FWS_SHORT_COMPRESSION
#define FWS_SHORT_COMPRESSION ((size_t)2 * 1024)
#endif

/* After it has released the GIL a thread sleeps for as long, so that a thread which the release has
 * woken takes the GIL; without a pause the first would have it back before. A thread that gets the
 * GIL back within this time has not waited for it. Linux makes some 60 us of the pause, whatever is
 * asked for. Half, double: the pause stays; the GIL counts as wanted by others sooner, or later.
 * Measure: tests/soak/test_flood.py */
#ifndef FWS_GIL_PAUSE
#define FWS_GIL_PAUSE (FWS_NS_PER_MS / 100)
#endif

/* No thread sleeps at the gate before the GIL for longer. With 500 connections, 40 ms instead of 20
 * gave 17 to 35 % more messages a second in 16 pairs of runs, for a p99 of 41 ms instead of 21;
 * with 50 there was no difference.
 * Half: see there. Double: a p99 of some 80 ms.
 * Measure: blocking-500 */
#ifndef FWS_GATE_PATIENCE
#define FWS_GATE_PATIENCE (40 * FWS_NS_PER_MS)
#endif

/* When the GIL takes longer than this to come, others than those at the gate want it. By
 * reasoning: for so long does a thread of CPython keep it before it gives way.
 * Half: the gate is wide although only one thread computes. Double: it becomes so late.
 * Measure: tests/soak/hostile */
#ifndef FWS_GATE_STALL
#define FWS_GATE_STALL (5 * FWS_NS_PER_MS)
#endif

/* And then so many wait for it at once. While a hundred handshakes are handled and two other
 * processes compute, an echo's p99 was 0.16 to 0.29 s with one, and 0.07 to 0.1 s with sixteen.
 * Half: nearer to the former. Double: more threads wake every 5 ms to ask for the GIL.
 * Measure: tests/soak/hostile; blocking-500 */
#ifndef FWS_GATE_WIDE
#define FWS_GATE_WIDE 16
#endif

/* The same for callbacks that run apart. One that computes takes the GIL several times, so those
 * that have come in are more than wait at the gate. Beside 200 callbacks of 15 ms an echo takes up
 * to 0.27 s, and up to 0.43 s with sixteen.
 * Half: nearer to one of them for each turn of the GIL, beside pages that compute. Double: nearer
 * to the latter.
 * Measure: bench/run.py --workloads crowd */
#ifndef FWS_CALLBACKS_WIDE
#define FWS_CALLBACKS_WIDE 4
#endif

#endif
