#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "account.h"
#include "key.h"
#include "log.h"
#include "private.h"
#include "privilege.h"

struct fixture {
    struct store *store;
    struct pool *pool;
    struct loop *loop;
    struct security *sec;
    struct arena *arena;
    struct buf out;
    struct json_out w;
    char *printed;
};

static void assert_ok(struct err *e)
{
    if (e)
        fail_msg("unexpected error: %s", e->reason);
}

static void open_all(struct fixture *f)
{
    f->pool = pool_new(2);
    f->loop = loop_new(0);
    assert_ok(security_open(f->store, f->pool, true, "changeme", &f->printed, &f->sec));
}

static void close_all(struct fixture *f)
{
    pool_free(f->pool);
    security_close(f->sec);
    loop_free(f->loop);
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_ok(store_open("memory", NULL, &f->store));
    f->arena = arena_new(ARENA_NO_LIMIT);
    buf_init(&f->out, 1 << 20);
    open_all(f);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    close_all(f);
    store_close(f->store);
    arena_free(f->arena);
    buf_deinit(&f->out);
    free(f);
    return 0;
}

static const struct user *elastic(struct fixture *f)
{
    struct counted *held;
    const struct realm *realm = (const struct realm *)cell_peek(&f->sec->realm, &held);
    const struct user *u = &realm_account(realm, STR("elastic"))->user;
    counted_unref(held); /* the cell has it still */
    return u;
}

/* One call by `user`; the answer, or NULL and the error. */
static const struct json *call(struct fixture *f, security_op *op, const struct user *user,
                               struct security_call *more, const char *body, struct err **err_out)
{
    struct security_call c = more ? *more : (struct security_call){0};
    const struct json *answer = NULL;
    c.user = user;
    c.arena = f->arena;
    c.out = &f->w;
    c.status = 200;
    if (body)
        assert_ok(json_parse_copy(f->arena, str_c(body), &c.body));
    buf_clear(&f->out);
    json_out_init(&f->w, &f->out);
    *err_out = op(f->sec, &c);
    if (!*err_out)
        assert_ok(json_parse_copy(f->arena, buf_str(&f->out), &answer));
    if (more)
        more->status = c.status;
    return answer;
}

static const struct json *make(struct fixture *f, const char *body)
{
    struct err *e;
    const struct json *made = call(f, api_key_create, elastic(f), NULL, body, &e);
    assert_ok(e);
    return made;
}

static void refused(struct fixture *f, security_op *op, const struct user *user,
                    struct security_call *more, const char *body, int status, const char *reason)
{
    struct err *e;
    call(f, op, user, more, body, &e);
    assert_non_null(e);
    assert_int_equal(e->status, status);
    assert_string_equal(e->reason, reason);
    err_free(e);
}

struct came {
    const struct user *user;
    struct err *err;
};

static void take(void *ctx, const struct user *user, struct err *e)
{
    *(struct came *)ctx = (struct came){user, e};
}

/* An API key is known at once: done has run when this returns. */
static struct came come_with(struct fixture *f, const char *encoded)
{
    struct came came = {0};
    char header[256];
    snprintf(header, sizeof header, "ApiKey %s", encoded);
    security_authenticate(f->sec, f->loop, str_c(header), STR("/x"), take, &came);
    assert_true(!came.user != !came.err);
    return came;
}

static char *text(struct fixture *f, const struct json *from, const char *member)
{
    struct str s;
    assert_true(json_str(json_get(from, member), &s));
    return arena_cstr(f->arena, s);
}

static void assert_not_let_in(struct fixture *f, const char *encoded, const char *why)
{
    struct came came = come_with(f, encoded);
    assert_null(came.user);
    assert_int_equal(came.err->status, 401);
    assert_true(came.err->challenge);
    assert_string_equal(came.err->reason, "unable to authenticate with provided credentials and "
                                          "anonymous access is not allowed for this request");
    if (why)
        assert_string_equal(came.err->unsuccessful, why);
    err_free(came.err);
}

