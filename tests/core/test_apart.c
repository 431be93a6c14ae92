/* Which callbacks run apart, and in which order: who is fast does not wait in a row with those that
 * are not, and everybody has a turn. */
#include "evented.h"

#include "engine/apart.h"
#include "io/os.h"
#include "tuning.h"

#include <unistd.h>

#define CROWD 30

static size_t queued_apart(void)
{
    pthread_mutex_lock(&engine->work.lock);
    size_t count = fws_apart_count(&engine->crew.apart);
    pthread_mutex_unlock(&engine->work.lock);
    return count;
}

static bool runs_apart(int i)
{
    pthread_mutex_lock(&engine->work.lock);
    bool apart = fws_apart_is_for(pairs[i].server);
    pthread_mutex_unlock(&engine->work.lock);
    return apart;
}

static void note_overtaken(int i, fws_ns ago)
{
    pthread_mutex_lock(&engine->work.lock);
    fws_apart_note_overtaken(pairs[i].server, fws_clock_now() - ago);
    pthread_mutex_unlock(&engine->work.lock);
}

/* Sends one message to each of `first` to `last`, while no callback can run. */
static void queue(int first, int last)
{
    for (int i = first; i <= last; i++) {
        size_t before = queued_apart();
        send_message(i, "hello");
        WAIT_FOR(queued_apart() == before + 1);
    }
}

/* The position of its callback among those that have run since hold_callbacks(). */
static unsigned position(int i)
{
    for (unsigned k = 0; k < atomic_load(&ran); k++)
        if (atomic_load(&order[k]) == i)
            return k;
    fail_msg("the callback of %d has not run", i);
    return 0;
}

static void echo(int i, int times)
{
    for (int k = 0; k < times; k++) {
        send_message(i, "hello");
        expect_text(i, "hello");
    }
}

static void send_to_all(int first, int last, const char *text)
{
    for (int i = first; i <= last; i++)
        send_message(i, text);
}

static void expect_from_all(int first, int last, const char *text)
{
    for (int i = first; i <= last; i++)
        expect_text(i, text);
}

/* With a thread for each, with few, with one, which watches as well. */
static void who_is_fast_comes_first(uint32_t threads)
{
    start_with(threads, CROWD + 3);
    echo(CROWD + 1, 1);
    echo(CROWD + 2, FWS_TRUSTED - 2);
    note_overtaken(0, 0);
    hold_callbacks();
    queue(0, CROWD);
    queue(CROWD + 1, CROWD + 2);
    let_callbacks();
    for (int i = 0; i < CROWD + 3; i++)
        expect_text(i, "hello");
    assert_in_range(position(CROWD + 1), 0, 1);
    assert_in_range(position(CROWD + 2), 1, 3);
    for (int i = 0; i < CROWD; i++) /* and the others as they came */
        assert_true(position(i) < position(i + 1));
    stop_with(CROWD + 3);
}

static void test_who_is_fast_comes_first(void **state)
{
    (void)state;
    who_is_fast_comes_first(64);
    who_is_fast_comes_first(4);
    who_is_fast_comes_first(2);
    who_is_fast_comes_first(1);
}

/* However many come for those that are fast: with a thread for each, or with few. */
static void others_have_every_second_turn(uint32_t threads, bool computing_seen)
{
    start_with(threads, 20);
    for (int i = 4; i < 20; i++)
        echo(i, 1);
    note_overtaken(0, 0);
    hold_callbacks();
    queue(4, 19);
    queue(0, 3);
    pthread_mutex_lock(&engine->work.lock);
    if (computing_seen)
        engine->crew.apart.computing.seen_at = fws_clock_now();
    pthread_mutex_unlock(&engine->work.lock);
    let_callbacks();
    for (int i = 0; i < 20; i++)
        expect_text(i, "hello");
    for (int i = 0; i < 4; i++)
        assert_in_range(position(i), 2 * i, 2 * i + 1);
    stop_with(20);
}

static void test_the_others_have_every_second_turn(void **state)
{
    (void)state;
    others_have_every_second_turn(4, false);
    others_have_every_second_turn(64, false);
    others_have_every_second_turn(64, true);
}

