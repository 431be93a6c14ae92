#include "testing.h"

#include "websocket/outbox.h"

#include <sys/mman.h>

static fws_buffer *text(const char *value, bool published)
{
    fws_buffer *buffer = fws_buffer_join(value, strlen(value), NULL, 0);
    buffer->published = published;
    return buffer;
}

static fws_buffer *pong(const char *value)
{
    fws_buffer *buffer = text(value, false);
    buffer->pong = true;
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
        fws_outbox_push(&outbox, values[i][0] == 'p' ? pong(values[i]) : text(values[i], false));
    }
    assert_int_equal(outbox.pongs, 2);
    assert_true(fws_outbox_replace_pong(&outbox, pong("p3")));
    assert_string_equal(contents(&outbox), "p1mp3n");
    fws_outbox_consume(&outbox, 4); /* the newest has begun */
    fws_buffer *late = pong("p4");
    assert_false(fws_outbox_replace_pong(&outbox, late));
    fws_outbox_push(&outbox, late);
    assert_string_equal(contents(&outbox), "3np4");
    assert_int_equal(outbox.pongs, 2);
    fws_outbox_consume(&outbox, 4);
    assert_int_equal(outbox.pongs, 0);
    fws_outbox_push(&outbox, pong("p5"));
    fws_outbox_push(&outbox, pong("p6"));
    fws_outbox_consume(&outbox, 1);
    fws_outbox_drop_unsent(&outbox);
    fws_outbox_push(&outbox, text("o", false)); /* at the place of a pong that is gone */
    late = pong("p7");
    assert_false(fws_outbox_replace_pong(&outbox, late));
    fws_buffer_drop(late);
    fws_outbox_clear(&outbox);
}

static void test_a_place_is_replaced_by_what_it_was_for(void **state)
{
    (void)state;
    fws_outbox outbox;
    struct iovec vector[4];
    fws_outbox_init(&outbox);
    fws_outbox_push(&outbox, text("before", true));
    fws_buffer *place = fws_buffer_keep(fws_buffer_new_place(100));
    fws_outbox_push(&outbox, place);
    fws_outbox_push(&outbox, text("published", true));
    fws_outbox_push(&outbox, text("last", false));
    assert_int_equal(outbox.bytes, 6 + 100 + 9 + 4);
    assert_int_equal(fws_outbox_vector(&outbox, vector, 4), 1); /* up to the place */
    assert_true(fws_outbox_replace(&outbox, place, text("longer", false), 0));
    assert_string_equal(contents(&outbox), "beforelongerpublishedlast");
    fws_buffer *late = text("late", false);
    assert_false(fws_outbox_replace(&outbox, place, late, 0)); /* it is not there any more */
    fws_buffer_drop(late);
    fws_buffer_drop(place);
    fws_outbox_clear(&outbox);
}

static void test_what_is_left_of_a_buffer_is_replaced_by_a_copy(void **state)
{
    (void)state;
    fws_outbox outbox;
    bool gone = false;
    fws_outbox_init(&outbox);
    fws_buffer *lent = fws_buffer_borrow("borrowed", 8, &gone);
    fws_outbox_push(&outbox, lent);
    fws_outbox_push(&outbox, text("next", false));
    fws_outbox_consume(&outbox, 3);
    assert_true(fws_outbox_replace(&outbox, lent, text("rowed", false), 3));
    assert_true(gone);
    assert_string_equal(contents(&outbox), "rowednext");
    fws_outbox_consume(&outbox, 1);
    assert_string_equal(contents(&outbox), "owednext");
    fws_outbox_clear(&outbox);
}

static void test_what_is_appended_stays_behind_what_was_published_before_it(void **state)
{
    (void)state;
    fws_outbox outbox;
    fws_outbox_init(&outbox);
    for (int i = 0; i < 3; i++) {
        assert_true(fws_outbox_append(&outbox, "h", 1, "own", 3));
        assert_true(fws_outbox_append(&outbox, "h", 1, "own", 3));
        fws_outbox_push(&outbox, text("<p>", true));
    }
    assert_string_equal(contents(&outbox), "hownhown<p>hownhown<p>hownhown<p>");
    assert_int_equal(outbox.count, 7); /* two frames to a buffer, but for the first */
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
    assert_in_range(outbox.published.capacity, 1000, 2000);
    fws_outbox_consume(&outbox, 1000);
    assert_int_equal(outbox.published.capacity, 0);
}

/* The outbox as it would be without a second ring: what is queued, in one list. */
typedef struct {
    struct {
        char value[8];
        bool published;
    } all[4000];
    size_t first, count, sent; /* of the first one */
} model;

static void compare(const fws_outbox *outbox, const model *m)
{
    char wanted[1000] = "";
    size_t bytes = 0, published = 0;
    for (size_t i = 0; i < m->count; i++) {
        size_t skip = i == 0 ? m->sent : 0, size = strlen(m->all[m->first + i].value);
        strcat(wanted, m->all[m->first + i].value + skip);
        bytes += size - skip;
        if (m->all[m->first + i].published && skip == 0)
            published += size;
    }
    assert_string_equal(contents(outbox), wanted);
    assert_int_equal(outbox->bytes, bytes);
    assert_int_equal(outbox->published_bytes, published);
    assert_int_equal(outbox->count, m->count);
}

