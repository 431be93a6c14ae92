/* permessage-deflate over real connections: messages and publications. */
#include "pair.h"

#include <pthread.h>
#include <unistd.h>

static const fws_deflate_parameters alone = {.server_no_context_takeover = true,
                                             .client_no_context_takeover = true,
                                             .server_max_window_bits = 15,
                                             .client_max_window_bits = 15};
static const fws_deflate_parameters takeover = {.server_max_window_bits = 15,
                                                .client_max_window_bits = 12};
static const fws_deflate_parameters narrow = {
    .server_no_context_takeover = true, .server_max_window_bits = 9, .client_max_window_bits = 8};
static const fws_deflate_parameters *const all[] = {&alone, &takeover, &narrow, NULL};

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

static char *sentence(int number, size_t length)
{
    char *text = malloc(length + 1);
    for (size_t used = 0; used < length;)
        used += (size_t)snprintf(text + used, length + 1 - used,
                                 "message %d, of %zu characters, at %zu. ", number, length, used);
    text[length] = '\0';
    return text;
}

static void publish(const char *text)
{
    fws_channel_name name = {"all", 3};
    assert_true(fws_engine_publish(engine, FWS_OPCODE_TEXT, text, strlen(text), &name, 1, NULL, 0) >
                0);
}

static void test_messages_and_publications_in_turn_arrive_in_every_mode(void **state)
{
    (void)state;
    enum { ENDS = 4 };
    pair ends[ENDS];
    fws_channel_name name = {"all", 3};
    for (int i = 0; i < ENDS; i++) {
        open_compressed_pair(&ends[i], engine, all[i]);
        fws_engine_subscribe(engine, ends[i].server, &name, 1);
    }
    for (int round = 0; round < 60; round++) {
        size_t length = (size_t)(round * round * 7 % 9000);
        char *text = sentence(round, length);
        for (int i = 0; i < ENDS; i++)
            assert_int_equal(send_text(ends[i].server, text), FWS_OK);
        if (round % 3 > 0)
            publish(text);
        for (int i = 0; i < ENDS; i++) {
            assert_int_equal(send_text(ends[i].server, text), FWS_OK);
            assert_int_equal(send_text(ends[i].client, text), FWS_OK);
        }
        for (int i = 0; i < ENDS; i++) {
            expect_message(ends[i].client, text);
            if (round % 3 > 0)
                expect_message(ends[i].client, text);
            expect_message(ends[i].client, text);
            expect_message(ends[i].server, text);
        }
        free(text);
    }
    for (int i = 0; i < ENDS; i++)
        close_pair(&ends[i]);
}

static uint64_t bytes_out(void)
{
    return fws_counter_read(&engine->work.tally.bytes_out);
}

static void test_fewer_bytes_go_over_the_wire(void **state)
{
    (void)state;
    pair p;
    char *text = sentence(1, 20000);
    open_compressed_pair(&p, engine, &alone);
    uint64_t before = bytes_out();
    send_text(p.server, text);
    expect_message(p.client, text);
    assert_in_range(bytes_out() - before, 100, 5000);
    close_pair(&p);
    free(text);
}

#define EVERY_WINDOW 0xFF01 /* none, and 8 to 15 bits */

/* Framed for all windows. */
static void frame(fws_publication *publication, size_t threshold, const char *text, size_t length)
{
    assert_true(fws_publication_init(publication, &engine->work.deflate, threshold, FWS_OPCODE_TEXT,
                                     text, length));
    fws_publication_compress(publication, EVERY_WINDOW);
    assert_true(fws_publication_has_frames(publication, EVERY_WINDOW));
}

