/* A stop is final, whatever it meets: attaching, other stops, callbacks that outlast it, forks. */
#include "evented.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* One end of a socket pair as a websocket; the other end is closed by whoever calls. */
static fws_websocket *attach(int *other, void *own)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    *other = ends[1];
    errno = 0;
    fws_websocket *websocket = fws_engine_attach(
        engine, ends[0], &(fws_attachment){.role = FWS_ROLE_SERVER, .owner = own});
    int error = errno;
    if (websocket == NULL)
        close(ends[0]); /* still ours */
    errno = error;
    return websocket;
}

static void expect_refusal(void)
{
    int other;
    assert_null(attach(&other, NULL));
    assert_int_equal(errno, ESHUTDOWN);
    close(other);
}

/* Nothing is left of threads and queues, but threads that are still inside callbacks. */
static void expect_rest(uint32_t inside)
{
    fws_crew *crew = &engine->crew;
    pthread_mutex_lock(&engine->work.lock);
    assert_int_equal(engine->life, FWS_ENGINE_STOPPED);
    assert_int_equal(crew->threads, inside);
    assert_int_equal(crew->inside, inside);
    assert_false(crew->led || crew->in_batch || crew->watch.appointed || crew->watch.open);
    assert_int_equal(engine->ready.count, 0);
    assert_int_equal(engine->work.run_queue.count + engine->work.arrived.count, 0);
    assert_int_equal(fws_apart_count(&crew->apart) + crew->done.count, 0);
    assert_null(crew->overtaken);
    assert_null(engine->work.loop);
    assert_null(engine->work.all);
    assert_null(engine->work.flush);
    assert_null(engine->work.retired);
    pthread_mutex_unlock(&engine->work.lock);
}

static void drop_pairs(int count)
{
    for (int i = 0; i < count; i++) {
        close(pairs[i].fd);
        fws_websocket_drop(pairs[i].server);
    }
}

static void *stop_it(void *argument)
{
    fws_engine_stop(engine);
    return argument;
}

static void test_nothing_is_attached_after_a_stop(void **state)
{
    (void)state;
    start_with(2, 1);
    fws_engine_stop(engine);
    expect_refusal();
    fws_engine_stop(engine); /* once more */
    expect_refusal();
    expect_rest(0);
    drop_pairs(1);
    fws_engine_free(engine);
}

static void test_an_engine_that_never_began_is_stopped_as_well(void **state)
{
    (void)state;
    start_with(2, 0);
    fws_engine_stop(engine);
    expect_refusal();
    expect_rest(0);
    fws_engine_free(engine);
}

/* What is cut off hears of it: callbacks that are due are still run. */
static void test_who_is_cut_off_is_told(void **state)
{
    (void)state;
    start_with(4, 40);
    make_slow(0); /* apart as well */
    fws_engine_stop(engine);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(atomic_load(&owners[i].closes), 1);
        assert_int_equal(atomic_load(&owners[i].close_code), 1006);
    }
    expect_rest(0);
    drop_pairs(40);
    fws_engine_free(engine);
}

static void test_two_threads_stop(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        pthread_t threads[4];
        start_with(2, 3);
        send_message(0, "sleep 10");
        for (int i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, stop_it, NULL);
        fws_engine_stop(engine);
        expect_rest(0); /* whoever has stopped it */
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        drop_pairs(3);
        fws_engine_free(engine);
    }
}

/* The stop waits for a callback; an attach in that time is refused, and the stop returns. */
static void test_attaching_during_a_stop(void **state)
{
    (void)state;
    pthread_t stopper;
    start_with(4, 1);
    send_message(0, "sleep 500");
    expect_text(0, "asleep");
    fws_ns begun = fws_clock_now();
    pthread_create(&stopper, NULL, stop_it, NULL);
    usleep(100 * 1000);
    expect_refusal();
    pthread_join(stopper, NULL);
    assert_in_range(fws_clock_now() - begun, 300 * FWS_NS_PER_MS, FWS_STOP_TIMEOUT);
    expect_rest(0);
    drop_pairs(1);
    fws_engine_free(engine);
}

static atomic_bool attaching;

/* With a handler, and event-driven, in turn. */
static void *attach_for_ever(void *argument)
{
    static owner own;
    size_t refused = 0;
    int other;
    while (refused == 0 || atomic_load(&attaching)) {
        fws_websocket *websocket = attach(&other, refused % 2 ? NULL : &own);
        if (websocket == NULL) {
            assert_int_equal(errno, ESHUTDOWN);
            refused++;
        } else {
            fws_websocket_drop(websocket);
        }
        close(other);
    }
    return argument;
}

static void *close_for_ever(void *argument)
{
    while (atomic_load(&attaching))
        fws_engine_close_all(engine, 1001, "going", 5);
    return argument;
}

