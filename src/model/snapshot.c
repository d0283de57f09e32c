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

char *snapshot_folder(const struct models *m, struct str id)
{
    if (id.n == 0 || id.n > MAX_ID_BYTES || id.p[0] == '.')
        return NULL;
    for (size_t i = 0; i < id.n; i++) {
        if (!safe_char(id.p[i]))
            return NULL;
    }
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

/* A small JSON object. A missing file is NULL when it may be missing. */
static struct err *read_object(int folder, struct str id, const char *name, bool optional,
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
    } else if (!json_is(*out, JSON_OBJECT)) {
        err = broken(id, name, "must hold an object");
    }
out:
    close(fd);
    return err;
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

static struct err *look(int folder, struct str id, struct arena *a, struct model_info *out)
{
    const struct json *config, *sentence;
    int64_t dimensions, positions, sequence;
    TRY(read_object(folder, id, "config.json", false, a, &config));
    const char *width = json_get(config, "dim") ? "dim" : "hidden_size"; /* DistilBERT's word */
    TRY(member(config, id, "config.json", width, &dimensions));
    TRY(member(config, id, "config.json", "max_position_embeddings", &positions));
    TRY(read_object(folder, id, "sentence_bert_config.json", true, a, &sentence));
    sequence = positions;
    if (sentence && !json_is_null(json_get(sentence, "max_seq_length")))
        TRY(member(sentence, id, "sentence_bert_config.json", "max_seq_length", &sequence));
    if (!is_regular(folder, "tokenizer.json") && !is_regular(folder, "vocab.txt"))
        return broken(id, "tokenizer.json", "is missing");
    if (!is_regular(folder, "model.safetensors"))
        return broken(id, "model.safetensors", "is missing");
    *out = (struct model_info){
        .model_id = arena_dup(a, id),
        .tasks = TASK_BIT(TASK_TEXT_EMBEDDING),
        .dimensions = dimensions,
        .similarity = "cosine",
        .element_type = "float",
        .max_tokens = (uint32_t)(sequence < positions ? sequence : positions),
    };
    return NULL;
}

struct err *models_find(struct models *m, struct str id, struct arena *a, struct model_info *out)
{
    char *path = snapshot_folder(m, id);
    if (!path)
        return snapshot_unknown(id);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(path);
    if (folder < 0)
        return snapshot_unknown(id);
    struct err *err = look(folder, id, a, out);
    close(folder);
    return err;
}
