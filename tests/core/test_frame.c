#include "testing.h"

#include "protocol/frame.h"

static fws_frame_status decode(const char *bytes, size_t size, fws_frame_header *header)
{
    return fws_frame_decode((const uint8_t *)bytes, size, false, header);
}

static void test_the_examples_of_the_rfc(void **state)
{
    (void)state;
    fws_frame_header header;
    assert_int_equal(decode("\x81\x05Hello", 7, &header), FWS_FRAME_OK);
    assert_true(header.final && !header.masked);
    assert_int_equal(header.opcode, FWS_OPCODE_TEXT);
    assert_int_equal(header.length, 5);
    assert_int_equal(header.size, 2);
    assert_int_equal(decode("\x81\x85\x37\xfa\x21\x3d", 6, &header), FWS_FRAME_OK);
    assert_true(header.masked);
    assert_memory_equal(header.key, "\x37\xfa\x21\x3d", 4);
    assert_int_equal(decode("\x01\x03", 2, &header), FWS_FRAME_OK);
    assert_false(header.final);
    assert_int_equal(decode("\x82\x7E\x01\x00", 4, &header), FWS_FRAME_OK);
    assert_int_equal(header.length, 256);
    assert_int_equal(decode("\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00", 10, &header), FWS_FRAME_OK);
    assert_int_equal(header.length, 65536);
}

static void test_what_is_written_is_read_back(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {0,     1,     125,    126,        127,
                                       65535, 65536, 100000, UINT32_MAX, INT64_MAX};
    static const fws_opcode opcodes[] = {FWS_OPCODE_CONTINUATION, FWS_OPCODE_TEXT,
                                         FWS_OPCODE_BINARY};
    const uint8_t key[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int variant = 0; variant < 12; variant++) {
            uint8_t bytes[FWS_FRAME_HEADER_MAX];
            const uint8_t *used = variant % 2 ? key : NULL;
            bool final = variant / 2 % 2;
            size_t size = fws_frame_encode(bytes, final, opcodes[variant / 4], lengths[i], used);
            fws_frame_header header;
            for (size_t cut = 0; cut < size; cut++)
                assert_int_equal(fws_frame_decode(bytes, cut, false, &header),
                                 FWS_FRAME_INCOMPLETE);
            assert_int_equal(fws_frame_decode(bytes, size, false, &header), FWS_FRAME_OK);
            assert_int_equal(header.size, size);
            assert_true(header.length == lengths[i]);
            assert_int_equal(header.final, final);
            assert_int_equal(header.masked, used != NULL);
            assert_int_equal(header.opcode, opcodes[variant / 4]);
        }
    }
}

static void test_reserved_bits_and_opcodes(void **state)
{
    (void)state;
    fws_frame_header header;
    for (int first = 0; first < 256; first++) {
        char byte = (char)first;
        fws_frame_status status = decode(&byte, 1, &header);
        int opcode = first & 0xF;
        bool known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
        if (first & 0x70)
            assert_int_equal(status, FWS_FRAME_RESERVED_BITS);
        else if (!known)
            assert_int_equal(status, FWS_FRAME_RESERVED_OPCODE);
        else if (opcode >= 8 && !(first & 0x80))
            assert_int_equal(status, FWS_FRAME_FRAGMENTED_CONTROL);
        else
            assert_int_equal(status, FWS_FRAME_INCOMPLETE);
    }
}

static void test_rsv1_where_compression_is_agreed_on(void **state)
{
    (void)state;
    fws_frame_header header;
    for (int first = 0; first < 256; first++) {
        uint8_t byte = (uint8_t)first;
        fws_frame_status with = fws_frame_decode(&byte, 1, true, &header);
        fws_frame_status without = fws_frame_decode(&byte, 1, false, &header);
        int opcode = first & 0xF;
        if ((first & 0x70) == 0x40 && (opcode == 1 || opcode == 2)) {
            assert_int_equal(with, FWS_FRAME_INCOMPLETE);
            assert_true(header.compressed);
            assert_int_equal(without, FWS_FRAME_RESERVED_BITS);
        } else {
            assert_int_equal(with, without);
        }
    }
    uint8_t written[FWS_FRAME_HEADER_MAX];
    size_t size = fws_frame_encode(written, true, FWS_OPCODE_TEXT, 7, NULL);
    fws_frame_mark_compressed(written);
    assert_int_equal(fws_frame_decode(written, size, true, &header), FWS_FRAME_OK);
    assert_true(header.compressed && header.final && header.length == 7);
}

static void test_lengths_that_are_not_allowed(void **state)
{
    (void)state;
    fws_frame_header header;
    assert_int_equal(decode("\x89\x7E", 2, &header), FWS_FRAME_OVERSIZED_CONTROL);
    assert_int_equal(decode("\x88\xFF", 2, &header), FWS_FRAME_OVERSIZED_CONTROL);
    assert_int_equal(decode("\x89\x7D", 2, &header), FWS_FRAME_OK);
    assert_int_equal(decode("\x82\x7E\x00\x7D", 4, &header), FWS_FRAME_LENGTH_NOT_MINIMAL);
    assert_int_equal(decode("\x82\x7E\x00\x7E", 4, &header), FWS_FRAME_OK);
    assert_int_equal(decode("\x82\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF", 10, &header),
                     FWS_FRAME_LENGTH_NOT_MINIMAL);
    assert_int_equal(decode("\x82\x7F\x80", 3, &header), FWS_FRAME_LENGTH_TOO_BIG);
}

static void test_every_error_has_words(void **state)
{
    (void)state;
    for (int status = FWS_FRAME_RESERVED_BITS; status <= FWS_FRAME_LENGTH_TOO_BIG; status++)
        assert_true(strlen(fws_frame_error((fws_frame_status)status)) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_examples_of_the_rfc),
        cmocka_unit_test(test_what_is_written_is_read_back),
        cmocka_unit_test(test_reserved_bits_and_opcodes),
        cmocka_unit_test(test_rsv1_where_compression_is_agreed_on),
        cmocka_unit_test(test_lengths_that_are_not_allowed),
        cmocka_unit_test(test_every_error_has_words),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
