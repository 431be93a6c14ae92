/* Quantiles of what was added. */
#include "testing.h"

#include "stats/histogram.h"

static fws_histogram histogram;

static int start(void **state)
{
    (void)state;
    histogram = (fws_histogram){0};
    return 0;
}

static void test_nothing(void **state)
{
    (void)state;
    assert_int_equal(fws_histogram_quantile(&histogram, 0.5), 0);
}

static void test_a_quantile_is_right_within_an_eighth(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 100000; i++)
        fws_histogram_add(&histogram, i * 37, 1);
    for (unsigned percent = 1; percent <= 100; percent++) {
        uint64_t exact = percent * 37000ull;
        uint64_t found = fws_histogram_quantile(&histogram, percent / 100.0);
        assert_in_range(found, exact, exact + exact / 8);
    }
    assert_int_equal(fws_histogram_quantile(&histogram, 1), 3700000);
}

static void test_small_and_huge_values(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 8; i++) {
        fws_histogram_add(&histogram, i, 1);
        assert_int_equal(fws_histogram_quantile(&histogram, 1), i);
    }
    fws_histogram_add(&histogram, UINT64_MAX, 1000);
    assert_true(fws_histogram_quantile(&histogram, 1) > (uint64_t)1 << 41);
    assert_int_equal(fws_histogram_quantile(&histogram, 0.003), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing, start),
        cmocka_unit_test_setup(test_a_quantile_is_right_within_an_eighth, start),
        cmocka_unit_test_setup(test_small_and_huge_values, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
