#include "internal.h"

#include "../io/os.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- memory ---- */

void fws_websocket_init_lock(fws_websocket *websocket)
{
    pthread_mutex_init(&websocket->lock, NULL);
    fws_os_init_condition(&websocket->changed);
}

fws_websocket *fws_websocket_new(fws_work *work, int fd, fws_role role)
{
    fws_websocket *websocket = aligned_alloc(FWS_CACHE_LINE, sizeof *websocket);
    if (websocket == NULL)
        return NULL;
    memset(websocket, 0, sizeof *websocket);
    atomic_init(&websocket->references, 1);
    fws_work_keep(work);
    websocket->work = work;
    websocket->tally = &work->tally;
    websocket->fd = fd;
    websocket->state = FWS_STATE_OPEN;
    websocket->wakeup = FWS_WAKEUP_CLOSED;
    fws_websocket_init_lock(websocket);
    fws_connection_init(&websocket->protocol, role, &work->config.limits, fws_os_entropy);
    fws_blocking_receive_init(&websocket->blocking_receive);
    fws_inbox_init(&websocket->inbox);
    fws_outbox_init(&websocket->outbox);
    fws_timer_init(&websocket->entry.timer);
    return websocket;
}

fws_websocket *fws_websocket_keep(fws_websocket *websocket)
{
    atomic_fetch_add_explicit(&websocket->references, 1, memory_order_relaxed);
    return websocket;
}

void fws_websocket_drop(fws_websocket *websocket)
{
    if (atomic_fetch_sub_explicit(&websocket->references, 1, memory_order_acq_rel) != 1)
        return;
    fws_work_unlist(websocket->work, &websocket->entry);
    fws_wakeup_close(&websocket->wakeup);
    fws_connection_clear(&websocket->protocol);
    fws_inbox_clear(&websocket->inbox);
    fws_outbox_clear(&websocket->outbox);
    free(websocket->undecoded);
    free(websocket->close_reason);
    if (websocket->subscriber && fws_subscriber_free(websocket->subscriber))
        fws_work_call_leader(websocket->work);
    if (websocket->notifier)
        fws_notifier_drop(websocket->notifier);
    pthread_cond_destroy(&websocket->changed);
    pthread_mutex_destroy(&websocket->lock);
    fws_work *work = websocket->work;
    free(websocket);
    fws_work_drop(work);
}

void *fws_websocket_owner(const fws_websocket *websocket)
{
    return websocket->owner;
}

const fws_engine_config *fws_websocket_config(const fws_websocket *websocket)
{
    return &websocket->work->config;
}

/* ---- states ---- */

void fws_websocket_notify(fws_websocket *websocket)
{
    if (websocket->sleepers > 0)
        pthread_cond_broadcast(&websocket->changed);
    if (websocket->notify_on_change) {
        websocket->notify_on_change = false;
        fws_notifier_push(websocket->notifier, websocket);
    }
    fws_websocket_queue_callbacks(websocket);
}

void fws_websocket_note_close(fws_websocket *websocket, uint16_t code, const void *reason,
                              size_t reason_size)
{
    if (websocket->close_code != 0)
        return;
    websocket->close_code = code;
    reason_size = fws_close_fit_reason(reason, reason_size);
    if (reason_size == 0)
        return;
    websocket->close_reason = malloc(reason_size);
    if (websocket->close_reason == NULL)
        return; /* the close code is enough without a reason */
    memcpy(websocket->close_reason, reason, reason_size);
    websocket->close_reason_size = (uint8_t)reason_size;
}

void fws_websocket_leave_open(fws_websocket *websocket, fws_state state)
{
    bool was_open = websocket->state == FWS_STATE_OPEN;
    websocket->state = state;
    if (!was_open)
        return;
    websocket->open_for = fws_clock_now() - websocket->opened_at;
    if (websocket->subscriber && fws_subscriber_end(websocket->subscriber))
        fws_work_call_leader(websocket->work);
    fws_websocket_note_backlog(websocket);
    websocket->adopt_at = 0;
    websocket->ping_at = websocket->pong_by = 0;
    if (websocket->pollers > 0 && !fws_blocking_receive_is_active(&websocket->blocking_receive))
        fws_wakeup_ring(&websocket->wakeup);
    websocket->notify_on_change =
        websocket->notifier != NULL; /* the event loop is always told that the websocket closes */
    fws_websocket_notify(websocket);
}

