/* The engine as a whole: lazy start, stop, fork, many connections, and that it sleeps. */
#include "pair.h"

#include <dirent.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static fws_engine *engine;

static int start(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fws_engine_free(engine);
    return 0;
}

static size_t entries_of(const char *folder)
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void *do_nothing(void *argument)
{
    return argument;
}

static void test_the_thread_starts_with_the_first_websocket(void **state)
{
    (void)state;
    pthread_t thread; /* a sanitizer starts a thread of its own with the first of ours */
    pthread_create(&thread, NULL, do_nothing, NULL);
    pthread_join(thread, NULL);
    size_t threads = entries_of("/proc/self/task"), descriptors = entries_of("/proc/self/fd");
    assert_int_equal(engine->life, FWS_ENGINE_NEW);
    pair p;
    open_pair(&p, engine);
    assert_int_equal(entries_of("/proc/self/task"), threads + 1);
    close_pair(&p);
    fws_engine_stop(engine);
    WAIT_FOR(entries_of("/proc/self/task") == threads);
    assert_int_equal(entries_of("/proc/self/fd"), descriptors);
}

static void test_stopping_cuts_off_what_is_open(void **state)
{
    (void)state;
    pair p;
    open_bare_pair(&p, engine);
    fws_engine_stop(engine);
    assert_int_equal(state_of(p.server), FWS_STATE_CLOSED);
    assert_true(read_to_the_end(p.fd));
    close_pair(&p);
}

static void test_close_all(void **state)
{
    (void)state;
    pair pairs[20];
    for (int i = 0; i < 20; i++)
        open_pair(&pairs[i], engine);
    assert_int_equal(fws_engine_count(engine), 40);
    /* The other end of one that was closed may have begun to close before its turn comes. */
    assert_in_range(fws_engine_close_all(engine, 1001, "going", 5), 20, 40);
    assert_true(fws_engine_wait_empty(engine, 5 * FWS_NS_PER_S));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(close_code_of(pairs[i].client), 1001);
        close_pair(&pairs[i]);
    }
    assert_false(fws_engine_count(engine));
}

static void test_nothing_is_left_after_ten_thousand_connections(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, engine);
    close_pair(&p);
    size_t descriptors = entries_of("/proc/self/fd");
    for (int i = 0; i < 10000; i++) {
        open_pair(&p, engine);
        send_text(p.client, "hello");
        expect_message(p.server, "hello");
        close_pair(&p);
    }
    assert_int_equal(entries_of("/proc/self/fd"), descriptors);
    assert_int_equal(fws_engine_count(engine), 0);
    assert_int_equal(engine->work.timers.count, 0);
}

static void test_idle_websockets_cause_no_wake_ups(void **state)
{
    (void)state;
    enum { IDLE = 300 };
    static pair pairs[IDLE];
    for (int i = 0; i < IDLE; i++)
        open_bare_pair(&pairs[i], engine);
    expect_no_wake_ups(engine); /* once all are adopted */
    for (int i = 0; i < IDLE; i++)
        close_pair(&pairs[i]);
}

/* A child that hangs is a failure, and does not outlive this program. */
#define CHILD_SECONDS 60

/* In the child of a fork; its exit status. */
static int child(pair *inherited)
{
    alarm(CHILD_SECONDS);
    fws_engine_after_fork(engine);
    if (state_of(inherited->server) != FWS_STATE_CLOSED || fws_engine_count(engine) != 0)
        return 1;
    if (send_text(inherited->server, "not mine") != FWS_CLOSED)
        return 2;
    pair own;
    open_pair(&own, engine); /* starts the child's own thread */
    send_text(own.client, "mine");
    fws_message message;
    if (receive(own.server, 5 * FWS_NS_PER_S, &message) != FWS_OK)
        return 3;
    fws_message_free(&message);
    close_pair(&own);
    fws_engine_stop(engine);
    return 0;
}

static bool is_asleep(void)
{
    pthread_mutex_lock(&engine->work.lock);
    bool asleep = engine->work.sleeping;
    pthread_mutex_unlock(&engine->work.lock);
    return asleep;
}

static void test_a_forked_child_leaves_the_parents_sockets_alone(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* ThreadSanitizer cannot follow a thread that a forked child starts */
#endif
    pair p;
    int status = 0;
    open_pair(&p, engine);
    /* AddressSanitizer's allocator does not survive a fork while another thread is inside it. */
    WAIT_FOR(is_asleep());
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(&p));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    send_text(p.client, "still here");
    expect_message(p.server, "still here");
    close_pair(&p);
}

static void test_descriptors_used_up_is_an_error_and_no_crash(void **state)
{
    (void)state;
    static int taken[65536];
    int ends[2], count = 0;
    socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    while (count < 65536 && (taken[count] = dup(0)) >= 0)
        count++;
    errno = 0;
    fws_websocket *websocket =
        fws_engine_attach(engine, ends[0], &(fws_attachment){.role = FWS_ROLE_SERVER});
    int error = errno;
    while (count > 0)
        close(taken[--count]);
    assert_null(websocket);
    assert_int_equal(error, EMFILE);
    close(ends[0]); /* still ours */
    close(ends[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_the_thread_starts_with_the_first_websocket),
        TEST(test_stopping_cuts_off_what_is_open),
        TEST(test_close_all),
        TEST(test_nothing_is_left_after_ten_thousand_connections),
        TEST(test_idle_websockets_cause_no_wake_ups),
        TEST(test_a_forked_child_leaves_the_parents_sockets_alone),
        TEST(test_descriptors_used_up_is_an_error_and_no_crash),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
