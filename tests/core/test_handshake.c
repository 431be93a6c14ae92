#include "testing.h"

#include "protocol/handshake.h"

static bool key(const char *text)
{
    return fws_handshake_key_valid(text, strlen(text));
}

static void test_keys(void **state)
{
    (void)state;
    assert_true(key("dGhlIHNhbXBsZSBub25jZQ==")); /* RFC 6455 section 1.3 */
    assert_true(key("////////////////////+w=="));
    assert_false(key(""));
    assert_false(key("dGhlIHNhbXBsZSBub25jZQ="));
    assert_false(key("dGhlIHNhbXBsZSBub25jZQ==="));
    assert_false(key("dGhlIHNhbXBsZSBub25jZQAA"));
    assert_false(key("dGhlIHNhbXBsZSBub25j Q=="));
    assert_false(key("dGhlIHNhbXBsZSBub25j-Q=="));
    assert_false(fws_handshake_key_valid("dGhlIHNhbXBsZSBub25\0ZQ==", 24));
}

static bool contains(const char *list, const char *token)
{
    return fws_handshake_list_contains(list, strlen(list), token);
}

static void test_lists(void **state)
{
    (void)state;
    assert_true(contains("Upgrade", "upgrade"));
    assert_true(contains("keep-alive, Upgrade", "upgrade"));
    assert_true(contains(" ,, keep-alive ,\tUPGRADE , ", "upgrade"));
    assert_false(contains("", "upgrade"));
    assert_false(contains(" , ,", "upgrade"));
    assert_false(contains("Upgraded, xUpgrade", "upgrade"));
    assert_false(contains("Up grade", "upgrade"));
    assert_false(fws_handshake_list_contains("upgrade\0", 8, "upgrade"));
}

static void test_the_elements_of_a_list(void **state)
{
    (void)state;
    const char *list = " chat , superchat,,v2.x ,";
    const char *wanted[] = {"chat", "superchat", "v2.x"};
    size_t position = 0, length, found = 0;
    const char *element;
    while (fws_handshake_list_next(list, strlen(list), &position, &element, &length)) {
        assert_true(found < 3);
        assert_int_equal(length, strlen(wanted[found]));
        assert_memory_equal(element, wanted[found], length);
        found++;
    }
    assert_int_equal(found, 3);
}

static void test_tokens(void **state)
{
    (void)state;
    assert_true(fws_handshake_is_token("graphql-transport-ws", 20));
    assert_true(fws_handshake_is_token("v1.stomp!#$%&'*+^_`|~", 21));
    const char *separators = "()<>@,;:\\\"/[]?={} \t\x7f\x80";
    for (size_t i = 0; i < strlen(separators); i++)
        assert_false(fws_handshake_is_token(separators + i, 1));
    assert_false(fws_handshake_is_token("", 0));
    assert_false(fws_handshake_is_token("a\0b", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_the_elements_of_a_list),
        cmocka_unit_test(test_tokens),
    };
    return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}
