/* The registry over a real store and a real folder: what is acknowledged is there after reopening,
 * whatever a crash left is not; names clash as Elasticsearch says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "registry_testing.h"

#define TREE_CONFIG                                                                                \
    "\"input\":{\"field_names\":[\"a\",\"b\"]},\"inference_config\":{\"regression\":{}}"
#define TREE                                                                                       \
    "{" TREE_CONFIG ",\"definition\":{\"trained_model\":{\"tree\":{\"feature_names\":[\"a\"],"     \
    "\"tree_structure\":[{\"node_index\":0,\"leaf_value\":1.5}]}}}}"

/* --- PUT --- */

static void test_shows_in_elasticsearch_order(void **state)
{
    (void)state;
    static const char want[] =
        "{\"model_id\":\"m\",\"model_type\":\"pytorch\",\"description\":\"d\",\"tags\":[\"t1\"],"
        "\"metadata\":{\"per_deployment_memory_bytes\":12.5,\"model_aliases\":[\"al\",\"be\"]},"
        "\"input\":{\"field_names\":[\"text_field\"]},\"inference_config\":{\"text_embedding\":{"
        "\"vocabulary\":{\"index\":\".ml-inference-native-000002\"},\"tokenization\":{\"bert\":{"
        "\"do_lower_case\":false,\"with_special_tokens\":true,\"max_sequence_length\":512,"
        "\"truncate\":\"first\",\"span\":-1}},\"embedding_size\":4}},\"location\":{\"index\":{"
        "\"name\":\".ml-inference-native-000002\"}},\"prefix_strings\":{\"search\":\"query: \"},"
        "\"fully_defined\":false}";
    assert_ok(put("m", CONFIG));
    assert_ok(registry_put_alias(w.registry, STR("be"), STR("m"), false));
    assert_ok(registry_put_alias(w.registry, STR("al"), STR("m"), false));
    struct trained_model_show how = {.exclude_generated = true, .definition_status = true};
    assert_string_equal(rendered("m", how), want);
    reopen();
    assert_string_equal(rendered("be", how), want);
    assert_non_null(strstr(rendered("m", (struct trained_model_show){.human = true}),
                           "\"model_size\":\"0b\",\"model_size_bytes\":0,\"estimated_operations\":"
                           "0,\"license_level\":\"platinum\",\"description\""));
}

static void test_input_defaults(void **state)
{
    (void)state;
    assert_ok(put("m", "{\"model_type\":\"pytorch\",\"inference_config\":{\"pass_through\":{}}}"));
    assert_non_null(strstr(rendered("m", (struct trained_model_show){0}),
                           "\"input\":{\"field_names\":[\"input\"]}"));
}

#define OK_CONFIG "\"inference_config\":{\"pass_through\":{}}"

