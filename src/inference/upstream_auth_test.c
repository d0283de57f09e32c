/* Calls that need a token first: the exchange, the request signed with it, attempts, cancels; with
 * the schemes of IBM and Google. Several loops: exchange_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include "bug.h"
#include "upstream_rig.h"

#define N(steps) steps, sizeof steps / sizeof steps[0]

#define ANSWER(status, body)                                                                       \
    {                                                                                              \
        .answer = "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n" body                          \
    }
#define TOKEN  ANSWER("200 OK", "{\"access_token\":\"t1\",\"expires_in\":3600}")
#define SHORT  ANSWER("200 OK", "{\"access_token\":\"t0\",\"expires_in\":60}")
#define BROKEN ANSWER("500 Internal Server Error", "{}")
#define GOOD   ANSWER("200 OK", "{\"results\":[{\"embedding\":[1,2]}]}")
#define VERTEX ANSWER("200 OK", "{\"predictions\":[{\"embeddings\":{\"values\":[1,2]}}]}")
#define RESULT "{\"text_embedding\":[{\"embedding\":[1,2]}]}"
#define NO_TOKEN(prefix, status, reason)                                                           \
    prefix " for request to generate Bearer Token from inference entity id [my-ep] status "        \
           "[" #status "]. Error message: [" reason "]"

static int setup(void **state)
{
    rig_new();
    return 0;
}

static int teardown(void **state)
{
    rig_free(rig);
    return 0;
}

static struct endpoint *watsonx(void)
{
    return testing_endpoint("my-ep", "watsonxai", TASK_TEXT_EMBEDDING,
                            "{\"service_settings\":{\"api_key\":\"s3cret\",\"url\":\"h.example\","
                            "\"api_version\":\"v\",\"model_id\":\"m\",\"project_id\":\"p\"}}");
}

static void expect_result(const char *want)
{
    expect_ended(rig, 1, 0);
    if (!str_eq_c(buf_str(&rig->result), want))
        fail_msg("got %.*s, not %s", STR_ARG(buf_str(&rig->result)), want);
}

static void expect_head(size_t i, const char *part)
{
    struct str head = scripted_server_head(rig->server, i);
    if (str_find(head, str_c(part)) == SIZE_MAX)
        fail_msg("%s is not in %.*s", part, STR_ARG(head));
}

/* --- IBM --- */

static void token_then_request(void **state)
{
    static const struct step steps[] = {TOKEN, GOOD};
    rig_run(rig, watsonx(), N(steps));
    expect_result(RESULT);
    assert_int_equal(scripted_server_requests(rig->server), 2);
    assert_int_equal(rig->requests, 1); /* an exchange is none */
    expect_head(0, "POST /identity/token HTTP/1.1\r\n");
    expect_head(1, "POST /ml/v1/text/embeddings?version=v HTTP/1.1\r\n");
    expect_head(1, "Authorization: Bearer t1\r\n");
    assert_true(str_eq_c(scripted_server_body(rig->server, 1),
                         "{\"inputs\":[\"abcdefgh\"],\"model_id\":\"m\",\"project_id\":\"p\"}"));
}

static void kept_for_the_second_attempt(void **state)
{
    static const struct step steps[] = {TOKEN, BROKEN, GOOD};
    rig_run(rig, watsonx(), N(steps));
    expect_result(RESULT);
    assert_int_equal(rig->requests, 2);
    expect_head(2, "Authorization: Bearer t1\r\n");
}

static void renewed_for_the_second_attempt(void **state)
{
    static const struct step steps[] = {SHORT, BROKEN, TOKEN, GOOD};
    rig_run(rig, watsonx(), N(steps));
    expect_result(RESULT);
    expect_head(1, "Authorization: Bearer t0\r\n");
    expect_head(3, "Authorization: Bearer t1\r\n");
}

#define DENIED ANSWER("401 Unauthorized", "{\"errors\":[{\"message\":\"gone\"}]}")
#define SECOND ANSWER("200 OK", "{\"access_token\":\"t2\",\"expires_in\":3600}")

