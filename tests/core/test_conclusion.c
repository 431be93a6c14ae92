/* What a websocket tells at its end, and where it is counted. */
#include "pair.h"

#include <sys/socket.h>
#include <unistd.h>

static fws_engine *engine;

static int start_engine(void **state)
{
    (void)state;
    engine = fws_engine_new(&default_config);
    return 0;
}

static int free_engine(void **state)
{
    (void)state;
    fws_engine_free(engine);
    return 0;
}

static fws_conclusion conclude(fws_websocket *websocket)
{
    fws_conclusion end, again;
    WAIT_FOR(state_of(websocket) == FWS_STATE_CLOSED);
    assert_true(fws_websocket_conclude(websocket, &end));
    assert_false(fws_websocket_conclude(websocket, &again)); /* it is told once */
    assert_true(end.open_for >= 0 && end.open_for < 60 * FWS_NS_PER_S);
    return end;
}

static void expect_end(fws_websocket *websocket, fws_closer closer, unsigned code, bool failed,
                       const char *reason)
{
    fws_conclusion end = conclude(websocket);
    assert_int_equal(end.closer, closer);
    assert_int_equal(end.status.close_code, code);
    assert_int_equal(end.failed, failed);
    assert_int_equal(end.status.close_reason_size, strlen(reason));
    assert_memory_equal(end.status.close_reason, reason, strlen(reason));
}

static void test_the_peer_has_closed(void **state)
{
    (void)state;
    pair p;
    fws_conclusion end;
    open_pair(&p, engine);
    assert_false(fws_websocket_conclude(p.server, &end)); /* it has not ended */
    fws_websocket_close(p.client, 4001, "bye", 3);
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
    fws_websocket_close(p.server, 1000, NULL, 0); /* too late: it does not count as ours */
    expect_end(p.server, FWS_CLOSED_BY_PEER, 4001, false, "bye");
    expect_end(p.client, FWS_CLOSED_BY_US, 4001, false, "bye");
    close_pair(&p);
}

static void test_we_have_closed_and_the_peer_is_silent(void **state)
{
    (void)state;
    pair p;
    fws_conclusion end;
    open_bare_pair(&p, engine);
    fws_websocket_close(p.server, 4002, "enough", 6);
    assert_int_equal(state_of(p.server), FWS_STATE_CLOSING);
    assert_true(fws_websocket_conclude(p.server, &end)); /* the code is final already */
    assert_int_equal(end.closer, FWS_CLOSED_BY_US);
    assert_int_equal(end.status.close_code, 4002);
    close(p.fd);
    p.fd = -1;
    WAIT_FOR(state_of(p.server) == FWS_STATE_CLOSED);
    assert_false(fws_websocket_conclude(p.server, &end));
    assert_int_equal(close_code_of(p.server), 4002);
    close_pair(&p);
}

static void test_the_connection_was_lost(void **state)
{
    (void)state;
    pair p;
    open_bare_pair(&p, engine);
    close(p.fd);
    p.fd = -1;
    expect_end(p.server, FWS_CLOSED_BY_NOBODY, 1006, false, "");
    close_pair(&p);
}

/* A write has found that the peer is gone, and the handler closes after that, as each does at its
 * end: no close frame was sent and none has come. */
static void test_a_close_after_the_connection_was_lost(void **state)
{
    (void)state;
    pair p;
    open_bare_pair(&p, engine);
    fws_websocket_lock(p.server);
    p.server->pollers++; /* reading goes on elsewhere */
    fws_websocket_break_output(p.server);
    p.server->pollers--;
    assert_int_equal(p.server->state, FWS_STATE_OPEN);
    fws_websocket_unlock(p.server);
    fws_websocket_close(p.server, 1000, "done", 4);
    expect_end(p.server, FWS_CLOSED_BY_NOBODY, 1006, false, "");
    close_pair(&p);
}

static void test_the_peer_has_broken_the_protocol(void **state)
{
    (void)state;
    pair p;
    open_bare_pair(&p, engine);
    assert_int_equal(send(p.fd, "\x83\x80\0\0\0\0", 6, MSG_NOSIGNAL), 6);
    assert_true(read_to_the_end(p.fd));
    close(p.fd);
    p.fd = -1;
    fws_conclusion end = conclude(p.server);
    assert_int_equal(end.closer, FWS_CLOSED_BY_US);
    assert_int_equal(end.status.close_code, 1002);
    assert_true(end.failed && end.status.close_reason_size > 0);
    close_pair(&p);
}

static fws_websocket_status status_of(fws_websocket *websocket)
{
    fws_websocket_status status;
    fws_websocket_get_status(websocket, &status);
    return status;
}

