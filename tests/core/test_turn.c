/* What the leader does in one turn is bounded, however much is due: what is ready has its turn in
 * between. */
#include "pair.h"

#include <sys/resource.h>
#include <unistd.h>

enum { PAIRS = 2000 };

static fws_engine *engine;
static pair pairs[PAIRS];

static bool may_open(rlim_t count)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < count) {
        limit.rlim_cur = count < limit.rlim_max ? count : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur >= count;
}

static uint64_t turns(void)
{
    return atomic_load(&engine->work.counters.loop_wakeups);
}

/* Each ping takes a system call, and pings are due together (FWS_DEADLINE_GRID): some 10 ms. */
static void test_timers_that_are_due_together_take_several_turns(void **state)
{
    (void)state;
    if (!may_open(3 * PAIRS + 100))
        skip();
    fws_engine_config config = default_config;
    config.ping_interval = FWS_NS_PER_S;
    engine = fws_engine_new(&config);
    for (int i = 0; i < PAIRS; i++)
        open_bare_pair(&pairs[i], engine);
    for (int i = 0; i < PAIRS; i++)
        expect_bytes(&pairs[i], "\x89\0", 2);
    usleep(100000);
    uint64_t before = turns();
    for (int i = 0; i < PAIRS; i++)
        expect_bytes(&pairs[i], "\x89\0", 2);
    uint64_t taken = turns() - before;
    if (taken < 8)
        fail_msg("%d pings in %llu turns", PAIRS, (unsigned long long)taken);
    for (int i = 0; i < PAIRS; i++)
        close(pairs[i].fd);
    fws_engine_free(engine);
    for (int i = 0; i < PAIRS; i++)
        fws_websocket_drop(pairs[i].server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_that_are_due_together_take_several_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
