#include "testing.h"

#include "websocket/inbox.h"

#include <pthread.h>
#include <sched.h>

/* A message that was malloc'd, filled with its number. */
static fws_message made(uint8_t number, size_t length)
{
    fws_message message = {.opcode = 2, .length = length};
    if (length > 0)
        message.data = memset(malloc(length), number, length);
    return message;
}

static void push_copy(fws_inbox *inbox, uint8_t number, size_t length, size_t more)
{
    uint8_t data[5000];
    memset(data, number, length);
    assert_true(fws_inbox_push_copy(inbox, 1, data, length, more));
}

static void check(const fws_message *message, uint8_t opcode, uint8_t number, size_t length)
{
    assert_int_equal(message->opcode, opcode);
    assert_int_equal(message->length, length);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(message->data[i], number);
    if (length == 0)
        assert_null(message->data);
}

static void is_a_queue_of_both_kinds(bool (*take)(fws_inbox *, fws_message *))
{
    static const size_t lengths[] = {0, 1, 7, 8, 9, 125, 4096, 5000};
    enum { LENGTHS = sizeof lengths / sizeof *lengths };
    static const size_t mores[] = {0, 10, 1000, 100000};
    fws_inbox inbox;
    fws_message message;
    for (size_t more = 0; more < 4; more++) {
        size_t bytes = 0;
        fws_inbox_init(&inbox);
        assert_false(fws_inbox_pop(&inbox, &message));
        for (uint8_t i = 0; i < 100; i++) {
            size_t length = lengths[i % LENGTHS];
            bytes += length;
            if (i % 3 == 0) {
                message = made(i, length);
                assert_true(fws_inbox_push(&inbox, &message));
            } else {
                push_copy(&inbox, i, length, mores[more]);
            }
            assert_int_equal(inbox.count, i + 1);
            assert_int_equal(inbox.bytes, bytes);
        }
        for (uint8_t i = 0; i < 100; i++) {
            size_t length = lengths[i % LENGTHS];
            assert_true(take(&inbox, &message));
            check(&message, i % 3 == 0 ? 2 : 1, i, length);
            fws_message_free(&message);
            fws_message_free(&message); /* nothing is left of it */
            bytes -= length;
            assert_int_equal(inbox.bytes, bytes);
        }
        assert_false(take(&inbox, &message));
        assert_null(inbox.last);
    }
}

static void test_it_is_a_queue_of_both_kinds(void **state)
{
    (void)state;
    is_a_queue_of_both_kinds(fws_inbox_pop);
    is_a_queue_of_both_kinds(fws_inbox_next);
}

static void test_one_thread_takes_the_rest(void **state)
{
    (void)state;
    fws_inbox inbox;
    fws_message message, popped;
    fws_inbox_init(&inbox);
    for (uint8_t i = 0; i < 50; i++)
        push_copy(&inbox, i, 100, 1000);
    assert_true(fws_inbox_pop(&inbox, &popped));
    for (uint8_t i = 1; i < 30; i++) {
        assert_true(fws_inbox_next(&inbox, &message));
        check(&message, 1, i, 100);
        fws_message_free(&message);
    }
    assert_int_equal(inbox.count, 20);
    fws_inbox_clear(&inbox);
    assert_false(fws_inbox_next(&inbox, &message));
    check(&popped, 1, 0, 100);
    fws_message_free(&popped);
}

static void test_what_was_popped_lives_on_whatever_is_pushed_and_popped(void **state)
{
    (void)state;
    fws_inbox inbox;
    fws_message messages[6];
    fws_inbox_init(&inbox);
    for (uint8_t i = 0; i < 3; i++)
        push_copy(&inbox, i, 10, 1000);
    assert_true(fws_inbox_pop(&inbox, &messages[0]));
    for (uint8_t i = 3; i < 6; i++) /* not into the block that a part was popped of */
        push_copy(&inbox, i, 10, 1000);
    for (int i = 1; i < 6; i++)
        assert_true(fws_inbox_pop(&inbox, &messages[i]));
    assert_false(fws_inbox_pop(&inbox, &messages[0]));
    for (uint8_t i = 6; i-- > 0;) {
        check(&messages[i], 1, i, 10);
        fws_message_free(&messages[i]);
    }
}

