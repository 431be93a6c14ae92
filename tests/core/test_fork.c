/* A forked child, whatever other threads were doing at that moment: nothing that it can meet is
 * locked, it holds no descriptor of the parent's connections, and its engine starts anew. */
#include "evented.h"

#include "websocket/notifier.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define CAN_FORK false /* ThreadSanitizer cannot follow a thread that a forked child starts */
#else
#define CAN_FORK true
#endif

/* A child that hangs is a failure, and does not outlive this program. */
#define CHILD_SECONDS 30

static const fws_channel_name news = {.data = "news", .size = 4};

/* Without malloc: AddressSanitizer's does not survive a fork while another thread is inside it. */
static int descriptors(void)
{
    int count = 0;
    for (int fd = 3; fd < 1024; fd++)
        count += lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF;
    return count;
}

/* The engine does all that it is for. */
static void use_anew(void)
{
    pair p;
    open_pair(&p, engine);
    assert_int_equal(fws_engine_subscribe(engine, p.server, &news, 1), FWS_TABLE_OK);
    assert_int_equal(fws_engine_publish(engine, FWS_OPCODE_TEXT, "new", 3, &news, 1, NULL, 0), 1);
    expect_message(p.client, "new");
    send_text(p.client, "mine");
    expect_message(p.server, "mine");
    close_pair(&p);
    owner own = {0};
    open_evented_pair(&p, engine, &own);
    send_frame(&p, true, FWS_OPCODE_TEXT, "called", 6);
    expect_bytes(&p,
                 "\x81\x06"
                 "called",
                 8);
    close_pair(&p);
    fws_engine_stop(engine);
}

static int wait_for_child(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- each lock is held by a thread that the child does not have ---- */

static atomic_bool held, hold;

static void *hold_lock(void *lock)
{
    pthread_mutex_lock(lock);
    atomic_store(&held, true);
    while (atomic_load(&hold))
        usleep(1000);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* Forks while another thread holds the lock. The child's exit status. */
static int fork_while_held(pthread_mutex_t *lock, int (*child)(void))
{
    pthread_t thread;
    atomic_store(&held, false);
    atomic_store(&hold, true);
    pthread_create(&thread, NULL, hold_lock, lock);
    WAIT_FOR(atomic_load(&held));
    pid_t pid = fork();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        _exit(child());
    }
    int status = wait_for_child(pid);
    atomic_store(&hold, false);
    pthread_join(thread, NULL);
    return status;
}

static fws_notifier *notifier;
static pair notified, finished;

/* It has been told to the notifier, which follows with the same lock. */
static bool has_changed(fws_websocket *websocket)
{
    fws_websocket_lock(websocket);
    bool changed = websocket->inbox.count > 0 && !websocket->notify_on_change;
    fws_websocket_unlock(websocket);
    return changed;
}

static int use_everything(void)
{
    fws_websocket *changed[1];
    fws_conclusion end;
    begin_in_child();
    if (fws_notifier_drain(notifier, changed, 1) != 0)
        return 2; /* what has changed is the parent's business */
    for (int i = 0; i < 2; i++) {
        pair *p = i == 0 ? &notified : &finished;
        if (state_of(p->server) != FWS_STATE_CLOSED || send_text(p->server, "?") != FWS_CLOSED)
            return 1;
        if (fws_websocket_conclude(p->server, &end))
            return 3; /* the parent has the connection, and tells its end */
        fws_websocket_drop(p->server);
    }
    fws_notifier_close(notifier);
    use_anew();
    return 0;
}

static void test_every_lock_is_made_anew(void **state)
{
    (void)state;
    if (!CAN_FORK)
        skip();
    notifier = fws_notifier_new();
    start_with(4, 0);
    open_notified_pair(&notified, engine, notifier);
    open_bare_pair(&finished, engine);
    fws_engine_subscribe(engine, notified.server, &news, 1);
    close(finished.fd);
    WAIT_FOR(state_of(finished.server) == FWS_STATE_CLOSED);
    WAIT_FOR(atomic_load(&finished.server->references) == 1); /* no thread is busy with it */
    assert_true(fws_websocket_await(notified.server, FWS_AWAIT_MESSAGE));
    send_frame(&notified, true, FWS_OPCODE_TEXT, "hello", 5);
    fws_websocket *changed[1];
    WAIT_FOR(has_changed(notified.server));
    pthread_mutex_t *locks[] = {&notified.server->lock, &finished.server->lock, &engine->work.lock,
                                &engine->table.lock, &engine->work.pool.lock};
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++)
        assert_int_equal(fork_while_held(locks[i], use_everything), 0);
    assert_int_equal(fws_notifier_drain(notifier, changed, 1), 1);
    fws_websocket_drop(changed[0]);
    send_text(notified.server, "still here"); /* the parent's */
    expect_bytes(&notified, "\x81\x0astill here", 12);
    close_pair(&notified);
    fws_websocket_drop(finished.server);
    fws_engine_free(engine);
    fws_notifier_close(notifier);
}

/* ---- threads that are busy with everything ---- */

static atomic_bool busy;

