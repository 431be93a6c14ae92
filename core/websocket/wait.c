/* Waits for messages on the thread of a handler: it reads the socket itself, so that no other
 * thread is involved. */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

static void resume_reading(fws_websocket *websocket)
{
    websocket->adopt_at = 0;
    if (!websocket->adopted)
        return;
    websocket->adopted = false;
    fws_websocket_update_watch(websocket);
}

void fws_websocket_stop_reading(fws_websocket *websocket)
{
    if (fws_websocket_is_read_by_loop(
            websocket)) { /* the loop thread reads, unless the inbox was full */
        if (websocket->state == FWS_STATE_OPEN && !websocket->adopted)
            fws_websocket_adopt(websocket);
        return;
    }
    fws_websocket_notify(websocket); /* another thread may read now, and the inbox may have room */
    if (websocket->state != FWS_STATE_OPEN || websocket->adopted || websocket->pollers > 0)
        return;
    websocket->adopt_at = fws_clock_now() + FWS_ADOPT_AFTER;
    fws_websocket_schedule(websocket);
}

/* FWS_OK: a message that has been read. FWS_CLOSED: there are none, and none will arrive
 * (fws_websocket_close has cleared the inbox). Else FWS_WOULD_BLOCK. */
static fws_status pop(fws_websocket *websocket, fws_message *message)
{
    if (fws_inbox_pop(&websocket->inbox, message))
        return FWS_OK;
    return websocket->state == FWS_STATE_OPEN ? FWS_WOULD_BLOCK : FWS_CLOSED;
}

fws_status fws_websocket_receive_ready(fws_websocket *websocket, fws_message *message)
{
    fws_status status;
    fws_websocket_lock(websocket);
    for (int reads = 0;; reads++) {
        status = pop(websocket, message);
        if (status == FWS_OK)
            fws_websocket_stop_reading(websocket);
        if (status != FWS_WOULD_BLOCK)
            break;
        if (websocket->pollers > 0 ||
            fws_websocket_is_read_by_loop(websocket)) /* another thread is reading */
            break;
        resume_reading(websocket);
        /* The last recv emptied the socket, and a handler that has just answered comes here
         * before the peer can have sent more: another recv would nearly always be a system call
         * for nothing. */
        if ((!websocket->undecoded && !websocket->more_expected) ||
            reads ==
                FWS_READS_PER_TURN || /* a peer that sends no message is read without the GIL */
            fws_websocket_is_inflating(websocket) || /* that takes long */
            fws_websocket_pump(websocket, ONE_MESSAGE) == FWS_PUMP_EMPTY)
            break;
    }
    fws_websocket_unlock(websocket);
    return status;
}

/* Sleeps on the condition, because another thread reads or the inbox is full. */
static fws_status sleep_once(fws_websocket *websocket, fws_ns deadline)
{
    int error = 0;
    websocket->sleepers++;
    if (deadline == FWS_FOREVER) {
        pthread_cond_wait(&websocket->changed, &websocket->lock);
    } else {
        struct timespec until = fws_clock_timespec(deadline);
        error = pthread_cond_timedwait(&websocket->changed, &websocket->lock, &until);
    }
    websocket->sleepers--;
    return error == ETIMEDOUT ? FWS_TIMEOUT : FWS_OK;
}

/* Polls the socket and the wake-up, without the lock. */
static fws_status poll_once(fws_websocket *websocket, fws_ns deadline, uint32_t limit)
{
    struct pollfd polled[2] = {{.fd = websocket->fd, .events = POLLIN},
                               {.fd = websocket->wakeup.read_fd, .events = POLLIN}};
    fws_ns begun = fws_clock_now();
    struct timespec left = {0};
    if (deadline != FWS_FOREVER)
        left = fws_clock_timespec(deadline > begun ? deadline - begun : 0);
    websocket->pollers++;
    fws_websocket_unlock(websocket);
    int count = ppoll(polled, 2, deadline == FWS_FOREVER ? NULL : &left, NULL);
    int error = errno;
    fws_websocket_lock(websocket);
    websocket->pollers--;
    fws_websocket_release_fd(websocket);
    if (count < 0)
        return error == EINTR ? FWS_INTERRUPTED : FWS_NO_MEMORY;
    if (count == 0)
        return FWS_TIMEOUT;
    fws_blocking_receive_note_wait(&websocket->blocking_receive, begun);
    if (polled[0].revents && websocket->state == FWS_STATE_OPEN)
        fws_websocket_pump(websocket, limit);
    /* Other threads may wait for the messages that were just read, or until they may read
     * themselves. */
    fws_websocket_notify(websocket);
    return FWS_OK;
}