/* Callbacks that wait for long, however many, leave places for the leader and for who is fast. */
static void test_some_places_are_kept(void **state)
{
    (void)state;
    const unsigned threads = 2 * FWS_KEPT;
    start_with(threads, 24);
    pairs[23].server->tally = fws_engine_new_tally(engine);
    echo(22, 1);
    note_overtaken(21, 0);
    send_to_all(0, 20, "sleep 800");
    WAIT_FOR(atomic_load(&asleep) == threads - 2);
    echo(23, 1);
    assert_false(runs_apart(23));
    assert_true(runs_apart(22));
    echo(22, 1);
    assert_int_equal(atomic_load(&asleep), threads - 2);
    expect_from_all(0, 20, "asleep");
    expect_from_all(0, 20, "sleep 800");
    stop_with(24);
}

/* What is known of one route says nothing of another. */
static void test_another_route_is_not_suspected(void **state)
{
    (void)state;
    start_with(4, 3);
    pairs[2].server->tally = fws_engine_new_tally(engine);
    note_overtaken(0, 0);
    assert_true(runs_apart(0));
    assert_true(runs_apart(1));
    assert_false(runs_apart(2));
    note_overtaken(2, 0);
    assert_true(runs_apart(2));
    stop_with(3);
}

/* All of a route become slow at once, as their database does: each of them would be overtaken. */
static void test_nobody_is_trusted_when_many_are_overtaken(void **state)
{
    (void)state;
    start_with(4, FWS_OVERTAKEN_MOST + 1);
    const int last = FWS_OVERTAKEN_MOST;
    make_fast(last);
    for (int i = 0; i < last; i++) {
        assert_false(runs_apart(last));
        note_overtaken(i, 0);
    }
    assert_true(runs_apart(last));
    pthread_mutex_lock(&engine->work.lock);
    pairs[last].server->tally->overtaken_at -= FWS_SUSPICIOUS_FOR / FWS_OVERTAKEN_MOST;
    pthread_mutex_unlock(&engine->work.lock);
    assert_false(runs_apart(last)); /* one is forgotten, so one more may be overtaken */
    note_overtaken(0, 0);
    assert_true(runs_apart(last));
    stop_with(FWS_OVERTAKEN_MOST + 1);
}

/* Few a second, for however long, are not many at once. */
static void test_few_that_are_overtaken_leave_the_others_trusted(void **state)
{
    (void)state;
    start_with(4, 2);
    make_fast(1);
    for (int k = 10 * FWS_OVERTAKEN_MOST; k >= 0; k--) {
        note_overtaken(0, k * 2 * FWS_SUSPICIOUS_FOR / FWS_OVERTAKEN_MOST);
        assert_true(pairs[0].server->tally->overtaken <= 1);
    }
    assert_false(runs_apart(1));
    stop_with(2);
}

/* Who waits for what all of them want waits for few of them. */
static void test_few_compute_at_once(void **state)
{
    (void)state;
    start_with(64, 61);
    note_overtaken(60, 0);
    send_to_all(0, 59, "compute 20");
    expect_from_all(0, 59, "compute 20");
    assert_in_range(atomic_load(&most_computing), FWS_COMPUTING_MOST, 40); /* of 56 */
    stop_with(61);
}

/* The same for those of which it was expected that they take no time. */
static void test_few_compute_at_once_who_were_fast(void **state)
{
    (void)state;
    start_with(64, 41);
    for (int i = 0; i < 40; i++)
        echo(i, 1);
    note_overtaken(40, 0);
    send_to_all(0, FWS_COMPUTING_MOST - 1, "compute 500");
    WAIT_FOR(atomic_load(&computing) == FWS_COMPUTING_MOST);
    usleep(50 * 1000);
    send_to_all(FWS_COMPUTING_MOST, 39, "compute 60");
    expect_from_all(FWS_COMPUTING_MOST, 39, "compute 60");
    expect_from_all(0, FWS_COMPUTING_MOST - 1, "compute 500");
    assert_in_range(atomic_load(&most_computing), FWS_COMPUTING_MOST, 20);
    stop_with(41);
}

