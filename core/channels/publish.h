/* Publishing: one message to all websockets that are subscribed to any of some channels.
 *
 * fws_publish frames it, gives it its number and returns. Whoever leads the engine hands it to the
 * subscribers and writes it, some of them in each turn of the loop. A publisher that is far ahead
 * of that does the same work itself (fws_publish_relieve); it never waits for a peer.
 *
 * What is promised: each websocket gets it once; the publications of one thread, and what it sends
 * to the same websocket, in the order of the calls; and nothing of what is published after
 * fws_websocket_unsubscribe has returned. A websocket for which there is no memory fails with 1011.
 *
 * Threads: any, with no lock held. Lock order: the one that is `delivering`, then a websocket's,
 * then the table's or that of its work.
 */
#ifndef FWS_CHANNELS_PUBLISH_H
#define FWS_CHANNELS_PUBLISH_H

#include "table.h"

#include "../io/clock.h"
#include "../protocol/frame.h"
#include "../websocket/websocket.h"
#include "../websocket/work.h"

/* How many subscribers there were, but for the excluded; -1 when there is no memory (and then it is
 * sent to none). Excluded websockets of another engine are none of these. */
long fws_publish(fws_work *work, fws_table *table, fws_opcode opcode, const void *data,
                 size_t length, const fws_channel_name *names, size_t count,
                 fws_websocket *const *excluded, size_t excluded_count);

/* Delivers for about `time` ns, unless somebody else does. */
void fws_publish_deliver(fws_table *table, fws_ns time);

/* Delivers until the backlog is below its limits. */
void fws_publish_relieve(fws_work *work, fws_table *table);

/* Delivers all that is published at this moment. */
void fws_publish_deliver_all(fws_work *work, fws_table *table);

/* Must the leader not sleep: is there something to deliver that no thread is delivering, or to
 * tidy? With the lock of `work`. A thread that makes this true wakes the leader afterwards. */
bool fws_publish_has_work(const fws_table *table);

#endif
