/* What lies in path.models: Hugging Face snapshots, one folder each, and packages as Elastic's
 * model repository has them: ID.metadata.json with ID.pt and its vocabulary file. Both are models
 * without anybody's PUT. What a snapshot's inference_config would be follows from its files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "model_private.h"
#include "package.h"
#include "registry_private.h"
#include "trained_model_config.h"

#define MAX_FILE_BYTES (1u << 20)
#define MAX_LOCAL      10000 /* more entries than that are not looked at */

static const struct str metadata_suffix = STR_INIT(".metadata.json");

static bool path_of(char out[PATH_MAX], const char *folder, struct str id, const char *rest)
{
    int n = snprintf(out, PATH_MAX, "%s/%.*s%s", folder, STR_ARG(id), rest);
    return n > 0 && n < PATH_MAX;
}

static struct err *broken(struct str id, const char *file, const char *what)
{
    return err_new(ERR_ARGUMENT, "model [%.*s] cannot be used: file [%s] %s", STR_ARG(id), file,
                   what);
}

/* --- small files --- */

/* NULL in *out: there is no such file. */
static struct err *read_json(const char *path, struct str id, const char *name, struct arena *a,
                             const struct json **out)
{
    struct stat st;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    struct err *e = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_FILE_BYTES) {
        e = broken(id, name, "is not a file of at most 1 MiB");
    } else {
        char *p = arena_alloc(a, (size_t)st.st_size + 1);
        ssize_t n = pread(fd, p, (size_t)st.st_size, 0);
        struct err *cause = json_parse(a, str_n(p, n > 0 ? (size_t)n : 0), out);
        if (cause)
            e = broken(id, name, cause->reason);
        err_free(cause);
    }
    close(fd);
    if (!e && !json_is(*out, JSON_OBJECT))
        e = broken(id, name, "must hold an object");
    return e;
}

static bool stat_file(const char *path, struct stat *st)
{
    return stat(path, st) == 0 && S_ISREG(st->st_mode);
}

/* --- snapshots --- */

/* The nearest of Elasticsearch's tokenizations: what is shown; the snapshot's own tokenizer is what
 * runs. */
static enum tokenization_kind tokenization_of(const struct json *config)
{
    static const struct {
        struct str model_type;
        enum tokenization_kind kind;
    } table[] = {
        {STR_INIT("mpnet"), TOKENIZATION_MPNET},
        {STR_INIT("roberta"), TOKENIZATION_ROBERTA},
        {STR_INIT("xlm-roberta"), TOKENIZATION_XLM_ROBERTA},
        {STR_INIT("deberta-v2"), TOKENIZATION_DEBERTA_V2},
    };
    struct str type;
    if (!json_str(json_get(config, "model_type"), &type))
        return TOKENIZATION_BERT;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (str_eq(type, table[i].model_type))
            return table[i].kind;
    }
    return TOKENIZATION_BERT;
}

static enum nlp_task task_of(const struct model_info *info)
{
    if (info->tasks & TASK_BIT(TASK_SPARSE_EMBEDDING))
        return NLP_TEXT_EXPANSION;
    if (info->tasks & TASK_BIT(TASK_RERANK))
        return NLP_TEXT_SIMILARITY;
    return info->tasks & TASK_BIT(TASK_TEXT_EMBEDDING) ? NLP_TEXT_EMBEDDING : NLP_PASS_THROUGH;
}

static struct err *config_of(struct trained_model *m, const char *folder,
                             const struct model_info *info)
{
    char path[PATH_MAX];
    const struct json *config = NULL, *tokenizer = NULL;
    struct str name = STR("");
    if (path_of(path, folder, name, "config.json"))
        TRY(read_json(path, m->model_id, "config.json", m->arena, &config));
    if (path_of(path, folder, name, "tokenizer_config.json"))
        TRY(read_json(path, m->model_id, "tokenizer_config.json", m->arena, &tokenizer));
    struct tokenization *t = &m->nlp.tokenization;
    TRY(tokenization_parse(NULL, t));
    m->nlp.task = task_of(info);
    m->nlp.embedding_size = info->dimensions;
    t->kind = tokenization_of(config);
    t->max_sequence_length = info->max_tokens;
    if (t->kind == TOKENIZATION_BERT || t->kind == TOKENIZATION_MPNET)
        json_bool(json_get(tokenizer, "do_lower_case"), &t->do_lower_case);
    if (m->nlp.task == NLP_TEXT_SIMILARITY)
        t->truncate = TRUNCATE_SECOND;
    return NULL;
}

static struct err *read_snapshot(struct trained_model *m, const char *folder)
{
    struct model_info info;
    struct str prompts[N_INPUT_TYPES] = {0};
    char path[PATH_MAX];
    struct stat st;
    TRY(snapshot_look(folder, m->model_id, m->arena, &info));
    TRY(config_of(m, folder, &info));
    TRY(snapshot_prompts(folder, m->model_id, m->arena, prompts));
    m->prefix_ingest = prompts[INPUT_INGEST];
    m->prefix_search = prompts[INPUT_SEARCH];
    if (path_of(path, folder, STR(""), "model.safetensors") && stat_file(path, &st)) {
        m->definition_bytes = m->model_size_bytes = st.st_size;
        m->create_time_ms = (int64_t)st.st_mtim.tv_sec * 1000;
    }
    m->description = STR("Snapshot in path.models");
    m->fully_defined = true;
    return NULL;
}