/* --- stories --- */

static void a_key_opens_until_it_is_ended(void **state)
{
    struct fixture *f = *state;
    struct err *e;
    const struct json *made = make(f, "{\"name\":\"k\"}");
    char *encoded = text(f, made, "encoded"), *id = text(f, made, "id"), why[128], body[128];
    assert_int_equal(strlen(id), 20);
    assert_int_equal(strlen(text(f, made, "api_key")), 22);
    struct came came = come_with(f, encoded);
    assert_non_null(came.user);
    assert_string_equal(came.user->name, "elastic");
    assert_null(security_authorize(came.user, PRIV_ALL, "cluster:anything"));
    close_all(f); /* a user outlives even that */
    user_unref(came.user);
    open_all(f);
    came = come_with(f, encoded);
    assert_non_null(came.user);
    assert_true(security_is_api_key(f->sec, str_c(encoded)));
    snprintf(body, sizeof body, "{\"ids\":[\"%s\"]}", id);
    const struct json *answer = call(f, api_key_invalidate, elastic(f), NULL, body, &e);
    assert_ok(e);
    assert_int_equal(json_get(answer, "invalidated_api_keys")->n, 1);
    snprintf(why, sizeof why, "API key: api key [%s] has been invalidated", id);
    assert_not_let_in(f, encoded, why);
    user_unref(came.user);
    answer = call(f, api_key_invalidate, elastic(f), NULL, body, &e);
    assert_int_equal(json_get(answer, "invalidated_api_keys")->n, 0);
    assert_int_equal(json_get(answer, "previously_invalidated_api_keys")->n, 1);
}

static void neither_key_nor_anything_like_it_is_stored(void **state)
{
    struct fixture *f = *state;
    struct docs docs;
    const struct json *made = make(f, "{\"name\":\"k\"}");
    assert_ok(store_list(f->store, STORE_API_KEY, f->arena, &docs));
    assert_int_equal(docs.n, 1);
    assert_true(str_eq_c(docs.v[0].id, text(f, made, "id")));
    assert_int_equal(str_find(docs.v[0].body, str_c(text(f, made, "api_key"))), SIZE_MAX);
    assert_int_equal(str_find(docs.v[0].body, str_c(text(f, made, "encoded"))), SIZE_MAX);
}

static void wrong_keys_are_told_apart(void **state)
{
    struct fixture *f = *state;
    char plain[64], encoded[128], why[128];
    char *id = text(f, make(f, "{\"name\":\"k\",\"expiration\":\"1d\"}"), "id");
    snprintf(plain, sizeof plain, "%s:wrong", id);
    sodium_bin2base64(encoded, sizeof encoded, (unsigned char *)plain, strlen(plain),
                      sodium_base64_VARIANT_ORIGINAL);
    snprintf(why, sizeof why, "API key: invalid credentials for API key [%s]", id);
    assert_not_let_in(f, encoded, why);
    assert_not_let_in(f, "aWQ6a2V5", "API key: unable to find apikey with id id");
    const struct json *made = make(f, "{\"name\":\"k\",\"expiration\":\"0ms\"}");
    if (json_get(made, "expiration"))
        assert_not_let_in(f, text(f, made, "encoded"), "API key: api key is expired");
}

