/* Tells the event loop of one thread, through one descriptor, which of many websockets have
 * changed.
 *
 * For handlers that are greenlets or coroutines: they wait in the event loop of their thread, which
 * watches the notifier's descriptor and, when that is readable, asks which websockets have changed.
 *
 * Threads: every function may be called from any thread; fws_notifier_close is called once, by the
 * owner. The notifier's lock protects all fields; it may be taken with a websocket's lock held, and
 * no lock is taken under it. Memory: reference-counted; each websocket that has the notifier holds
 * one reference. Invariant: a websocket is in the list at most once.
 */
#ifndef FWS_WEBSOCKET_NOTIFIER_H
#define FWS_WEBSOCKET_NOTIFIER_H

#include <stddef.h>

typedef struct fws_websocket fws_websocket;

typedef struct fws_notifier fws_notifier;

/* NULL, with errno, when memory or descriptors are used up. */
fws_notifier *fws_notifier_new(void);

/* The descriptor to watch: readable while fws_notifier_drain has something to give. */
int fws_notifier_fd(const fws_notifier *notifier);

/* Removes at most `maximum` websockets from the list of those that have changed, the
 * longest-waiting first, and returns how many; each comes with a reference, which is the
 * caller's. Fewer than `maximum`: the list is empty. */
size_t fws_notifier_drain(fws_notifier *notifier, fws_websocket **changed, size_t maximum);

/* The owner stops using the notifier: empties the list, ignores later changes, and drops the
 * owner's reference. In a forked child this works even if a thread of the parent held the
 * notifier's lock. */
void fws_notifier_close(fws_notifier *notifier);

/* In a forked child, for each websocket that has the notifier: abandons the list, which is the
 * parent's, and drops that websocket's reference. No other thread may use the notifier. */
void fws_notifier_after_fork(fws_notifier *notifier);

/* ---- for the websocket ---- */

fws_notifier *fws_notifier_keep(fws_notifier *notifier);
void fws_notifier_drop(fws_notifier *notifier);

/* Called with the websocket's lock held: adds it to the list, unless it is in it already. */
void fws_notifier_push(fws_notifier *notifier, fws_websocket *websocket);

#endif
