/* Event-driven websockets for the tests of the crew, in place of the binding to Python: callbacks
 * that do what the messages say, with one lock around all of them (as the GIL), which a callback
 * releases while it sleeps.
 *
 * "sleep MS": sends "asleep", and sleeps. "stay": sleeps until `stay` is false; "stay unseen": the
 * same, and the watch does not overtake it. "tell N": sends TOLD bytes to the websocket that
 * `find_told` gives for N, in one binary message. "publish": publishes to the channel "all".
 * "compute MS": for so much processor time, and gives others the lock every 2 ms. "close": closes
 * its websocket. "fork": forks, and the child ends at once without an error. "begin anew": forks,
 * and the child ends with what `in_child` returns, which is 0. "stop": stops the engine. "end
 * thread": ends the thread, as Python does when the interpreter has ended, after 20 ms. After
 * that, and for all other messages, the message is sent back.
 *
 * Threads: the functions are called by the test's thread; the callbacks run in the engine's
 * threads, so what both use is atomic.
 */
#ifndef FWS_TEST_EVENTED_H
#define FWS_TEST_EVENTED_H

#include "pair.h"

#include <pthread.h>
#include <stdatomic.h>

#define MANY 80
#define TOLD 900000 /* bytes: less than send_buffer, and more than is written in one turn */

typedef struct {
    atomic_int inside; /* callbacks of this websocket that run; never more than 1 */
    atomic_uint messages, closes;
    atomic_int close_code;
} owner;

extern fws_engine *engine;
extern owner owners[MANY];
extern pair pairs[MANY];
extern atomic_uint threads_ended, asleep, most_asleep, computing, most_computing;
/* Returns a reference, or NULL; another test may set it. Gives the server of one of `pairs`. */
extern fws_websocket *(*find_told)(int number);
extern int (*in_child)(void);
extern atomic_uint refusals; /* so many calls of `enter` fail from now on */
extern atomic_bool stay;
extern atomic_uint most_messages; /* for which one websocket was called in one turn */
extern uint32_t receive_queue;    /* of the engines that start_with() makes; 16 */

/* Of which of `owners` messages were given to callbacks since hold_callbacks(), in order. */
#define MOST_ORDERED 256
extern atomic_int order[MOST_ORDERED];
extern atomic_uint ran;

extern const fws_callbacks callbacks;

/* The test's thread takes the lock around callbacks: none begins until it lets go. */
void hold_callbacks(void);
void let_callbacks(void);

/* Makes the engine, and opens `count` of `pairs`. */
void start_with(uint32_t callback_threads, int count);
/* Closes them, waits until each owner got its closing callback once, and frees the engine. */
void stop_with(int count);

/* In a forked child, before anything else. */
void begin_in_child(void);

void send_message(int i, const char *text);
void expect_text(int i, const char *text);
/* A ping is answered within 300 ms. */
void expect_quick_pong(int i);
/* The peer of the first of `pairs` sends empty messages as fast as they are echoed; its connection
 * ends with that. */
void begin_flood(void);
void end_flood(void);
/* Marks its callbacks as fast, or as slow. */
void make_fast(int i);
void make_slow(int i);
/* The time is over in which callbacks run apart because another one was overtaken. */
void let_suspicion_pass(void);

#endif
