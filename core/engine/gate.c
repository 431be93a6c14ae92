#include "gate.h"

#include <stddef.h>

struct fws_gate_sleeper {
    fws_gate_sleeper *next;
    pthread_cond_t called;
    fws_ns since;
    bool inside; /* it was handed over */
};

void fws_gate_init(fws_gate *gate)
{
    pthread_mutex_init(&gate->lock, NULL);
    gate->taken = gate->calling = false;
    gate->first = NULL;
    gate->last = &gate->first;
}

static fws_gate_sleeper *remove_first(fws_gate *gate)
{
    fws_gate_sleeper *first = gate->first;
    gate->first = first->next;
    if (gate->first == NULL)
        gate->last = &gate->first;
    gate->calling = false;
    return first;
}

static void sleep_until_inside(fws_gate *gate)
{
    fws_gate_sleeper self = {.since = fws_clock_now()};
    pthread_cond_init(&self.called, NULL);
    *gate->last = &self;
    gate->last = &self.next;
    while (!self.inside) {
        pthread_cond_wait(&self.called, &gate->lock);
        if (self.inside || gate->first != &self)
            continue;
        gate->calling = false;
        if (!gate->taken) {
            gate->taken = self.inside = true;
            remove_first(gate);
        }
    }
    pthread_cond_destroy(&self.called);
}

void fws_gate_enter(fws_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    if (gate->taken)
        sleep_until_inside(gate);
    else
        gate->taken = true;
    pthread_mutex_unlock(&gate->lock);
}

void fws_gate_leave(fws_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    if (gate->first != NULL && fws_clock_now() - gate->first->since > FWS_GATE_PATIENCE) {
        fws_gate_sleeper *first = remove_first(gate);
        first->inside = true;
        pthread_cond_signal(&first->called);
    } else {
        gate->taken = false;
        if (gate->first != NULL && !gate->calling) {
            gate->calling = true;
            pthread_cond_signal(&gate->first->called);
        }
    }
    pthread_mutex_unlock(&gate->lock);
}