/* Websockets are seen by a stop, and by close_all, at every moment of their attachment. */
static void test_stopping_and_closing_while_others_attach(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        pthread_t threads[4], closer;
        start_with(2, 0);
        atomic_store(&attaching, true);
        for (int i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, attach_for_ever, NULL);
        pthread_create(&closer, NULL, close_for_ever, NULL);
        usleep((useconds_t)(1000 * round));
        fws_engine_stop(engine);
        atomic_store(&attaching, false);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        pthread_join(closer, NULL);
        expect_rest(0);
        fws_engine_free(engine);
    }
}

/* A websocket that can be found is complete: whoever finds it waits until it is attached. */
static void test_a_websocket_is_complete_before_it_is_seen(void **state)
{
    (void)state;
    enum { ROUNDS = 3000 };
    pthread_t closer;
    static owner own;
    fws_notifier *notifier = fws_notifier_new();
    start_with(2, 0);
    atomic_store(&attaching, true);
    pthread_create(&closer, NULL, close_for_ever, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        int ends[2];
        fws_websocket *named[1];
        socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        fws_attachment attachment = {.role = FWS_ROLE_SERVER, .reply = "HTTP", .reply_size = 4};
        if (i % 2)
            attachment.owner = &own;
        else
            attachment.notifier = notifier;
        fws_websocket *websocket = fws_engine_attach(engine, ends[0], &attachment);
        assert_non_null(websocket);
        WAIT_FOR(state_of(websocket) != FWS_STATE_OPEN);
        char first[4];
        assert_int_equal(recv(ends[1], first, 4, MSG_WAITALL), 4);
        assert_memory_equal(first, "HTTP", 4); /* and not the close frame */
        close(ends[1]);
        if (i % 2 == 0) { /* whose handler always hears of the end */
            WAIT_FOR(fws_notifier_drain(notifier, named, 1) == 1);
            assert_ptr_equal(named[0], websocket);
            fws_websocket_drop(named[0]);
        }
        WAIT_FOR(state_of(websocket) == FWS_STATE_CLOSED);
        if (i % 2 == 0 && fws_notifier_drain(notifier, named, 1) == 1)
            fws_websocket_drop(named[0]);
        fws_websocket_drop(websocket);
    }
    atomic_store(&attaching, false);
    pthread_join(closer, NULL);
    fws_engine_free(engine);
    fws_notifier_close(notifier);
}

/* Looks at whoever was attached last, at every moment. */
static void *look_for_ever(void *argument)
{
    while (atomic_load(&attaching)) {
        pthread_mutex_lock(&engine->work.lock);
        fws_work_entry *last = engine->work.all;
        fws_websocket *websocket = last ? FWS_WEBSOCKET_OF(last, entry) : NULL;
        if (websocket != NULL && pthread_mutex_trylock(&websocket->lock) == 0) {
            /* Who can lock it finds the caller's reference and the engine's, and that it is read.
             */
            assert_true(atomic_load(&websocket->references) >= 2);
            assert_true(websocket->watched != 0 || websocket->state != FWS_STATE_OPEN);
            pthread_mutex_unlock(&websocket->lock);
        }
        pthread_mutex_unlock(&engine->work.lock);
    }
    return argument;
}

static void test_whoever_sees_a_websocket_waits_until_it_is_attached(void **state)
{
    (void)state;
    pthread_t looker;
    static owner own;
    start_with(2, 0);
    atomic_store(&attaching, true);
    pthread_create(&looker, NULL, look_for_ever, NULL);
    for (int i = 0; i < 3000; i++) {
        int other;
        fws_websocket *websocket = attach(&other, &own);
        assert_non_null(websocket);
        close(other);
        WAIT_FOR(state_of(websocket) == FWS_STATE_CLOSED);
        fws_websocket_drop(websocket);
    }
    atomic_store(&attaching, false);
    pthread_join(looker, NULL);
    fws_engine_free(engine);
}

/* A callback outlasts the stop, while more is ready than one turn of the loop takes. When its
 * thread comes back, all that is gone. */
static void come_back_after_the_stop(const char *how)
{
    enum { READY = 150 };
    static pair ready[READY];
    start_with(4, 1);
    make_fast(0);
    for (int i = 0; i < READY; i++)
        open_bare_pair(&ready[i], engine);
    usleep(200 * 1000); /* the loop reads for them */
    atomic_store(&stay, true);
    send_message(0, "sleep 2"); /* all of these are reported at once */
    usleep(500);
    send_message(0, how);
    for (int i = 0; i < READY; i++)
        send_frame(&ready[i], true, FWS_OPCODE_TEXT, "hello", 5);
    expect_text(0, "asleep");
    WAIT_FOR(atomic_load(&owners[0].messages) == 52);
    for (int i = 0; i < READY; i++) {
        close(ready[i].fd);
        fws_websocket_drop(ready[i].server);
    }
    fws_ns begun = fws_clock_now();
    fws_engine_stop(engine);
    assert_in_range(fws_clock_now() - begun, FWS_STOP_TIMEOUT, 2 * FWS_STOP_TIMEOUT);
    expect_rest(1);
    expect_refusal();
    unsigned ended = atomic_load(&threads_ended);
    atomic_store(&stay, false);
    WAIT_FOR(atomic_load(&threads_ended) > ended);
    WAIT_FOR(atomic_load(&engine->work.references) == 2); /* ours and the websocket's */
    expect_rest(0);
    drop_pairs(1);
    fws_engine_free(engine);
}

