/* Which of the callbacks that run apart compute, and which wait for something.
 *
 * Those that wait (for a database, say) hold up nobody, and many of them should be under way at
 * once. Those that compute share one lock, the GIL, which each keeps for some milliseconds before
 * it goes to the next; so each one that is under way makes everybody wait so much longer for it,
 * the leader included, and none ends sooner for it. So while FWS_COMPUTING_MOST compute, one more
 * begins only when the one that began last has ended, or FWS_COMPUTING_PAUSE after it has begun,
 * and twice as long for each that computes beyond those: so who takes no time waits for nobody who
 * computes for seconds, and these do not become many.
 *
 * Those that were known to be fast begin by themselves, and wait for none but those of them that
 * compute all the same.
 *
 * Some compute without the GIL, as what compresses or hashes does: then nobody waits for it, and as
 * many may begin as like. That is seen from how long those wait that are about to begin.
 *
 * Whether a thread computes is seen from its processor time: it does, when that has grown lately.
 *
 * Threads: every function is called with the lock of fws_work held.
 */
#ifndef FWS_ENGINE_COMPUTING_H
#define FWS_ENGINE_COMPUTING_H

#include "../io/clock.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One callback that is under way, on the stack of its thread. */
typedef struct fws_computing_entry {
    struct fws_computing_entry *next, **previous; /* previous is NULL: it does not count */
    pthread_t thread;
    bool known_fast;
    fws_ns used;    /* processor time of the thread when it was last seen to have grown */
    fws_ns grew_at; /* when that was; 0: it has not yet */
} fws_computing_entry;

typedef struct {
    fws_computing_entry *first;
    fws_ns looked_at;
    fws_ns seen_at; /* when one was last seen to compute; 0: never */
    /* Of those that were not known to be fast, and of those that were: */
    uint32_t computing[2];              /* how many computed when they were looked at last */
    const fws_computing_entry *last[2]; /* the one that began last; NULL: it has ended */
    fws_ns begun_at[2];                 /* when that was */
    bool waited[2];                     /* since then somebody has waited for the GIL */
} fws_computing;

void fws_computing_init(fws_computing *computing);

/* `thread` begins a callback, or one that it has begun counts from now on; and it has ended. */
void fws_computing_begin(fws_computing *computing, fws_computing_entry *entry, pthread_t thread,
                         bool known_fast);
void fws_computing_end(fws_computing *computing, fws_computing_entry *entry);

/* A thread that is about to begin has waited so long for the GIL. */
void fws_computing_note_wait(fws_computing *computing, fws_ns waited);

/* How many threads may be about to begin callbacks that are known to be fast, or are not; SIZE_MAX:
 * any number, as none was seen to compute lately. */
size_t fws_computing_room(fws_computing *computing, bool known_fast);

#endif
