/* Good folders with one thing wrong: each must be refused by a 400 that names the file and what is
 * wrong in it. The model is fixtures/mean_gelu, copied and edited. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "engine.h"

#define LIMIT (1 << 20)

static const char *const files[] = {"config.json", "model.safetensors", "modules.json",
                                    "1_Pooling/config.json", "sentence_bert_config.json"};
#define N_FILES (sizeof(files) / sizeof(files[0]))

struct folder {
    char path[64];
};

static const char *path_in(const struct folder *f, const char *file)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", f->path, file);
    return path;
}

static void read_all(const char *path, struct buf *out)
{
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    buf_init(out, LIMIT);
    char *p = buf_reserve(out, LIMIT);
    out->n = fread(p, 1, LIMIT, in);
    assert_true(out->n < LIMIT);
    fclose(in);
}

static void write_all(const char *path, struct str bytes)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(bytes.n == 0 || fwrite(bytes.p, 1, bytes.n, out) == bytes.n);
    assert_int_equal(fclose(out), 0);
}

static struct folder folder_new(void)
{
    struct folder f = {"/tmp/snapshot_test.XXXXXX"};
    assert_non_null(mkdtemp(f.path));
    assert_int_equal(mkdir(path_in(&f, "1_Pooling"), 0700), 0);
    for (size_t i = 0; i < N_FILES; i++) {
        char from[512];
        struct buf b;
        snprintf(from, sizeof(from), "%s/mean_gelu/%s", ENGINE_FIXTURES, files[i]);
        read_all(from, &b);
        write_all(path_in(&f, files[i]), buf_str(&b));
        buf_deinit(&b);
    }
    return f;
}

static void folder_free(const struct folder *f)
{
    for (size_t i = 0; i < N_FILES; i++)
        unlink(path_in(f, files[i]));
    rmdir(path_in(f, "1_Pooling"));
    assert_int_equal(rmdir(f->path), 0);
}

/* Replaces the first `find` in the file; NULL: the whole file; `put` NULL: removes the file. */
static void edit(const struct folder *f, const char *file, const char *find, const char *put)
{
    struct buf b, edited;
    if (!put) {
        assert_int_equal(unlink(path_in(f, file)), 0);
        return;
    }
    read_all(path_in(f, file), &b);
    buf_init(&edited, LIMIT);
    size_t at = find ? str_find(buf_str(&b), str_c(find)) : 0;
    if (at == SIZE_MAX)
        fail_msg("%s has no %s", file, find);
    buf_put(&edited, str_sub(buf_str(&b), 0, at));
    buf_cstr(&edited, put);
    if (find)
        buf_put(&edited, str_sub(buf_str(&b), at + strlen(find), SIZE_MAX));
    write_all(path_in(f, file), buf_str(&edited));
    buf_deinit(&b);
    buf_deinit(&edited);
}

static struct err *load(const struct folder *f, const struct engine_limits *limits,
                        struct program **out)
{
    return program_load_snapshot(f->path, limits, out);
}

struct row {
    const char *file, *find, *put, *says;
};

#define TYPE "\"sentence_transformers.models."

#define SPLADE(path)                                                                               \
    "[{\"path\": \"\", \"type\": " TYPE "MLMTransformer\"}, {\"path\": \"" path                    \
    "\", \"type\": \"sentence_transformers.sparse_encoder.models.SpladePooling\"}]"

