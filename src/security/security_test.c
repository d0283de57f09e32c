#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "privilege.h"
#include "role.h"
#include "security.h"

struct fixture {
    struct store *store;
    struct pool *pool;
    struct loop *loop;
    struct security *sec;
    char *printed;
    const struct user *last; /* a reference */
};

static void assert_ok(struct err *e)
{
    if (e)
        fail_msg("unexpected error: %s", e->reason);
}

static void open_security(struct fixture *f, bool enabled, const char *password)
{
    f->pool = pool_new(2);
    f->loop = loop_new(0);
    assert_ok(security_open(f->store, f->pool, enabled, password, &f->printed, &f->sec));
}

static void close_security(struct fixture *f)
{
    user_unref(f->last);
    f->last = NULL;
    pool_free(f->pool);
    security_close(f->sec);
    loop_free(f->loop);
    f->sec = NULL;
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_ok(store_open("memory", NULL, &f->store));
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    if (f->sec)
        close_security(f);
    store_close(f->store);
    free(f->printed);
    free(f);
    return 0;
}

/* --- one call --- */

struct answer {
    const struct user *user;
    struct err *err;
    bool came;
    struct loop *loop;
};

static void take_answer(void *ctx, const struct user *user, struct err *e)
{
    struct answer *a = ctx;
    assert_false(a->came);
    a->user = user;
    a->err = e;
    a->came = true;
    loop_stop(a->loop);
}

static struct answer call(struct fixture *f, const char *authorization)
{
    struct answer a = {.loop = f->loop};
    security_authenticate(f->sec, f->loop, str_c(authorization), STR("/_inference?pretty"),
                          take_answer, &a);
    loop_run(f->loop);
    assert_true(a.came);
    assert_true(!a.user != !a.err);
    user_unref(f->last);
    f->last = a.user;
    return a;
}

static struct answer call_basic(struct fixture *f, const char *name, const char *password)
{
    char plain[128], header[256] = "Basic ";
    snprintf(plain, sizeof plain, "%s:%s", name, password);
    sodium_bin2base64(header + 6, sizeof header - 6, (unsigned char *)plain, strlen(plain),
                      sodium_base64_VARIANT_ORIGINAL);
    return call(f, header);
}

static void assert_refused(struct answer a, int status, const char *reason)
{
    assert_null(a.user);
    assert_non_null(a.err);
    assert_int_equal(a.err->status, status);
    assert_string_equal(a.err->reason, reason);
    assert_string_equal(err_type(a.err), "security_exception");
    assert_int_equal(a.err->challenge, status == 401);
    err_free(a.err);
}

static uint64_t bits_of(const char *role)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct role **all;
    size_t n;
    uint64_t bits = 0;
    assert_ok(roles_built_in(a, &all, &n));
    for (size_t i = 0; i < n; i++)
        if (str_eq_c(all[i]->name, role))
            bits = all[i]->bits;
    arena_free(a);
    return bits;
}

/* --- stories --- */

static void the_first_password_counts_from_then_on(void **state)
{
    struct fixture *f = *state;
    open_security(f, true, "changeme");
    assert_null(f->printed);
    assert_true(security_enabled(f->sec));
    struct answer a = call_basic(f, "elastic", "changeme");
    assert_non_null(a.user);
    assert_string_equal(a.user->name, "elastic");
    assert_string_equal(a.user->roles[0], "superuser");
    assert_null(a.user->roles[1]);
    close_security(f);
    open_security(f, true, "another");
    assert_null(f->printed);
    assert_non_null(call_basic(f, "elastic", "changeme").user);
    assert_refused(call_basic(f, "elastic", "another"), 401,
                   "unable to authenticate user [elastic] for REST request [/_inference?pretty]");
}

static void only_a_hash_is_stored(void **state)
{
    struct fixture *f = *state;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct doc d;
    open_security(f, true, "changeme");
    assert_ok(store_get(f->store, STORE_USER, STR("elastic"), a, &d));
    assert_int_equal(str_find(d.body, STR("changeme")), SIZE_MAX);
    assert_true(str_find(d.body, STR("\"$argon2id$v=19$m=65536,t=2,p=1$")) != SIZE_MAX);
    arena_free(a);
}

