/* One turn of the loop after the other, in three phases: receive from all that is ready, run the
 * callbacks that are due, write what they have queued. The application's lock (the GIL) is taken
 * once a turn, for the second phase, and no system call is made in it.
 *
 * Threads: fws_turn_lead by the leader of the crew; fws_turn_finish when there is none any more.
 * Without any lock.
 */
#ifndef FWS_ENGINE_TURN_H
#define FWS_ENGINE_TURN_H

#include "engine.h"

/* Leads until the engine stops, or another thread leads instead: term is over. `thread`: see
 * fws_callbacks. */
void fws_turn_lead(fws_engine *engine, uint64_t term, void **thread);

/* Takes care of what was queued after the last turn. */
void fws_turn_finish(fws_engine *engine);

#endif