static void refused_token_is_exchanged_anew(void **state)
{
    static const struct step steps[] = {TOKEN, DENIED, SECOND, GOOD};
    rig_run(rig, watsonx(), N(steps));
    expect_result(RESULT);
    assert_int_equal(rig->requests, 2);
    expect_head(1, "Authorization: Bearer t1\r\n");
    expect_head(3, "Authorization: Bearer t2\r\n");
}

static void second_refusal_is_the_answer(void **state)
{
    static const struct step steps[] = {TOKEN, DENIED, SECOND, DENIED, TOKEN, GOOD};
    rig_run(rig, watsonx(), N(steps));
    expect_failure(rig, 401,
                   "Received an authentication error status code for request from inference "
                   "entity id [my-ep] status [401]. Error message: [gone]");
    assert_int_equal(scripted_server_requests(rig->server), 4);
}

static void retries_go_on_after_a_renewal(void **state)
{
    static const struct step steps[] = {TOKEN, DENIED, SECOND, BROKEN, GOOD};
    rig_run(rig, watsonx(), N(steps));
    expect_result(RESULT);
    expect_head(4, "Authorization: Bearer t2\r\n");
}

static void renewal_that_fails(void **state)
{
    static const struct step steps[] = {TOKEN, DENIED, ANSWER("400 Bad Request", "{}")};
    rig_run(rig, watsonx(), N(steps));
    expect_failure(rig, 400, NO_TOKEN("Received a bad request status code", 400, "Bad Request"));
}

static void exchange_is_retried(void **state)
{
    static const struct step steps[] = {BROKEN, {.reset = true}, TOKEN, GOOD};
    rig_run(rig, watsonx(), N(steps));
    expect_result(RESULT);
    assert_int_equal(rig->retries, 2);
    assert_int_equal(rig->requests, 1);
}

static void exchange_fails_three_times(void **state)
{
    static const struct step steps[] = {BROKEN, BROKEN, BROKEN, TOKEN};
    rig_run(rig, watsonx(), N(steps));
    expect_failure(rig, 400,
                   NO_TOKEN("Received a server error status code", 500, "Internal Server Error"));
    assert_int_equal(scripted_server_requests(rig->server), 3);
    assert_int_equal(rig->requests, 0);
}

static void exchange_is_refused(void **state)
{
    static const struct step steps[] = {
        ANSWER("401 Unauthorized", "{\"errorMessage\":\"s3cret is no key\"}"), TOKEN};
    rig_run(rig, watsonx(), N(steps));
    expect_failure(rig, 401,
                   NO_TOKEN("Received an authentication error status code", 401, "Unauthorized"));
    assert_int_equal(scripted_server_requests(rig->server), 1);
}

static void nobody_gives_tokens(void **state)
{
    rig_run(rig, watsonx(), NULL, 0);
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 500);
    assert_non_null(
        strstr(rig->failed->reason, "Failed to send IBM Watsonx embeddings request. Cause: "));
    assert_null(strstr(rig->failed->reason, "s3cret"));
    assert_int_equal(rig->retries, 2);
}

static void endless_answer(void **state)
{
    static const struct step endless = {
        .answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"access_token\":\"",
        .again = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        .times = 20000};
    const struct step steps[] = {endless, endless, endless};
    rig_run(rig, watsonx(), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->requests, 0);
}

/* --- time and cancels --- */

static void no_token_before_the_deadline(void **state)
{
    static const struct step steps[] = {{.hang = true}};
    rig->deadline_ms = 20;
    rig_run(rig, watsonx(), N(steps));
    expect_ended(rig, 0, 1); /* the exchange is still under way: it is nobody's but its own */
    assert_int_equal(rig->failed->status, 408);
    assert_string_equal(rig->failed->reason, "Request timed out after [1s]");
}

static void cancel_now(struct loop_msg *msg)
{
    inference_cancel(&rig->call);
}

static void cancelled_while_asking(void **state)
{
    static const struct step steps[] = {{.hang = true}};
    rig->on_request = cancel_now;
    rig_run(rig, watsonx(), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->kind, ERR_CANCELLED);
    assert_int_equal(rig->requests, 0);
}

/* --- Google --- */

