#include "key.h"
#include "query.h"
#include "role.h"

/* Whatever can be read as a role prints as what reads the same; queries never get lost. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const fields[] = {"cluster", "indices", "metadata", NULL};
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct json *body = NULL;
    struct role *role = NULL, *again = NULL;
    struct query q;
    struct err *e = json_parse_copy(a, str_n((const char *)data, n), &body);
    if (!e)
        e = role_read(a, STR("r"), body, &role);
    if (!e) {
        e = role_read(a, STR("r"), role->body, &again);
        if (e || !str_eq(role->text, again->text) || role->bits != again->bits)
            __builtin_trap();
    }
    err_free(e);
    query_init(&q, a, "rows", "cluster", fields);
    e = query_read(&q, body);
    if (!e && role) {
        json_put_raw(query_row(&q), role->text);
        e = query_row_end(&q);
    }
    err_free(e);
    query_deinit(&q);
    arena_free(a);
    return 0;
}
