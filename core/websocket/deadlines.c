/* The deadlines of one websocket: adoption by the loop thread, pings, a peer that does not read,
 * and the end of a closing handshake. They share one timer, which is armed for the earliest. A
 * deadline that moves to a later time does not move the timer, which fires once too early then:
 * that costs less than to move the timer with every message. */
#include "internal.h"

/* Deadlines that need no precision are rounded up to a common grid, so that many websockets
 * share one wake-up. */
static fws_ns round_up(fws_ns deadline, fws_ns grid)
{
    return (deadline + grid - 1) / grid * grid;
}

static void include(fws_ns *earliest, fws_ns deadline)
{
    if (deadline != 0 && (*earliest == 0 || deadline < *earliest))
        *earliest = deadline;
}

void fws_websocket_schedule(fws_websocket *websocket)
{
    fws_ns earliest = 0;
    if (websocket->adopt_at != 0)
        include(&earliest, round_up(websocket->adopt_at, FWS_ADOPT_AFTER / 3));
    if (websocket->ping_at != 0)
        include(&earliest, round_up(websocket->ping_at, FWS_DEADLINE_GRID));
    if (websocket->pong_by != 0)
        include(&earliest, round_up(websocket->pong_by, FWS_DEADLINE_GRID));
    if (websocket->progress.check_at != 0)
        include(&earliest, round_up(websocket->progress.check_at, FWS_DEADLINE_GRID));
    include(&earliest, websocket->close_by);
    if (earliest == 0 || (websocket->timer_at != 0 && websocket->timer_at <= earliest))
        return;
    websocket->timer_at = earliest;
    fws_work_arm(websocket->work, &websocket->entry.timer, earliest);
}

static void send_ping(fws_websocket *websocket, fws_ns now)
{
    const fws_engine_config *config = &websocket->work->config;
    uint8_t frame[FWS_FRAME_CONTROL_SIZE_MAX];
    size_t size =
        fws_connection_encode_control(&websocket->protocol, frame, FWS_OPCODE_PING, NULL, 0);
    if (!fws_websocket_push(websocket, frame, size)) {
        fws_websocket_fail(websocket, FWS_CLOSE_INTERNAL_ERROR, "out of memory");
        return;
    }
    websocket->ping_at = now + config->ping_interval;
    /* Bytes that arrive from now on prove that the peer is alive, whether they are a pong or
     * part of a message. While an earlier ping is unanswered, that ping's deadline stays. */
    bool unanswered = websocket->pong_by != 0 && !websocket->received_since_ping;
    if (config->ping_timeout > 0 && !unanswered) {
        websocket->received_since_ping = false;
        websocket->pong_by = now + config->ping_timeout;
        websocket->pong_is_behind = fws_progress_is_behind(websocket, size, now);
    }
    fws_websocket_write(websocket);
}

static void check_pong(fws_websocket *websocket, fws_ns now)
{
    fws_ns timeout = websocket->work->config.ping_timeout, since = websocket->pong_by - timeout;
    bool nobody_reads = !websocket->adopted && websocket->pollers == 0;
    websocket->pong_by = 0;
    if (websocket->received_since_ping || nobody_reads)
        return;
    if (fws_progress_extends(websocket, &websocket->pong_is_behind, since, now))
        websocket->pong_by = now + timeout;
    else
        fws_websocket_fail(websocket, FWS_CLOSE_INTERNAL_ERROR, "ping timeout");
}

void fws_websocket_await_peer_close(fws_websocket *websocket)
{
    if (websocket->close_by != 0)
        return;
    fws_ns now = fws_clock_now();
    websocket->close_by = now + websocket->work->config.close_timeout;
    websocket->close_is_behind = fws_progress_is_behind(websocket, FWS_FRAME_CONTROL_SIZE_MAX, now);
    fws_websocket_schedule(websocket);
}

static void check_close(fws_websocket *websocket, fws_ns now)
{
    fws_ns timeout = websocket->work->config.close_timeout, since = websocket->close_by - timeout;
    if (fws_progress_extends(websocket, &websocket->close_is_behind, since, now))
        websocket->close_by = now + timeout;
    else
        fws_websocket_finish(websocket);
}

static void check_backlog(fws_websocket *websocket, fws_ns now)
{
    static const char reason[] = "the peer does not read";
    if (fws_progress_check_backlog(websocket, now))
        return;
    fws_websocket_note_close(websocket, FWS_CLOSE_ABNORMAL, reason, sizeof reason - 1);
    fws_websocket_finish(websocket);
}

void fws_websocket_on_timer(fws_websocket *websocket)
{
    fws_ns now = fws_clock_now();
    fws_websocket_lock(websocket);
    websocket->timer_at = 0;
    if (websocket->close_by != 0 && now >= websocket->close_by)
        check_close(websocket, now);
    if (websocket->progress.check_at != 0 && now >= websocket->progress.check_at)
        check_backlog(websocket, now);
    if (websocket->state == FWS_STATE_OPEN && websocket->adopt_at != 0 &&
        now >= websocket->adopt_at) {
        websocket->adopt_at = 0;
        fws_websocket_adopt(websocket);
    }
    if (websocket->state == FWS_STATE_OPEN && websocket->pong_by != 0 && now >= websocket->pong_by)
        check_pong(websocket, now);
    if (websocket->state == FWS_STATE_OPEN && websocket->ping_at != 0 && now >= websocket->ping_at)
        send_ping(websocket, now);
    if (websocket->state != FWS_STATE_CLOSED)
        fws_websocket_schedule(websocket);
    fws_websocket_unlock(websocket);
}
