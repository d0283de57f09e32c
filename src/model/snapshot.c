/* A model's folder under path.models, looked at without loading it. An id is a folder's name and
 * comes from outside: only letters, digits and ._- are let through, and no dot in front. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "json.h"
#include "model_private.h"
#include "package.h"

#define MAX_ID_BYTES     250
#define MAX_CONFIG_BYTES (1u << 20)

struct err *snapshot_unknown(struct str model_id)
{
    return err_new(ERR_NOT_FOUND, "No known trained model with model_id [%.*s]",
                   (int)(model_id.n < MAX_ID_BYTES ? model_id.n : MAX_ID_BYTES),
                   model_id.p ? model_id.p : "");
}

static bool safe_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool snapshot_id_ok(struct str id)
{
    if (id.n == 0 || id.n > MAX_ID_BYTES || id.p[0] == '.')
        return false;
    for (size_t i = 0; i < id.n; i++) {
        if (!safe_char(id.p[i]))
            return false;
    }
    return true;
}

char *snapshot_folder(const struct models *m, struct str id)
{
    char name[256];
    if (hub_folder_name(id, name))
        id = str_c(name);
    if (!snapshot_id_ok(id))
        return NULL;
    size_t n = strlen(m->path) + 1 + id.n + 1;
    char *folder = mem_new(n);
    snprintf(folder, n, "%s/%.*s", m->path, STR_ARG(id));
    return folder;
}

static bool is_regular(int folder, const char *name)
{
    struct stat st;
    return fstatat(folder, name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

static struct err *broken(struct str id, const char *file, const char *what)
{
    return err_new(ERR_ARGUMENT, "model [%.*s] cannot be used: file [%s] %s", STR_ARG(id), file,
                   what);
}

/* A small JSON file. A missing one is NULL when it may be missing. */
static struct err *read_any(int folder, struct str id, const char *name, bool optional,
                            struct arena *a, const struct json **out)
{
    *out = NULL;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT && optional ? NULL : broken(id, name, "is missing");
    struct stat st;
    struct err *err = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_CONFIG_BYTES) {
        err = broken(id, name, "is not a file of at most 1 MiB");
        goto out;
    }
    char *p = arena_alloc(a, (size_t)st.st_size + 1);
    ssize_t n = pread(fd, p, (size_t)st.st_size, 0);
    struct err *cause = json_parse(a, str_n(p, n > 0 ? (size_t)n : 0), out);
    if (cause) {
        err = broken(id, name, cause->reason);
        err_free(cause);
    }
out:
    close(fd);
    return err;
}

static struct err *read_object(int folder, struct str id, const char *name, bool optional,
                               struct arena *a, const struct json **out)
{
    TRY(read_any(folder, id, name, optional, a, out));
    if (*out && !json_is(*out, JSON_OBJECT))
        return broken(id, name, "must hold an object");
    return NULL;
}

static struct err *member(const struct json *config, struct str id, const char *file,
                          const char *name, int64_t *out)
{
    const struct json *j = json_get(config, name);
    if (json_i64(j, out) && *out > 0 && *out <= INT32_MAX)
        return NULL;
    return err_new(ERR_ARGUMENT,
                   "model [%.*s] cannot be used: file [%s] must have a positive integer [%s]",
                   STR_ARG(id), file, name);
}

static unsigned tasks_of(const struct json *config, enum program_output output)
{
    switch (output) {
    case OUTPUT_EMBEDDING:
        return TASK_BIT(TASK_TEXT_EMBEDDING);
    case OUTPUT_VOCABULARY:
        return TASK_BIT(TASK_SPARSE_EMBEDDING);
    case OUTPUT_LABELS:
        break;
    case OUTPUT_TENSOR:
        return 0;
    }
    return program_labels_of(config) == 1 ? TASK_BIT(TASK_RERANK) : 0;
}