static void *attach_and_close(void *argument)
{
    while (atomic_load(&busy)) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
            continue;
        fws_websocket *websocket = fws_engine_attach(
            engine, ends[0], &(fws_attachment){.role = FWS_ROLE_SERVER, .notifier = notifier});
        fws_engine_subscribe(engine, websocket, &news, 1);
        fws_websocket_close(websocket, 1000, NULL, 0);
        close(ends[1]);
        while (state_of(websocket) != FWS_STATE_CLOSED) /* or there would be more and more */
            usleep(50);
        fws_websocket_drop(websocket);
        fws_websocket *changed[8];
        size_t count = fws_notifier_drain(notifier, changed, 8);
        for (size_t i = 0; i < count; i++)
            fws_websocket_drop(changed[i]);
    }
    return argument;
}

/* Threads that did nothing but take locks would leave the others little of two processors, and
 * nothing under a sanitizer. */
#define PAUSE_US 20

static void *publish(void *argument)
{
    while (atomic_load(&busy)) {
        fws_engine_publish(engine, FWS_OPCODE_TEXT, "news", 4, &news, 1, NULL, 0);
        usleep(PAUSE_US);
    }
    return argument;
}

static void *ask(void *argument)
{
    char buffer[4096];
    while (atomic_load(&busy)) {
        for (int i = 0; i < 4; i++) {
            state_of(pairs[i].server);
            fws_websocket_send(pairs[i].server, FWS_OPCODE_TEXT, "to you", 6, false);
            while (recv(pairs[i].fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
                ;
            usleep(PAUSE_US);
        }
    }
    return argument;
}

static void *call(void *argument)
{
    while (atomic_load(&busy)) {
        send_message(4, "hello");
        expect_text(4, "hello");
    }
    return argument;
}

/* What a child needs no memory of the parent's allocator for: AddressSanitizer's may be locked. */
static int look_around(void)
{
    begin_in_child();
    for (int i = 0; i < 5; i++)
        if (state_of(pairs[i].server) != FWS_STATE_CLOSED ||
            fws_websocket_send(pairs[i].server, FWS_OPCODE_TEXT, "?", 1, false) != FWS_CLOSED)
            return 1;
    if (fws_engine_count(engine) != 0)
        return 2;
    fws_engine_close_all(engine, 1001, "nobody", 6);
#ifndef __SANITIZE_ADDRESS__
    use_anew();
#endif
    return 0;
}

static void test_others_are_busy(void **state)
{
    (void)state;
    if (!CAN_FORK)
        skip();
    pthread_t threads[6];
    void *(*const what[6])(void *) = {attach_and_close, attach_and_close, publish, ask, ask, call};
    notifier = fws_notifier_new();
    start_with(4, 5);
    for (int i = 0; i < 4; i++)
        fws_engine_subscribe(engine, pairs[i].server, &news, 1);
    atomic_store(&busy, true);
    for (int i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, what[i], NULL);
    for (int i = 0; i < 200; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(CHILD_SECONDS);
            _exit(look_around());
        }
        assert_int_equal(wait_for_child(pid), 0);
        usleep((useconds_t)(i % 7) * 300);
    }
    atomic_store(&busy, false);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    fws_notifier_close(notifier);
    stop_with(5);
}

/* ---- inside a callback ---- */

/* The thread is none of the engine's that the child starts: the stop waits for each of those. */
static int serve_and_stop(void)
{
    pair p;
    owner own = {0};
    alarm(CHILD_SECONDS);
    open_evented_pair(&p, engine, &own);
    send_frame(&p, true, FWS_OPCODE_TEXT, "sleep 300", 9);
    expect_bytes(&p,
                 "\x81\x06"
                 "asleep",
                 8);
    fws_engine_stop(engine);
    if (atomic_load(&own.messages) != 1 || atomic_load(&own.closes) != 1)
        return 1;
    return atomic_load(&own.inside) != 0 ? 2 : 0;
}

static void test_a_callback_forks_and_the_child_serves(void **state)
{
    (void)state;
    if (!CAN_FORK)
        skip();
    in_child = serve_and_stop;
    start_with(2, 1);
    send_message(0, "hello");
    expect_text(0, "hello");
    usleep(20 * 1000); /* AddressSanitizer's allocator may be locked by a thread that begins */
    send_message(0, "begin anew");
    expect_text(0, "begin anew");
    stop_with(1);
}

/* ---- descriptors ---- */

static int count_descriptors(void)
{
    int before = descriptors();
    begin_in_child();
    /* Ours of one websocket each, its wake-up's, and the loop's. The other ends are the test's. */
    return before - descriptors();
}

static void test_no_descriptor_of_the_parents_is_left(void **state)
{
    (void)state;
    start_with(2, 3);
    pair with_handler;
    open_bare_pair(&with_handler, engine);
    pid_t pid = fork();
    if (pid == 0)
        _exit(count_descriptors());
    int of_the_loop =
        strcmp(fws_loop_name(), "epoll") == 0 ? 2 : 1; /* its wake-up's, and its own */
    assert_int_equal(wait_for_child(pid), 3 + 2 + of_the_loop);
    send_message(0, "still here");
    expect_text(0, "still here");
    close_pair(&with_handler);
    stop_with(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_lock_is_made_anew),
        cmocka_unit_test(test_others_are_busy),
        cmocka_unit_test(test_a_callback_forks_and_the_child_serves),
        cmocka_unit_test(test_no_descriptor_of_the_parents_is_left),
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