static void test_clear_frees_what_nobody_popped(void **state)
{
    (void)state;
    fws_inbox inbox;
    fws_message message, first;
    fws_inbox_init(&inbox);
    for (uint8_t i = 0; i < 10; i++)
        push_copy(&inbox, i, 100, 300);
    message = made(1, 70000);
    assert_true(fws_inbox_push(&inbox, &message));
    assert_true(fws_inbox_pop(&inbox, &first));
    fws_inbox_clear(&inbox);
    assert_int_equal(inbox.count, 0);
    assert_int_equal(inbox.bytes, 0);
    assert_false(fws_inbox_pop(&inbox, &message));
    check(&first, 1, 0, 100); /* and a leak or a use after free: the sanitizer tells */
    fws_message_free(&first);
}

static void test_what_would_not_fit_a_length_is_refused(void **state)
{
    (void)state;
    fws_inbox inbox;
    fws_inbox_init(&inbox);
    assert_false(fws_inbox_push_copy(&inbox, 1, "", SIZE_MAX, 0));
    assert_false(fws_inbox_push_copy(&inbox, 1, "", UINT32_MAX, 0));
    assert_int_equal(inbox.count, 0);
    assert_null(inbox.first);
}

/* ---- messages are freed by other threads ---- */

static void test_what_is_given_back_comes_first(void **state)
{
    (void)state;
    fws_message message;
    for (size_t taken = 0; taken <= 20; taken++) {
        for (size_t later = 0; later < 5; later++) {
            fws_inbox inbox, rest;
            fws_inbox_init(&rest);
            fws_inbox_init(&inbox);
            for (size_t i = 0; i < 20; i++) /* of both kinds, in several blocks */
                push_copy(&rest, (uint8_t)i, 1 + i, i % 3 == 0 ? 0 : 100);
            for (size_t i = 0; i < taken; i++) {
                assert_true(fws_inbox_next(&rest, &message));
                fws_message_free(&message);
            }
            for (size_t i = 20; i < 20 + later; i++)
                push_copy(&inbox, (uint8_t)i, 1 + i, 100);
            fws_inbox_prepend(&inbox, &rest);
            assert_int_equal(rest.count, 0);
            assert_null(rest.first);
            push_copy(&inbox, (uint8_t)(20 + later), 21 + later, 0);
            assert_int_equal(inbox.count, 21 - taken + later);
            for (size_t i = taken; i <= 20 + later; i++) {
                assert_true(fws_inbox_next(&inbox, &message));
                assert_int_equal(message.length, 1 + i);
                assert_int_equal(message.data[0], (uint8_t)i);
                fws_message_free(&message);
            }
            assert_false(fws_inbox_next(&inbox, &message));
            assert_int_equal(inbox.bytes, 0);
        }
    }
}

typedef struct {
    pthread_mutex_t lock;
    fws_inbox inbox;
} shared;

enum { MESSAGES = 20000 };

static void *take_all(void *argument)
{
    shared *common = argument;
    uintptr_t taken = 0;
    for (;;) {
        fws_message message;
        pthread_mutex_lock(&common->lock);
        bool popped = fws_inbox_pop(&common->inbox, &message);
        pthread_mutex_unlock(&common->lock);
        if (!popped) {
            sched_yield();
            continue;
        }
        bool last = message.length == 0;
        taken += !last && message.data[0] == 7 && message.data[message.length - 1] == 7;
        fws_message_free(&message);
        if (last)
            return (void *)taken;
    }
}

static void test_other_threads_free_what_they_popped(void **state)
{
    (void)state;
    shared common = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[3];
    uintptr_t taken = 0;
    fws_inbox_init(&common.inbox);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, &common), 0);
    for (int i = 0; i < MESSAGES + 3; i++) {
        pthread_mutex_lock(&common.lock);
        push_copy(&common.inbox, 7, i < MESSAGES ? (size_t)(1 + i % 50) : 0, (size_t)(i % 400));
        pthread_mutex_unlock(&common.lock);
    }
    for (int i = 0; i < 3; i++) {
        void *result;
        pthread_join(threads[i], &result);
        taken += (uintptr_t)result;
    }
    assert_int_equal(taken, MESSAGES);
    assert_int_equal(common.inbox.count, 0);
    assert_null(common.inbox.first);
    pthread_mutex_destroy(&common.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_a_queue_of_both_kinds),
        cmocka_unit_test(test_one_thread_takes_the_rest),
        cmocka_unit_test(test_what_was_popped_lives_on_whatever_is_pushed_and_popped),
        cmocka_unit_test(test_clear_frees_what_nobody_popped),
        cmocka_unit_test(test_what_would_not_fit_a_length_is_refused),
        cmocka_unit_test(test_what_is_given_back_comes_first),
        cmocka_unit_test(test_other_threads_free_what_they_popped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
