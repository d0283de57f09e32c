#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>

#include "account.h"
#include "log.h"
#include "private.h"
#include "query.h"

struct fixture {
    struct store *store;
    struct pool *pool;
    struct security *sec;
    struct arena *arena;
    struct buf out;
    struct json_out w;
};

static void assert_ok(struct err *e)
{
    if (e)
        fail_msg("unexpected error: %s", e->reason);
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char *printed;
    assert_ok(store_open("memory", NULL, &f->store));
    f->arena = arena_new(ARENA_NO_LIMIT);
    f->pool = pool_new(1);
    buf_init(&f->out, 1 << 20);
    assert_ok(security_open(f->store, f->pool, true, "changeme", &printed, &f->sec));
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    pool_free(f->pool);
    security_close(f->sec);
    store_close(f->store);
    arena_free(f->arena);
    buf_deinit(&f->out);
    free(f);
    return 0;
}

/* A reference, as authenticating would give it. */
static const struct user *user(struct fixture *f, const char *name)
{
    struct realm *realm = (struct realm *)cell_take(&f->sec->realm);
    const struct account *a = realm_account(realm, str_c(name));
    const struct user *u = a ? user_ref(&a->user) : NULL;
    counted_unref(&realm->counted);
    return u;
}

static struct err *try(struct fixture *f, security_op *op, const char *as, const char *name,
                       const char *body, int *status_out)
{
    struct security_call c = {
        .user = user(f, as), .arena = f->arena, .name = str_c(name), .out = &f->w, .status = 200};
    if (body)
        assert_ok(json_parse_copy(f->arena, str_c(body), &c.body));
    buf_clear(&f->out);
    json_out_init(&f->w, &f->out);
    struct err *e = op(f->sec, &c);
    user_unref(c.user);
    *status_out = c.status;
    return e;
}

/* By elastic: the answer must be this. */
static void answers(struct fixture *f, security_op *op, const char *name, const char *body,
                    int status, const char *wanted)
{
    int got;
    assert_ok(try(f, op, "elastic", name, body, &got));
    buf_char(&f->out, '\0');
    assert_int_equal(got, status);
    assert_string_equal(f->out.p, wanted);
}

static void refused(struct fixture *f, security_op *op, const char *as, const char *name,
                    const char *body, int status, const char *reason)
{
    int got;
    struct err *e = try(f, op, as, name, body, &got);
    assert_non_null(e);
    assert_int_equal(e->status, status);
    assert_string_equal(e->reason, reason);
    err_free(e);
}

static bool may(struct fixture *f, const char *name, enum privilege p)
{
    const struct user *u = user(f, name);
    struct err *e = security_authorize(u, p, "x");
    user_unref(u);
    err_free(e);
    return !e;
}

#define CREATED "{\"created\":true}"

/* --- stories --- */

static void roles_count_for_their_users_at_once(void **state)
{
    struct fixture *f = *state;
    answers(f, user_put, "u", "{\"password\":\"secret\",\"roles\":[\"r\"]}", 200, CREATED);
    assert_false(may(f, "u", PRIV_MONITOR));
    const struct user *before = user(f, "u");
    answers(f, role_put, "r", "{\"cluster\":[\"monitor\"]}", 200, "{\"role\":{\"created\":true}}");
    assert_true(may(f, "u", PRIV_MONITOR));
    assert_true(may(f, "u", PRIV_MONITOR_INFERENCE));
    assert_false(may(f, "u", PRIV_MANAGE));
    struct err *e = security_authorize(before, PRIV_MONITOR, "x");
    assert_non_null(e); /* who was let in before keeps what he had */
    err_free(e);
    user_unref(before);
    answers(f, role_delete, "r", NULL, 200, "{\"found\":true}");
    assert_false(may(f, "u", PRIV_MONITOR));
    answers(f, role_delete, "r", NULL, 404, "{\"found\":false}");
}

static void an_update_keeps_what_it_does_not_name(void **state)
{
    struct fixture *f = *state;
    answers(f, user_put, "u", "{\"password\":\"secret\",\"roles\":[]}", 200, CREATED);
    const struct user *u = user(f, "u");
    char *hash = arena_cstr(f->arena, str_c(u->account->hash));
    user_unref(u);
    assert_true(str_starts(str_c(hash), STR("$argon2id$v=19$m=65536,t=2,p=1$")));
    answers(f, user_put, "u", "{\"email\":\"e\"}", 200, "{\"created\":false}");
    answers(f, user_disable, "u", NULL, 200, "{}");
    answers(f, user_get, "u", NULL, 200,
            "{\"u\":{\"username\":\"u\",\"roles\":[],\"full_name\":null,\"email\":\"e\","
            "\"metadata\":{},\"enabled\":false}}");
    u = user(f, "u");
    assert_string_equal(u->account->hash, hash);
    user_unref(u);
    answers(f, user_password, "u", "{\"password\":\"secret\"}", 200, "{}");
    u = user(f, "u");
    assert_string_not_equal(u->account->hash, hash); /* salted anew */
    assert_false(u->account->enabled);
    user_unref(u);
    answers(f, user_delete, "u", NULL, 200, "{\"found\":true}");
    assert_null(user(f, "u"));
}

