/* The first byte chooses: a key file for google's ask, or the answer to either exchange. */
#include <stdlib.h>

#include "google.h"
#include "ibm_iam.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct setting rows[] = {
    {.name = "service_account_json",
     .place = IN_SECRET,
     .type = SETTING_STR,
     .tasks = TASK_BIT(TASK_RERANK)},
    SETTING_API_KEY(TASK_BIT(TASK_RERANK)),
};
static const struct settings_table table = {.service = "x", .rows = rows, .n = 2};

static void ask(struct arena *a, struct str file)
{
    struct value v[2] = {{.set = true, .secret = secret_new(file)}};
    struct endpoint ep = {.values = {&table, v}};
    struct http_out out = {.arena = a};
    err_free(google_auth.ask(&ep, 1, &out));
    secret_unref((struct secret *)(uintptr_t)v[0].secret);
}

static void take(struct arena *a, const struct auth *auth, int status, struct str body)
{
    struct value v[2] = {{0}};
    struct endpoint ep = {.values = {&table, v}, .id = STR("x")};
    struct http_in in = {.arena = a, .status = status, .body = body};
    struct token token;
    struct err *e = auth->take(&ep, &in, 1, &token);
    if (!e)
        secret_unref(token.value);
    else if (!e->reason || e->status < 100)
        abort();
    err_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str body = str_n((const char *)data + 1, n - 1);
    if (data[0] & 1)
        ask(a, body);
    else
        take(a, data[0] & 2 ? &google_auth : &ibm_iam_auth, data[0] & 4 ? 200 : 100 + data[0] * 2,
             body);
    arena_free(a);
    return 0;
}
