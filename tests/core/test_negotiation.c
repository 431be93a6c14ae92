#include "testing.h"

#include "protocol/negotiation.h"

static const fws_deflate_parameters most = {.server_max_window_bits = 15,
                                            .client_max_window_bits = 15};
static const fws_deflate_parameters ours = {.server_no_context_takeover = true,
                                            .client_no_context_takeover = true,
                                            .server_max_window_bits = 15,
                                            .client_max_window_bits = 15};
static const fws_deflate_parameters narrow = {.server_max_window_bits = 10,
                                              .client_max_window_bits = 11};

#define NONE "none"
#define MALFORMED "malformed"

static const char *accept(const char *offers, const fws_deflate_parameters *wanted,
                          fws_deflate_parameters *agreed)
{
    static char answer[FWS_NEGOTIATION_TEXT_MAX];
    char *exact = malloc(strlen(offers) + 1); /* no NUL behind it, for the sanitizer */
    memcpy(exact, offers, strlen(offers));
    fws_negotiation result = fws_negotiation_accept(exact, strlen(offers), wanted, agreed, answer);
    free(exact);
    return result == FWS_NEGOTIATION_AGREED ? answer
           : result == FWS_NEGOTIATION_NONE ? NONE
                                            : MALFORMED;
}

static void expect_answer(const char *offers, const fws_deflate_parameters *wanted,
                          const char *answer)
{
    fws_deflate_parameters agreed;
    assert_string_equal(accept(offers, wanted, &agreed), answer);
}

#define D "permessage-deflate"

static void test_each_parameter_of_an_offer(void **state)
{
    (void)state;
    expect_answer(D, &most, D);
    expect_answer(D "; server_no_context_takeover", &most, D "; server_no_context_takeover");
    expect_answer(D "; client_no_context_takeover", &most, D "; client_no_context_takeover");
    expect_answer(D "; server_max_window_bits=12", &most, D "; server_max_window_bits=12");
    expect_answer(D "; server_max_window_bits=15", &most, D "; server_max_window_bits=15");
    expect_answer(D "; client_max_window_bits", &most, D);
    expect_answer(D "; client_max_window_bits=9", &most, D "; client_max_window_bits=9");
}

static void test_what_the_server_wants_is_put_into_the_answer(void **state)
{
    (void)state;
    const char *alone = D "; server_no_context_takeover; client_no_context_takeover";
    expect_answer(D, &ours, alone);
    expect_answer(D "; client_max_window_bits", &ours, alone);
    expect_answer(D, &narrow, D "; server_max_window_bits=10");
    /* Only a client that offered it can be limited: RFC 7692 section 7.1.2.2. */
    expect_answer(D "; client_max_window_bits", &narrow,
                  D "; server_max_window_bits=10; client_max_window_bits=11");
    expect_answer(D "; client_max_window_bits=9; server_max_window_bits=8", &narrow,
                  D "; server_max_window_bits=8; client_max_window_bits=9");
    expect_answer(D "; client_max_window_bits=15; server_max_window_bits=15", &narrow,
                  D "; server_max_window_bits=10; client_max_window_bits=11");
}

static void test_all_legal_combinations(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 16; which++) {
        for (int server_bits = 8; server_bits <= 15; server_bits++) {
            for (int client_bits = 7; client_bits <= 15; client_bits++) { /* 7: without a value */
                char offer[200] = D;
                if (which & 1)
                    strcat(offer, "; server_no_context_takeover");
                if (which & 2)
                    strcat(offer, ";client_no_context_takeover");
                if (which & 4)
                    sprintf(offer + strlen(offer), " ; server_max_window_bits = %d", server_bits);
                if (which & 8 && client_bits > 7)
                    sprintf(offer + strlen(offer), ";client_max_window_bits=\"%d\"", client_bits);
                else if (which & 8)
                    strcat(offer, "; client_max_window_bits");
                fws_deflate_parameters agreed, confirmed;
                const char *answer = accept(offer, &narrow, &agreed);
                assert_int_equal(agreed.server_no_context_takeover, (which & 1) != 0);
                assert_int_equal(agreed.client_no_context_takeover, (which & 2) != 0);
                assert_int_equal(agreed.server_max_window_bits,
                                 which & 4 && server_bits < 10 ? server_bits : 10);
                int client = client_bits > 7 && client_bits < 11 ? client_bits : 11;
                assert_int_equal(agreed.client_max_window_bits, which & 8 ? client : 15);
                /* The client that offered it understands the same. */
                assert_int_equal(fws_negotiation_confirm(answer, strlen(answer), &most, &confirmed),
                                 FWS_NEGOTIATION_AGREED);
                assert_memory_equal(&agreed, &confirmed, sizeof agreed);
            }
        }
    }
}

