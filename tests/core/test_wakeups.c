/* Wake-ups are kept while there are connections, not more than so many, and not after them. */
#include "testing.h"

#include "engine/wakeups.h"

#include <fcntl.h>
#include <poll.h>

static fws_wakeups wakeups;
static fws_wakeup taken[FWS_WAKEUPS_KEPT + 1];

static bool is_open(const fws_wakeup *wakeup)
{
    return fcntl(wakeup->read_fd, F_GETFD) >= 0;
}

static void test_what_comes_back_is_given_out_again(void **state)
{
    (void)state;
    fws_wakeup again;
    fws_wakeups_init(&wakeups);
    assert_true(fws_wakeups_take(&wakeups, &taken[0]));
    int fd = taken[0].read_fd;
    fws_wakeups_return(&wakeups, &taken[0]);
    assert_int_equal(taken[0].read_fd, -1);
    assert_true(fws_wakeups_take(&wakeups, &again));
    assert_int_equal(again.read_fd, fd);
    assert_true(fws_wakeups_take(&wakeups, &taken[0]));
    assert_int_not_equal(taken[0].read_fd, fd);

    struct pollfd polled = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 0), 0);
    fws_wakeup_ring(&again);
    assert_int_equal(poll(&polled, 1, 0), 1);
    fws_wakeup_close(&again);
    fws_wakeup_close(&taken[0]);
}

static void test_so_many_are_kept_until_there_are_no_connections(void **state)
{
    (void)state;
    fws_wakeup copies[FWS_WAKEUPS_KEPT + 1];
    fws_wakeups_init(&wakeups);
    for (int i = 0; i <= FWS_WAKEUPS_KEPT; i++) {
        assert_true(fws_wakeups_take(&wakeups, &taken[i]));
        copies[i] = taken[i];
    }
    for (int i = 0; i <= FWS_WAKEUPS_KEPT; i++)
        fws_wakeups_return(&wakeups, &taken[i]);
    for (int i = 0; i <= FWS_WAKEUPS_KEPT; i++)
        assert_int_equal(is_open(&copies[i]), i < FWS_WAKEUPS_KEPT);
    fws_wakeups_close(&wakeups);
    for (int i = 0; i < FWS_WAKEUPS_KEPT; i++)
        assert_false(is_open(&copies[i]));

    fws_wakeup late;
    assert_true(fws_wakeup_open(&late));
    copies[0] = late;
    fws_wakeups_return(&wakeups, &late); /* the last connection's, after that */
    assert_false(is_open(&copies[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_comes_back_is_given_out_again),
        cmocka_unit_test(test_so_many_are_kept_until_there_are_no_connections),
    };
    return cmocka_run_group_tests_name("wakeups", tests, NULL, NULL);
}
