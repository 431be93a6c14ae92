/* Small pieces of memory, kept by a thread. */
#include "testing.h"

#include "engine/scrap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Under a sanitizer, and until a thread asks for it, nothing is kept: then this shows no more than
 * that all of it may be written to, and is given back. */
static void take_and_give_back(unsigned count, size_t size)
{
    void *scraps[2 * FWS_SCRAPS_KEPT];
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
    for (int kept = 0; kept < 2; kept++) {
        if (kept)
            fws_scraps_begin();
        for (int round = 0; round < 3; round++) {
            take_and_give_back(1, 1);
            take_and_give_back(2 * FWS_SCRAPS_KEPT, FWS_SCRAP_SIZE);
            take_and_give_back(3, FWS_SCRAP_SIZE + 1);
        }
    }
    fws_scraps_end();
    take_and_give_back(3, 100);
}

static void *give_back(void *scrap)
{
    fws_scraps_begin();
    fws_scrap_free(scrap, 100);
    void *again = fws_scrap_new(FWS_SCRAP_SIZE);
    memset(again, 1, FWS_SCRAP_SIZE); /* it has the room of any other */
    fws_scrap_free(again, FWS_SCRAP_SIZE);
    fws_scraps_end();
    return NULL;
}

static void test_another_thread_gives_back(void **state)
{
    (void)state;
    pthread_t thread;
    pthread_create(&thread, NULL, give_back, fws_scrap_new(100));
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_many_as_are_asked_for),
        cmocka_unit_test(test_another_thread_gives_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