static bool remove_oldest(model *m)
{
    for (size_t i = m->first + (m->sent > 0); i < m->first + m->count; i++) {
        if (!m->all[i].published)
            continue;
        memmove(&m->all[i], &m->all[i + 1], (m->first + m->count - i - 1) * sizeof m->all[0]);
        m->count--;
        return true;
    }
    return false;
}

static void test_order_holds_whatever_is_pushed_written_and_dropped(void **state)
{
    (void)state;
    static model m;
    for (unsigned seed = 1; seed < 200; seed++) {
        fws_outbox outbox;
        srand(seed);
        fws_outbox_init(&outbox);
        outbox.published.head = UINT32_MAX - seed; /* places are counted modulo 2^32 */
        memset(&m, 0, sizeof m);
        for (int i = 0; i < 500; i++) {
            int what = rand() % 4;
            if (what < 2 && m.count < 50) {
                size_t last = m.first + m.count++;
                sprintf(m.all[last].value, "<%d>", i);
                m.all[last].published = what == 0;
                fws_outbox_push(&outbox, text(m.all[last].value, what == 0));
            } else if (what == 2) {
                assert_int_equal(fws_outbox_drop_oldest(&outbox), remove_oldest(&m));
            } else if (what == 3 && outbox.bytes > 0) {
                size_t gone = 1 + (size_t)rand() % outbox.bytes;
                fws_outbox_consume(&outbox, gone);
                for (m.sent += gone; m.count > 0 && m.sent >= strlen(m.all[m.first].value);
                     m.count--)
                    m.sent -= strlen(m.all[m.first++].value);
            }
            compare(&outbox, &m);
        }
        fws_outbox_clear(&outbox);
    }
}

/* A buffer on a page of its own, which stays when the outbox drops it. Nobody may touch it, or the
 * test ends with a fault, but for a moment in which it is allowed. */
static fws_buffer *guarded(bool published)
{
    fws_buffer *made = text("x", published);
    size_t size = sizeof *made + made->size;
    fws_buffer *buffer =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(buffer, MAP_FAILED);
    memcpy(buffer, made, size);
    buffer->bytes = buffer->data;
    fws_buffer_keep(buffer);
    fws_buffer_drop(made);
    return buffer;
}

static void allow(fws_buffer *buffer, bool allowed)
{
    int protection = allowed ? PROT_READ | PROT_WRITE : PROT_NONE;
    assert_int_equal(mprotect(buffer, sizeof *buffer, protection), 0);
}

static void test_no_other_buffer_is_looked_at_when_one_is_pushed_or_the_oldest_dropped(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static fws_buffer *own[MANY], *published[MANY];
    fws_outbox outbox;
    fws_outbox_init(&outbox);
    for (int i = 0; i < MANY; i++) {
        own[i] = guarded(false);
        published[i] = guarded(true);
        assert_true(fws_outbox_push(&outbox, own[i]));
        allow(own[i], false);
        assert_true(fws_outbox_push(&outbox, published[i]));
        allow(published[i], false);
    }
    for (int i = 0; i < MANY; i++) {
        allow(published[i], true);
        assert_true(fws_outbox_drop_oldest(&outbox));
        munmap(published[i], sizeof *published[i]);
    }
    assert_false(fws_outbox_drop_oldest(&outbox));
    assert_int_equal(outbox.count, MANY);
    for (int i = 0; i < MANY; i++)
        allow(own[i], true);
    fws_outbox_clear(&outbox);
    for (int i = 0; i < MANY; i++)
        munmap(own[i], sizeof *own[i]);
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

/* As of a long compressed message: its header was not known when its memory was. */
static void test_nothing_is_appended_to_bytes_that_end_where_their_memory_ends(void **state)
{
    (void)state;
    fws_outbox outbox;
    fws_outbox_init(&outbox);
    fws_buffer *frame = fws_buffer_new(10 + 5);
    memcpy(frame->data + 10, "frame", 5);
    frame->bytes = frame->data + 10;
    frame->size = 5;
    assert_true(fws_outbox_push(&outbox, frame));
    assert_true(fws_outbox_append(&outbox, "<", 1, "short>", 6));
    assert_string_equal(contents(&outbox), "frame<short>");
    fws_outbox_clear(&outbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_appended_to_bytes_that_end_where_their_memory_ends),
        cmocka_unit_test(test_bytes_leave_in_order_whatever_is_taken_at_once),
        cmocka_unit_test(test_the_oldest_published_message_is_dropped_but_never_one_begun),
        cmocka_unit_test(test_the_newest_pong_is_replaced_but_never_one_begun),
        cmocka_unit_test(test_a_place_is_replaced_by_what_it_was_for),
        cmocka_unit_test(test_what_is_left_of_a_buffer_is_replaced_by_a_copy),
        cmocka_unit_test(test_what_is_appended_stays_behind_what_was_published_before_it),
        cmocka_unit_test(test_borrowed_bytes_are_given_back_and_never_cut_off_from_their_header),
        cmocka_unit_test(test_an_empty_outbox_holds_no_large_ring),
        cmocka_unit_test(test_order_holds_whatever_is_pushed_written_and_dropped),
        cmocka_unit_test(
            test_no_other_buffer_is_looked_at_when_one_is_pushed_or_the_oldest_dropped),
        cmocka_unit_test(test_a_shared_buffer_lives_until_the_last_outbox_is_done),
    };
    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