static void a_key_may_do_what_both_it_and_its_owner_may(void **state)
{
    struct fixture *f = *state;
    const struct json *made =
        make(f, "{\"name\":\"k\",\"role_descriptors\":{\"r\":{\"cluster\":[\"monitor_inference\","
                "\"cluster:admin/xpack/inference/put\"],"
                "\"metadata\":{\"inferd\":{\"endpoints\":[\"a*\",\"b\"]}}}}}");
    struct came came = come_with(f, text(f, made, "encoded"));
    const char *get = "cluster:monitor/xpack/inference/get";
    assert_null(security_authorize(came.user, PRIV_MONITOR_INFERENCE, get));
    assert_null(
        security_authorize(came.user, PRIV_MANAGE_INFERENCE, "cluster:admin/xpack/inference/put"));
    struct err *e = security_authorize(came.user, PRIV_MANAGE_INFERENCE,
                                       "cluster:admin/xpack/inference/delete");
    char reason[256];
    snprintf(reason, sizeof reason,
             "action [cluster:admin/xpack/inference/delete] is unauthorized for API key id [%s] of "
             "user [elastic], this action is granted by the cluster privileges "
             "[manage_inference,manage,all]",
             text(f, made, "id"));
    assert_string_equal(e->reason, reason);
    err_free(e);
    static const struct {
        const char *id;
        bool may;
    } endpoints[] = {{"a", true}, {"abc", true}, {"b", true}, {"bc", false}, {"", false}};
    for (size_t i = 0; i < 5; i++) {
        e = security_authorize_endpoint(came.user, PRIV_MONITOR_INFERENCE, get,
                                        str_c(endpoints[i].id));
        assert_int_equal(!e, endpoints[i].may);
        assert_int_equal(security_sees(came.user, str_c(endpoints[i].id)), endpoints[i].may);
        if (e)
            assert_int_equal(e->status, 403);
        err_free(e);
    }
    user_unref(came.user);
}

static void a_key_of_a_key_gives_nothing(void **state)
{
    struct fixture *f = *state;
    struct err *e;
    struct came came = come_with(f, text(f, make(f, "{\"name\":\"k\"}"), "encoded"));
    static const char reason[] = "creating derived api keys requires an explicit role descriptor "
                                 "that is empty (has no privileges)";
    refused(f, api_key_create, came.user, NULL, "{\"name\":\"d\"}", 400, reason);
    refused(f, api_key_create, came.user, NULL,
            "{\"name\":\"d\",\"role_descriptors\":{\"r\":{\"cluster\":[\"monitor\"]}}}", 400,
            reason);
    const struct json *made =
        call(f, api_key_create, came.user, NULL,
             "{\"name\":\"d\",\"role_descriptors\":{\"r\":{\"cluster\":[]}}}", &e);
    assert_ok(e);
    struct came derived = come_with(f, text(f, made, "encoded"));
    for (int p = PRIV_NONE + 1; p < N_PRIVILEGES; p++) {
        e = security_authorize(derived.user, p, "cluster:monitor/main");
        assert_non_null(e);
        err_free(e);
    }
    refused(f, api_key_update, came.user, NULL, "{}", 400,
            "authentication via API key not supported: only the owner user can update an API key");
    user_unref(derived.user);
    user_unref(came.user);
}

