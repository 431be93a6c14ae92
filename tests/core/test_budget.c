/* The budget: how much is sent and received before others run. */
#include "testing.h"

#include "../../binding/budget.h"

#include <unistd.h>

#define US (FWS_NS_PER_MS / 1000)

static void pass(fws_ns time)
{
    fws_ns begun = fws_clock_now();
    while (fws_clock_now() - begun < time)
        ;
}

/* How many small messages fit into it when one takes `time`. */
static unsigned until_spent(fws_budget *budget, size_t bytes, fws_ns time)
{
    for (unsigned count = 1;; count++) {
        pass(time);
        fws_budget_charge(budget, bytes);
        if (budget->spent || count > FWS_SLICE_MESSAGES)
            return count;
    }
}

static void test_so_many_messages_spend_it_in_whatever_time(void **state)
{
    (void)state;
    fws_budget budget = {.since = fws_clock_now() + FWS_NS_PER_S}; /* no time is over */
    for (int i = 1; i < FWS_SLICE_MESSAGES; i++) {
        fws_budget_charge(&budget, 0);
        assert_false(budget.spent);
    }
    fws_budget_charge(&budget, 0);
    assert_true(budget.spent);
}

static void test_time_spends_it_however_few_messages(void **state)
{
    (void)state;
    fws_budget budget = {0};
    /* The first look at the clock begins it, the second one may find that it is spent. */
    assert_in_range(until_spent(&budget, 0, FWS_SLICE / 4), FWS_SLICE_LOOK + 1, 2 * FWS_SLICE_LOOK);
    fws_budget_renew(&budget);
    assert_int_equal(until_spent(&budget, FWS_JOIN_MAX + 1, 2 * FWS_SLICE), 2);
}

static void test_the_clock_is_looked_at_for_each_message_that_is_not_short(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, FWS_JOIN_MAX, FWS_JOIN_MAX + 1, SIZE_MAX};
    for (size_t i = 0; i < 4; i++) {
        fws_budget budget = {0};
        fws_budget_charge(&budget, sizes[i]);
        assert_int_equal(budget.since != 0, sizes[i] > FWS_JOIN_MAX);
    }
}

static void test_a_wait_begins_a_new_one(void **state)
{
    (void)state;
    fws_budget budget = {0};
    for (int i = 0; i < 3 * FWS_SLICE_MESSAGES; i++) {
        fws_budget_charge(&budget, 0);
        if (i % 4 == 0)
            fws_budget_renew(&budget);
        assert_false(budget.spent);
        assert_true(budget.since == 0); /* and the clock is not looked at */
    }
}

static void test_where_others_wait_it_is_shorter_for_a_while(void **state)
{
    (void)state;
    fws_budget budget = {0};
    fws_budget_shorten(&budget);
    for (int i = 0; i < FWS_PROVEN; i++) {
        assert_in_range(until_spent(&budget, 0, FWS_SHARED_SLICE / 4), 4, 2 * FWS_SLICE_LOOK);
        fws_budget_renew(&budget);
        assert_int_equal(budget.short_budgets, FWS_PROVEN - 1 - i);
    }
    budget.since = fws_clock_now() + 10 * US - FWS_SLICE;
    fws_budget_charge(&budget, SIZE_MAX);
    pass(10 * US);
    fws_budget_charge(&budget, SIZE_MAX);
    assert_true(budget.spent); /* again after the longer time */
}

static void test_a_wait_does_not_make_it_longer_again(void **state)
{
    (void)state;
    fws_budget budget = {0};
    fws_budget_shorten(&budget);
    for (int i = 0; i < 10 * FWS_PROVEN; i++)
        fws_budget_renew(&budget);
    assert_int_equal(budget.short_budgets, FWS_PROVEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_messages_spend_it_in_whatever_time),
        cmocka_unit_test(test_time_spends_it_however_few_messages),
        cmocka_unit_test(test_the_clock_is_looked_at_for_each_message_that_is_not_short),
        cmocka_unit_test(test_a_wait_begins_a_new_one),
        cmocka_unit_test(test_where_others_wait_it_is_shorter_for_a_while),
        cmocka_unit_test(test_a_wait_does_not_make_it_longer_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
