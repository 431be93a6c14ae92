#include "gate.h"

#include <stddef.h>

struct fws_gate_sleeper {
    fws_gate_sleeper *next;
    pthread_cond_t called;
    fws_ns since;
    bool inside; /* it has been admitted */
};

void fws_gate_init(fws_gate *gate, unsigned widest)
{
    pthread_mutex_init(&gate->lock, NULL);
    gate->widest = widest;
    gate->width = 1;
    gate->inside = 0;
    gate->blocked_since = 0;
    gate->calling = false;
    atomic_store(&gate->closed, 0);
    atomic_store(&gate->sleepers, 0);
    gate->first = NULL;
    gate->last = &gate->first;
}

static bool is_open(const fws_gate *gate)
{
    return gate->inside < gate->width && atomic_load(&gate->closed) == 0;
}

/* May the first sleeper go in now? */
static bool may_admit(const fws_gate *gate, fws_ns now)
{
    return gate->inside < gate->width && (now - gate->first->since > FWS_GATE_PATIENCE ||
                                          (gate->width > 1 && atomic_load(&gate->closed) == 0));
}

static fws_gate_sleeper *admit_first(fws_gate *gate)
{
    fws_gate_sleeper *first = gate->first;
    gate->first = first->next;
    if (gate->first == NULL)
        gate->last = &gate->first;
    gate->calling = false;
    gate->inside++;
    first->inside = true;
    return first;
}

/* Admits sleepers that have slept long enough and, while the gate is wide, any for whom there is
 * room. Otherwise wakes the first one, which enters if the gate is free when it runs. */
static void let_in(fws_gate *gate, fws_ns now)
{
    while (gate->first != NULL && may_admit(gate, now))
        pthread_cond_signal(&admit_first(gate)->called);
    if (gate->first != NULL && is_open(gate) && !gate->calling) {
        gate->calling = true;
        pthread_cond_signal(&gate->first->called);
    }
}

static void sleep_until_inside(fws_gate *gate)
{
    fws_gate_sleeper self = {.since = fws_clock_now()};
    pthread_cond_init(&self.called, NULL);
    *gate->last = &self;
    gate->last = &self.next;
    if (gate->blocked_since == 0) {
        gate->blocked_since = self.since;
    } else if (self.since - gate->blocked_since > FWS_GATE_STALL) {
        gate->width = gate->widest;
        let_in(gate, self.since);
    }
    /* Before it is looked whether the gate is closed, so that who opens it meanwhile sees it. */
    atomic_fetch_add(&gate->sleepers, 1);
    if (gate->first == &self && is_open(gate))
        admit_first(gate);
    while (!self.inside) {
        pthread_cond_wait(&self.called, &gate->lock);
        if (self.inside || gate->first != &self)
            continue;
        gate->calling = false;
        if (is_open(gate))
            admit_first(gate);
    }
    atomic_fetch_sub(&gate->sleepers, 1);
    pthread_cond_destroy(&self.called);
}

fws_ns fws_gate_enter(fws_gate *gate)
{
    if (!FWS_USE_GATE)
        return 0;
    pthread_mutex_lock(&gate->lock);
    if (is_open(gate))
        gate->inside++;
    else
        sleep_until_inside(gate);
    fws_ns entered = gate->width > 1 ? fws_clock_now() : 0;
    pthread_mutex_unlock(&gate->lock);
    return entered;
}

void fws_gate_leave(fws_gate *gate, fws_ns entered)
{
    if (!FWS_USE_GATE)
        return;
    pthread_mutex_lock(&gate->lock);
    gate->inside--;
    if (gate->first != NULL || entered != 0) {
        fws_ns now = fws_clock_now();
        fws_ns begun = entered != 0 ? entered : gate->blocked_since;
        if (begun != 0 && now - begun > FWS_GATE_STALL)
            gate->width = gate->widest;
        else if (gate->width > 1)
            gate->width--;
        let_in(gate, now);
        gate->blocked_since = gate->first != NULL ? now : 0;
    } else {
        gate->blocked_since = 0;
    }
    pthread_mutex_unlock(&gate->lock);
}

void fws_gate_close(fws_gate *gate)
{
    atomic_fetch_add(&gate->closed, 1);
}

void fws_gate_open(fws_gate *gate)
{
    bool last = atomic_fetch_sub(&gate->closed, 1) == 1;
    if (!FWS_USE_GATE || !last || atomic_load(&gate->sleepers) == 0)
        return;
    pthread_mutex_lock(&gate->lock);
    let_in(gate, fws_clock_now());
    pthread_mutex_unlock(&gate->lock);
}
