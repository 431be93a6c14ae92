#include "testing.h"

#include "protocol/close.h"

static bool legal_by_the_rfc(unsigned code)
{
    switch (code) {
    case 1000:
    case 1001:
    case 1002:
    case 1003:
    case 1007:
    case 1008:
    case 1009:
    case 1010:
    case 1011:
    case 1012:
    case 1013:
    case 1014:
        return true;
    default:
        return code >= 3000 && code <= 4999;
    }
}

static void test_every_code(void **state)
{
    (void)state;
    for (unsigned code = 0; code <= 0xFFFF; code++) {
        uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
        uint16_t read = 0;
        fws_close_status status = fws_close_decode(payload, 2, &read);
        assert_int_equal(status, legal_by_the_rfc(code) ? FWS_CLOSE_OK : FWS_CLOSE_ILLEGAL_CODE);
        assert_int_equal(fws_close_code_is_legal((uint16_t)code), legal_by_the_rfc(code));
        assert_int_equal(read, code);
    }
}

static void test_payloads(void **state)
{
    (void)state;
    uint16_t code = 0;
    assert_int_equal(fws_close_decode((const uint8_t *)"", 0, &code), FWS_CLOSE_OK);
    assert_int_equal(code, FWS_CLOSE_NO_STATUS);
    assert_int_equal(fws_close_decode((const uint8_t *)"\x03", 1, &code), FWS_CLOSE_ONE_BYTE);
    assert_int_equal(fws_close_decode((const uint8_t *)"\x03\xE8"
                                                       "bye",
                                      5, &code),
                     FWS_CLOSE_OK);
    assert_int_equal(code, 1000);
    assert_int_equal(fws_close_decode((const uint8_t *)"\x03\xE8\xFF", 3, &code),
                     FWS_CLOSE_BAD_UTF8);
    assert_int_equal(fws_close_decode((const uint8_t *)"\x03\xE8\xE2\x82", 4, &code),
                     FWS_CLOSE_BAD_UTF8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code),
        cmocka_unit_test(test_payloads),
    };
    return cmocka_run_group_tests_name("close", tests, NULL, NULL);
}
