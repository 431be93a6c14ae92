#include "testing.h"

#include "protocol/mask.h"

#define SIZE 300

static const uint8_t KEY[4] = {0x37, 0xfa, 0x21, 0x3d};

/* RFC 6455 section 5.3, word for word: octet i of the key is i MOD 4. */
static void by_definition(uint8_t *data, size_t length, uint64_t position)
{
    for (size_t i = 0; i < length; i++)
        data[i] ^= KEY[(position + i) % 4];
}

static void fill(uint8_t *data)
{
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 7 + 3);
}

static void test_the_example_of_the_rfc(void **state)
{
    (void)state;
    uint8_t data[] = {0x7f, 0x9f, 0x4d, 0x51, 0x58}; /* section 5.7: a masked "Hello" */
    fws_mask_apply(data, sizeof data, KEY, 0);
    assert_memory_equal(data, "Hello", 5);
}

static void check_every_length_and_alignment(fws_mask_function function)
{
    uint8_t wanted[SIZE], got[SIZE];
    for (size_t start = 0; start < 33; start++) {
        for (size_t length = 0; length + start <= SIZE; length++) {
            fill(wanted);
            fill(got);
            by_definition(wanted + start, length, 0);
            function(got + start, length, KEY);
            assert_memory_equal(got, wanted, SIZE); /* and nothing beside it */
        }
    }
}

static void test_portable(void **state)
{
    (void)state;
    check_every_length_and_alignment(fws_mask_portable);
}

#if defined(__x86_64__) || defined(__i386__)
static void test_sse2(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("sse2"))
        skip();
    check_every_length_and_alignment(fws_mask_sse2);
}

static void test_avx2(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx2"))
        skip();
    check_every_length_and_alignment(fws_mask_avx2);
}
#elif defined(__ARM_NEON)
static void test_neon(void **state)
{
    (void)state;
    check_every_length_and_alignment(fws_mask_neon);
}
#endif

static void test_the_chosen_one(void **state)
{
    (void)state;
    check_every_length_and_alignment(fws_mask_best());
}

static void test_a_payload_in_pieces(void **state)
{
    (void)state;
    uint8_t wanted[SIZE], got[SIZE];
    fill(wanted);
    by_definition(wanted, SIZE, 0);
    for (size_t cut = 0; cut <= SIZE; cut++) {
        fill(got);
        fws_mask_apply(got, cut, KEY, 0);
        fws_mask_apply(got + cut, SIZE - cut, KEY, cut);
        assert_memory_equal(got, wanted, SIZE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_example_of_the_rfc),
        cmocka_unit_test(test_portable),
#if defined(__x86_64__) || defined(__i386__)
        cmocka_unit_test(test_sse2),
        cmocka_unit_test(test_avx2),
#elif defined(__ARM_NEON)
        cmocka_unit_test(test_neon),
#endif
        cmocka_unit_test(test_the_chosen_one),
        cmocka_unit_test(test_a_payload_in_pieces),
    };
    return cmocka_run_group_tests_name("mask", tests, NULL, NULL);
}