/* A key file whose token_uri is somewhere else: the operator's base_url is what counts. */
static struct endpoint *vertex(const char *more)
{
    char *pem;
    struct buf file, body;
    struct json_out w;
    BIO *bio = BIO_new(BIO_s_mem());
    EVP_PKEY *key = EVP_RSA_gen(2048);
    BUG_ON(!key || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1);
    long n = BIO_get_mem_data(bio, &pem);
    buf_init(&file, 1 << 16);
    buf_init(&body, 1 << 16);
    json_out_init(&w, &file);
    json_obj(&w);
    json_key_cstr(&w, "client_email", "robot@p");
    json_key_cstr(&w, "token_uri", "https://tokens.example/t");
    json_key_str(&w, "private_key", str_n(pem, (size_t)n));
    json_end(&w);
    json_out_init(&w, &body);
    json_obj(&w);
    json_key(&w, "service_settings");
    json_obj(&w);
    json_key_str(&w, "service_account_json", buf_str(&file));
    json_key_cstr(&w, "project_id", "p");
    json_key_cstr(&w, "model_id", "m");
    buf_cstr(&body, more);
    json_end(&w);
    json_end(&w);
    buf_char(&body, '\0');
    struct endpoint *ep = testing_endpoint("my-ep", "googlevertexai", TASK_TEXT_EMBEDDING, body.p);
    buf_deinit(&body);
    buf_deinit(&file);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return ep;
}

static void google_token_then_request(void **state)
{
    static const struct step steps[] = {TOKEN, VERTEX};
    rig_run(rig, vertex(""), N(steps));
    expect_result(RESULT);
    expect_head(0, "POST /t HTTP/1.1\r\n");
    assert_true(str_starts(scripted_server_body(rig->server, 0),
                           STR("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"
                               "assertion=ey")));
    expect_head(1, "POST /v1/projects/p/locations/global/publishers/google/models/m:predict ");
    expect_head(1, "Authorization: Bearer t1\r\n");
}

/* max_batch_size: each input in a request of its own, all with the one token. */
static void google_in_parts(void **state)
{
    static const struct step steps[] = {TOKEN, VERTEX, VERTEX};
    rig->texts[1] = STR("x");
    rig_run(rig, vertex(",\"max_batch_size\":1"), N(steps));
    expect_result("{\"text_embedding\":[{\"embedding\":[1,2]},{\"embedding\":[1,2]}]}");
    assert_int_equal(rig->requests, 2);
    assert_int_equal(scripted_server_requests(rig->server), 3);
}

static void google_refuses(void **state)
{
    static const struct step steps[] = {
        ANSWER("400 Bad Request",
               "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}"),
        TOKEN};
    rig_run(rig, vertex(""), N(steps));
    expect_failure(rig, 403,
                   "Error getting access token for service account: status [400], invalid_grant: "
                   "Invalid JWT Signature.");
    assert_int_equal(scripted_server_requests(rig->server), 1);
}

static void google_is_down(void **state)
{
    static const struct step steps[] = {BROKEN, BROKEN, BROKEN, TOKEN};
    rig_run(rig, vertex(""), N(steps));
    expect_failure(rig, 403, "Error getting access token for service account: status [500]");
    assert_int_equal(scripted_server_requests(rig->server), 3);
}

static void no_key_file(void **state)
{
    struct endpoint *ep = testing_endpoint(
        "my-ep", "googlevertexai", TASK_RERANK,
        "{\"service_settings\":{\"service_account_json\":\"s3cret\",\"project_id\":\"p\"}}");
    rig_run(rig, ep, NULL, 0);
    expect_failure(rig, 403,
                   "[service_account_json] is not a service account key file: it is not JSON");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(token_then_request),
        TEST(kept_for_the_second_attempt),
        TEST(renewed_for_the_second_attempt),
        TEST(refused_token_is_exchanged_anew),
        TEST(second_refusal_is_the_answer),
        TEST(retries_go_on_after_a_renewal),
        TEST(renewal_that_fails),
        TEST(exchange_is_retried),
        TEST(exchange_fails_three_times),
        TEST(exchange_is_refused),
        TEST(nobody_gives_tokens),
        TEST(endless_answer),
        TEST(no_token_before_the_deadline),
        TEST(cancelled_while_asking),
        TEST(google_token_then_request),
        TEST(google_in_parts),
        TEST(google_refuses),
        TEST(google_is_down),
        TEST(no_key_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
