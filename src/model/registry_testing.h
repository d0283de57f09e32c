/* What the registry's tests share: a store and a folder of their own, and the shortest ways to say
 * things. One test file includes it. */
#ifndef INFERD_REGISTRY_TESTING_H
#define INFERD_REGISTRY_TESTING_H

#include <sys/stat.h>

#include "store_testing.h"
#include "trained_model.h"

#define VOCABULARY "{\"vocabulary\":[\"[PAD]\",\"[UNK]\",\"[CLS]\",\"[SEP]\",\"a\"]}"
#define CONFIG                                                                                     \
    "{\"model_type\":\"pytorch\",\"description\":\"d\",\"tags\":[\"t1\"],"                         \
    "\"inference_config\":{\"text_embedding\":{\"embedding_size\":4}},"                            \
    "\"input\":{\"field_names\":[\"text_field\"]},\"metadata\":{\"per_deployment_memory_bytes\":"  \
    "12.5},\"prefix_strings\":{\"search\":\"query: \"}}"
#define PACKAGE                                                                                    \
    "{\"packaged_model_id\":\"p\",\"size\":6,\"sha256\":\"00\",\"description\":\"of p\","          \
    "\"model_type\":\"pytorch\",\"tags\":[\"x\"],\"inference_config\":{\"text_expansion\":{}},"    \
    "\"vocabulary_file\":\"p.vocab.json\"}"

struct world {
    struct test_folder folder;
    char models[96];
    struct store *store;
    struct registry *registry;
    struct arena *arena;
};

static struct world w;

static inline void open_world(void)
{
    assert_ok(store_open("sqlite", w.folder.data, &w.store));
    struct registry_options o = {
        .store = w.store, .path_data = w.folder.data, .path_models = w.models};
    assert_ok(registry_open(&o, &w.registry));
}

static inline void close_world(void)
{
    registry_close(w.registry);
    store_close(w.store);
}

static inline void reopen(void)
{
    close_world();
    open_world();
}

static inline int setup(void **state)
{
    (void)state;
    quiet_log();
    test_folder_make(&w.folder);
    snprintf(w.models, sizeof w.models, "%s/models", w.folder.root);
    mkdir(w.models, 0700);
    w.arena = arena_new(ARENA_NO_LIMIT);
    open_world();
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    close_world();
    arena_free(w.arena);
    test_folder_remove(&w.folder);
    return 0;
}

/* --- the shortest ways to say things --- */

static inline const struct json *parse(const char *text)
{
    const struct json *root = NULL;
    assert_ok(json_parse(w.arena, str_c(text), &root));
    return root;
}

static inline struct err *put(const char *id, const char *config)
{
    struct trained_model *m = NULL;
    struct err *e = registry_put(w.registry, str_c(id), parse(config), NULL, &m);
    trained_model_unref(m);
    return e;
}

static inline struct err *part(const char *id, uint32_t i, uint32_t n, int64_t total,
                               const char *bytes)
{
    return registry_put_part(w.registry, str_c(id), i, n, total, str_c(bytes));
}

static inline struct err *vocabulary(const char *id)
{
    return registry_put_vocabulary(w.registry, str_c(id), STR(VOCABULARY), parse(VOCABULARY));
}

static inline struct err *files(const char *id, struct model_files *out)
{
    struct trained_model *m;
    TRY(registry_get(w.registry, str_c(id), &m));
    struct err *e = registry_files(w.registry, m, w.arena, out);
    trained_model_unref(m);
    return e;
}

static inline struct str path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline struct str path(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str rest = arena_vprintf(w.arena, fmt, ap);
    va_end(ap);
    return arena_printf(w.arena, "%s/%.*s", w.folder.data, STR_ARG(rest));
}

static inline bool there(struct str p)
{
    struct stat st;
    return lstat(p.p, &st) == 0;
}

static inline void write_file(struct str p, const char *text)
{
    FILE *f = fopen(p.p, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static inline void assert_file(const char *name, const char *text)
{
    char got[256] = "";
    FILE *f = fopen(name, "r");
    assert_non_null(f);
    size_t n = fread(got, 1, sizeof got - 1, f);
    fclose(f);
    assert_int_equal(n, strlen(text));
    assert_string_equal(got, text);
}

static inline const char *rendered(const char *id, struct trained_model_show show)
{
    struct trained_model *m;
    struct buf b;
    struct json_out out;
    buf_init(&b, 1 << 20);
    json_out_init(&out, &b);
    assert_ok(registry_get(w.registry, str_c(id), &m));
    assert_ok(registry_aliases(w.registry, m->model_id, w.arena, &show.aliases, &show.n_aliases));
    trained_model_render(&out, m, &show);
    trained_model_unref(m);
    const char *text = arena_cstr(w.arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static inline bool defined(const char *id)
{
    struct trained_model *m;
    assert_ok(registry_get(w.registry, str_c(id), &m));
    bool yes = m->fully_defined;
    trained_model_unref(m);
    return yes;
}

static inline void assert_found(const char *expression, const char *want)
{
    struct trained_model **list;
    struct buf b;
    size_t n;
    buf_init(&b, 4096);
    assert_ok(registry_find(w.registry, str_c(expression), true, w.arena, &list, &n));
    for (size_t i = 0; i < n; i++) {
        buf_printf(&b, "%.*s ", STR_ARG(list[i]->model_id));
        trained_model_unref(list[i]);
    }
    buf_char(&b, '\0');
    assert_string_equal(b.p, want);
    buf_deinit(&b);
}

static inline struct err *not_found(const char *expression, bool allow_no_match)
{
    struct trained_model **list;
    size_t n;
    return registry_find(w.registry, str_c(expression), allow_no_match, w.arena, &list, &n);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