static void bad_bodies_are_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *body, *reason;
    } bad[] = {
        {"{}", "Validation Failed: 1: api key name is required;"},
        {"{\"name\":\" k\"}",
         "Validation Failed: 1: api key name may not begin or end with whitespace;"},
        {"{\"name\":\"_k\"}",
         "Validation Failed: 1: api key name may not begin with an underscore;"},
        {"{\"name\":\"k\",\"metadata\":{\"_x\":1}}",
         "Validation Failed: 1: API key metadata keys may not start with [_];"},
        {"{\"name\":\"k\",\"foo\":1}", "[api_key_request] unknown field [foo]"},
        {"{\"name\":\"k\",\"role_descriptors\":{\"r\":{\"foo\":[]}}}",
         "failed to parse role [r]. unexpected field [foo]"},
        {"{\"name\":\"k\",\"role_descriptors\":{\"r\":{\"indices\":[{\"names\":\"a\"}]}}}",
         "failed to parse indices privileges for role [r]. missing required [privileges] field"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(f, api_key_create, elastic(f), NULL, bad[i].body, 400, bad[i].reason);
    struct err *e;
    call(f, api_key_create, elastic(f), NULL,
         "{\"name\":\"k\",\"role_descriptors\":{\"r\":{\"cluster\":[\"nothing_like_it\"]}}}", &e);
    assert_non_null(strstr(e->reason, "unknown cluster privilege [nothing_like_it]"));
    err_free(e);
}

/* A key without descriptors has all rights of its owner: too many must not become none. */
static void too_many_descriptors_are_refused(void **state)
{
    struct fixture *f = *state;
    struct buf b;
    buf_init(&b, 4 << 20);
    buf_put(&b, STR("{\"name\":\"k\",\"role_descriptors\":{"));
    for (int i = 0; i < 80000; i++)
        buf_printf(&b, "%s\"%d\":{}", i ? "," : "", i);
    buf_put(&b, STR("}}"));
    buf_char(&b, '\0');
    assert_false(b.full);
    refused(f, api_key_create, elastic(f), NULL, b.p, 413,
            "the role descriptors take more than [8388608] bytes");
    buf_deinit(&b);
}

static void an_update_says_whether_it_changed_something(void **state)
{
    struct fixture *f = *state;
    struct err *e;
    const struct json *made = make(f, "{\"name\":\"k\"}");
    struct security_call c = {.name = str_c(text(f, made, "id"))};
    bool updated;
    static const char body[] =
        "{\"metadata\":{\"a\":1},\"role_descriptors\":{\"r\":{\"cluster\":[\"monitor\"]}}}";
    for (int i = 0; i < 2; i++) {
        const struct json *answer = call(f, api_key_update, elastic(f), &c, body, &e);
        assert_ok(e);
        assert_true(json_bool(json_get(answer, "updated"), &updated));
        assert_int_equal(updated, i == 0);
    }
    struct came came = come_with(f, text(f, made, "encoded"));
    e = security_authorize(came.user, PRIV_MANAGE, "cluster:admin/settings/update");
    assert_non_null(e);
    err_free(e);
    user_unref(came.user);
    c.name = STR("nothing");
    refused(f, api_key_update, elastic(f), &c, "{}", 404,
            "no API key owned by requesting user found for ID [nothing]");
}

static void patterns(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool yes;
    } rows[] = {{"", "", true},         {"*", "", true},        {"a*", "a", true},
                {"a*c", "abcbc", true}, {"a*c", "abcb", false}, {"*b*", "abc", true},
                {"a", "ab", false},     {"ab", "a", false},     {"**a", "ba", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(pattern_match(str_c(rows[i].pattern), str_c(rows[i].text)), rows[i].yes);
    assert_true(privilege_of_pattern(STR("cluster:*")) >> PRIV_ALL & 1);
    assert_true(privilege_of_pattern(STR("cluster:monitor/*")) >> PRIV_MONITOR_ML & 1);
    assert_false(privilege_of_pattern(STR("cluster:monitor/main")) >> PRIV_MONITOR & 1);
    uint64_t manage = privilege_closure(PRIV_MANAGE);
    assert_true(privilege_covers(manage, STR("cluster:monitor/main")));
    assert_true(privilege_covers(manage, STR("cluster:admin/settings/*")));
    assert_false(privilege_covers(manage, STR("cluster:admin/xpack/security/user/get")));
    assert_false(privilege_covers(manage, STR("cluster:*")));
    assert_false(privilege_covers(privilege_closure(PRIV_MANAGE_OWN_API_KEY),
                                  STR("cluster:admin/xpack/security/api_key/get")));
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    log_set(LOG_ERROR, LOG_JSON);
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        STORY(a_key_opens_until_it_is_ended),
        STORY(neither_key_nor_anything_like_it_is_stored),
        STORY(wrong_keys_are_told_apart),
        STORY(a_key_may_do_what_both_it_and_its_owner_may),
        STORY(a_key_of_a_key_gives_nothing),
        STORY(bad_bodies_are_refused),
        STORY(too_many_descriptors_are_refused),
        STORY(an_update_says_whether_it_changed_something),
        cmocka_unit_test(patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
