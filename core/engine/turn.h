/* The turns of the loop. Each turn has three phases: receive from the sockets that are ready, run
 * the callbacks that are queued, write what they have sent. What callbacks need (the GIL) is taken
 * once in a turn, for the second phase. In that phase a socket is written to only when more than
 * send_buffer bytes are queued for it.
 *
 * Threads: fws_turn_lead by the leader of the crew; fws_turn_finish when no thread leads any more.
 * Both without any lock.
 */
#ifndef FWS_ENGINE_TURN_H
#define FWS_ENGINE_TURN_H

#include "engine.h"

/* Leads until the engine stops, or the leader of `term` is deposed. `thread`: see fws_callbacks. */
void fws_turn_lead(fws_engine *engine, uint64_t term, void **thread);

/* Writes, or drops, what was queued after the last turn. */
void fws_turn_finish(fws_engine *engine);

#endif