/* The counts go on where 32 bits end. */
static void test_messages_are_counted(void **state)
{
    (void)state;
    pair p;
    open_pair(&p, engine);
    for (int round = 0; round < 2; round++) {
        uint64_t base = round == 0 ? 0 : (uint64_t)UINT32_MAX - 1;
        if (round == 1) {
            fws_websocket_lock(p.server);
            p.server->inbox.pushed = (uint32_t)base;
            p.server->messages_out = p.server->reported_messages = (uint32_t)base;
            fws_websocket_unlock(p.server);
        }
        for (int i = 0; i < 5; i++) {
            assert_int_equal(send_text(p.client, "in"), FWS_OK);
            expect_message(p.server, "in");
            assert_int_equal(send_text(p.server, "out"), FWS_OK);
            expect_message(p.client, "out");
        }
        assert_true(status_of(p.server).messages_in == base + 5);
        assert_true(status_of(p.server).messages_out == base + 5);
    }
    fws_websocket_close(p.server, 1000, NULL, 0);
    fws_conclusion end = conclude(p.server);
    assert_true(end.status.messages_in == (uint64_t)UINT32_MAX + 4);
    assert_true(end.status.messages_out == (uint64_t)UINT32_MAX + 4);
    close_pair(&p);
}

/* Callbacks take the messages of the inbox, and return some: none is counted twice, none less. */
static void test_messages_that_are_returned_count_once(void **state)
{
    (void)state;
    pair p;
    fws_inbox taken;
    fws_message message;
    int owner;
    open_evented_pair(&p, engine, &owner);
    fws_websocket_lock(p.server);
    for (int i = 0; i < 3; i++)
        assert_true(fws_inbox_push_copy(&p.server->inbox, 1, "x", 1, 0));
    fws_websocket_unlock(p.server);
    assert_int_equal(fws_websocket_collect(p.server, &taken), FWS_OK);
    assert_true(fws_inbox_next(&taken, &message));
    fws_message_free(&message);
    fws_websocket_return_messages(p.server, &taken);
    assert_int_equal(inbox_count(p.server), 2);
    assert_true(status_of(p.server).messages_in == 3);
    fws_websocket_lock(p.server);
    fws_inbox_clear(&p.server->inbox);
    p.server->close_delivered = true; /* there are no callbacks to be run */
    fws_websocket_unlock(p.server);
    close_pair(&p);
}

static fws_websocket *attach(fws_tally *tally, int *fd)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    fws_attachment attachment = {.role = FWS_ROLE_SERVER, .tally = tally};
    fws_websocket *websocket = fws_engine_attach(engine, ends[0], &attachment);
    assert_non_null(websocket);
    *fd = ends[1];
    return websocket;
}

/* One websocket each of two routes, and one without; the sum is that of all. */
static void test_tallies(void **state)
{
    (void)state;
    fws_tally *tallies[3] = {fws_engine_new_tally(engine), fws_engine_new_tally(engine), NULL};
    for (int i = 0; i < 3; i++) {
        int fd;
        fws_websocket *websocket = attach(tallies[i], &fd);
        for (int sent = 0; sent <= i; sent++)
            assert_int_equal(send_text(websocket, "x"), FWS_OK);
        fws_websocket_note_callback(websocket, (i + 1) * 1000);
        fws_websocket_close(websocket, (uint16_t)(4000 + i), NULL, 0);
        close(fd);
        WAIT_FOR(state_of(websocket) == FWS_STATE_CLOSED);
        fws_websocket_drop(websocket);
    }
    tallies[2] = &engine->work.tally;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&tallies[i]->opens), 1);
        assert_int_equal(fws_counter_read(&tallies[i]->messages_out), i + 1);
        assert_int_equal(fws_counter_read(&tallies[i]->queued), 0);
        for (unsigned code = 4000; code < 4003; code++)
            assert_int_equal(atomic_load(&tallies[i]->closes[code - 1000]), code == 4000 + i);
        assert_int_equal(fws_histogram_quantile(&tallies[i]->callback_time, 1), (i + 1) * 1000);
    }
    fws_tally *sum = calloc(1, sizeof *sum);
    fws_engine_add_tallies(engine, sum);
    assert_int_equal(atomic_load(&sum->opens), 3);
    assert_int_equal(fws_counter_read(&sum->messages_out), 6);
    assert_int_equal(atomic_load(&sum->closes[3002]), 1);
    assert_int_equal(fws_histogram_quantile(&sum->callback_time, 1), 3000);
    assert_in_range(fws_histogram_quantile(&sum->callback_time, 0.5), 2000, 2300);
    free(sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_peer_has_closed, start_engine, free_engine),
        cmocka_unit_test_setup_teardown(test_we_have_closed_and_the_peer_is_silent, start_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(test_the_connection_was_lost, start_engine, free_engine),
        cmocka_unit_test_setup_teardown(test_a_close_after_the_connection_was_lost, start_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(test_the_peer_has_broken_the_protocol, start_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(test_messages_are_counted, start_engine, free_engine),
        cmocka_unit_test_setup_teardown(test_messages_that_are_returned_count_once, start_engine,
                                        free_engine),
        cmocka_unit_test_setup_teardown(test_tallies, start_engine, free_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
