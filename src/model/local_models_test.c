/* Models that nobody uploaded: snapshots and packages in path.models, and packages by PUT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry_testing.h"

static void make_snapshot(const char *id)
{
    struct str folder = arena_printf(w.arena, "%s/%s", w.models, id);
    mkdir(folder.p, 0700);
    write_file(arena_printf(w.arena, "%s/config.json", folder.p),
               "{\"model_type\":\"xlm-roberta\",\"architectures\":[\"XLMRobertaModel\"],"
               "\"hidden_size\":8,\"max_position_embeddings\":66}");
    write_file(arena_printf(w.arena, "%s/tokenizer.json", folder.p), "{}");
    write_file(arena_printf(w.arena, "%s/model.safetensors", folder.p), "0123456789");
    write_file(arena_printf(w.arena, "%s/config_sentence_transformers.json", folder.p),
               "{\"prompts\":{\"query\":\"q: \"}}");
}

static void test_snapshots_are_models(void **state)
{
    struct model_files f;
    struct trained_model *m;
    (void)state;
    make_snapshot("snap");
    mkdir(arena_printf(w.arena, "%s/broken", w.models).p, 0700);
    write_file(arena_printf(w.arena, "%s/broken/config.json", w.models), "{");
    assert_ok(put("up", CONFIG));
    assert_found("*", "snap up ");
    assert_ok(registry_get(w.registry, STR("snap"), &m));
    assert_int_equal(m->kind, MODEL_SNAPSHOT);
    assert_true(m->local && m->fully_defined);
    assert_int_equal(m->definition_bytes, 10);
    assert_int_equal(m->nlp.task, NLP_TEXT_EMBEDDING);
    assert_int_equal(m->nlp.embedding_size, 8);
    assert_int_equal(m->nlp.tokenization.kind, TOKENIZATION_XLM_ROBERTA);
    assert_true(str_eq(m->prefix_search, STR("q: ")));
    trained_model_unref(m);
    assert_ok(files("snap", &f));
    assert_non_null(strstr(f.snapshot, "/snap"));
    assert_err(registry_delete(w.registry, STR("snap")), ERR_STATUS, "lies in [path.models]");
    assert_err(not_found("broken", true), ERR_ARGUMENT, "config.json");
    assert_ok(registry_put_alias(w.registry, STR("al"), STR("snap"), false));
    assert_found("al", "snap ");
    assert_ok(put("snap", CONFIG)); /* what is uploaded hides it */
    assert_ok(registry_get(w.registry, STR("snap"), &m));
    assert_int_equal(m->kind, MODEL_UPLOADED);
    trained_model_unref(m);
    assert_found("*", "snap up ");
}

static void test_packages_in_path_models(void **state)
{
    struct model_files f;
    struct trained_model *m;
    (void)state;
    write_file(arena_printf(w.arena, "%s/p.metadata.json", w.models), PACKAGE);
    assert_err(not_found("p", true), ERR_ARGUMENT, "file [pt] is missing");
    write_file(arena_printf(w.arena, "%s/p.pt", w.models), "12345");
    assert_err(not_found("p", true), ERR_ARGUMENT,
               "Model size does not match, expected [6] but got [5]");
    write_file(arena_printf(w.arena, "%s/p.pt", w.models), "123456");
    assert_err(not_found("p", true), ERR_ARGUMENT, "file [vocab.json] is missing");
    write_file(arena_printf(w.arena, "%s/p.vocab.json", w.models), VOCABULARY);
    assert_found("*", "p ");
    assert_ok(registry_get(w.registry, STR("p"), &m));
    assert_int_equal(m->kind, MODEL_PACKAGE);
    assert_true(m->local && m->fully_defined);
    assert_int_equal(m->nlp.task, NLP_TEXT_EXPANSION);
    trained_model_unref(m);
    assert_ok(files("p", &f));
    assert_file(f.definition, "123456");
    assert_file(f.vocabulary, VOCABULARY);
    write_file(arena_printf(w.arena, "%s/q.metadata.json", w.models),
               "{\"size\":6,\"inference_config\":{\"pass_through\":{}},\"vocabulary_file\":"
               "\"../q.vocab.json\"}");
    assert_err(not_found("q", true), ERR_ARGUMENT, "plain name as [vocabulary_file]");
}

static void test_packages_by_put(void **state)
{
    struct model_files f;
    struct trained_model *m;
    const char *folder;
    (void)state;
    assert_err(registry_put(w.registry, STR(".p"), parse("{\"tags\":[\"a\"]}"), parse(PACKAGE), &m),
               ERR_REQUEST,
               "1: illegal to set [tags] at inference model creation for packaged model;");
    assert_ok(registry_put(w.registry, STR(".p"),
                           parse("{\"input\":{\"field_names\":[\"text_field\"]}}"), parse(PACKAGE),
                           &m));
    assert_int_equal(m->kind, MODEL_PACKAGE);
    assert_int_equal(m->model_size_bytes, 6);
    assert_false(m->fully_defined);
    trained_model_unref(m);
    assert_err(part(".p", 0, 1, 1, "a"), ERR_STATUS, "takes no upload");
    assert_ok(registry_package_folder(w.registry, STR(".p"), w.arena, &folder));
    write_file(arena_printf(w.arena, "%s/model.pt", folder), "123456");
    write_file(arena_printf(w.arena, "%s/vocabulary.json", folder), VOCABULARY);
    assert_err(registry_package_done(w.registry, STR(".p"), 7), ERR_CORRUPT, "not those of its");
    assert_ok(registry_package_done(w.registry, STR(".p"), 6));
    assert_true(defined(".p"));
    reopen();
    assert_true(defined(".p"));
    assert_ok(files(".p", &f));
    assert_file(f.definition, "123456");
    assert_ok(registry_delete(w.registry, STR(".p")));
    assert_false(there(path("trained_models/.p")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_snapshots_are_models),
        TEST(test_packages_in_path_models),
        TEST(test_packages_by_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
