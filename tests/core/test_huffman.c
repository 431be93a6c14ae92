#include "testing.h"

#include "protocol/huffman.h"

/* Every code is a prefix code that uses up all bit patterns (Kraft's equation), within the limit.
 */
static void check_code(const fws_huffman *code, const uint16_t *frequencies, size_t count,
                       unsigned bits_max)
{
    uint64_t sum = 0;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned length = code->lengths[i];
        if (frequencies[i] > 0)
            assert_true(length > 0);
        if (length == 0)
            continue;
        used++;
        assert_true(length <= bits_max);
        sum += UINT64_C(1) << (bits_max - length);
        for (size_t k = 0; k < i; k++) {
            unsigned shorter = code->lengths[k] < length ? code->lengths[k] : length;
            if (code->lengths[k] > 0)
                assert_true(((code->bits[i] ^ code->bits[k]) & ((1u << shorter) - 1)) != 0);
        }
    }
    assert_true(used >= 2);
    assert_true(sum == UINT64_C(1) << bits_max);
}

static size_t cost(const fws_huffman *code, const uint16_t *frequencies, size_t count)
{
    size_t bits = 0;
    for (size_t i = 0; i < count; i++)
        bits += (size_t)frequencies[i] * code->lengths[i];
    return bits;
}

/* What an optimal code costs, by the definition: join the two rarest again and again. */
static size_t optimal_cost(const uint16_t *frequencies, size_t count)
{
    size_t weights[FWS_HUFFMAN_SYMBOLS_MAX], left = 0, total = 0;
    for (size_t i = 0; i < count; i++)
        if (frequencies[i] > 0)
            weights[left++] = frequencies[i];
    for (; left > 1; left--) {
        for (int smallest = 0; smallest < 2; smallest++)
            for (size_t i = 0; i + 1 + (size_t)smallest < left; i++)
                if (weights[i] < weights[i + 1]) {
                    size_t other = weights[i];
                    weights[i] = weights[i + 1];
                    weights[i + 1] = other;
                }
        weights[left - 2] += weights[left - 1];
        total += weights[left - 2];
    }
    return total;
}

static void test_random_frequencies_give_optimal_codes(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 300; round++) {
        uint16_t frequencies[286] = {0};
        size_t count = 2 + (size_t)round % 285;
        for (size_t i = 0; i < count; i++) {
            seed = seed * 1664525 + 1013904223;
            unsigned kind = seed >> 28;
            frequencies[i] = (uint16_t)(kind < 6    ? 0
                                        : kind < 14 ? seed >> 12 & 7
                                                    : seed >> 12 & 127);
        }
        frequencies[0] |= 1;
        frequencies[1] |= 1;
        fws_huffman code;
        fws_huffman_build(&code, frequencies, count, 15);
        check_code(&code, frequencies, count, 15);
        assert_int_equal(cost(&code, frequencies, count), optimal_cost(frequencies, count));
    }
}

static void test_codes_that_would_be_too_long_are_limited(void **state)
{
    (void)state;
    static const unsigned limits[] = {15, 7, 5};
    uint16_t fibonacci[19] = {1, 1};
    for (size_t i = 2; i < 19; i++)
        fibonacci[i] = (uint16_t)(fibonacci[i - 1] + fibonacci[i - 2]);
    for (size_t i = 0; i < 3; i++) {
        fws_huffman code;
        fws_huffman_build(&code, fibonacci, 19, limits[i]);
        check_code(&code, fibonacci, 19, limits[i]);
    }
}

static void test_one_symbol_or_none_gets_company(void **state)
{
    (void)state;
    uint16_t frequencies[30] = {0};
    fws_huffman code;
    fws_huffman_build(&code, frequencies, 30, 15);
    check_code(&code, frequencies, 30, 15);
    frequencies[0] = 5;
    fws_huffman_build(&code, frequencies, 30, 15);
    check_code(&code, frequencies, 30, 15);
    frequencies[0] = 0;
    frequencies[29] = 1;
    fws_huffman_build(&code, frequencies, 30, 15);
    check_code(&code, frequencies, 30, 15);
}

static void test_the_example_of_rfc_1951(void **state)
{
    (void)state;
    /* Section 3.2.2: lengths (3, 3, 3, 3, 3, 2, 4, 4) give 010 to 110, 00, 1110, 1111. */
    fws_huffman code = {.lengths = {3, 3, 3, 3, 3, 2, 4, 4}};
    fws_huffman_assign(&code, 8);
    static const uint16_t reversed[] = {2, 6, 1, 5, 3, 0, 7, 15};
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(code.bits[i], reversed[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_frequencies_give_optimal_codes),
        cmocka_unit_test(test_codes_that_would_be_too_long_are_limited),
        cmocka_unit_test(test_one_symbol_or_none_gets_company),
        cmocka_unit_test(test_the_example_of_rfc_1951),
    };
    return cmocka_run_group_tests_name("huffman", tests, NULL, NULL);
}