static void what_must_not_be_is_refused(void **state)
{
    struct fixture *f = *state;
    refused(f, user_put, "elastic", "elastic", "{\"password\":\"secret\"}", 400,
            "Validation Failed: 1: user [elastic] is reserved and only the password can be "
            "changed;");
    refused(f, user_put, "elastic", "u", "{\"password\":\"short\"}", 400,
            "Validation Failed: 1: passwords must be at least [6] characters long;");
    refused(f, user_put, "elastic", "u", "{\"password\":\"secret\",\"password_hash\":\"x\"}", 400,
            "Validation Failed: 1: only one of [password, password_hash] can be provided;");
    refused(f, user_disable, "elastic", "elastic", NULL, 400,
            "users may not update the enabled status of their own account");
    refused(f, user_enable, "elastic", "u", NULL, 400,
            "Validation Failed: 1: only existing users can be enabled;");
    refused(f, role_put, "elastic", "superuser", "{}", 400,
            "role [superuser] is reserved and cannot be modified.");
    refused(f, role_delete, "elastic", "viewer", NULL, 400,
            "role [viewer] is reserved and cannot be deleted");
    refused(f, has_privileges, "elastic", NULL, "{}", 400,
            "Validation Failed: 1: must specify at least one privilege;");
    refused(f, has_privileges, "elastic", "u", "{}", 400,
            "users may only check the privileges of their own account");
}

/* A hash that asks for gigabytes would be paid for at every attempt to log in. */
static void a_hash_must_cost_what_ours_do(void **state)
{
    struct fixture *f = *state;
    char hash[crypto_pwhash_STRBYTES], body[256];
    int status;
    assert_int_equal(crypto_pwhash_str(hash, "secret", 6, crypto_pwhash_OPSLIMIT_MIN,
                                       crypto_pwhash_MEMLIMIT_MIN),
                     0);
    snprintf(body, sizeof body, "{\"password_hash\":\"%s\"}", hash);
    struct err *e = try(f, user_put, "elastic", "u", body, &status);
    assert_non_null(e);
    assert_int_equal(e->status, 400);
    err_free(e);
    const struct user *u = user(f, "elastic");
    snprintf(body, sizeof body, "{\"password_hash\":\"%s\"}", u->account->hash);
    user_unref(u);
    answers(f, user_put, "u", body, 200, CREATED);
}

static void privileges_are_asked_about(void **state)
{
    struct fixture *f = *state;
    answers(f, has_privileges, NULL,
            "{\"cluster\":[\"all\",\"manage_ilm\"],\"index\":[{\"names\":\"x\",\"privileges\":"
            "[\"write\"]},{\"names\":[\".security-7\"],\"privileges\":[\"read\",\"write\"]}]}",
            200,
            "{\"username\":\"elastic\",\"has_all_requested\":false,\"cluster\":{\"all\":true,"
            "\"manage_ilm\":true},\"index\":{\"x\":{\"write\":true},\".security-7\":{\"read\":true,"
            "\"write\":false}},\"application\":{}}");
}

static void queries(void **state)
{
    struct fixture *f = *state;
    static const char *const fields[] = {"name", "n", "metadata", NULL};
    static const char *const rows[] = {"{\"name\":\"a\",\"n\":9,\"metadata\":{\"x\":{\"y\":1}}}",
                                       "{\"name\":\"b\",\"n\":10,\"metadata\":{}}",
                                       "{\"name\":[\"c\",\"d\"],\"metadata\":{}}"};
    static const struct {
        const char *body;
        int total, count; /* total -1: refused */
    } asked[] = {
        {"{}", 3, 3},
        {"{\"query\":{\"term\":{\"name\":\"d\"}}}", 1, 1},
        {"{\"query\":{\"term\":{\"metadata.x.y\":1}}}", 1, 1},
        {"{\"query\":{\"range\":{\"n\":{\"gte\":10}}}}", 1, 1}, /* by value, not as texts */
        {"{\"query\":{\"bool\":{\"must_not\":[{\"exists\":{\"field\":\"n\"}}]}}}", 1, 1},
        {"{\"query\":{\"ids\":{\"values\":[\"a\",\"b\"]}},\"size\":1}", 2, 1},
        {"{\"from\":2}", 3, 1},
        {"{\"from\":7}", 3, 0},
        {"{\"sort\":[\"n\"],\"search_after\":[9]}", 3, 2},
        {"{\"query\":{\"match_none\":{}}}", 0, 0},
        {"{\"query\":{\"term\":{\"hash\":1}}}", -1, 0},
        {"{\"query\":{\"bool\":{\"must\":{\"nothing\":{}}}}}", -1, 0},
        {"{\"query\":7}", -1, 0},
        {"{\"search_after\":[1]}", -1, 0},
        {"{\"size\":10001}", -1, 0},
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        struct query q;
        const struct json *body, *answer;
        int64_t total, count;
        assert_ok(json_parse_copy(f->arena, str_c(asked[i].body), &body));
        query_init(&q, f->arena, "rows", "name", fields);
        struct err *e = query_read(&q, body);
        assert_int_equal(!e, asked[i].total >= 0);
        for (size_t r = 0; !e && r < 3; r++) {
            json_put_raw(query_row(&q), str_c(rows[r]));
            assert_ok(query_row_end(&q));
        }
        if (!e) {
            buf_clear(&f->out);
            json_out_init(&f->w, &f->out);
            query_render(&q, &f->w);
            assert_ok(json_parse_copy(f->arena, buf_str(&f->out), &answer));
            json_i64(json_get(answer, "total"), &total);
            json_i64(json_get(answer, "count"), &count);
            assert_int_equal(total, asked[i].total);
            assert_int_equal(count, asked[i].count);
            assert_int_equal(json_get(answer, "rows")->n, count);
        }
        err_free(e);
        query_deinit(&q);
    }
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    log_set(LOG_ERROR, LOG_JSON);
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        STORY(roles_count_for_their_users_at_once), STORY(an_update_keeps_what_it_does_not_name),
        STORY(what_must_not_be_is_refused),         STORY(a_hash_must_cost_what_ours_do),
        STORY(privileges_are_asked_about),          STORY(queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
