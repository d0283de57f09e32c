/* The claim is read back and its signature checked with the public key, as Google does. The keys
 * are made here, so that none lies in the source. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "google.h"
#include "json.h"

#define NOW  INT64_C(1737460800)
#define MAIL "robot@p.iam.gserviceaccount.com"

static const struct setting rows[] = {
    {.name = "service_account_json",
     .place = IN_SECRET,
     .type = SETTING_STR,
     .tasks = TASK_BIT(TASK_RERANK),
     .flags = SETTING_REQUIRED},
};
static const struct settings_table table = {.service = "googlevertexai", .rows = rows, .n = 1};

static EVP_PKEY *rsa;
static struct arena *arena;
static struct endpoint *ep;
static struct http_out out;

static int make_key(void **state)
{
    rsa = EVP_RSA_gen(2048);
    return rsa ? 0 : -1;
}

static int drop_key(void **state)
{
    EVP_PKEY_free(rsa);
    return 0;
}

static int setup(void **state)
{
    arena = arena_new(ARENA_NO_LIMIT);
    ep = NULL;
    return 0;
}

static int teardown(void **state)
{
    endpoint_unref(ep);
    arena_free(arena);
    return 0;
}

static struct str text_of(BIO *bio)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    struct str text = arena_dup(arena, str_n(p, (size_t)n));
    BIO_free(bio);
    return text;
}

static struct str pem_of(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    return text_of(bio);
}

static struct str quoted(struct str s)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    json_quote(&b, s);
    struct str text = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

/* What every good file has; `more` begins with a comma. */
static struct str file_with(struct str pem, const char *more)
{
    return arena_printf(arena,
                        "{\"type\":\"service_account\",\"client_email\":\"" MAIL "\","
                        "\"private_key\":%.*s%s}",
                        STR_ARG(quoted(pem)), more);
}

static struct err *ask(struct str file)
{
    const struct json *body;
    struct str text = arena_printf(arena, "{\"service_settings\":{\"service_account_json\":%.*s}}",
                                   STR_ARG(quoted(file)));
    assert_null(json_parse(arena, text, &body));
    endpoint_unref(ep);
    ep = NULL;
    assert_null(endpoint_parse(&table, 0, STR("my-ep"), TASK_RERANK, body, &ep));
    out = (struct http_out){.arena = arena};
    ERR_clear_error();
    struct err *e = google_auth.ask(ep, NOW, &out);
    assert_int_equal(ERR_peek_error(), 0); /* nothing is left for TLS to stumble over */
    return e;
}

static void expect_error(struct err *e, enum err_kind kind, const char *reason)
{
    assert_non_null(e);
    assert_string_equal(e->reason, reason);
    assert_int_equal(e->status, 403);
    assert_int_equal(e->kind, kind);
    err_free(e);
}

/* --- the claim --- */

static struct str base64url_decode(struct str s)
{
    char *copy = arena_alloc(arena, s.n + 4);
    unsigned char *bytes = arena_alloc(arena, s.n + 4);
    size_t n = 0;
    for (; n < s.n; n++) {
        assert_null(memchr("+/=", s.p[n], 3));
        copy[n] = s.p[n] == '-' ? '+' : s.p[n] == '_' ? '/' : s.p[n];
    }
    size_t padding = (4 - n % 4) % 4;
    memcpy(copy + n, "===", padding);
    int got = EVP_DecodeBlock(bytes, (unsigned char *)copy, (int)(n + padding));
    assert_true(got >= 0);
    return str_n((char *)bytes, (size_t)got - padding);
}

static bool signed_by(EVP_PKEY *key, struct str text, struct str signature)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(md, (const unsigned char *)signature.p, signature.n,
                               (const unsigned char *)text.p, text.n) == 1;
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return ok;
}

static void expect_text(struct str got, const char *want)
{
    if (!str_eq_c(got, want))
        fail_msg("got %.*s, not %s", STR_ARG(got), want);
}

static void expect_claim(const char *header, const char *claims)
{
    static const char start[] =
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    assert_true(str_starts(out.body, str_c(start)));
    struct str jwt = str_sub(out.body, sizeof start - 1, out.body.n), rest = jwt, part[3];
    for (size_t i = 0; i < 3; i++)
        assert_true(str_split(&rest, '.', &part[i]));
    assert_null(rest.p);
    expect_text(base64url_decode(part[0]), header);
    expect_text(base64url_decode(part[1]), claims);
    struct str text = str_sub(jwt, 0, part[0].n + 1 + part[1].n);
    struct str signature = base64url_decode(part[2]);
    assert_int_equal(signature.n, 256);
    assert_true(signed_by(rsa, text, signature));
    assert_false(signed_by(rsa, str_sub(text, 0, text.n - 1), signature)); /* it can tell */
}