static void test_refuses_configs(void **state)
{
    static const struct {
        const char *id, *config;
        enum err_kind kind;
        const char *text;
    } cases[] = {
        {"m", "{\"model_type\":\"pytorch\"}", ERR_REQUEST,
         "Validation Failed: 1: [inference_config] must not be null.;"},
        {"A", "{\"model_type\":\"pytorch\"," OK_CONFIG "}", ERR_REQUEST,
         "1: Invalid model_id; 'A' can contain lowercase alphanumeric (a-z and 0-9), hyphens or "
         "underscores; must start and end with alphanumeric;"},
        {".m", "{\"model_type\":\"pytorch\"," OK_CONFIG "}", ERR_REQUEST, "Invalid model_id; '.m'"},
        {"../m", "{\"model_type\":\"pytorch\"," OK_CONFIG "}", ERR_REQUEST, "Invalid model_id;"},
        {"a/b", "{\"model_type\":\"pytorch\"," OK_CONFIG "}", ERR_REQUEST, "Invalid model_id;"},
        {"..", "{\"model_type\":\"pytorch\"," OK_CONFIG "}", ERR_REQUEST, "Invalid model_id;"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "{\"model_type\":\"pytorch\"," OK_CONFIG "}", ERR_REQUEST,
         "cannot contain more than 64 characters."},
        {"m", "{\"model_type\":\"pytorch\",\"tags\":[\"m\"]," OK_CONFIG "}", ERR_REQUEST,
         "1: none of the tags must equal the model_id;"},
        {"m", "{\"model_type\":\"pytorch\",\"tags\":[\"B\"]," OK_CONFIG "}", ERR_REQUEST,
         "1: Invalid tags; 'B' can contain"},
        {"m", "{\"model_type\":\"pytorch\",\"version\":\"1\",\"create_time\":1," OK_CONFIG "}",
         ERR_REQUEST,
         "1: illegal to set [version] at inference model creation;2: illegal to set [create_time] "
         "at inference model creation;"},
        {"m", "{\"model_type\":\"pytorch\",\"metadata\":{\"model_aliases\":[]}," OK_CONFIG "}",
         ERR_REQUEST, "illegal to set [metadata.model_aliases] at inference model creation"},
        {"m", "{" OK_CONFIG "}", ERR_REQUEST, "either a model [definition] or [location]"},
        {"m", "{\"model_type\":\"pytorch\",\"definition\":{}," OK_CONFIG "}", ERR_REQUEST,
         "[definition] must not be set"},
        {"m", "{\"model_typ\":\"pytorch\"}", ERR_X_CONTENT,
         "[1:2] [trained_model_config] unknown field [model_typ]"},
        {"m", "{\"description\":{}}", ERR_X_CONTENT,
         "[trained_model_config] description doesn't support values of type: START_OBJECT"},
        {"m", "{\"model_type\":\"forest\"}", ERR_X_CONTENT, "failed to parse field [model_type]"},
        {"m", "{\"model_type\":\"tree_ensemble\",\"inference_config\":{\"regression\":{}}}",
         ERR_REQUEST,
         "1: either a model [definition] or [location] must be defined.;2: [input.field_names] "
         "must "
         "not be empty;"},
        {"m", "{\"model_type\":\"pytorch\",\"inference_config\":{\"regression\":{}}}", ERR_REQUEST,
         "Model [m] of type [pytorch] does not support inference config type [regression]"},
        {"m",
         "{\"model_type\":\"pytorch\",\"input\":{\"field_names\":[\"a\",\"b\"]}," OK_CONFIG "}",
         ERR_ARGUMENT, "must hold exactly one name"},
        {"m", "{\"input\":{\"field_names\":[\"a\",\"\"]}}", ERR_X_CONTENT,
         "failed to parse field [input]"},
        {"m", "{\"input\":{\"field_names\":[\"a\"]},\"definition\":{}," OK_CONFIG "}", ERR_REQUEST,
         "Model [m] of type [tree_ensemble] does not support inference config type"},
        {"m", "{" TREE_CONFIG ",\"definition\":{},\"compressed_definition\":\"\"}", ERR_REQUEST,
         "both [compressed_definition] and [definition] cannot be set."},
        {"m", "{" TREE_CONFIG ",\"compressed_definition\":\"H4sI\"}", ERR_ARGUMENT,
         "[compressed_definition] cannot be read"},
        {"m",
         "{" TREE_CONFIG ",\"definition\":{\"trained_model\":{\"tree\":{\"tree_structure\":[]}}}}",
         ERR_STATUS, "[tree_structure] must not be empty"},
        {"m",
         "{" TREE_CONFIG ",\"definition\":{\"trained_model\":{\"tree\":{\"target_type\":"
         "\"classification\",\"tree_structure\":[{\"node_index\":0,\"leaf_value\":1}]}}}}",
         ERR_STATUS,
         "Model [m] inference config type [regression] does not support definition target type "
         "[classification]"},
        {"m", "{\"inference_config\":{\"nope\":{}}}", ERR_X_CONTENT,
         "failed to parse field [inference_config]"},
        {"m", "{\"model_id\":\"n\"}", ERR_X_CONTENT, "failed to parse field [model_id]"},
        {"m", "{\"prefix_strings\":{\"other\":\"\"}}", ERR_X_CONTENT,
         "failed to parse field [prefix_strings]"},
        {"m", "{\"model_size_bytes\":-1}", ERR_X_CONTENT,
         "failed to parse field [model_size_bytes]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_err(put(cases[i].id, cases[i].config), cases[i].kind, cases[i].text);
    struct trained_model **list;
    size_t n;
    assert_ok(registry_find(w.registry, STR("*"), true, w.arena, &list, &n));
    assert_int_equal(n, 0);
}

/* Its definition is stored compressed and is the same after reopening; it takes no upload. */
static void test_keeps_trees(void **state)
{
    struct trained_model *m;
    struct buf before, after;
    struct json_out out;
    struct model_files f;
    (void)state;
    assert_ok(put("t", TREE));
    for (int i = 0; i < 2; i++) {
        struct buf *b = i ? &after : &before;
        assert_ok(registry_get(w.registry, STR("t"), &m));
        assert_string_equal(m->model_type, "tree_ensemble");
        assert_true(m->tree && m->fully_defined && !tree_classifies(m->tree));
        buf_init(b, 1 << 16);
        json_out_init(&out, b);
        trained_model_render(&out, m, &(struct trained_model_show){.definition = true});
        trained_model_unref(m);
        reopen();
    }
    assert_true(str_eq(buf_str(&before), buf_str(&after)));
    assert_true(str_find(buf_str(&after), STR("\"leaf_value\":1.5")) != SIZE_MAX);
    assert_true(str_find(buf_str(&after), STR("\"location\"")) == SIZE_MAX);
    buf_deinit(&before);
    buf_deinit(&after);
    assert_err(part("t", 0, 1, 1, "x"), ERR_STATUS,
               "cannot put definition for model [t] as it is not an NLP model");
    assert_err(vocabulary("t"), ERR_STATUS,
               "cannot put vocabulary for model [t] as it is not an NLP model");
    assert_err(files("t", &f), ERR_NOT_FOUND, "Could not find trained model definition [t]");
    assert_ok(put("n", CONFIG));
    assert_ok(registry_put_alias(w.registry, STR("al"), STR("t"), false));
    assert_err(registry_put_alias(w.registry, STR("al"), STR("n"), true), ERR_STATUS,
               "config type [regression]");
    assert_ok(registry_delete(w.registry, STR("t")));
}

static void test_names_are_unique(void **state)
{
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_ok(registry_put_alias(w.registry, STR("al"), STR("m"), false));
    assert_err(put("m", CONFIG), ERR_EXISTS, "Trained machine learning model [m] already exists");
    assert_err(put("al", CONFIG), ERR_STATUS,
               "requested model_id [al] is the same as an existing model_alias. Model "
               "model_aliases and ids must be unique");
    assert_err(put("t1", CONFIG), ERR_REQUEST, "none of the tags must equal the model_id");
    assert_err(put("t1", "{\"model_type\":\"pytorch\"," OK_CONFIG "}"), ERR_STATUS,
               "The provided model_id t1 must not match existing tags.");
    assert_err(put("n", "{\"model_type\":\"pytorch\",\"tags\":[\"u\",\"m\"]," OK_CONFIG "}"),
               ERR_STATUS, "The provided tags [m] must not match existing model_ids.");
}

/* --- finding --- */

static void test_finds_lists(void **state)
{
    static const char config[] = "{\"model_type\":\"pytorch\"," OK_CONFIG "}";
    (void)state;
    assert_found("", "");
    assert_ok(put("b1", config));
    assert_ok(put("a1", config));
    assert_ok(put("a2", config));
    assert_ok(registry_put_alias(w.registry, STR("zed"), STR("a2"), false));
    assert_found("", "a1 a2 b1 ");
    assert_found("_all", "a1 a2 b1 ");
    assert_found("*", "a1 a2 b1 ");
    assert_found("a*", "a1 a2 ");
    assert_found("*1,a1", "a1 b1 ");
    assert_found("zed", "a2 ");
    assert_found("z*,b1", "a2 b1 ");
    assert_found("q*", "");
    assert_err(not_found("q", true), ERR_NOT_FOUND, "No known trained model with model_id [q]");
    assert_err(not_found("q,a1,r", true), ERR_NOT_FOUND,
               "No known trained model with model_id [q,r]");
    assert_err(not_found("q*", false), ERR_NOT_FOUND, "No known trained model with model_id [q*]");
}

/* --- uploads --- */

static void test_parts_in_any_order_become_one_file(void **state)
{
    struct model_files f;
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_err(files("m", &f), ERR_NOT_FOUND, "Could not find trained model definition [m]");
    assert_ok(part("m", 2, 3, 8, "gh"));
    assert_ok(part("m", 0, 3, 8, "abc"));
    assert_err(files("m", &f), ERR_STATUS,
               "Model definition truncated. Unable to deserialize trained model definition [m]");
    assert_ok(part("m", 1, 3, 8, "def"));
    assert_false(defined("m"));
    assert_err(files("m", &f), ERR_NOT_FOUND,
               "[m] Could not find vocabulary document [m_vocabulary] for model ");
    assert_ok(vocabulary("m"));
    assert_true(defined("m"));
    assert_true(there(path("trained_models/m/parts/1.3.8")));
    assert_ok(files("m", &f));
    assert_null(f.snapshot);
    assert_file(f.definition, "abcdefgh");
    assert_file(f.vocabulary, VOCABULARY);
    assert_false(there(path("trained_models/m/parts")));
    assert_err(part("m", 1, 3, 8, "def"), ERR_EXISTS, "already exists");
    assert_ok(files("m", &f)); /* the second time finds it */
    reopen();
    assert_true(defined("m"));
    assert_ok(files("m", &f));
    assert_file(f.definition, "abcdefgh");
}

static void test_parts_are_checked(void **state)
{
    struct model_files f;
    (void)state;
    assert_err(part("m", 0, 1, 1, "a"), ERR_NOT_FOUND, "No known trained model with model_id [m]");
    assert_ok(put("m", CONFIG));
    assert_err(part("m", 0, 0, 0, "a"), ERR_REQUEST,
               "Validation Failed: 1: [total_parts] must be greater than 0;2: "
               "[total_definition_length] must be greater than 0;3: [part] must be less than "
               "total_parts;");
    assert_err(part("m", 0, 10001, 1, "a"), ERR_REQUEST,
               "[total_parts] must be less than or equal to 10000");
    assert_ok(part("m", 0, 2, 4, "ab"));
    assert_err(part("m", 0, 2, 4, "ab"), ERR_EXISTS,
               "Trained machine learning model chunked doc [m][0] already exists");
    assert_ok(part("m", 1, 2, 5, "cd"));
    assert_err(files("m", &f), ERR_STATUS,
               "[m] [total_definition_length] must be the same in all model definition parts.");
    assert_ok(vocabulary("m"));
    assert_err(vocabulary("m"), ERR_EXISTS,
               "Trained machine learning model vocabulary [m] already exists");
}

static void test_more_bytes_than_announced_are_no_definition(void **state)
{
    struct model_files f;
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_ok(vocabulary("m"));
    assert_ok(part("m", 0, 2, 4, "abc"));
    assert_ok(part("m", 1, 2, 4, "def"));
    assert_false(defined("m"));
    assert_err(files("m", &f), ERR_STATUS, "Model definition truncated.");
    assert_ok(registry_delete(w.registry, STR("m")));
    assert_false(there(path("trained_models/m")));
    assert_ok(put("m", CONFIG));
    assert_err(files("m", &f), ERR_NOT_FOUND, "Could not find trained model definition [m]");
}

static void test_a_gap_is_no_definition(void **state)
{
    struct model_files f;
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_ok(vocabulary("m"));
    assert_ok(part("m", 0, 2, 4, "ab"));
    assert_ok(part("m", 5, 9, 4, "cd"));
    assert_err(files("m", &f), ERR_STATUS, "Model definition truncated.");
}

/* --- crashes --- */

static void test_a_sender_may_repeat_itself_after_a_crash(void **state)
{
    struct model_files f;
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_ok(part("m", 0, 2, 4, "ab"));
    assert_ok(vocabulary("m"));
    reopen();
    assert_err(part("m", 0, 2, 4, "xy"), ERR_EXISTS, "chunked doc [m][0] already exists");
    assert_err(part("m", 0, 3, 4, "ab"), ERR_EXISTS, "chunked doc [m][0] already exists");
    assert_ok(part("m", 0, 2, 4, "ab"));
    assert_ok(vocabulary("m"));
    assert_ok(part("m", 1, 2, 4, "cd"));
    assert_err(part("m", 1, 2, 4, "cd"), ERR_EXISTS, "chunked doc [m][1] already exists");
    assert_ok(files("m", &f));
    assert_file(f.definition, "abcd");
}

static void test_what_a_crash_left_is_cleared(void **state)
{
    struct model_files f;
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_ok(part("m", 0, 2, 4, "ab"));
    assert_ok(put("whole", CONFIG));
    assert_ok(part("whole", 0, 1, 2, "ab"));
    assert_ok(vocabulary("whole"));
    close_world();
    write_file(path("trained_models/m/parts/1.2.4.new"), "c");
    write_file(path("trained_models/m/parts/..%%2f"), "c");
    write_file(path("trained_models/m/model.pt.new"), "ab");
    mkdir(path("trained_models/gone").p, 0700);
    mkdir(path("trained_models/gone/parts").p, 0700);
    write_file(path("trained_models/gone/parts/0.1.1"), "a");
    write_file(path("trained_models/Not-ours"), "a");
    write_file(path("trained_models/whole/model.pt"), "ab"); /* named, its parts not yet gone */
    open_world();
    assert_false(there(path("trained_models/m/parts/1.2.4.new")));
    assert_false(there(path("trained_models/m/model.pt.new")));
    assert_false(there(path("trained_models/gone")));
    assert_true(there(path("trained_models/Not-ours")));
    assert_false(there(path("trained_models/whole/parts")));
    assert_ok(files("whole", &f));
    assert_file(f.definition, "ab");
    assert_ok(part("m", 1, 2, 4, "cd"));
    assert_ok(vocabulary("m"));
    assert_ok(files("m", &f));
    assert_file(f.definition, "abcd");
}

static void test_links_are_not_followed(void **state)
{
    struct model_files f;
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_ok(part("m", 0, 2, 4, "ab"));
    assert_ok(vocabulary("m"));
    close_world();
    struct str outside = path("outside");
    write_file(outside, "cd");
    assert_int_equal(symlink(outside.p, path("trained_models/m/parts/1.2.4").p), 0);
    open_world();
    assert_err(files("m", &f), ERR_STATUS, "Model definition truncated.");
    assert_ok(registry_delete(w.registry, STR("m")));
    assert_true(there(outside));
}

/* A limit on file sizes stands in for a full disk: the same way through the code. */
static void test_a_full_disk_is_said(void **state)
{
    struct rlimit old, small;
    (void)state;
    assert_ok(put("m", CONFIG));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct err *e = part("m", 0, 1, 8, "abcdefgh");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_non_null(e);
    assert_int_equal(e->status, 507);
    assert_non_null(strstr(e->reason, "no space left for trained models"));
    err_free(e);
    assert_false(there(path("trained_models/m/parts/0.1.8.new")));
    assert_ok(part("m", 0, 1, 8, "abcdefgh"));
}

/* --- aliases, DELETE --- */

static void test_aliases(void **state)
{
    static const char other[] = "{\"model_type\":\"pytorch\"," OK_CONFIG "}";
    struct registry *r = w.registry;
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_ok(put("n", CONFIG));
    assert_ok(put("o", other));
    assert_ok(registry_put_alias(r, STR("al"), STR("m"), false));
    assert_ok(registry_put_alias(r, STR("al"), STR("m"), false));
    assert_err(registry_put_alias(r, STR("al"), STR("n"), false), ERR_STATUS,
               "cannot assign model_alias [al] to model_id [n] as model_alias already refers to "
               "[m]. Set parameter [reassign] to [true] if model_alias should be reassigned.");
    assert_ok(registry_put_alias(r, STR("al"), STR("n"), true));
    assert_err(registry_put_alias(r, STR("al"), STR("o"), true), ERR_STATUS,
               "inference config type [pass_through]");
    assert_err(registry_put_alias(r, STR("m"), STR("m"), false), ERR_REQUEST,
               "model_alias [m] cannot equal model_id [m]");
    assert_err(registry_put_alias(r, STR("n"), STR("m"), false), ERR_STATUS,
               "model_alias cannot be the same as an existing trained model_id");
    assert_err(registry_put_alias(r, STR("x1"), STR("m"), false), ERR_REQUEST,
               "Invalid model_alias; 'x1' can contain lowercase alphanumeric (a-z and 0-9), "
               "hyphens or underscores; must start with alphanumeric and cannot end with numbers");
    assert_err(registry_put_alias(r, STR("x"), STR("nope"), false), ERR_NOT_FOUND,
               "No known trained model with model_id [nope]");
    assert_err(registry_drop_alias(r, STR("x"), STR("m")), ERR_NOT_FOUND,
               "model_alias [x] could not be found");
    assert_err(registry_drop_alias(r, STR("al"), STR("m")), ERR_STATUS,
               "model_alias [al] does not refer to provided model_id [m]");
    reopen();
    r = w.registry;
    assert_ok(registry_drop_alias(r, STR("al"), STR("n")));
    assert_err(not_found("al", true), ERR_NOT_FOUND, "No known trained model with model_id [al]");
    assert_ok(registry_put_alias(r, STR("al"), STR("n"), false));
    assert_ok(registry_delete(r, STR("n")));
    assert_err(registry_drop_alias(r, STR("al"), STR("n")), ERR_NOT_FOUND,
               "model_alias [al] could not be found");
    assert_err(registry_delete(r, STR("n")), ERR_NOT_FOUND, "Could not find trained model [n]");
    reopen();
    assert_found("*", "m o ");
}

/* --- all at once --- */

#define N_PARTS 40

static void *upload_half(void *arg)
{
    uint32_t first = *(uint32_t *)arg;
    for (uint32_t i = first; i < N_PARTS; i += 2)
        err_free(part("m", i, N_PARTS, 2 * N_PARTS, "ab"));
    return NULL;
}

static void *look_on(void *arg)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    (void)arg;
    for (int i = 0; i < 50; i++) {
        struct trained_model *m;
        struct model_files f;
        if (registry_get(w.registry, STR("m"), &m))
            break;
        err_free(registry_files(w.registry, m, a, &f));
        trained_model_unref(m);
        arena_reset(a);
    }
    arena_free(a);
    return NULL;
}

static void test_many_threads(void **state)
{
    pthread_t threads[4];
    uint32_t first[2] = {0, 1};
    struct model_files f;
    (void)state;
    assert_ok(put("m", CONFIG));
    assert_ok(vocabulary("m"));
    for (int i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, upload_half, &first[i]);
        pthread_create(&threads[2 + i], NULL, look_on, NULL);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(defined("m"));
    assert_ok(files("m", &f));
    struct stat st;
    assert_int_equal(stat(f.definition, &st), 0);
    assert_int_equal(st.st_size, 2 * N_PARTS);
}

static void *drop_it(void *arg)
{
    (void)arg;
    assert_ok(registry_delete(w.registry, STR("m")));
    return NULL;
}

static void test_delete_under_way(void **state)
{
    pthread_t threads[2];
    uint32_t first = 0;
    (void)state;
    for (int round = 0; round < 10; round++) {
        assert_ok(put("m", CONFIG));
        pthread_create(&threads[0], NULL, upload_half, &first);
        pthread_create(&threads[1], NULL, drop_it, NULL);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        assert_false(there(path("trained_models/m")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_shows_in_elasticsearch_order),
        TEST(test_input_defaults),
        TEST(test_refuses_configs),
        TEST(test_keeps_trees),
        TEST(test_names_are_unique),
        TEST(test_finds_lists),
        TEST(test_parts_in_any_order_become_one_file),
        TEST(test_parts_are_checked),
        TEST(test_more_bytes_than_announced_are_no_definition),
        TEST(test_a_gap_is_no_definition),
        TEST(test_a_sender_may_repeat_itself_after_a_crash),
        TEST(test_what_a_crash_left_is_cleared),
        TEST(test_links_are_not_followed),
        TEST(test_a_full_disk_is_said),
        TEST(test_aliases),
        TEST(test_many_threads),
        TEST(test_delete_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
