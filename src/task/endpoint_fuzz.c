/* Endpoint bodies: whatever is accepted must survive storage unchanged and take an update. The same
 * bytes are also read as an update, as task settings of a call, and as a stored form. */
#include <stdlib.h>

#include "endpoint.h"
#include "test_tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define LIMIT ((size_t)64 << 20)

static void check_storage(const struct settings_table *table, const struct endpoint *ep)
{
    struct buf one[2], two[2];
    struct endpoint *back;
    for (int i = 0; i < 2; i++) {
        buf_init(&one[i], LIMIT);
        buf_init(&two[i], LIMIT);
    }
    endpoint_to_store(ep, &one[0], &one[1]);
    struct err *e =
        endpoint_from_store(table, 1, ep->id, buf_str(&one[0]), buf_str(&one[1]), &back);
    if (e)
        abort();
    endpoint_to_store(back, &two[0], &two[1]);
    for (int i = 0; i < 2; i++) {
        if (!str_eq(buf_str(&one[i]), buf_str(&two[i])))
            abort();
        buf_deinit(&one[i]);
        buf_deinit(&two[i]);
    }
    endpoint_unref(back);
}

static void run(struct arena *a, const struct settings_table *table, enum task task,
                struct str text, const struct json *root)
{
    struct endpoint *ep = NULL, *updated = NULL;
    struct values values;
    bool changed;
    struct err *e = endpoint_parse(table, 3000, STR("x"), task, root, &ep);
    err_free(e);
    if (!e) {
        check_storage(table, ep);
        e = endpoint_update(ep, root, &updated, &changed);
        if (!e)
            check_storage(table, updated);
        endpoint_unref(updated);
        err_free(e);
        err_free(endpoint_call_values(ep, a, root, &values));
        endpoint_unref(ep);
    }
    ep = NULL;
    err_free(endpoint_from_store(table, 3000, STR("x"), text, text, &ep));
    endpoint_unref(ep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str text = str_n((const char *)data, n);
    const struct json *root;
    struct err *e = json_parse(a, text, &root);
    if (!e && root->type == JSON_OBJECT) {
        run(a, &remote_table, TASK_TEXT_EMBEDDING, text, root);
        run(a, &local_table, TASK_RERANK, text, root);
        run(a, &keys_table, TASK_COMPLETION, text, root);
    }
    err_free(e);
    arena_free(a);
    return 0;
}