static void asks_with_a_signed_claim(void **state)
{
    assert_null(ask(file_with(pem_of(rsa), ",\"private_key_id\":\"k1\",\"project_id\":\"p\"")));
    assert_int_equal(out.method, HTTP_POST);
    expect_text(out.url, "https://oauth2.googleapis.com/token");
    assert_int_equal(out.headers.n, 1);
    expect_text(out.headers.h[0].name, "Content-Type");
    expect_text(out.headers.h[0].value, "application/x-www-form-urlencoded");
    expect_claim("{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"k1\"}",
                 "{\"iss\":\"" MAIL
                 "\",\"scope\":\"https://www.googleapis.com/auth/cloud-platform\","
                 "\"aud\":\"https://oauth2.googleapis.com/token\",\"iat\":1737460800,"
                 "\"exp\":1737464400}");
}

static void asks_where_the_file_says(void **state)
{
    assert_null(ask(file_with(pem_of(rsa), ",\"token_uri\":\"http://127.0.0.1:9/t\"")));
    expect_text(out.url, "http://127.0.0.1:9/t");
    expect_claim("{\"alg\":\"RS256\",\"typ\":\"JWT\"}",
                 "{\"iss\":\"" MAIL
                 "\",\"scope\":\"https://www.googleapis.com/auth/cloud-platform\","
                 "\"aud\":\"http://127.0.0.1:9/t\",\"iat\":1737460800,\"exp\":1737464400}");
}

/* The secret is shared by all calls: reading the key must not wipe it. */
static void asks_again(void **state)
{
    struct str file = file_with(pem_of(rsa), "");
    assert_null(ask(file));
    out = (struct http_out){.arena = arena};
    assert_null(google_auth.ask(ep, NOW, &out));
    assert_true(str_eq(secret_reveal(ep->values.v[0].secret), file));
    expect_error(
        ask(STR("{\"client_email\":\"a\",\"private_key\":\"unescaped\"}")), ERR_STATUS,
        "[service_account_json] is not a service account key file: [private_key] cannot be "
        "read as an unencrypted PEM key");
    assert_non_null(memmem(secret_reveal(ep->values.v[0].secret).p,
                           secret_reveal(ep->values.v[0].secret).n, "unescaped", 9));
}

static void key_is_the_whole_file(void **state)
{
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    assert_null(ask(file_with(pem_of(rsa), "")));
    google_auth.key(ep, &a);
    assert_null(ask(file_with(pem_of(rsa), ",\"private_key_id\":\"other\"")));
    google_auth.key(ep, &b);
    assert_false(str_eq(buf_str(&a), buf_str(&b)));
    buf_deinit(&a);
    buf_deinit(&b);
}

/* --- files that are none --- */

static void expect_bad_file(struct str file, const char *why)
{
    struct str reason =
        arena_printf(arena, "[service_account_json] is not a service account key file: %s", why);
    expect_error(ask(file), ERR_STATUS, reason.p);
}

static void bad_files(void **state)
{
    static const struct {
        const char *file, *why;
    } cases[] = {
        {"hello", "it is not JSON"},
        {"{\"private_key\":\"s3cret\",}", "it is not JSON"},
        {"[]", "it is not an object"},
        {"null", "it is not an object"},
        {"{\"type\":\"authorized_user\"}", "its [type] is not [service_account]"},
        {"{}", "[client_email] is missing or malformed"},
        {"{\"client_email\":7}", "[client_email] is missing or malformed"},
        {"{\"client_email\":\"\"}", "[client_email] is missing or malformed"},
        {"{\"client_email\":\"a b\"}", "[client_email] is missing or malformed"},
        {"{\"client_email\":\"a\",\"private_key_id\":1}", "[private_key_id] is malformed"},
        {"{\"client_email\":\"a\",\"token_uri\":\"\"}", "[token_uri] is not a web address"},
        {"{\"client_email\":\"a\",\"token_uri\":[]}", "[token_uri] is not a web address"},
        {"{\"client_email\":\"a\",\"token_uri\":\"file:///etc/passwd\"}",
         "[token_uri] is not a web address"},
        {"{\"client_email\":\"a\",\"token_uri\":\"http://a\\r\\nb\"}",
         "[token_uri] is not a web address"},
        {"{\"client_email\":\"a\"}", "[private_key] is missing"},
        {"{\"client_email\":\"a\",\"private_key\":{}}", "[private_key] is missing"},
        {"{\"client_email\":\"a\",\"private_key\":\"\"}", "[private_key] is missing"},
        {"{\"client_email\":\"a\",\"private_key\":\"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END "
         "PRIVATE KEY-----\\n\"}",
         "[private_key] cannot be read as an unencrypted PEM key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_bad_file(str_c(cases[i].file), cases[i].why);
}

static struct str filled(size_t n)
{
    char *p = arena_alloc(arena, n);
    memset(p, 'x', n);
    return str_n(p, n);
}

static void endless_files(void **state)
{
    expect_bad_file(filled(70000), "it is too large");
    expect_bad_file(file_with(filled(5000), ""), "[private_key] is too large");
    expect_bad_file(arena_printf(arena, "{\"client_email\":\"%.*s\"}", STR_ARG(filled(3000))),
                    "[client_email] is missing or malformed");
}

static void keys_of_other_kinds(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    expect_bad_file(file_with(pem_of(key), ""),
                    "[private_key] is not an RSA key of 1024 to 4096 bits");
    EVP_PKEY_free(key);
    key = EVP_RSA_gen(512);
    expect_bad_file(file_with(pem_of(key), ""),
                    "[private_key] is not an RSA key of 1024 to 4096 bits");
    EVP_PKEY_free(key);
}

/* It must not ask for the passphrase on the terminal. */
static void encrypted_keys(void **state)
{
    char phrase[] = "p";
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(bio, rsa, EVP_aes_128_cbc(), phrase, 1, NULL, NULL), 1);
    expect_bad_file(file_with(text_of(bio), ""),
                    "[private_key] cannot be read as an unencrypted PEM key");
}

static void public_keys(void **state)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, rsa), 1);
    expect_bad_file(file_with(text_of(bio), ""),
                    "[private_key] cannot be read as an unencrypted PEM key");
}