static struct err *look(int folder, struct str id, struct arena *a, struct model_info *out)
{
    const struct json *config, *sentence, *modules;
    int64_t dimensions, positions, sequence;
    TRY(read_object(folder, id, "config.json", false, a, &config));
    bool nomic = json_get(config, "n_embd") != NULL;                     /* GPT-2's words */
    const char *width = json_get(config, "dim") ? "dim" : "hidden_size"; /* DistilBERT's word */
    TRY(member(config, id, "config.json", nomic ? "n_embd" : width, &dimensions));
    TRY(member(config, id, "config.json", nomic ? "n_positions" : "max_position_embeddings",
               &positions));
    TRY(read_object(folder, id, "sentence_bert_config.json", true, a, &sentence));
    TRY(read_any(folder, id, "modules.json", true, a, &modules));
    sequence = positions;
    if (sentence && !json_is_null(json_get(sentence, "max_seq_length")))
        TRY(member(sentence, id, "sentence_bert_config.json", "max_seq_length", &sequence));
    if (!is_regular(folder, "tokenizer.json") && !is_regular(folder, "vocab.txt"))
        return broken(id, "tokenizer.json", "is missing");
    if (!is_regular(folder, "model.safetensors"))
        return broken(id, "model.safetensors", "is missing");
    enum program_output output = program_output_of(config, modules);
    *out = (struct model_info){
        .model_id = arena_dup(a, id),
        .tasks = tasks_of(config, output),
        .dimensions = output == OUTPUT_EMBEDDING ? dimensions : 0,
        .similarity = "cosine",
        .element_type = "float",
        .max_tokens = (uint32_t)(sequence < positions ? sequence : positions),
    };
    return NULL;
}

struct err *snapshot_look(const char *path, struct str id, struct arena *a, struct model_info *out)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return snapshot_unknown(id);
    struct err *err = look(folder, id, a, out);
    close(folder);
    return err;
}

/* --- prompts --- */

/* The longest one takes part in every text. */
#define MAX_PROMPT_BYTES 4096

/* What sentence-transformers looks for: encode_query and encode_document, in that order. */
static const char *const prompt_names[N_INPUT_TYPES][3] = {
    [INPUT_INGEST] = {"document", "passage", "corpus"},
    [INPUT_SEARCH] = {"query"},
    [INPUT_CLASSIFICATION] = {"classification"},
    [INPUT_CLUSTERING] = {"clustering"},
};

static const struct json *find_prompt(const struct json *prompts, enum input_type type)
{
    const struct json *found = NULL;
    for (int i = 0; i < 3 && prompt_names[type][i] && json_is_null(found); i++)
        found = json_get(prompts, prompt_names[type][i]);
    return found;
}

static struct err *read_prompts(const struct json *config, struct str id, struct arena *a,
                                struct str out[N_INPUT_TYPES])
{
    static const char file[] = "config_sentence_transformers.json";
    const struct json *prompts = json_get(config, "prompts"), *standard = NULL;
    struct str name, text;
    if (json_str(json_get(config, "default_prompt_name"), &name)) {
        struct json_iter it = json_iter(prompts);
        while ((standard = json_next(&it)) && !str_eq(standard->key, name))
            ;
    }
    for (int type = 0; type < N_INPUT_TYPES; type++) {
        const struct json *v = find_prompt(prompts, (enum input_type)type);
        v = json_is_null(v) ? standard : v;
        if (json_is_null(v))
            continue;
        if (!json_str(v, &text) || text.n > MAX_PROMPT_BYTES)
            return broken(id, file, "must have [prompts] that are texts of at most 4096 bytes");
        out[type] = arena_dup(a, text);
    }
    return NULL;
}

struct err *snapshot_prompts(const char *path, struct str id, struct arena *a,
                             struct str out[N_INPUT_TYPES])
{
    const struct json *config;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return snapshot_unknown(id);
    struct err *err =
        read_object(folder, id, "config_sentence_transformers.json", true, a, &config);
    if (!err && json_is(json_get(config, "prompts"), JSON_OBJECT))
        err = read_prompts(config, id, a, out);
    close(folder);
    return err;
}
