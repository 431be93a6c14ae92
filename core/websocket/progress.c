#include "internal.h"

#include "../io/transport.h"

/* Measures, and returns how many bytes the peer has not taken: those in the kernel and in the
 * outbox. */
static size_t measure(fws_websocket *websocket, fws_ns now)
{
    fws_progress *progress = &websocket->progress;
    size_t in_kernel = fws_transport_unsent(websocket->fd);
    /* The kernel may count its own overhead as kept, so the difference can fall. */
    uint64_t taken =
        websocket->bytes_written > in_kernel ? websocket->bytes_written - in_kernel : 0;
    if (taken > progress->taken)
        progress->noticed_at = now;
    progress->taken = taken;
    return in_kernel + websocket->outbox.bytes;
}

/* How long the peer may take nothing: close_timeout after a failure, because its data are no
 * longer wanted, and always a finite time once the websocket is closing; else send_timeout. */
static fws_ns stall_limit(const fws_websocket *websocket)
{
    const fws_engine_config *config = &websocket->work->config;
    bool closing = websocket->state != FWS_STATE_OPEN;
    return closing && (websocket->failed || config->send_timeout == 0) ? config->close_timeout
                                                                       : config->send_timeout;
}

/* Four checks within the patience: a peer that stops is cut off at most a quarter of it late. */
static fws_ns next_check(const fws_progress *progress, fws_ns now, fws_ns limit)
{
    fws_ns end = progress->noticed_at + limit;
    return now + limit / 4 < end ? now + limit / 4 : end;
}

void fws_progress_watch_backlog(fws_websocket *websocket)
{
    fws_progress *progress = &websocket->progress;
    if (!fws_outbox_is_ready(&websocket->outbox))
        return;
    fws_ns limit = stall_limit(websocket);
    if (progress->check_at != 0 || limit == 0)
        return;
    progress->noticed_at = fws_clock_now();
    progress->check_at = next_check(progress, progress->noticed_at, limit);
    fws_websocket_schedule(websocket);
}

bool fws_progress_check_backlog(fws_websocket *websocket, fws_ns now)
{
    fws_progress *progress = &websocket->progress;
    fws_ns limit = stall_limit(websocket);
    progress->check_at = 0;
    if (!fws_outbox_is_ready(&websocket->outbox) || limit == 0)
        return true;
    measure(websocket, now);
    if (now >= progress->noticed_at + limit)
        return false;
    progress->check_at = next_check(progress, now, limit);
    return true;
}

bool fws_progress_is_behind(fws_websocket *websocket, size_t size, fws_ns now)
{
    return measure(websocket, now) > size;
}

bool fws_progress_extends(fws_websocket *websocket, bool *behind, fws_ns since, fws_ns now)
{
    bool was_behind = *behind;
    *behind = measure(websocket, now) > 0;
    return *behind ? websocket->progress.noticed_at > since : was_behind;
}