/* Called after each reading that need not wait, because a peer that sends no message, but pings or
 * fragments, may keep the thread here: from time to time other threads get the lock, and the
 * deadline is looked at. `*since`: when they last got it; 0: not yet. */
static fws_status let_others_in(fws_websocket *websocket, fws_ns deadline, fws_ns *since)
{
    struct timespec pause = fws_clock_timespec(FWS_GIL_PAUSE);
    fws_ns now = fws_clock_now();
    if (*since == 0) {
        *since = now;
    } else if (now - *since >= FWS_SLICE) {
        fws_websocket_unlock(websocket);
        nanosleep(&pause, NULL); /* without it this thread would have the lock again first */
        fws_websocket_lock(websocket);
        *since = 0;
    }
    return deadline != FWS_FOREVER && now >= deadline ? FWS_TIMEOUT : FWS_OK;
}

/* Waits once until something changes; reads if no other thread does. `*since`: see above. */
static fws_status wait_once(fws_websocket *websocket, fws_ns deadline, uint32_t limit,
                            fws_ns *since)
{
    if (websocket->pollers > 0 || fws_websocket_is_read_by_loop(websocket) ||
        fws_websocket_inbox_is_full(websocket, limit))
        return sleep_once(websocket, deadline);
    resume_reading(websocket);
    if (websocket->state != FWS_STATE_OPEN)
        return FWS_OK;
    if (websocket->undecoded || websocket->more_expected) {
        fws_websocket_pump(websocket, limit);
        return let_others_in(websocket, deadline, since);
    }
    if (!fws_blocking_receive_should_block(websocket, deadline))
        return poll_once(websocket, deadline, limit);
    return fws_blocking_receive_once(websocket, limit) ? FWS_OK : FWS_INTERRUPTED;
}

fws_status fws_websocket_receive_wait(fws_websocket *websocket, fws_ns deadline,
                                      fws_message *message)
{
    fws_status status, waited = FWS_OK;
    fws_ns since = 0;
    fws_websocket_lock(websocket);
    fws_corking_note_return(websocket);
    while ((status = pop(websocket, message)) == FWS_WOULD_BLOCK && waited == FWS_OK)
        waited = wait_once(websocket, deadline, ONE_MESSAGE, &since);
    if (status == FWS_WOULD_BLOCK)
        status = waited; /* timed out or interrupted, and there is no message */
    fws_websocket_stop_reading(websocket);
    fws_websocket_unlock(websocket);
    return status;
}

fws_status fws_websocket_wait_once(fws_websocket *websocket, fws_ns deadline)
{
    fws_ns since = 1; /* as if long ago: the caller calls this again and again */
    return wait_once(websocket, deadline, websocket->work->config.receive_queue, &since);
}

bool fws_websocket_yield(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    bool has_notifier = websocket->notifier != NULL; /* it has none in a forked child */
    if (has_notifier)
        fws_notifier_push(websocket->notifier, websocket); /* behind the others in its list */
    fws_websocket_unlock(websocket);
    return has_notifier;
}

bool fws_websocket_await(fws_websocket *websocket, fws_awaited awaited)
{
    bool wait = true;
    fws_websocket_lock(websocket);
    switch (awaited) {
    case FWS_AWAIT_MESSAGE:
        wait = websocket->state == FWS_STATE_OPEN && websocket->inbox.count == 0;
        break;
    case FWS_AWAIT_ROOM:
        wait = websocket->state == FWS_STATE_OPEN &&
               (websocket->outbox.bytes > websocket->work->config.send_buffer ||
                !fws_websocket_may_send(websocket));
        break;
    }
    if (wait)
        websocket->notify_on_change = true;
    fws_websocket_unlock(websocket);
    return wait;
}