static void drop_undecoded(fws_websocket *websocket)
{
    free(websocket->undecoded);
    websocket->undecoded = NULL;
    websocket->undecoded_start = websocket->undecoded_end = 0;
}

void fws_websocket_enter_ending(fws_websocket *websocket)
{
    if (websocket->state == FWS_STATE_ENDING || websocket->state == FWS_STATE_CLOSED)
        return;
    if (websocket->output_broken) {
        fws_websocket_finish(websocket);
        return;
    }
    fws_websocket_leave_open(websocket, FWS_STATE_ENDING);
    drop_undecoded(websocket);
    websocket->adopted = true;
    websocket->close_by = websocket->progress.check_at = 0; /* both deadlines are set anew below */
    fws_websocket_flush(websocket);
    fws_websocket_update_watch(websocket);
    fws_websocket_schedule(websocket);
}

void fws_websocket_fail(fws_websocket *websocket, uint16_t code, const char *reason)
{
    uint8_t frame[FWS_FRAME_CONTROL_SIZE_MAX];
    size_t reason_size = strlen(reason);
    websocket->failed = true;
    fws_websocket_note_close(websocket, code, reason, reason_size);
    size_t size = fws_connection_close(&websocket->protocol, frame, code, reason, reason_size);
    if (size > 0) {
        fws_outbox_drop_unsent(&websocket->outbox);
        if (!fws_websocket_push(websocket, frame, size)) {
            fws_websocket_finish(
                websocket); /* there is no memory for the close frame: cut the connection off */
            return;
        }
    }
    fws_websocket_enter_ending(websocket);
}

/* Without a close frame of either side that is an abnormal end (RFC 6455 section 7.1.5). With
 * one, what is queued is still written, because the peer may have ended its own side only (RFC
 * 6455 section 5.5.1, RFC 9293 section 3.6). */
void fws_websocket_accept_eof(fws_websocket *websocket)
{
    websocket->nothing_more = true;
    websocket->hung_up = websocket->more_expected = false;
    if (websocket->state != FWS_STATE_OPEN && websocket->outbox.count > 0)
        fws_websocket_enter_ending(websocket);
    if (websocket->state != FWS_STATE_ENDING || websocket->outbox.count == 0) {
        fws_websocket_finish(websocket);
        return;
    }
    websocket->adopted = false; /* there is nothing more to read */
    fws_websocket_update_watch(websocket);
}

void fws_websocket_release_fd(fws_websocket *websocket)
{
    if (websocket->state != FWS_STATE_CLOSED || websocket->pollers > 0 || websocket->fd < 0)
        return;
    int fd = websocket->fd;
    websocket->fd =
        -1; /* first, because another thread may get the same number once it is closed */
    close(fd);
    fws_wakeup_close(&websocket->wakeup);
}

void fws_websocket_finish(fws_websocket *websocket)
{
    if (websocket->state == FWS_STATE_CLOSED)
        return;
    fws_websocket_note_close(websocket, FWS_CLOSE_ABNORMAL, NULL, 0);
    fws_websocket_leave_open(websocket, FWS_STATE_CLOSED);
    drop_undecoded(websocket);
    if (!websocket->inflating)
        fws_connection_abandon_receiving(&websocket->protocol);
    fws_websocket_abandon_compressing(websocket);
    fws_outbox_clear(&websocket->outbox);
    fws_websocket_report_counts(websocket);
    fws_tally_count_close(websocket->tally, websocket->close_code);
    websocket->close_by = websocket->progress.check_at = 0;
    websocket->adopted = false;
    fws_websocket_update_watch(websocket);
    fws_websocket_release_fd(websocket);
    fws_websocket_notify(websocket);
    fws_work_retire(websocket->work, &websocket->entry);
}

void fws_websocket_update_watch(fws_websocket *websocket)
{
    uint8_t wanted = 0;
    if (websocket->state != FWS_STATE_CLOSED) {
        if (websocket->adopted && !fws_blocking_receive_is_active(&websocket->blocking_receive))
            wanted |= websocket->evented ? FWS_READABLE | FWS_EDGE : FWS_READABLE;
        if (fws_outbox_is_ready(&websocket->outbox) && !websocket->flush_queued &&
            !fws_blocking_receive_has_failed(&websocket->blocking_receive))
            wanted |= FWS_WRITABLE;
    }
    if (wanted == websocket->watched)
        return;
    bool done =
        fws_work_watch(websocket->work, websocket->fd, websocket->watched, wanted, websocket);
    websocket->watched = done ? wanted : 0;
    if (!done && wanted != 0)
        fws_websocket_finish(
            websocket); /* the kernel refuses to watch it, so no more events would arrive */
}

