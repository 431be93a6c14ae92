/* What a forked child does with an engine that it has inherited.
 *
 * Threads of the parent may have been anywhere inside the engine, and none of them exists here. So
 * each lock and each condition is made anew: of the websockets, also those that are finished and
 * not freed yet, of the table, of fws_work, of the pool, of the crew, and of the notifiers. Lists,
 * and memory that another thread may have been changing, are left behind unfreed. Only what the
 * kernel holds is given back.
 *
 * Threads: in the child, before any other call.
 */
#include "internal.h"

#include "../io/os.h"

#include <unistd.h>

static void abandon(fws_websocket *websocket)
{
    fws_websocket_init_lock(websocket);
    int fd = websocket->fd;
    websocket->fd = -1;
    if (fd >= 0)
        close(fd); /* no shutdown: the connection goes on, in the parent */
    fws_wakeup_close(&websocket->wakeup);
    websocket->state = FWS_STATE_CLOSED;
    if (websocket->close_code == 0)
        websocket->close_code = FWS_CLOSE_ABNORMAL;
    websocket->close_reason = NULL;
    websocket->close_reason_size = 0;
    websocket->concluded = true; /* by the parent, once it is */
    websocket->sleepers = websocket->pollers = 0;
    fws_blocking_receive_init(&websocket->blocking_receive);
    websocket->watched = 0;
    websocket->adopted = websocket->flush_queued = websocket->notify_on_change = false;
    fws_corking_clear(websocket);
    websocket->evented = false; /* its owner is left behind unfreed as well */
    websocket->inflating = websocket->unfinished_queued = false;
    websocket->compressing = NULL;
    if (websocket->notifier)
        fws_notifier_after_fork(websocket->notifier);
    websocket->notifier = NULL; /* its descriptors are the parent's */
    websocket->undecoded = NULL;
    websocket->pings = NULL;
    websocket->subscriber = NULL; /* its subscriptions are left behind unfreed */
    fws_connection_init(&websocket->protocol, websocket->protocol.role, &(fws_limits){0},
                        fws_os_entropy);
    fws_inbox_init(&websocket->inbox);
    fws_outbox_init(&websocket->outbox);
}

void fws_engine_after_fork(fws_engine *engine)
{
    fws_work_entry *entry = engine->work.unfreed;
    fws_loop *loop = engine->work.loop;
    fws_table_after_fork(&engine->table);
    fws_work_after_fork(&engine->work);
    fws_crew_after_fork(&engine->crew);
    engine->ready.next = engine->ready.count = 0;
    engine->turn_since = 0;
    engine->flushing = NULL;
    atomic_store(&engine->work.references,
                 1); /* the threads that held the others do not exist here */
    while (entry) {
        fws_work_keep(&engine->work);
        fws_work_entry *older = entry->older;
        abandon(FWS_WEBSOCKET_OF(entry, entry));
        *entry = (fws_work_entry){0};
        fws_timer_init(&entry->timer);
        entry = older; /* its memory is not freed, because threads of the parent held references to
                          it */
    }
    engine->work.loop = NULL;
    if (loop)
        fws_loop_free(loop);
    fws_os_init_condition(&engine->stopped);
    engine->life = FWS_ENGINE_NEW;
}