/* --- the answer --- */

static struct err *take(int status, struct str body, struct token *token)
{
    struct http_in in = {.arena = arena, .status = status, .body = body};
    return google_auth.take(ep, &in, NOW, token);
}

static void takes_and_signs(void **state)
{
    struct token token;
    assert_null(take(200,
                     STR("{\"access_token\":\"ya29.x\",\"expires_in\":3599,\"token_type\":"
                         "\"Bearer\"}"),
                     &token));
    assert_int_equal(token.expires_s, NOW + 3599);
    out = (struct http_out){.arena = arena};
    assert_null(google_auth.sign(ep, &token, NOW, &out));
    secret_unref(token.value);
    assert_int_equal(out.headers.n, 1);
    expect_text(out.headers.h[0].name, "Authorization");
    expect_text(out.headers.h[0].value, "Bearer ya29.x");
}

static void lifetimes_are_not_believed(void **state)
{
    static const struct {
        const char *lifetime;
        int64_t seconds;
    } cases[] = {{"-5", 0},    {"0", 0},    {"\"3600\"", 0},
                 {"1.5", 0},   {"null", 0}, {"9223372036854775807", 86400},
                 {"1e300", 0}, {"1", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct token token;
        assert_null(take(
            200,
            arena_printf(arena, "{\"access_token\":\"t\",\"expires_in\":%s}", cases[i].lifetime),
            &token));
        assert_int_equal(token.expires_s, NOW + cases[i].seconds);
        secret_unref(token.value);
    }
}

static void answers_that_are_none(void **state)
{
    static const struct {
        const char *body, *why;
    } cases[] = {
        {"", "it is not JSON"},
        {"{\"access_token\":\"s3cret", "it is not JSON"},
        {"{}", "it has no [access_token]"},
        {"[]", "it has no [access_token]"},
        {"{\"access_token\":5}", "it has no [access_token]"},
        {"{\"access_token\":\"\"}", "its [access_token] is malformed"},
        {"{\"access_token\":\"a\\r\\nX: y\"}", "its [access_token] is malformed"},
        {"{\"access_token\":\"a b\"}", "its [access_token] is malformed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct token token;
        struct str reason = arena_printf(
            arena, "Error getting access token for service account: the answer cannot be read: %s",
            cases[i].why);
        expect_error(take(200, str_c(cases[i].body), &token), ERR_STATUS, reason.p);
    }
}

static void refusals(void **state)
{
    struct token token;
    expect_error(take(400,
                      STR("{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT "
                          "Signature.\"}"),
                      &token),
                 ERR_STATUS,
                 "Error getting access token for service account: status [400], invalid_grant: "
                 "Invalid JWT Signature.");
    expect_error(take(401, STR("{\"error\":7}"), &token), ERR_STATUS,
                 "Error getting access token for service account: status [401]");
    expect_error(take(302, STR("<a>moved</a>"), &token), ERR_STATUS,
                 "Error getting access token for service account: status [302]");
    expect_error(take(503, STR(""), &token), ERR_IO,
                 "Error getting access token for service account: status [503]");
    struct err *e =
        take(400, arena_printf(arena, "{\"error_description\":\"%.*s\"}", STR_ARG(filled(100000))),
             &token);
    assert_true(strlen(e->reason) < 1200);
    err_free(e);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(asks_with_a_signed_claim),
        TEST(asks_where_the_file_says),
        TEST(asks_again),
        TEST(key_is_the_whole_file),
        TEST(bad_files),
        TEST(endless_files),
        TEST(keys_of_other_kinds),
        TEST(encrypted_keys),
        TEST(public_keys),
        TEST(takes_and_signs),
        TEST(lifetimes_are_not_believed),
        TEST(answers_that_are_none),
        TEST(refusals),
    };
    return cmocka_run_group_tests(tests, make_key, drop_key);
}