static void test_a_deposed_thread_comes_back_after_the_stop(void **state)
{
    (void)state;
    come_back_after_the_stop("stay");
}

static void test_the_leader_comes_back_after_the_stop(void **state)
{
    (void)state;
    come_back_after_the_stop("stay unseen");
}

/* The engine is freed while its leader is inside a callback. */
static void test_the_leader_comes_back_after_the_end_of_the_engine(void **state)
{
    (void)state;
    start_with(4, 2);
    make_fast(0);
    make_fast(1);
    atomic_store(&stay, true);
    send_message(0, "stay unseen");
    WAIT_FOR(atomic_load(&owners[0].messages) == 51);
    fws_engine_free(engine);
    unsigned ended = atomic_load(&threads_ended);
    drop_pairs(2);
    atomic_store(&stay, false);
    WAIT_FOR(atomic_load(&threads_ended) > ended);
    usleep(20 * 1000);
}

static void test_a_callback_that_stops_the_engine(void **state)
{
    (void)state;
    start_with(2, 2);
    fws_ns begun = fws_clock_now();
    send_message(0, "stop");
    assert_true(read_to_the_end(pairs[0].fd));
    assert_true(read_to_the_end(pairs[1].fd));
    fws_engine_stop(engine);
    assert_true(fws_clock_now() - begun < FWS_STOP_TIMEOUT);
    WAIT_FOR(atomic_load(&engine->work.references) == 3); /* its thread has ended */
    expect_rest(0);
    drop_pairs(2);
    fws_engine_free(engine);
}

static bool is_forgotten(uint32_t threads)
{
    pthread_mutex_lock(&engine->work.lock);
    bool forgotten = engine->crew.apart.computing.first == NULL && engine->crew.inside == 0 &&
                     engine->crew.threads < threads;
    pthread_mutex_unlock(&engine->work.lock);
    return forgotten;
}

/* Nothing refers to the stack of a thread that was ended inside a callback, overtaken or apart. */
static void test_threads_that_are_ended_inside(void **state)
{
    (void)state;
    start_with(8, 4);
    make_fast(3);
    for (int i = 0; i < 3; i++) {
        send_message(i, "end thread");
        WAIT_FOR(atomic_load(&computing) == 0 && atomic_load(&owners[i].messages) == 1);
        send_message(3, "hello"); /* the others go on */
        expect_text(3, "hello");
        WAIT_FOR(is_forgotten(8));
    }
    drop_pairs(4);
    fws_ns begun = fws_clock_now();
    fws_engine_stop(engine);
    assert_true(fws_clock_now() - begun < 2 * FWS_STOP_TIMEOUT);
    fws_engine_free(engine);
}

static void test_a_forked_child_starts_anew(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* ThreadSanitizer cannot follow a thread that a forked child starts */
#endif
    start_with(2, 1);
    fws_engine_stop(engine);
    pid_t child = fork();
    if (child == 0) {
        pair p;
        alarm(60);
        fws_engine_after_fork(engine);
        open_pair(&p, engine);
        send_text(p.client, "hello");
        expect_message(p.server, "hello");
        close_pair(&p);
        fws_engine_stop(engine);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_refusal(); /* in the parent */
    drop_pairs(1);
    fws_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_attached_after_a_stop),
        cmocka_unit_test(test_an_engine_that_never_began_is_stopped_as_well),
        cmocka_unit_test(test_who_is_cut_off_is_told),
        cmocka_unit_test(test_two_threads_stop),
        cmocka_unit_test(test_attaching_during_a_stop),
        cmocka_unit_test(test_stopping_and_closing_while_others_attach),
        cmocka_unit_test(test_a_websocket_is_complete_before_it_is_seen),
        cmocka_unit_test(test_whoever_sees_a_websocket_waits_until_it_is_attached),
        cmocka_unit_test(test_a_deposed_thread_comes_back_after_the_stop),
        cmocka_unit_test(test_the_leader_comes_back_after_the_stop),
        cmocka_unit_test(test_the_leader_comes_back_after_the_end_of_the_engine),
        cmocka_unit_test(test_a_callback_that_stops_the_engine),
        cmocka_unit_test(test_threads_that_are_ended_inside),
        cmocka_unit_test(test_a_forked_child_starts_anew),
    };
    return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}