/* --- packages --- */

/* The name of its vocabulary file, which the metadata gives: a plain name beside it. */
static struct err *vocabulary_of(const struct trained_model *m, struct arena *a, struct str *out)
{
    *out = arena_printf(a, "%.*s.vocab.json", STR_ARG(m->model_id));
    const struct json *name = json_get(m->package, "vocabulary_file");
    if (json_is_null(name))
        return NULL;
    if (!json_str(name, out) || !snapshot_id_ok(*out))
        return broken(m->model_id, "metadata.json", "must have a plain name as [vocabulary_file]");
    return NULL;
}

static struct err *read_package(struct trained_model *m, const char *path_models, const char *path)
{
    const struct json *package;
    struct str vocabulary;
    char file[PATH_MAX];
    struct stat st;
    int64_t size;
    TRY(read_json(path, m->model_id, "metadata.json", m->arena, &package));
    TRY(trained_model_of_package(m, package));
    TRY(vocabulary_of(m, m->arena, &vocabulary));
    if (!path_of(file, path_models, m->model_id, ".pt") || !stat_file(file, &st))
        return broken(m->model_id, "pt", "is missing");
    if (json_i64(json_get(package, "size"), &size) && size != st.st_size)
        return err_new(ERR_ARGUMENT, "Model size does not match, expected [%lld] but got [%lld]",
                       (long long)size, (long long)st.st_size);
    m->definition_bytes = m->model_size_bytes = st.st_size;
    m->create_time_ms = (int64_t)st.st_mtim.tv_sec * 1000;
    if (!path_of(file, path_models, vocabulary, "") || !stat_file(file, &st))
        return broken(m->model_id, "vocab.json", "is missing");
    m->kind = MODEL_PACKAGE;
    m->fully_defined = true;
    return NULL;
}

/* --- both --- */

static struct err *read_local(struct trained_model *m, const char *path_models)
{
    char path[PATH_MAX];
    struct stat st;
    m->local = true;
    m->created_by = STR("path.models");
    m->input_field = STR("text_field");
    if (path_of(path, path_models, m->model_id, ".metadata.json") && stat_file(path, &st))
        return read_package(m, path_models, path);
    if (!path_of(path, path_models, m->model_id, "/"))
        return registry_unknown(m->model_id);
    return read_snapshot(m, path);
}

struct err *local_model_get(const char *path_models, struct str id, struct trained_model **out)
{
    char name[256];
    *out = NULL;
    if (hub_folder_name(id, name))
        id = str_c(name);
    if (!snapshot_id_ok(id))
        return registry_unknown(id);
    struct trained_model *m = trained_model_new(MODEL_SNAPSHOT, id);
    struct err *e = read_local(m, path_models);
    if (e)
        trained_model_unref(m);
    else
        *out = m;
    return e;
}

static bool is_model(const char *path_models, const char *name, struct str *id_out)
{
    char path[PATH_MAX];
    struct stat st;
    struct str id = str_c(name);
    if (!snapshot_id_ok(id))
        return false;
    *id_out = id;
    if (str_ends(id, metadata_suffix)) {
        id_out->n -= metadata_suffix.n;
        return id_out->n > 0 && path_of(path, path_models, id, "") && stat_file(path, &st);
    }
    return path_of(path, path_models, id, "/config.json") && stat_file(path, &st);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

struct err *local_model_ids(const char *path_models, struct arena *a, struct str **out,
                            size_t *n_out)
{
    struct str *list = NULL, id;
    size_t n = 0, looked = 0;
    DIR *dir = opendir(path_models);
    if (dir) {
        for (struct dirent *e; looked < MAX_LOCAL && (e = readdir(dir)); looked++) {
            if (!is_model(path_models, e->d_name, &id))
                continue;
            list = mem_grow(list, (n + 1) * sizeof *list);
            list[n++] = arena_dup(a, id);
        }
        closedir(dir);
    }
    if (n)
        qsort(list, n, sizeof *list, by_text);
    *out = arena_array(a, n, sizeof **out);
    *n_out = 0;
    for (size_t i = 0; i < n; i++) { /* a folder and a package of one name are one model */
        if (i == 0 || !str_eq(list[i], list[i - 1]))
            (*out)[(*n_out)++] = list[i];
    }
    free(list);
    return NULL;
}

struct err *local_model_files(const char *path_models, const struct trained_model *m,
                              struct arena *a, struct model_files *out)
{
    struct str vocabulary;
    if (m->kind == MODEL_SNAPSHOT) {
        out->snapshot = arena_printf(a, "%s/%.*s", path_models, STR_ARG(m->model_id)).p;
        return NULL;
    }
    TRY(vocabulary_of(m, a, &vocabulary));
    out->definition = arena_printf(a, "%s/%.*s.pt", path_models, STR_ARG(m->model_id)).p;
    out->vocabulary = arena_printf(a, "%s/%.*s", path_models, STR_ARG(vocabulary)).p;
    return NULL;
}