static void spend_processor_time(void)
{
    fws_ns end = fws_os_processor_time(pthread_self()) + 2 * FWS_COMPUTING_LOOK;
    while (fws_os_processor_time(pthread_self()) < end)
        ;
}

/* One more begins after a while, or when the last one has ended, which may be at once. */
static void test_who_has_ended_is_not_waited_for(void **state)
{
    (void)state;
    enum { ENTRIES = FWS_COMPUTING_MOST + 1 };
    fws_computing_entry entries[ENTRIES];
    for (int fast = 0; fast < 2; fast++) {
        fws_computing its;
        fws_computing_init(&its);
        for (int i = 0; i < FWS_COMPUTING_MOST; i++)
            fws_computing_begin(&its, &entries[i], pthread_self(), fast);
        spend_processor_time();
        fws_computing_end(&its, &entries[FWS_COMPUTING_MOST - 1]);
        assert_true(fws_computing_room(&its, fast) > 0); /* too few compute */
        for (int i = FWS_COMPUTING_MOST - 1; i < ENTRIES; i++)
            fws_computing_begin(&its, &entries[i], pthread_self(), fast);
        spend_processor_time();
        its.begun_at[fast] = fws_clock_now();
        fws_computing_note_wait(&its, FWS_COMPUTING_SEEN - 1);
        assert_true(fws_computing_room(&its, fast) > 0); /* nobody waits for them */
        fws_computing_note_wait(&its, FWS_COMPUTING_SEEN);
        assert_int_equal(fws_computing_room(&its, fast), 0);
        assert_true(fws_computing_room(&its, true) > 0 || fast);
        its.begun_at[fast] -= FWS_COMPUTING_PAUSE; /* twice, as one more computes */
        assert_int_equal(fws_computing_room(&its, fast), 0);
        its.begun_at[fast] -= FWS_COMPUTING_PAUSE;
        assert_true(fws_computing_room(&its, fast) > 0);
        its.begun_at[fast] = fws_clock_now();
        fws_computing_end(&its, &entries[ENTRIES - 1]);
        assert_true(fws_computing_room(&its, fast) > 0);
    }
}

/* Those that wait for something else wait all at once, also beside some that compute. */
static void test_many_wait_at_once(void **state)
{
    (void)state;
    start_with(64, 51);
    note_overtaken(50, 0);
    send_to_all(0, 1, "compute 500");
    WAIT_FOR(atomic_load(&computing) == 2);
    send_to_all(2, 49, "sleep 1500");
    expect_from_all(2, 49, "asleep");
    WAIT_FOR(atomic_load(&most_asleep) == 48);
    expect_from_all(2, 49, "sleep 1500");
    expect_from_all(0, 1, "compute 500");
    stop_with(51);
}

/* Some that compute for long hold up nobody until they end. */
static void test_who_computes_for_long_is_not_waited_for(void **state)
{
    (void)state;
    start_with(64, 2 * FWS_COMPUTING_MOST + 2);
    const int last = 2 * FWS_COMPUTING_MOST + 1;
    note_overtaken(last, 0);
    send_to_all(0, last - 2, "compute 300");
    WAIT_FOR(atomic_load(&computing) >= FWS_COMPUTING_MOST);
    send_message(last - 1, "hello");
    expect_text(last - 1, "hello");
    assert_in_range(atomic_load(&computing), FWS_COMPUTING_MOST, 64);
    expect_from_all(0, last - 2, "compute 300");
    stop_with(last + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_fast_comes_first),
        cmocka_unit_test(test_the_others_have_every_second_turn),
        cmocka_unit_test(test_some_places_are_kept),
        cmocka_unit_test(test_another_route_is_not_suspected),
        cmocka_unit_test(test_nobody_is_trusted_when_many_are_overtaken),
        cmocka_unit_test(test_few_that_are_overtaken_leave_the_others_trusted),
        cmocka_unit_test(test_few_compute_at_once),
        cmocka_unit_test(test_few_compute_at_once_who_were_fast),
        cmocka_unit_test(test_who_has_ended_is_not_waited_for),
        cmocka_unit_test(test_many_wait_at_once),
        cmocka_unit_test(test_who_computes_for_long_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("apart", tests, NULL, NULL);
}