static void test_an_offer_with_an_illegal_parameter_is_passed_over(void **state)
{
    (void)state;
    static const char *const illegal[] = {
        "; unknown",
        "; server_no_context_takeover=1",
        "; client_no_context_takeover=\"x\"",
        "; server_no_context_takeover; server_no_context_takeover",
        "; server_max_window_bits",
        "; server_max_window_bits=7",
        "; server_max_window_bits=16",
        "; server_max_window_bits=010",
        "; server_max_window_bits=9x",
        "; server_max_window_bits=\"\\9\"",
        "; server_max_window_bits=100",
        "; server_max_window_bits=10; server_max_window_bits=10",
        "; client_max_window_bits=0",
        "; client_max_window_bits=16",
        "; client_max_window_bits=-8",
        "; client_max_window_bits; client_max_window_bits=9",
    };
    for (size_t i = 0; i < sizeof illegal / sizeof *illegal; i++) {
        char offer[300];
        sprintf(offer, D "%s", illegal[i]);
        expect_answer(offer, &most, NONE);
        sprintf(offer, D "%s, " D "; server_max_window_bits=9", illegal[i]);
        expect_answer(offer, &most, D "; server_max_window_bits=9");
    }
}

static void test_the_first_offer_that_can_be_taken_is(void **state)
{
    (void)state;
    expect_answer("x-webkit-deflate-frame, " D "; client_max_window_bits=9, " D, &most,
                  D "; client_max_window_bits=9");
    expect_answer(", ,bbf-usp-protocol ; x=\"a b\" , " D, &most, MALFORMED);
    expect_answer(", ,foo ; x=\"ab\" ,," D " ,", &most, D);
    expect_answer("foo; bar=\"b\\az\"; baz," D, &most, D);
    expect_answer("", &most, NONE);
    expect_answer("foo", &most, NONE);
    expect_answer("PerMessage-Deflate", &most, D);
}

static void test_what_is_no_list_of_extensions(void **state)
{
    (void)state;
    static const char *const bad[] = {
        ";",    D ";",     D ";;", D "; =9", D "; a=",     D "; a=\"", D "; a=\"x", D "; a=\"\"",
        D " x", D "; a b", "@",    D ", @",  D "; a=\"\\", D "; a=@",  D "\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_answer(bad[i], &most, MALFORMED);
}

static fws_negotiation confirm(const char *answer, const fws_deflate_parameters *wanted)
{
    fws_deflate_parameters agreed;
    return fws_negotiation_confirm(answer, strlen(answer), wanted, &agreed);
}

static void test_what_a_client_offers(void **state)
{
    (void)state;
    char offer[FWS_NEGOTIATION_TEXT_MAX];
    fws_negotiation_offer(&most, offer);
    assert_string_equal(offer, D "; client_max_window_bits");
    fws_negotiation_offer(&ours, offer);
    assert_string_equal(offer, D "; server_no_context_takeover; client_no_context_takeover; "
                                 "client_max_window_bits");
    fws_negotiation_offer(&narrow, offer);
    assert_string_equal(offer, D "; server_max_window_bits=10; client_max_window_bits=11");
}

static void test_what_a_client_must_not_accept(void **state)
{
    (void)state;
    assert_int_equal(confirm("", &most), FWS_NEGOTIATION_NONE);
    assert_int_equal(confirm(D, &most), FWS_NEGOTIATION_AGREED);
    static const char *const bad[] = {"foo",
                                      D ", " D,
                                      D "; unknown",
                                      D "; client_max_window_bits",
                                      D "; server_max_window_bits",
                                      D "; server_max_window_bits=7",
                                      D ";"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(confirm(bad[i], &most), FWS_NEGOTIATION_MALFORMED);
    /* Offered, and not kept to: */
    assert_int_equal(confirm(D, &ours), FWS_NEGOTIATION_MALFORMED);
    assert_int_equal(confirm(D "; server_no_context_takeover", &ours), FWS_NEGOTIATION_AGREED);
    assert_int_equal(confirm(D, &narrow), FWS_NEGOTIATION_MALFORMED);
    assert_int_equal(confirm(D "; server_max_window_bits=11", &narrow), FWS_NEGOTIATION_MALFORMED);
    assert_int_equal(confirm(D "; server_max_window_bits=10", &narrow), FWS_NEGOTIATION_AGREED);
    assert_int_equal(confirm(D "; server_max_window_bits=10; client_max_window_bits=12", &narrow),
                     FWS_NEGOTIATION_MALFORMED);
}

static void test_what_a_client_has_agreed_on(void **state)
{
    (void)state;
    fws_deflate_parameters agreed;
    const char *answer = D "; server_no_context_takeover; server_max_window_bits=9";
    fws_negotiation_confirm(answer, strlen(answer), &narrow, &agreed);
    assert_true(agreed.server_no_context_takeover && !agreed.client_no_context_takeover);
    assert_int_equal(agreed.server_max_window_bits, 9);
    assert_int_equal(agreed.client_max_window_bits, 11); /* its own limit holds without an answer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_parameter_of_an_offer),
        cmocka_unit_test(test_what_the_server_wants_is_put_into_the_answer),
        cmocka_unit_test(test_all_legal_combinations),
        cmocka_unit_test(test_an_offer_with_an_illegal_parameter_is_passed_over),
        cmocka_unit_test(test_the_first_offer_that_can_be_taken_is),
        cmocka_unit_test(test_what_is_no_list_of_extensions),
        cmocka_unit_test(test_what_a_client_offers),
        cmocka_unit_test(test_what_a_client_must_not_accept),
        cmocka_unit_test(test_what_a_client_has_agreed_on),
    };
    return cmocka_run_group_tests_name("negotiation", tests, NULL, NULL);
}