static void a_random_password_is_told_once(void **state)
{
    struct fixture *f = *state;
    open_security(f, true, "");
    assert_non_null(f->printed);
    assert_int_equal(strlen(f->printed), 20);
    assert_int_equal(strspn(f->printed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                        "0123456789*_=-+"),
                     20);
    assert_non_null(call_basic(f, "elastic", f->printed).user);
    close_security(f);
    free(f->printed);
    open_security(f, true, NULL);
    assert_null(f->printed);
}

static void refusals_have_elasticsearchs_words(void **state)
{
    struct fixture *f = *state;
    static const char missing[] =
        "missing authentication credentials for REST request [/_inference?pretty]";
    static const char given[] = "unable to authenticate with provided credentials and anonymous "
                                "access is not allowed for this request";
    open_security(f, true, "changeme");
    assert_refused(call(f, NULL), 401, missing);
    assert_refused(call(f, "Digest abc"), 401, missing);
    assert_refused(call_basic(f, "elastic", "wrong"), 401,
                   "unable to authenticate user [elastic] for REST request [/_inference?pretty]");
    assert_refused(call_basic(f, "nobody", "changeme"), 401,
                   "unable to authenticate user [nobody] for REST request [/_inference?pretty]");
    assert_refused(call(f, "ApiKey aWQ6a2V5"), 401, given);
    assert_refused(call(f, "Bearer abc"), 401, given);
    assert_refused(call(f, "ApiKey onlythesecret_"), 401,
                   "error attempting to authenticate request");
    assert_refused(call(f, "Basic ZWxhc3RpYw=="), 401, "invalid basic authentication header value");
    assert_refused(call(f, "Basic ?"), 401, "invalid basic authentication header encoding");
    assert_int_equal(security_n_challenges, 3);
    assert_true(str_eq_c(security_challenges[0], "Basic realm=\"security\", charset=\"UTF-8\""));
}

static void without_security_everyone_may(void **state)
{
    struct fixture *f = *state;
    struct docs d;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    open_security(f, false, NULL);
    assert_false(security_enabled(f->sec));
    assert_null(f->printed);
    struct answer got = call(f, "Basic ?");
    assert_string_equal(got.user->name, "_anonymous");
    assert_null(security_authorize(got.user, PRIV_ALL, "cluster:anything"));
    assert_ok(store_list(f->store, STORE_USER, a, &d));
    assert_int_equal(d.n, 0); /* a password is made when security is first turned on */
    arena_free(a);
}

static void authorizing_says_what_would_grant_it(void **state)
{
    static const char *const roles[] = {"inference_user", "own_role", NULL};
    static const char *const none[] = {NULL};
    struct user u = {"u", roles, bits_of("inference_user")};
    assert_null(security_authorize(&u, PRIV_MONITOR_INFERENCE, "cluster:monitor/xpack/inference"));
    assert_null(
        security_authorize(&u, PRIV_NONE, "cluster:admin/xpack/security/user/authenticate"));
    struct err *e =
        security_authorize(&u, PRIV_MANAGE_INFERENCE, "cluster:admin/xpack/inference/put");
    assert_int_equal(e->status, 403);
    assert_false(e->challenge);
    assert_string_equal(e->reason,
                        "action [cluster:admin/xpack/inference/put] is unauthorized for user [u] "
                        "with effective roles [inference_user,own_role], this action is granted by "
                        "the cluster privileges [manage_inference,manage,all]");
    err_free(e);
    struct user nobody = {"n", none, 0};
    e = security_authorize(&nobody, PRIV_MONITOR, "cluster:monitor/main");
    assert_string_equal(e->reason,
                        "action [cluster:monitor/main] is unauthorized for user [n] with effective "
                        "roles [], this action is granted by the cluster privileges "
                        "[monitor,manage,all]");
    err_free(e);
}

static bool implies(const char *role, enum privilege p)
{
    return bits_of(role) >> p & 1;
}

