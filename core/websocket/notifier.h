/* Tells one thread, by one descriptor, which of many websockets have changed.
 *
 * For handlers that are greenlets: each waits in its thread's event loop, which watches the
 * notifier's descriptor and, when that is readable, asks which websockets to look at again.
 *
 * Threads: every function from any; fws_notifier_close once, from its owner's. The lock protects
 * all fields; it is taken with a websocket's lock held, and nothing is taken under it. Memory:
 * reference-counted; each websocket that has the notifier holds one reference.
 */
#ifndef FWS_WEBSOCKET_NOTIFIER_H
#define FWS_WEBSOCKET_NOTIFIER_H

#include <stddef.h>

typedef struct fws_websocket fws_websocket;

typedef struct fws_notifier fws_notifier;

/* NULL, with errno, when memory or descriptors are used up. */
fws_notifier *fws_notifier_new(void);

/* What to watch: readable while there is something to drain. */
int fws_notifier_fd(const fws_notifier *notifier);

/* Takes at most `maximum` of the websockets that have changed, the longest-waiting first, and says
 * how many; each comes with a reference, the caller's. Fewer than `maximum`: there are no more. */
size_t fws_notifier_drain(fws_notifier *notifier, fws_websocket **changed, size_t maximum);

/* Whoever took from it does so no longer: forgets what has changed, now and later, and drops the
 * owner's reference. Also in a forked child, whoever held its lock in the parent. */
void fws_notifier_close(fws_notifier *notifier);

/* In a forked child, for each websocket that had it: what has changed is the parent's business.
 * Drops that websocket's reference. No other thread may use it. */
void fws_notifier_after_fork(fws_notifier *notifier);

/* ---- for the websocket ---- */

fws_notifier *fws_notifier_keep(fws_notifier *notifier);
void fws_notifier_drop(fws_notifier *notifier);

/* With that websocket's lock: it has changed. Once is enough until it is taken. */
void fws_notifier_push(fws_notifier *notifier, fws_websocket *websocket);

#endif
