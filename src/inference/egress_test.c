#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "egress.h"
#include "provider.h"

/* A certificate and its key, fresh. */
struct pair {
    struct str certificate, key;
};

static struct str pem_of(struct arena *arena, X509 *x, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p;
    if (x)
        assert_int_equal(PEM_write_bio_X509(bio, x), 1);
    else
        assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    long n = BIO_get_mem_data(bio, &p);
    struct str pem = arena_dup(arena, str_n(p, (size_t)n));
    BIO_free(bio);
    return pem;
}

static struct pair pair_new(struct arena *arena)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    struct pair p = {pem_of(arena, x, NULL), pem_of(arena, NULL, key)};
    X509_free(x);
    EVP_PKEY_free(key);
    return p;
}

static const struct endpoint *endpoint_of(struct arena *arena, const char *service, struct str json,
                                          struct str key)
{
    const struct provider *provider = provider_find(str_c(service));
    const struct settings_table *table = provider_settings(provider);
    struct endpoint *ep = arena_alloc(arena, sizeof *ep);
    ep->arena = arena;
    ep->provider = provider;
    ep->values = (struct values){table, arena_array(arena, table->n, sizeof *ep->values.v)};
    struct value *v = &ep->values.v[settings_find(table, "egress")];
    assert_null(json_parse(arena, json, &v->json));
    v->set = true;
    if (key.n) {
        v = &ep->values.v[settings_find(table, "egress_client_key")];
        *v = (struct value){.set = true, .secret = secret_new(key)};
    }
    return ep;
}

static void drop_key(const struct endpoint *ep)
{
    const struct value *v = settings_get(&ep->values, "egress_client_key");
    if (v->set)
        secret_unref((struct secret *)(uintptr_t)v->secret);
}

/* text NULL: it is fine. */
static void check(struct str json, struct str key, const char *text)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct err_list list = {0};
    const struct endpoint *ep = endpoint_of(arena, "openai", json, key);
    const struct egress *eg = egress_read(&list, ep);
    struct err *e = err_list_end(&list, ERR_VALIDATION);
    assert_int_equal(eg != NULL, e == NULL);
    if (text && !e)
        fail_msg("%.*s is taken", STR_ARG(json));
    if (text && !strstr(e->reason, text))
        fail_msg("%s", e->reason);
    if (!text && e)
        fail_msg("%s", e->reason);
    err_free(e);
    drop_key(ep);
    arena_free(arena);
}

static void proxies(void **state)
{
    static const char *const good[] = {"http://proxy:3128", "HTTP://10.0.0.1:1/",
                                       "http://[::1]:65535", "http://a-b.c_d:80"};
    static const char *const bad[] = {"proxy:3128",          "https://proxy:1", "http://proxy",
                                      "http://u:p@proxy:1",  "http://:1",       "http://proxy:0",
                                      "http://proxy:65536",  "http://proxy:1x", "http://pro xy:1",
                                      "http://proxy:1/path", "http://proxy:",   "socks5://proxy:1"};
    char json[128];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(json, sizeof json, "{\"proxy\":\"%s\"}", good[i]);
        check(str_c(json), (struct str){0}, NULL);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(json, sizeof json, "{\"proxy\":\"%s\"}", bad[i]);
        check(str_c(json), (struct str){0}, "[proxy] must be of the form [http://host:port]");
    }
    check(STR("{\"proxy\":5}"), (struct str){0}, "[proxy] must be a text");
}

static void headers(void **state)
{
    struct str none = {0};
    check(STR("{\"headers\":{\"X-Org\":\"a\",\"x-b\":\"\"}}"), none, NULL);
    check(STR("{\"headers\":{\"Content-Length\":\"5\"}}"), none, "must not be set");
    check(STR("{\"headers\":{\"host\":\"h\"}}"), none, "must not be set");
    check(STR("{\"headers\":{\"a b\":\"h\"}}"), none, "must not be set");
    check(STR("{\"headers\":{\"a\":\"x\\r\\ny: z\"}}"), none, "must be one line");
    check(STR("{\"headers\":{\"a\":5}}"), none, "must be one line");
    check(STR("{\"headers\":[]}"), none, "must be an object");
}

static struct str json_with(struct arena *arena, const char *member, struct str text)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "{\"%s\":", member);
    json_quote(&b, text);
    buf_char(&b, '}');
    struct str json = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return json;
}

static void certificates(void **state)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct pair a = pair_new(arena), b = pair_new(arena);
    struct str none = {0};
    struct str both =
        arena_printf(arena, "comment\n%.*s%.*s", STR_ARG(a.certificate), STR_ARG(b.certificate));
    struct str cut = str_sub(both, 0, both.n - 60);
    check(json_with(arena, "ca", a.certificate), none, NULL);
    check(json_with(arena, "ca", both), none, NULL);
    check(json_with(arena, "ca", cut), none, "[ca] must be certificates in PEM");
    check(json_with(arena, "ca", a.key), none, "[ca] must be certificates in PEM");
    check(json_with(arena, "ca", STR("hello")), none, "[ca] must be certificates in PEM");
    struct str json = json_with(arena, "client_certificate", a.certificate);
    check(json, a.key, NULL);
    check(json, none, "needs the setting [egress_client_key]");
    check(json, b.key, "It is not the key of [client_certificate]");
    check(json, a.certificate, "must be a private key in PEM");
    check(json_with(arena, "client_certificate", a.key), a.key, "[client_certificate] must be");
    arena_free(arena);
}

static void other_members(void **state)
{
    check(STR("{\"proxi\":\"x\"}"), (struct str){0}, "does not allow the setting [proxi]");
    check(STR("{\"client_key\":\"x\"}"), (struct str){0}, "belongs into [egress_client_key]");
}

static void what_is_read(void **state)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct err_list list = {0};
    struct str none = {0};
    const struct endpoint *ep = endpoint_of(
        arena, "cohere", STR("{\"proxy\":\"http://p:1/\",\"headers\":{\"X-A\":\"b\"}}"), none);
    const struct egress *eg = egress_read(&list, ep);
    assert_non_null(eg);
    assert_string_equal(eg->client.proxy, "http://p:1");
    struct str value;
    assert_true(http_header_get(&eg->headers, STR("x-a"), &value));
    assert_true(str_eq_c(value, "b"));
    assert_null(egress_read(&list, endpoint_of(arena, "cohere", STR("{}"), none)));
    assert_null(err_list_end(&list, ERR_VALIDATION));
    assert_null(
        egress_read(&list, endpoint_of(arena, "elasticsearch", STR("{\"ca\":\"\"}"), none)));
    struct err *e = err_list_end(&list, ERR_VALIDATION);
    assert_non_null(strstr(e->reason, "send nothing"));
    err_free(e);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proxies),      cmocka_unit_test(headers),
        cmocka_unit_test(certificates), cmocka_unit_test(other_members),
        cmocka_unit_test(what_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