static void privileges_imply_what_they_should(void **state)
{
    for (int p = PRIV_NONE + 1; p < N_PRIVILEGES; p++)
        assert_true(implies("superuser", p));
    assert_true(implies("inference_admin", PRIV_MONITOR_INFERENCE));
    assert_true(implies("inference_admin", PRIV_DEPLOY));
    assert_false(implies("inference_admin", PRIV_MONITOR_ML));
    assert_false(implies("inference_user", PRIV_DEPLOY));
    assert_true(implies("machine_learning_admin", PRIV_MONITOR_ML));
    assert_true(implies("machine_learning_admin", PRIV_DEPLOY));
    assert_false(implies("machine_learning_admin", PRIV_MONITOR));
    assert_false(implies("machine_learning_user", PRIV_MONITOR_INFERENCE));
    assert_int_equal(bits_of("no_such_role"), 0);
    uint64_t manage = privilege_closure(PRIV_MANAGE);
    assert_true(manage >> PRIV_MONITOR & 1 && manage >> PRIV_MANAGE_ML & 1);
    assert_false(manage >> PRIV_READ_SECURITY & 1 || manage >> PRIV_ALL & 1);
}

static void users_are_rendered(void **state)
{
    struct fixture *f = *state;
    struct buf b;
    struct json_out w;
    open_security(f, true, "changeme");
    struct answer a = call_basic(f, "elastic", "changeme");
    buf_init(&b, 4096);
    json_out_init(&w, &b);
    security_render_user(a.user, &w);
    buf_char(&b, '\0');
    assert_string_equal(
        b.p,
        "{\"username\":\"elastic\",\"roles\":[\"superuser\"],\"full_name\":null,\"email\":null,"
        "\"metadata\":{\"_reserved\":true},\"enabled\":true,"
        "\"authentication_realm\":{\"name\":\"reserved\",\"type\":\"reserved\"},"
        "\"lookup_realm\":{\"name\":\"reserved\",\"type\":\"reserved\"},"
        "\"authentication_type\":\"realm\"}");
    buf_deinit(&b);
}

static void stored_users_with_other_roles_work(void **state)
{
    struct fixture *f = *state;
    char hash[crypto_pwhash_STRBYTES], body[512];
    assert_int_equal(crypto_pwhash_str(hash, "secret", 6, crypto_pwhash_OPSLIMIT_MIN,
                                       crypto_pwhash_MEMLIMIT_MIN),
                     0);
    static const char *const enabled[] = {"true", "false"};
    for (int i = 0; i < 2; i++) {
        snprintf(body, sizeof body,
                 "{\"password\":\"%s\",\"roles\":[\"zz\",\"inference_user\"],\"metadata\":{},"
                 "\"enabled\":%s}",
                 hash, enabled[i]);
        assert_ok(store_put(f->store, STORE_USER, str_c(enabled[i]), str_c(body), 0, NULL));
    }
    open_security(f, true, "changeme");
    struct answer a = call_basic(f, "true", "secret");
    assert_non_null(a.user);
    assert_string_equal(a.user->roles[0], "inference_user");
    assert_string_equal(a.user->roles[1], "zz");
    assert_null(security_authorize(a.user, PRIV_MONITOR_INFERENCE, "x"));
    assert_refused(call_basic(f, "false", "secret"), 401,
                   "unable to authenticate user [false] for REST request [/_inference?pretty]");
}

static void a_damaged_user_is_an_error(void **state)
{
    struct fixture *f = *state;
    assert_ok(store_put(f->store, STORE_USER, STR("elastic"), STR("{\"password\":7}"), 0, NULL));
    f->pool = pool_new(1);
    struct err *e = security_open(f->store, f->pool, true, NULL, &f->printed, &f->sec);
    assert_non_null(e);
    assert_int_equal(e->kind, ERR_CORRUPT);
    assert_non_null(strstr(e->reason, "[elastic]"));
    err_free(e);
    assert_null(f->sec);
    pool_free(f->pool);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    log_set(LOG_ERROR, LOG_JSON);
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        STORY(the_first_password_counts_from_then_on), STORY(only_a_hash_is_stored),
        STORY(a_random_password_is_told_once),         STORY(refusals_have_elasticsearchs_words),
        STORY(without_security_everyone_may),          STORY(authorizing_says_what_would_grant_it),
        STORY(privileges_imply_what_they_should),      STORY(users_are_rendered),
        STORY(stored_users_with_other_roles_work),     STORY(a_damaged_user_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
