/* Small pieces of memory, kept by a thread. */
#include "testing.h"

#include "engine/scrap.h"

#include <pthread.h>
#include <string.h>

#define KEPT 16u

static void take_and_give_back(unsigned count, size_t size)
{
    void *scraps[2 * KEPT];
    for (unsigned i = 0; i < count; i++) {
        scraps[i] = fws_scrap_new(size);
        assert_non_null(scraps[i]);
        memset(scraps[i], (int)i, size);
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(((unsigned char *)scraps[i])[size - 1], (unsigned char)i);
        fws_scrap_free(scraps[i], size);
    }
}

static void test_as_many_as_are_asked_for(void **state)
{
    (void)state;
    for (unsigned count = 0; count <= KEPT; count += KEPT) {
        fws_scraps_begin(count);
        for (int round = 0; round < 3; round++) {
            take_and_give_back(1, 1);
            take_and_give_back(2 * KEPT, FWS_SCRAP_SIZE);
            take_and_give_back(3, FWS_SCRAP_SIZE + 1);
        }
        fws_scraps_end();
        take_and_give_back(3, 100);
    }
}

static void test_what_is_given_back_is_taken_again(void **state)
{
    (void)state;
    fws_scraps_begin(2);
    void *first = fws_scrap_new(1), *second = fws_scrap_new(1);
    fws_scrap_free(first, 1);
    fws_scrap_free(second, 1);
    /* Each has the room of any other, and the last one is still in the processor's cache. */
    assert_ptr_equal(fws_scrap_new(FWS_SCRAP_SIZE), second);
    assert_ptr_equal(fws_scrap_new(FWS_SCRAP_SIZE), first);
    memset(first, 1, FWS_SCRAP_SIZE);
    memset(second, 2, FWS_SCRAP_SIZE);
    fws_scrap_free(first, FWS_SCRAP_SIZE);
    fws_scrap_free(second, FWS_SCRAP_SIZE);
    fws_scraps_end();
}

static void *give_back(void *scrap)
{
    fws_scraps_begin(1);
    fws_scrap_free(scrap, 100);
    void *again = fws_scrap_new(FWS_SCRAP_SIZE);
    memset(again, 1, FWS_SCRAP_SIZE);
    fws_scraps_end();
    return again;
}

static void test_another_thread_gives_back(void **state)
{
    (void)state;
    pthread_t thread;
    void *scrap = fws_scrap_new(100), *again;
    pthread_create(&thread, NULL, give_back, scrap);
    pthread_join(thread, &again);
    assert_ptr_equal(again, scrap);
    fws_scrap_free(again, FWS_SCRAP_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_many_as_are_asked_for),
        cmocka_unit_test(test_what_is_given_back_is_taken_again),
        cmocka_unit_test(test_another_thread_gives_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