void fws_websocket_watch_anew(fws_websocket *websocket)
{
    websocket->unread = false;
    if ((websocket->watched & FWS_READABLE) &&
        !fws_work_watch(websocket->work, websocket->fd, websocket->watched, websocket->watched,
                        websocket))
        fws_websocket_finish(websocket);
}

fws_status fws_websocket_close(fws_websocket *websocket, uint16_t code, const char *reason,
                               size_t reason_size)
{
    uint8_t frame[FWS_FRAME_CONTROL_SIZE_MAX];
    fws_websocket_lock(websocket);
    atomic_store_explicit(&websocket->closed_here, true, memory_order_relaxed);
    fws_inbox_clear(&websocket->inbox);
    if (websocket->state != FWS_STATE_OPEN) {
        fws_websocket_unlock(websocket);
        return FWS_CLOSED;
    }
    if (fws_websocket_has_published(websocket)) {
        fws_websocket_settle(websocket);
        if (websocket->state != FWS_STATE_OPEN) { /* a slow consumer, for one */
            fws_websocket_unlock(websocket);
            return FWS_CLOSED;
        }
    }
    if (websocket->output_broken) /* the close frame cannot be sent, and none has come */
        fws_websocket_note_close(websocket, FWS_CLOSE_ABNORMAL, NULL, 0);
    fws_websocket_note_close(websocket, code, reason, reason_size);
    size_t size = fws_connection_close(&websocket->protocol, frame, code, reason, reason_size);
    if (websocket->output_broken || !fws_websocket_push(websocket, frame, size)) {
        fws_websocket_finish(websocket);
        fws_websocket_unlock(websocket);
        return FWS_OK;
    }
    fws_websocket_leave_open(websocket, FWS_STATE_CLOSING);
    /* Messages are not given out any more (RFC 6455 section 1.4), so the undecoded ones need no
     * room: they are decoded and dropped, to find the peer's close frame. */
    fws_websocket_decode_undecoded(websocket);
    if (websocket->state == FWS_STATE_CLOSING) {
        websocket->adopted = true;
        fws_websocket_flush(websocket);
    }
    fws_websocket_update_watch(websocket);
    fws_websocket_schedule(websocket);
    fws_websocket_unlock(websocket);
    return FWS_OK;
}

static void read_status(const fws_websocket *websocket, fws_websocket_status *status)
{
    status->state = websocket->output_broken && websocket->state == FWS_STATE_OPEN
                        ? FWS_STATE_CLOSING
                        : websocket->state;
    status->close_code = websocket->close_code;
    status->close_reason_size = websocket->close_reason_size;
    if (websocket->close_reason_size > 0)
        memcpy(status->close_reason, websocket->close_reason, websocket->close_reason_size);
    status->buffered = websocket->outbox.bytes;
    status->untaken = websocket->inbox.count;
    uint32_t out = websocket->messages_out;
    uint64_t out_high = websocket->messages_out_high + (out < websocket->reported_messages);
    status->messages_in = (uint64_t)websocket->messages_in_high << 32 | websocket->inbox.pushed;
    status->messages_out = out_high << 32 | out;
}

void fws_websocket_get_status(fws_websocket *websocket, fws_websocket_status *status)
{
    fws_websocket_lock(websocket);
    read_status(websocket, status);
    fws_websocket_unlock(websocket);
}

int64_t fws_websocket_connected_at(const fws_websocket *websocket)
{
    return websocket->connected_at;
}

static fws_closer closer_of(const fws_websocket *websocket)
{
    if (websocket->close_code == FWS_CLOSE_ABNORMAL)
        return FWS_CLOSED_BY_NOBODY;
    return websocket->closed_by_peer ? FWS_CLOSED_BY_PEER : FWS_CLOSED_BY_US;
}

bool fws_websocket_conclude(fws_websocket *websocket, fws_conclusion *conclusion)
{
    fws_websocket_lock(websocket);
    bool now = websocket->state != FWS_STATE_OPEN && !websocket->concluded;
    if (now) {
        websocket->concluded = true;
        read_status(websocket, &conclusion->status);
        conclusion->closer = closer_of(websocket);
        conclusion->failed = websocket->failed;
        conclusion->open_for = websocket->open_for;
    }
    fws_websocket_unlock(websocket);
    return now;
}
