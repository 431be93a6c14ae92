#include "testing.h"

#include "protocol/utf8.h"

/* An independent definition: decode the code point, then ask whether this is its shortest form and
 * whether it is one at all. Returns the length of the character, or 0. */
static size_t character(const uint8_t *data, size_t available)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = data[0];
    size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 0;
    if (length == 0 || length > available || lead >= 0xF8)
        return 0;
    uint32_t point = length == 1 ? lead : lead & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((data[i] & 0xC0) != 0x80)
            return 0;
        point = point << 6 | (data[i] & 0x3F);
    }
    bool ok = point >= least[length] && point <= 0x10FFFF && !(point >= 0xD800 && point <= 0xDFFF);
    return ok ? length : 0;
}

static bool by_definition(const uint8_t *data, size_t length)
{
    size_t i = 0;
    while (i < length) {
        size_t size = character(data + i, length - i);
        if (size == 0)
            return false;
        i += size;
    }
    return true;
}

static void test_every_sequence_of_up_to_three_bytes(void **state)
{
    (void)state;
    uint8_t data[3];
    for (unsigned value = 0; value < 1u << 24; value++) {
        data[0] = (uint8_t)(value >> 16);
        data[1] = (uint8_t)(value >> 8);
        data[2] = (uint8_t)value;
        if (fws_utf8_valid(data, 3) != by_definition(data, 3))
            fail_msg("%02x %02x %02x", data[0], data[1], data[2]);
        if ((value & 0xFF) == 0)
            assert_int_equal(fws_utf8_valid(data, 2), by_definition(data, 2));
    }
}

static void test_every_lead_and_second_byte_of_four(void **state)
{
    (void)state;
    static const uint8_t third[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};
    for (unsigned lead = 0xF0; lead < 0x100; lead++)
        for (unsigned second = 0; second < 0x100; second++)
            for (unsigned i = 0; i < sizeof third; i++)
                for (unsigned k = 0; k < sizeof third; k++) {
                    uint8_t data[4] = {(uint8_t)lead, (uint8_t)second, third[i], third[k]};
                    assert_int_equal(fws_utf8_valid(data, 4), by_definition(data, 4));
                }
}

static void test_a_text_cut_anywhere(void **state)
{
    (void)state;
    const char *text = "Gr\xC3\xBC\xC3\x9F"
                       "e \xE2\x82\xAC \xF0\x9F\x98\x80 "
                       "and enough plain ASCII behind it that the fast path is taken, twice over, "
                       "before the last \xF4\x8F\xBF\xBF";
    const uint8_t *data = (const uint8_t *)text;
    size_t length = strlen(text);
    for (size_t first = 0; first <= length; first++) {
        for (size_t second = first; second <= length; second++) {
            fws_utf8 utf8;
            fws_utf8_reset(&utf8);
            assert_true(fws_utf8_feed(&utf8, data, first));
            assert_true(fws_utf8_feed(&utf8, data + first, second - first));
            assert_true(fws_utf8_feed(&utf8, data + second, length - second));
            assert_true(fws_utf8_complete(&utf8));
        }
    }
}

static void test_a_bad_byte_is_found_at_once_wherever_it_is(void **state)
{
    (void)state;
    uint8_t data[200];
    for (size_t at = 0; at < sizeof data; at++) {
        memset(data, 'x', sizeof data);
        data[at] = 0xFF;
        fws_utf8 utf8;
        fws_utf8_reset(&utf8);
        assert_true(fws_utf8_feed(&utf8, data, at));
        assert_false(fws_utf8_feed(&utf8, data + at, 1));
        assert_false(fws_utf8_valid(data, sizeof data));
    }
}

static void test_the_earliest_byte_that_proves_it(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t legal; /* how many of them are still the beginning of something legal */
    } cases[] = {
        {"\xC0\x80", 0},     {"\xE0\x80", 1},
        {"\xED\xA0", 1},     {"\xF0\x8F", 1},
        {"\xF4\x90", 1},     {"\xF5", 0},
        {"\x80", 0},         {"\xE2\x28", 1},
        {"\xE2\x82\x28", 2}, {"\xF0\x9F\x98\x41", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fws_utf8 utf8;
        fws_utf8_reset(&utf8);
        const uint8_t *data = (const uint8_t *)cases[i].bytes;
        assert_true(fws_utf8_feed(&utf8, data, cases[i].legal));
        assert_false(fws_utf8_feed(&utf8, data + cases[i].legal, 1));
    }
}

static void test_an_unfinished_character_is_not_complete(void **state)
{
    (void)state;
    fws_utf8 utf8;
    fws_utf8_reset(&utf8);
    assert_true(fws_utf8_complete(&utf8));
    assert_true(fws_utf8_feed(&utf8, (const uint8_t *)"a\xE2\x82", 3));
    assert_false(fws_utf8_complete(&utf8));
    assert_true(fws_utf8_feed(&utf8, (const uint8_t *)"\xAC", 1));
    assert_true(fws_utf8_complete(&utf8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sequence_of_up_to_three_bytes),
        cmocka_unit_test(test_every_lead_and_second_byte_of_four),
        cmocka_unit_test(test_a_text_cut_anywhere),
        cmocka_unit_test(test_a_bad_byte_is_found_at_once_wherever_it_is),
        cmocka_unit_test(test_the_earliest_byte_that_proves_it),
        cmocka_unit_test(test_an_unfinished_character_is_not_complete),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
