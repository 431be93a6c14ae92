#include "testing.h"

#include "websocket/outbox.h"

static fws_buffer *text(const char *value, bool published)
{
    fws_buffer *buffer = fws_buffer_join(value, strlen(value), NULL, 0);
    buffer->published = published;
    return buffer;
}

/* What would be written now. */
static const char *contents(const fws_outbox *outbox)
{
    static char all[1000];
    struct iovec vector[64];
    int count = fws_outbox_vector(outbox, vector, 64);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        memcpy(all + size, vector[i].iov_base, vector[i].iov_len);
        size += vector[i].iov_len;
    }
    all[size] = '\0';
    assert_int_equal(size, outbox->bytes);
    return all;
}

static void test_bytes_leave_in_order_whatever_is_taken_at_once(void **state)
{
    (void)state;
    for (size_t step = 1; step < 30; step++) {
        fws_outbox outbox;
        char wanted[200] = "";
        fws_outbox_init(&outbox);
        for (int i = 0; i < 20; i++) {
            char value[20];
            sprintf(value, "<%d>", i * i);
            strcat(wanted, value);
            assert_true(fws_outbox_push(&outbox, text(value, false)));
        }
        for (size_t gone = 0; outbox.bytes > 0;) {
            size_t size = outbox.bytes < step ? outbox.bytes : step;
            assert_string_equal(contents(&outbox), wanted + gone);
            fws_outbox_consume(&outbox, size);
            gone += size;
        }
        assert_int_equal(outbox.count, 0);
        fws_outbox_clear(&outbox);
    }
}

static void test_the_oldest_published_message_is_dropped_but_never_one_begun(void **state)
{
    (void)state;
    fws_outbox outbox;
    fws_outbox_init(&outbox);
    fws_outbox_push(&outbox, text("begun", true));
    fws_outbox_push(&outbox, text("own", false));
    fws_outbox_push(&outbox, text("old", true));
    fws_outbox_push(&outbox, text("new", true));
    fws_outbox_consume(&outbox, 2);
    assert_true(fws_outbox_drop_oldest(&outbox));
    assert_string_equal(contents(&outbox), "gunownnew");
    assert_true(fws_outbox_drop_oldest(&outbox));
    assert_false(fws_outbox_drop_oldest(&outbox));
    assert_string_equal(contents(&outbox), "gunown");
    fws_outbox_drop_unsent(&outbox);
    assert_string_equal(contents(&outbox), "gun");
    fws_outbox_clear(&outbox);
}

static void test_the_newest_pong_is_replaced_but_never_one_begun(void **state)
{
    (void)state;
    fws_outbox outbox;
    fws_outbox_init(&outbox);
    const char *const values[] = {"p1", "m", "p2", "n"};
    for (int i = 0; i < 4; i++) {
        fws_buffer *buffer = text(values[i], false);
        buffer->pong = values[i][0] == 'p';
        fws_outbox_push(&outbox, buffer);
    }
    assert_int_equal(outbox.pongs, 2);
    assert_true(fws_outbox_drop_newest_pong(&outbox));
    assert_string_equal(contents(&outbox), "p1mn");
    fws_outbox_consume(&outbox, 1);
    assert_false(fws_outbox_drop_newest_pong(&outbox));
    assert_int_equal(outbox.pongs, 1);
    fws_outbox_consume(&outbox, 1);
    assert_int_equal(outbox.pongs, 0);
    fws_outbox_clear(&outbox);
}

static void test_borrowed_bytes_are_given_back_and_never_cut_off_from_their_header(void **state)
{
    (void)state;
    fws_outbox outbox;
    bool gone = false;
    for (int begun = 0; begun < 3; begun++) {
        fws_outbox_init(&outbox);
        assert_true(fws_outbox_reserve(&outbox, 2));
        gone = false;
        fws_outbox_push(&outbox, text("head", false));
        fws_buffer *lent = fws_buffer_borrow("body", 4, &gone);
        lent->continues = true;
        fws_outbox_push(&outbox, lent);
        fws_outbox_push(&outbox, text("next", false));
        fws_outbox_consume(&outbox, (size_t)begun * 2); /* nothing, half, or all of the header */
        fws_outbox_drop_unsent(&outbox);
        static const char *const kept[] = {"", "adbody", "body"};
        assert_string_equal(contents(&outbox), kept[begun]);
        assert_int_equal(gone, begun == 0);
        fws_outbox_consume(&outbox, outbox.bytes);
        assert_true(gone);
        fws_outbox_clear(&outbox);
    }
}

static void test_an_empty_outbox_holds_no_large_ring(void **state)
{
    (void)state;
    fws_outbox outbox;
    fws_outbox_init(&outbox);
    for (int i = 0; i < 1000; i++)
        fws_outbox_push(&outbox, text("x", true));
    assert_in_range(outbox.capacity, 1000, 2000);
    fws_outbox_consume(&outbox, 1000);
    assert_int_equal(outbox.capacity, 0);
}

static void test_a_shared_buffer_lives_until_the_last_outbox_is_done(void **state)
{
    (void)state;
    fws_outbox first, second;
    fws_outbox_init(&first);
    fws_outbox_init(&second);
    fws_buffer *shared = text("shared", true);
    fws_outbox_push(&first, fws_buffer_keep(shared));
    fws_outbox_push(&second, fws_buffer_keep(shared));
    fws_buffer_drop(shared);
    fws_outbox_clear(&first);
    assert_string_equal(contents(&second), "shared");
    fws_outbox_clear(&second); /* a leak or a use after free: the sanitizer tells */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_leave_in_order_whatever_is_taken_at_once),
        cmocka_unit_test(test_the_oldest_published_message_is_dropped_but_never_one_begun),
        cmocka_unit_test(test_the_newest_pong_is_replaced_but_never_one_begun),
        cmocka_unit_test(test_borrowed_bytes_are_given_back_and_never_cut_off_from_their_header),
        cmocka_unit_test(test_an_empty_outbox_holds_no_large_ring),
        cmocka_unit_test(test_a_shared_buffer_lives_until_the_last_outbox_is_done),
    };
    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