static void test_a_publication_is_compressed_once_for_each_window(void **state)
{
    (void)state;
    fws_publication publication;
    char *text = sentence(1, 20000);
    frame(&publication, 16, text, 20000);
    fws_buffer *wide = fws_publication_frame(&publication, 15);
    fws_publication_compress(&publication, EVERY_WINDOW);
    assert_ptr_equal(fws_publication_frame(&publication, 15), wide);
    assert_ptr_not_equal(fws_publication_frame(&publication, 9), wide);
    assert_ptr_not_equal(fws_publication_frame(&publication, 0), wide);
    assert_int_equal(wide->data[0], 0xC1); /* FIN, RSV1, text */
    assert_int_equal(fws_publication_frame(&publication, 0)->data[0], 0x81);
    fws_publication_clear(&publication);
    /* A small message needs no large window, so that all of these are alike. */
    frame(&publication, 16, text, 1000);
    wide = fws_publication_frame(&publication, 15);
    assert_ptr_equal(fws_publication_frame(&publication, 12), wide);
    fws_publication_clear(&publication);
    /* Below the threshold, or when nothing is won, it goes out as it is. */
    frame(&publication, 16, text, 15);
    wide = fws_publication_frame(&publication, 15);
    assert_ptr_equal(wide, publication.plain);
    fws_publication_clear(&publication);
    frame(&publication, 1, "qwertzuiop", 10);
    assert_int_equal(fws_publication_frame(&publication, 15)->data[0], 0x81);
    fws_publication_clear(&publication);
    free(text);
}

static void test_a_publication_is_compressed_only_for_windows_that_somebody_has(void **state)
{
    (void)state;
    fws_publication publication;
    assert_true(fws_publication_init(&publication, &engine->work.deflate, 0, FWS_OPCODE_TEXT,
                                     "hello, hello", 12));
    assert_true(fws_publication_has_frames(&publication, 1));
    assert_false(fws_publication_has_frames(&publication, 1 | 1 << 15));
    fws_publication_compress(&publication, 1);
    assert_false(fws_publication_has_frames(&publication, 1 << 15));
    fws_publication_compress(&publication, 1 << 15);
    assert_true(fws_publication_has_frames(&publication, 1 | 1 << 15));
    fws_publication_clear(&publication);
}

static pair shared;

static void *send_many(void *argument)
{
    (void)argument;
    for (int i = 0; i < 200; i++) {
        char *text = sentence(i, 3000);
        assert_int_equal(send_text(shared.server, text), FWS_OK);
        free(text);
    }
    return NULL;
}

static void test_threads_that_send_on_one_connection(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    for (int mode = 0; mode < 3; mode++) {
        pthread_t threads[THREADS];
        open_compressed_pair(&shared, engine, all[mode]);
        for (int i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, send_many, NULL);
        for (int i = 0; i < 200 * THREADS; i++) {
            fws_message message;
            assert_int_equal(receive(shared.client, 5 * FWS_NS_PER_S, &message), FWS_OK);
            assert_int_equal(message.length, 3000);
            fws_message_free(&message);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        close_pair(&shared);
    }
}

static void test_an_idle_connection_keeps_no_state(void **state)
{
    (void)state;
    pair p;
    char *text = sentence(1, 5000);
    open_compressed_pair(&p, engine, &alone);
    for (int i = 0; i < 3; i++) {
        send_text(p.server, text);
        send_text(p.client, text);
        expect_message(p.client, text);
        expect_message(p.server, text);
    }
    assert_null(p.server->protocol.compression->inflater);
    assert_null(p.server->protocol.compression->deflater);
    assert_null(p.client->protocol.compression->inflater);
    close_pair(&p);
    free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_messages_and_publications_in_turn_arrive_in_every_mode),
        TEST(test_fewer_bytes_go_over_the_wire),
        TEST(test_a_publication_is_compressed_once_for_each_window),
        TEST(test_a_publication_is_compressed_only_for_windows_that_somebody_has),
        TEST(test_threads_that_send_on_one_connection),
        TEST(test_an_idle_connection_keeps_no_state),
    };
    return cmocka_run_group_tests_name("compression", tests, NULL, NULL);
}
