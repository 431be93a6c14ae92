/* What a forked child does with an engine that it has inherited.
 *
 * Threads of the parent may have been anywhere inside it, and none of them is here. So each lock is
 * made anew, the lists and the memory that another thread may have been changing are left behind
 * unfreed, and only what the kernel holds is given back.
 */
#include "internal.h"

#include "../io/os.h"

#include <string.h>
#include <unistd.h>

static void abandon(fws_websocket *websocket)
{
    fws_websocket_init_lock(websocket);
    if (websocket->fd >= 0)
        close(websocket->fd); /* no shutdown: the connection goes on, in the parent */
    websocket->fd = -1;
    fws_wakeup_close(&websocket->wakeup);
    websocket->state = FWS_STATE_CLOSED;
    if (websocket->close_code == 0)
        websocket->close_code = FWS_CLOSE_ABNORMAL;
    websocket->close_reason = NULL;
    websocket->close_reason_size = 0;
    websocket->sleepers = websocket->pollers = 0;
    fws_blocking_receive_init(&websocket->blocking_receive);
    websocket->watched = 0;
    websocket->adopted = websocket->flush_queued = websocket->awaited = false;
    fws_corking_end(websocket);
    websocket->evented = false; /* and whoever was to be called is left behind as well */
    websocket->notifier = NULL; /* and its descriptors are the parent's */
    websocket->undecoded = NULL;
    websocket->pings = NULL;
    memset(&websocket->subscriptions, 0, sizeof websocket->subscriptions);
    websocket->subscriptions.ended = true;
    fws_connection_init(&websocket->protocol, websocket->protocol.role, &(fws_limits){0},
                        fws_os_entropy);
    fws_inbox_init(&websocket->inbox);
    fws_outbox_init(&websocket->outbox);
    fws_timer_init(&websocket->entry.timer);
}

void fws_engine_after_fork(fws_engine *engine)
{
    fws_work_entry *entry = engine->work.all;
    fws_loop *loop = engine->work.loop;
    fws_table_after_fork(&engine->table);
    fws_work_after_fork(&engine->work);
    atomic_store(&engine->references, 1); /* the threads that had the others are not here */
    fws_crew_after_fork(&engine->crew);
    engine->ready.next = engine->ready.count = 0;
    engine->turn_since = 0;
    while (entry) {
        fws_work_entry *next = entry->next;
        abandon(FWS_WEBSOCKET_OF(entry, entry));
        entry->previous = entry->next = NULL;
        entry = next; /* its memory stays: the parent's threads held references to it */
    }
    if (loop)
        fws_loop_free(loop);
    engine->work.loop = NULL;
    engine->running = false;
}