static const struct row refused[] = {
    {"config.json", NULL, NULL, "[config.json]"},
    {"config.json", NULL, "", "[config.json] is not JSON"},
    {"config.json", NULL, "[]", "[config.json] is not an object"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"t5\"", "[t5]"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": 5", "[model_type]"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"distilbert\"", "[dim]"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"mpnet\"",
     "[encoder.relative_attention_bias.weight] is missing"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"roberta\", \"pad_token_id\": 39",
     "[pad_token_id] [39]"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"roberta\", \"pad_token_id\": -1",
     "[pad_token_id]"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"deberta-v2\"",
     "[relative_attention] must be true"},
    {"config.json", "\"model_type\": \"bert\"",
     "\"model_type\": \"deberta-v2\", \"relative_attention\": 1",
     "[relative_attention] must be true or"},
    {"config.json", "\"model_type\": \"bert\"",
     "\"model_type\": \"deberta-v2\", \"relative_attention\": true", "[pos_att_type]"},
    {"config.json", "\"model_type\": \"bert\"",
     "\"model_type\": \"deberta-v2\", \"relative_attention\": true, \"conv_kernel_size\": 3",
     "[conv_kernel_size]"},
    {"config.json", "\"model_type\": \"bert\"",
     "\"model_type\": \"deberta-v2\", \"relative_attention\": true, \"pos_att_type\": [\"c2p\"], "
     "\"position_buckets\": 256",
     "[position_buckets] [256]"},
    {"config.json", "\"model_type\": \"bert\"",
     "\"model_type\": \"deberta\", \"relative_attention\": true, \"pos_att_type\": \"p2c|c2p\"",
     "[encoder.rel_embeddings.weight] is missing"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"modernbert\"",
     "[hidden_activation]"},
    {"config.json", "\"model_type\": \"bert\"",
     "\"model_type\": \"modernbert\", \"hidden_activation\": \"gelu\", \"rope_scaling\": {}",
     "[rope_scaling]"},
    {"config.json", "\"model_type\": \"bert\"",
     "\"model_type\": \"modernbert\", \"hidden_activation\": \"gelu\", \"global_rope_theta\": 0",
     "[global_rope_theta]"},
    {"config.json", "\"model_type\": \"bert\"",
     "\"model_type\": \"modernbert\", \"hidden_activation\": \"gelu\"",
     "[embeddings.tok_embeddings.weight] is missing"},
    {"config.json", "\"model_type\": \"bert\"", "\"model_type\": \"nomic_bert\"", "[n_embd]"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 0", "[hidden_size]"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": -32", "[hidden_size]"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 32.0", "[hidden_size]"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": \"32\"", "[hidden_size]"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 4294967328", "[hidden_size]"},
    {"config.json", "\"hidden_size\": 32", "\"x\": 32", "[hidden_size]"},
    {"config.json", "\"hidden_size\": 32", "\"hidden_size\": 64", "word_embeddings.weight"},
    {"config.json", "\"vocab_size\": 64", "\"vocab_size\": 65", "word_embeddings.weight"},
    {"config.json", "\"vocab_size\": 64", "\"vocab_size\": 99999999999", "[vocab_size]"},
    {"config.json", "\"type_vocab_size\": 2", "\"type_vocab_size\": 1", "token_type_embeddings"},
    {"config.json", "\"max_position_embeddings\": 40", "\"max_position_embeddings\": 41",
     "position_embeddings"},
    {"config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 63", "intermediate.dense"},
    {"config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5",
     "[num_attention_heads]"},
    {"config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0",
     "[num_attention_heads]"},
    {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "encoder.layer.2."},
    {"config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4000000000",
     "[num_hidden_layers]"},
    {"config.json", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"mish\"", "[mish]"},
    {"config.json", "\"hidden_act\": \"gelu\"", "\"hidden_act\": null", "[hidden_act]"},
    {"config.json", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": \"no\"", "[layer_norm_eps]"},
    {"config.json", "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": -1", "[layer_norm_eps]"},
    {"config.json", "\"absolute\"", "\"relative_key\"", "[position_embedding_type]"},
    {"config.json", "\"absolute\"", "\"absolute\", \"is_decoder\": true", "[is_decoder]"},
    {"model.safetensors", NULL, NULL, "[model.safetensors]"},
    {"model.safetensors", NULL, "x", "[model.safetensors]"},
    {"model.safetensors", "\"encoder.layer.1.output.dense.bias\"",
     "\"encoder.layer.1.output.dense.bixs\"", "[encoder.layer.1.output.dense.bias] is missing"},
    {"model.safetensors", "\"shape\":[32]", "\"shape\":[ 8]", "[model.safetensors]: tensor ["},
    {"model.safetensors", "\"dtype\":\"F32\"", "\"dtype\":\"I32\"", "[I32]"},
    {"modules.json", NULL, "{}", "[modules.json]"},
    {"modules.json", NULL, "[]", "[modules.json]"},
    {"modules.json", NULL, "[1, 2]", "[modules.json]"},
    {"modules.json", NULL, "nope", "[modules.json]"},
    {"modules.json", NULL, SPLADE("1_Pooling"), "[cls.predictions.transform.dense.weight] is"},
    {"modules.json", NULL, SPLADE("../1_Pooling"), "[path] of SpladePooling"},
    {"modules.json", NULL, SPLADE("2_Pooling"), "[2_Pooling/config.json]"},
    {"modules.json", TYPE "Transformer\"", TYPE "MLMTransformer\"",
     "[sentence_transformers.models.Pooling]; MLMTransformer and"},
    {"modules.json", TYPE "Normalize\"", TYPE "Dense\"", "[sentence_transformers.models.Dense]"},
    {"modules.json", TYPE "Pooling\"", TYPE "CNN\"", "[sentence_transformers.models.CNN]"},
    {"modules.json", TYPE "Pooling\"", "\"evil.Pooling\"", "[evil.Pooling]"},
    {"modules.json", TYPE "Pooling\"", "5", "[modules.json]"},
    {"modules.json", "\"1_Pooling\"", "\"../1_Pooling\"", "[path]"},
    {"modules.json", "\"1_Pooling\"", "\"/etc\"", "[path]"},
    {"modules.json", "\"1_Pooling\"", "\"\"", "[path]"},
    {"modules.json", "\"1_Pooling\"", "\"2_Pooling\"", "[2_Pooling/config.json]"},
    {"1_Pooling/config.json", NULL, NULL, "[1_Pooling/config.json]"},
    {"1_Pooling/config.json", NULL, "{}", "[0] pooling modes"},
    {"1_Pooling/config.json", "\"pooling_mode_cls_token\": false",
     "\"pooling_mode_cls_token\": true", "[2] pooling modes"},
    {"1_Pooling/config.json", "\"pooling_mode_cls_token\": false", "\"pooling_mode_new\": true",
     "[pooling_mode_new]"},
    {"1_Pooling/config.json", "\"word_embedding_dimension\": 32",
     "\"word_embedding_dimension\": 33", "[word_embedding_dimension]"},
    {"sentence_bert_config.json", NULL, "{\"max_seq_length\": 0}", "[max_seq_length]"},
    {"sentence_bert_config.json", NULL, "{\"max_seq_length\": \"9\"}", "[max_seq_length]"},
    {"sentence_bert_config.json", NULL, "{", "[sentence_bert_config.json]"},
};

static void check_refused(const struct row *r)
{
    struct folder f = folder_new();
    struct program *p = NULL;
    edit(&f, r->file, r->find, r->put);
    struct err *err = load(&f, NULL, &p);
    if (!err || err->kind != ERR_ARGUMENT || !strstr(err->reason, r->says))
        fail_msg("%s, %s for %s: %s, wanted %s", r->file, r->put ? r->put : "removed",
                 r->find ? r->find : "all", err ? err->reason : "accepted", r->says);
    err_free(err);
    folder_free(&f);
}

static void test_one_thing_wrong(void **state)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        check_refused(&refused[i]);
}

/* Every length of a cut model file. */
static void test_cut_weights(void **state)
{
    struct folder f = folder_new();
    struct buf b;
    read_all(path_in(&f, "model.safetensors"), &b);
    for (size_t n = 0; n < b.n; n += n < 16 ? 1 : 977) {
        struct program *p;
        write_all(path_in(&f, "model.safetensors"), str_sub(buf_str(&b), 0, n));
        struct err *err = load(&f, NULL, &p);
        assert_non_null(err);
        assert_int_equal(err->kind, ERR_ARGUMENT);
        assert_non_null(strstr(err->reason, "[model.safetensors]"));
        err_free(err);
    }
    buf_deinit(&b);
    folder_free(&f);
}

static void test_weight_limit(void **state)
{
    struct folder f = folder_new();
    struct program *p;
    struct stat info;
    assert_int_equal(stat(path_in(&f, "model.safetensors"), &info), 0);
    struct engine_limits limits = {.max_weight_bytes = (size_t)info.st_size - 1};
    struct err *err = load(&f, &limits, &p);
    assert_non_null(err);
    assert_int_equal(err->kind, ERR_ARGUMENT);
    err_free(err);
    limits.max_weight_bytes++;
    assert_null(load(&f, &limits, &p));
    program_unref(p);
    folder_free(&f);
}

/* What may be absent or otherwise, and what then holds. */
static void test_what_is_optional(void **state)
{
    static const struct {
        struct row edit;
        const char *pooling;
        bool normalized;
        uint32_t max_seq_length;
    } rows[] = {
        {{"config.json", "\"absolute\"", "null"}, "mean", true, 32},
        {{"config.json", "\"layer_norm_eps\": 1e-12", "\"x\": 1"}, "mean", true, 32},
        {{"modules.json", NULL, NULL}, "mean", false, 32},
        {{"modules.json", TYPE "Pooling\"", "\"sentence_transformers.later.home.Pooling\""},
         "mean",
         true,
         32},
        {{"1_Pooling/config.json", NULL, "{\"pooling_mode\": \"cls\"}"}, "cls", true, 32},
        {{"sentence_bert_config.json", NULL, NULL}, "mean", true, 40},
        {{"sentence_bert_config.json", NULL, "{}"}, "mean", true, 40},
        {{"sentence_bert_config.json", NULL, "{\"max_seq_length\": 512}"}, "mean", true, 40},
        {{"sentence_bert_config.json", NULL, "{\"max_seq_length\": null}"}, "mean", true, 40},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct folder f = folder_new();
        struct program *p;
        edit(&f, rows[i].edit.file, rows[i].edit.find, rows[i].edit.put);
        struct err *err = load(&f, NULL, &p);
        if (err)
            fail_msg("row %zu: %s", i, err->reason);
        const struct program_info *info = program_info(p);
        assert_string_equal(info->pooling, rows[i].pooling);
        assert_int_equal(info->normalized, rows[i].normalized);
        assert_int_equal(info->max_seq_length, rows[i].max_seq_length);
        program_unref(p);
        folder_free(&f);
    }
}

static void test_no_folder(void **state)
{
    struct program *p;
    static const char *const paths[] = {"/nonexistent/model", "/dev/null", ""};
    for (size_t i = 0; i < 3; i++) {
        struct err *err = program_load_snapshot(paths[i], NULL, &p);
        assert_non_null(err);
        assert_int_equal(err->kind, ERR_ARGUMENT);
        err_free(err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_optional), cmocka_unit_test(test_one_thing_wrong),
        cmocka_unit_test(test_cut_weights),      cmocka_unit_test(test_weight_limit),
        cmocka_unit_test(test_no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
